/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/quote.h"
#include "daemon/replay/event-text.h"
#include "daemon/replay/layouts.h"

/* The fixed rows, two VMs a pair, and their applications. */
#define ROWS_MAX (4 + (size_t) POLICY_PAIRS_MAX * SIDE_MAX * (1 + POLICY_APPLICATIONS_MAX))

#define NUMBERS_MAX 2 /* behind the first word of a line */

/* ---- out ------------------------------------------------------------------------------------------------- */

static void write_head(struct buffer *out, const char *word, uint64_t a, const size_t *b) {
        buffer_add_text(out, word);
        buffer_add_number(out, a);
        if (b) {
                buffer_add_char(out, ' ');
                buffer_add_number(out, *b);
        }
}

/* A line for each of an array of a handover's. */
static void write_items(struct buffer *out, const char *word, const struct pair *pair, size_t app,
                        const struct layout *layout, const void *items, size_t n) {
        for (size_t i = 0; i < n; i++) {
                write_head(out, word, (uint64_t) pair->slot, &app);
                layout_write(out, layout, (const char *) items + i * layout->size, NULL, "");
                buffer_add_char(out, '\n');
        }
}

static void write_handover(struct buffer *out, const struct pair *pair, size_t app) {
        const struct handover *handover = pair->apps[app].handover;
        const struct early_release *early = &handover->early;

        write_items(out, "handover ", pair, app, &handover_layout, handover, 1);
        write_items(out, "range ", pair, app, &rights_range_layout, handover->rights.ranges, handover->rights.n_ranges);
        write_items(out, "granule ", pair, app, &granule_layout, early->granules, early->n_granules);
        write_items(out, "mean ", pair, app, &early_mean_layout, early->means, early->n_means);
}

static void write_pair(struct buffer *out, const struct pair *pair) {
        char head[32];

        snprintf(head, sizeof(head), "pair %d", pair->slot);
        layout_write_lines(out, &pair_layout, pair, head);
        for (size_t i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                if (pair->apps[i].handover)
                        write_handover(out, pair, i);
}

void snapshot_write(struct buffer *out, const struct engine *engine, const struct buffer *policy_text) {
        if (engine->policy)
                buffer_add(out, policy_text->bytes, policy_text->n);
        buffer_add_text(out, "engine");
        layout_write(out, &engine_layout, engine, NULL, "");
        buffer_add_char(out, '\n');
        for (size_t i = 0; i < engine->table.n_rows; i++) {
                write_head(out, "row ", i, NULL);
                layout_write(out, &region_layout, &engine->table.rows[i], NULL, "");
                buffer_add_char(out, '\n');
        }
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i])
                        write_pair(out, engine->pairs[i]);
        buffer_add_text(out, "end\n");
}

/* ---- in -------------------------------------------------------------------------------------------------- */

int snapshot_reader_init(struct snapshot_reader *reader, struct policy *policy, struct layout_reading *reading) {
        *reader = (struct snapshot_reader) { .engine = engine_new(), .reading = reading };
        if (!reader->engine) {
                policy_free(policy);
                return -ENOMEM;
        }
        reader->engine->policy = policy;
        return 0;
}

void snapshot_reader_deinit(struct snapshot_reader *reader) {
        if (reader->engine)
                reader->engine->n_pairs = reader->n_pairs; /* what was read may say more than there is */
        engine_free(reader->engine);
        *reader = (struct snapshot_reader) { 0 };
}

static int read_engine(struct snapshot_reader *reader, const size_t *numbers, const char *text, struct error *error) {
        struct engine *engine = reader->engine;
        int r;

        if (engine->pairs)
                return error_set(error, -EBADMSG, "a second line for the engine");
        r = layout_read(&engine_layout, engine, text, reader->reading, error);
        if (r < 0)
                return r;
        if (engine->n_pairs < 0 || engine->n_pairs > RECORDING_SLOTS_MAX)
                return error_set(error, -EBADMSG, "n_pairs: %d slots are more than there can be", engine->n_pairs);
        engine->pairs = calloc((size_t) engine->n_pairs + 1, sizeof(*engine->pairs));
        if (!engine->pairs)
                return error_set(error, -ENOMEM, "out of memory");
        reader->n_pairs = engine->n_pairs;
        return 0;
}

