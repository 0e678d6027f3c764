/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/replay/describe.h"
#include "daemon/replay/engine-print.h"
#include "daemon/replay/issued.h"
#include "daemon/replay/policy-block.h"
#include "daemon/replay/recording-reader.h"
#include "daemon/replay/snapshot.h"
#include "daemon/replay/update-text.h"

DEFINE_CLEANUP(struct engine *, engine_free)

struct run {
        const struct replay_options *options;
        struct replay_result *result;
        struct recording_reader reader;
        struct engine *engine;
        struct update update;
        struct buffer scratch;
        uint64_t life, segment; /* of the segment that is replayed */
        uint64_t digest;
        bool compared;    /* this segment has digests */
        bool is_scenario; /* it tells what its numbers were given to, in their place */

        char (*decided)[DESCRIBE_LEN]; /* of the latest event; owned */
        size_t n_decided, n_allocated, n_matched;

        struct issued_map issued;

        enum pair_state *shown; /* by slot; owned */
        int n_shown;

        struct recording_time time;
};

/* ---- lines ----------------------------------------------------------------------------------------------- */

static void show(struct run *run, enum replay_line kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void show(struct run *run, enum replay_line kind, const char *format, ...) {
        const struct replay_options *options = run->options;
        _cleanup_free_ char *text = NULL;
        va_list ap;

        if (!options->line || run->time.since_usec < options->from_usec ||
            (options->until_usec && run->time.since_usec > options->until_usec))
                return;
        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        if (text)
                options->line(options->userdata, run->time.since_usec, kind, text);
}

void replay_print_line(FILE *f, usec_t since_usec, enum replay_line kind, const char *text) {
        static const char signs[REPLAY_LINE_MAX] = {
                [REPLAY_EVENT] = '<', [REPLAY_DECISION] = ' ', [REPLAY_STATE] = ' ', [REPLAY_NOTE] = '#'
        };

        fprintf(f, "%8" PRIu64 " %c %s\n", since_usec / USEC_PER_MSEC, signs[kind], text);
}

void replay_print_end(FILE *f, const struct engine *engine) {
        if (!engine || !engine->policy)
                return;
        engine_print_table(engine, f);
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i]) {
                        engine_print_pair(engine->pairs[i], f);
                        engine_print_applications(engine->pairs[i], f);
                }
}

static void differ(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void differ(struct run *run, const char *format, ...) {
        va_list ap;

        if (run->result->differs)
                return; /* what follows from a difference differs, too */
        run->result->differs = true;
        va_start(ap, format);
        vsnprintf(run->result->difference, sizeof(run->result->difference), format, ap);
        va_end(ap);
        show(run, REPLAY_NOTE, "%s", run->result->difference);
}

static void show_states(struct run *run) {
        struct replay_result *result = run->result;

        for (int i = 0; i < run->engine->n_pairs && i < run->n_shown; i++) {
                const struct pair *pair = run->engine->pairs[i];

                if (!pair || pair->state == run->shown[i])
                        continue;
                show(run, REPLAY_STATE, "%-10s %s -> %s", pair->policy->name, pair_state_to_string(run->shown[i]),
                     pair_state_to_string(pair->state));
                run->shown[i] = pair->state;
                if (pair->state == PAIR_FAILOVER && result->failover_usec == USEC_INFINITY)
                        result->failover_usec = result->span_usec;
        }
}

/* There is a place for each slot. What is known at the beginning is no change. */
static int follow_slots(struct run *run, bool anew) {
        int n = run->engine->n_pairs;

        if (n > run->n_shown) {
                enum pair_state *grown = realloc(run->shown, (size_t) n * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                for (int i = run->n_shown; i < n; i++)
                        grown[i] = PAIR_UNKNOWN;
                run->shown = grown;
                run->n_shown = n;
        }
        for (int i = 0; anew && i < n; i++)
                if (run->engine->pairs[i])
                        run->shown[i] = run->engine->pairs[i]->state;
        return 0;
}

/* ---- segments -------------------------------------------------------------------------------------------- */

static int state_text(const struct engine *engine, struct buffer *out) {
        _cleanup_(buffer_deinit) struct buffer policy = { 0 };
        int r = engine->policy ? policy_block_write(&policy, engine->policy)
                               : 0; /* its first line is the same in both */

        snapshot_write(out, engine, &policy);
        buffer_add_char(out, 0);
        return r < 0 ? r : out->failed ? -ENOMEM : 0;
}

/* The state that the replay has come to, and the one that was recorded: are they the same? */
static int compare_states(struct run *run, const struct engine *recorded) {
        _cleanup_(buffer_deinit) struct buffer ours = { 0 }, theirs = { 0 };
        const char *a, *b;
        int r = state_text(run->engine, &ours);

        if (r >= 0)
                r = state_text(recorded, &theirs);
        if (r < 0)
                return r;
        for (a = ours.bytes, b = theirs.bytes; *a && *b;) {
                int n = (int) strcspn(a, "\n"), k = (int) strcspn(b, "\n");

                if (n != k || memcmp(a, b, (size_t) n) != 0) {
                        differ(run, "the state at segment %" PRIu64 " differs: recorded \"%.*s\", now \"%.*s\"",
                               run->reader.head.segment, k < 900 ? k : 900, b, n < 900 ? n : 900, a);
                        return 0;
                }
                a += n + (a[n] == '\n');
                b += k + (b[k] == '\n');
        }
        if (*a != *b)
                differ(run, "the state at segment %" PRIu64 " differs: one ends where the other goes on",
                       run->reader.head.segment);
        return 0;
}

static int on_segment(struct run *run) {
        _cleanup_(engine_freep) struct engine *recorded = steal_ptr(run->reader.engine);
        bool first = !run->engine,
             follows = !first && run->life == run->reader.head.life && run->segment + 1 == run->reader.head.segment;
        int r = 0;

        if (first)
                memcpy(run->result->version, run->reader.head.version, sizeof(run->result->version));
        else if (follows)
                r = compare_states(run, recorded);
        else
                show(run, REPLAY_NOTE,
                     run->life == run->reader.head.life ? "a part of the recording is missing here"
                                                   : "failoverd was started anew");
        if (r < 0)
                return r;
        if (!follows || run->result->differs) { /* else one is as good as the other */
                engine_free(run->engine);
                run->engine = steal_ptr(recorded);
        }
        run->life = run->reader.head.life;
        run->segment = run->reader.head.segment;
        run->digest = DIGEST_BEGIN;
        run->compared = false;
        run->n_decided = run->n_matched = 0;
        if (!follows)
                issued_map_deinit(&run->issued);
        recording_time_segment(&run->time, run->engine);
        return follow_slots(run, !follows);
}

/* ---- events and decisions -------------------------------------------------------------------------------- */

static int keep_decision(struct run *run, const char *text) {
        if (run->n_decided == run->n_allocated) {
                size_t n = run->n_allocated ? run->n_allocated * 2 : 16;
                void *grown = realloc(run->decided, n * sizeof(*run->decided));

                if (!grown)
                        return -ENOMEM;
                run->decided = grown;
                run->n_allocated = n;
        }
        memcpy(run->decided[run->n_decided++], text, strlen(text) + 1);
        return 0;
}

static int show_actions(struct run *run) {
        char text[DESCRIBE_LEN];
        int r = 0;

        for (size_t i = 0; r >= 0 && i < run->update.n_actions; i++) {
                const struct action *action = &run->update.actions[i];
                const struct pair *pair = action->pair >= 0 && action->pair < run->engine->n_pairs
                                                  ? run->engine->pairs[action->pair]
                                                  : NULL;
                bool weighs =
                        describe_action(action, pair ? pair->policy->name : NULL, pair ? pair->policy : NULL, text);

                if (run->options->all) {
                        buffer_clear(&run->scratch);
                        action_text_write(&run->scratch, action);
                        if (run->scratch.failed)
                                return -ENOMEM;
                        show(run, REPLAY_DECISION, "%.*s", (int) run->scratch.n - 1, run->scratch.bytes);
                } else if (weighs)
                        show(run, REPLAY_DECISION, "%s", text);
                if (weighs)
                        r = keep_decision(run, text);
        }
        return r;
}

/* What was decided now and did not stand in the recording. Behind the last event of a life nothing has to stand: it may
 * be the one that failoverd did not survive. */
static void settle(struct run *run) {
        if (run->compared && run->n_matched < run->n_decided)
                differ(run, "decision %" PRIu64 " was not taken when this was recorded: now \"%s\"",
                       run->result->decisions + 1, run->decided[run->n_matched]);
        run->n_decided = run->n_matched = 0;
}

/* Answers refer to what is asked for now. Empty where the recording does not tell what its numbers were given to. */
static void translate(const struct issued_map *map, struct event_storage *storage) {
        if (storage->event.kind == EVENT_DONE)
                storage->event.action_id = issued_map_find(map, storage->event.action_id);
        else if (storage->event.kind == EVENT_MESSAGE && storage->message.type == MESSAGE_RESULT)
                storage->message.id = issued_map_find(map, storage->message.id);
}

static int note_issued(struct run *run) {
        char key[ISSUED_KEY_LEN];
        uint64_t id;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < run->update.n_actions; i++)
                if (issued_key(&run->update.actions[i], key, &id))
                        r = issued_map_now(&run->issued, key, id);
        return r;
}

static int on_event(struct run *run) {
        const struct event *event = &run->reader.event.event;
        char text[DESCRIBE_LEN];
        int r;

        settle(run);
        if (run->is_scenario)
                translate(&run->issued, &run->reader.event);
        recording_time_event(&run->time, run->engine, event);
        run->result->span_usec = run->time.since_usec;
        if (run->options->all)
                show(run, REPLAY_EVENT, "%s", strchr(run->reader.copy, ' ') + 1);
        else if (describe_event(event, run->engine, text))
                show(run, REPLAY_EVENT, "%s", text);
        engine_step(run->engine, event, &run->update);
        run->result->events++;
        if (run->update.failed || follow_slots(run, false) < 0)
                return -ENOMEM;
        r = show_actions(run);
        if (r < 0)
                return r;
        show_states(run);
        if (run->is_scenario && note_issued(run) < 0)
                return -ENOMEM;
        buffer_clear(&run->scratch);
        update_text_write(&run->scratch, &run->update);
        if (run->scratch.failed)
                return -ENOMEM;
        run->digest = digest_add(run->digest, run->scratch.bytes, run->scratch.n);
        return 0;
}

static void on_decision(struct run *run) {
        run->compared = true;
        run->result->decisions++;
        if (run->n_matched == run->n_decided)
                differ(run, "decision %" PRIu64 " differs: recorded \"%s\", now nothing", run->result->decisions,
                       run->reader.text);
        else if (strcmp(run->reader.text, run->decided[run->n_matched]) != 0)
                differ(run, "decision %" PRIu64 " differs: recorded \"%s\", now \"%s\"", run->result->decisions,
                       run->reader.text, run->decided[run->n_matched]);
        if (run->n_matched < run->n_decided)
                run->n_matched++;
}

static void on_digest(struct run *run) {
        run->compared = true;
        settle(run);
        run->result->digests++;
        if (run->digest != run->reader.digest)
                differ(run,
                       "between decision %" PRIu64
                       " and line %lu something differs that is not shown in words (a heartbeat, a wake, a number)",
                       run->result->decisions, run->reader.line);
}

static int run_all(struct run *run, struct error *error) {
        int r;

        while ((r = recording_reader_next(&run->reader, error)) > 0) {
                if (r == RECORDING_SEGMENT)
                        r = on_segment(run);
                else if (r == RECORDING_EVENT)
                        r = on_event(run);
                else if (r == RECORDING_DECISION)
                        on_decision(run);
                else if (r == RECORDING_ISSUED)
                        r = issued_map_recorded(&run->issued, run->reader.text, run->reader.id);
                else
                        on_digest(run);
                if (r < 0)
                        return error_set(error, r, "out of memory");
        }
        if (r >= 0 && !run->engine)
                return error_set(error, -EBADMSG, "there is nothing in it");
        return r;
}

int replay_run(const char *text, size_t n, const struct replay_options *options, struct replay_result *ret,
               struct error *error) {
        struct run run = {
                .options = options, .result = ret, .reader = { .policy = options->policy },
                .is_scenario = memmem(text, n, "\n! ", 3) != NULL,
        };
        int r;

        *ret = (struct replay_result) { .failover_usec = USEC_INFINITY };
        r = recording_reader_init(&run.reader, text, n, error);
        if (r >= 0)
                r = run_all(&run, error);
        ret->torn = run.reader.torn;
        ret->n_unknown = run.reader.reading.n_unknown;
        memcpy(ret->unknown, run.reader.reading.unknown, sizeof(ret->unknown));
        ret->engine = run.engine;
        recording_reader_deinit(&run.reader);
        update_deinit(&run.update);
        buffer_deinit(&run.scratch);
        issued_map_deinit(&run.issued);
        free(run.decided);
        free(run.shown);
        return r;
}

void replay_result_deinit(struct replay_result *result) {
        engine_free(result->engine);
        *result = (struct replay_result) { 0 };
}