static int read_row(struct snapshot_reader *reader, const size_t *numbers, const char *text, struct error *error) {
        struct table *table = &reader->engine->table;

        if (numbers[0] != table->n_rows || numbers[0] == ROWS_MAX)
                return error_set(error, -EBADMSG, "row %zu of the table does not follow the one before", numbers[0]);
        if (table->n_rows == table->n_allocated) {
                size_t n = table->n_allocated ? table->n_allocated * 2 : 16;
                struct region *grown = realloc(table->rows, n * sizeof(*grown));

                if (!grown)
                        return error_set(error, -ENOMEM, "out of memory");
                table->rows = grown;
                table->n_allocated = n;
        }
        table->rows[table->n_rows] = (struct region) { 0 };
        return layout_read(&region_layout, &table->rows[table->n_rows++], text, reader->reading, error);
}

static int read_pair(struct snapshot_reader *reader, const size_t *numbers, const char *text, struct error *error) {
        struct engine *engine = reader->engine;

        if (numbers[0] >= (size_t) reader->n_pairs)
                return error_set(error, -EBADMSG, "there is no slot %zu: the engine's line says %d", numbers[0],
                                 reader->n_pairs);
        if (!engine->pairs[numbers[0]])
                engine->pairs[numbers[0]] = calloc(1, sizeof(**engine->pairs));
        if (!engine->pairs[numbers[0]])
                return error_set(error, -ENOMEM, "out of memory");
        return layout_read(&pair_layout, engine->pairs[numbers[0]], text, reader->reading, error);
}

/* The application of a line that names a pair's slot and an application's. NULL, and why, where there is none. */
static struct app_state *find_app(struct snapshot_reader *reader, const size_t *numbers, struct error *error) {
        struct pair *pair = numbers[0] < (size_t) reader->n_pairs ? reader->engine->pairs[numbers[0]] : NULL;

        if (pair && numbers[1] < POLICY_APPLICATIONS_MAX)
                return &pair->apps[numbers[1]];
        error_set(error, -EBADMSG, "there is no application %zu of a pair in slot %zu", numbers[1], numbers[0]);
        return NULL;
}

static int read_handover(struct snapshot_reader *reader, const size_t *numbers, const char *text, struct error *error) {
        struct handover *handover;
        struct app_state *app = find_app(reader, numbers, error);

        if (!app)
                return -EBADMSG;
        if (app->handover)
                return error_set(error, -EBADMSG, "application %zu has a handover already", numbers[1]);
        app->handover = handover = calloc(1, sizeof(*handover));
        if (handover) { /* as many of them as there can be: each has its place */
                handover->early.granules = calloc(USAGE_EXTENTS_MAX, sizeof(*handover->early.granules));
                handover->early.means = calloc(USAGE_EXTENTS_MAX, sizeof(*handover->early.means));
                handover->rights.ranges = calloc(USAGE_EXTENTS_MAX, sizeof(*handover->rights.ranges));
        }
        if (!handover || !handover->early.granules || !handover->early.means || !handover->rights.ranges)
                return error_set(error, -ENOMEM, "out of memory");
        handover->rights.n_allocated = USAGE_EXTENTS_MAX;
        return layout_read(&handover_layout, handover, text, reader->reading, error);
}

/* One more of an array of a handover's, whose items have their places. */
static int read_item(struct snapshot_reader *reader, const struct layout *layout, void *items, size_t *n,
                     const char *text, struct error *error) {
        if (*n == USAGE_EXTENTS_MAX)
                return error_set(error, -EBADMSG, "a handover has more of these than there can be");
        return layout_read(layout, (char *) items + (*n)++ * layout->size, text, reader->reading, error);
}

static struct handover *find_handover(struct snapshot_reader *reader, const size_t *numbers, struct error *error) {
        struct app_state *app = find_app(reader, numbers, error);

        if (app && !app->handover)
                error_set(error, -EBADMSG, "application %zu has no handover", numbers[1]);
        return app ? app->handover : NULL;
}

static int read_range(struct snapshot_reader *reader, const size_t *numbers, const char *text, struct error *error) {
        struct handover *handover = find_handover(reader, numbers, error);

        return handover ? read_item(reader, &rights_range_layout, handover->rights.ranges, &handover->rights.n_ranges,
                                    text, error)
                        : -EBADMSG;
}

static int read_granule(struct snapshot_reader *reader, const size_t *numbers, const char *text, struct error *error) {
        struct handover *handover = find_handover(reader, numbers, error);

        return handover ? read_item(reader, &granule_layout, handover->early.granules, &handover->early.n_granules,
                                    text, error)
                        : -EBADMSG;
}

static int read_mean(struct snapshot_reader *reader, const size_t *numbers, const char *text, struct error *error) {
        struct handover *handover = find_handover(reader, numbers, error);

        return handover ? read_item(reader, &early_mean_layout, handover->early.means, &handover->early.n_means, text,
                                    error)
                        : -EBADMSG;
}

/* "word 1 2 rest": reads the numbers. NULL where they are not there. */
static const char *read_numbers(const char *text, size_t n, size_t numbers[static NUMBERS_MAX]) {
        for (size_t i = 0; i < n; i++) {
                char *end;

                if (text[0] != ' ' || text[1] < '0' || text[1] > '9')
                        return NULL;
                numbers[i] = strtoul(text + 1, &end, 10);
                text = end;
        }
        return *text == ' ' || *text == 0 ? text : NULL;
}

int snapshot_reader_line(struct snapshot_reader *reader, const char *line, struct error *error) {
        static const struct {
                const char *word;
                size_t n_numbers;
                int (*read)(struct snapshot_reader *reader, const size_t *numbers, const char *text,
                            struct error *error);
        } heads[] = {
                { "engine", 0, read_engine }, { "row", 1, read_row },     { "pair", 1, read_pair },
                { "handover", 2, read_handover }, { "range", 2, read_range },
                { "granule", 2, read_granule }, { "mean", 2, read_mean },
        };
        size_t numbers[NUMBERS_MAX] = { 0 }, n = strcspn(line, " ");
        char quoted[QUOTE_LEN];

        for (size_t i = 0; i < ELEMENTSOF(heads); i++) {
                const char *rest = strlen(heads[i].word) == n && memcmp(heads[i].word, line, n) == 0
                                           ? read_numbers(line + n, heads[i].n_numbers, numbers) : NULL;

                if (rest)
                        return heads[i].read(reader, numbers, rest, error);
        }
        return error_set(error, -EBADMSG, "\"%s\" is no line of a snapshot", text_quote(line, strlen(line), quoted));
}

/* Each pair of the policy has one slot, and each slot a pair of the policy. */
static int find_policies(struct engine *engine, struct error *error) {
        size_t n = 0;

        for (int i = 0; i < engine->n_pairs; i++) {
                struct pair *pair = engine->pairs[i];
                int k = pair && engine->policy ? policy_find_pair(engine->policy, pair->record.pair) : -1;

                if (!pair)
                        continue;
                if (k < 0)
                        return error_set(error, -EBADMSG, "pair %d: the policy has no pair \"%s\"", i,
                                         pair->record.pair);
                for (int other = 0; other < i; other++)
                        if (engine->pairs[other] && engine->pairs[other]->policy == &engine->policy->pairs[k])
                                return error_set(error, -EBADMSG, "pair %d: %s is in slot %d already", i,
                                                 pair->record.pair, other);
                pair->policy = &engine->policy->pairs[k];
                n++;
        }
        if (engine->policy && n != engine->policy->n_pairs)
                return error_set(error, -EBADMSG, "the policy has %zu pairs, the snapshot %zu", engine->policy->n_pairs,
                                 n);
        return 0;
}

/* Where the rows of each VM are. */
static int index_rows(struct engine *engine) {
        struct table *table = &engine->table;

        table->n_vms = (size_t) engine->n_pairs * SIDE_MAX;
        table->vms = calloc(table->n_vms + 1, sizeof(*table->vms));
        if (!table->vms)
                return -ENOMEM;
        for (size_t i = 0; i < table->n_rows; i++) {
                const struct region *row = &table->rows[i];
                struct table_vm *vm =
                        row->user.pair < 0 ? NULL : &table->vms[(size_t) row->user.pair * SIDE_MAX + row->user.side];

                if (vm)
                        *(row->app < 0 ? &vm->system : &vm->apps[row->app]) = (unsigned) i;
        }
        return 0;
}

int snapshot_reader_finish(struct snapshot_reader *reader, struct engine **ret, struct error *error) {
        int r;

        if (!reader->engine->pairs)
                return error_set(error, -EBADMSG, "the snapshot has no line for the engine");
        r = find_policies(reader->engine, error);
        if (r >= 0)
                r = snapshot_check(reader->engine, error);
        if (r >= 0 && index_rows(reader->engine) < 0)
                r = error_set(error, -ENOMEM, "out of memory");
        if (r < 0)
                return r;
        *ret = steal_ptr(reader->engine);
        return 0;
}
