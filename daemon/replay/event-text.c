/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/event-text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/quote.h"
#include "daemon/core/update.h"
#include "daemon/replay/layouts.h"
#include "daemon/replay/policy-block.h"

#define LINE_MAX_BYTES (64 * KIB) /* of an event; a record with all its applications takes some 8 KiB */
#define NO_SIDE ((enum side) SIDE_INVALID)

/* What each kind carries beside the fields of the event itself. */
struct part {
        const char *prefix;
        const struct layout *layout;
        size_t event_offset, storage_offset;
};

#define PART(name) \
        { #name ".", &name##_layout, offsetof(struct event, name), offsetof(struct event_storage, name) }
static const struct part parts[EVENT_KIND_MAX] = {
        [EVENT_RESTORED] = PART(record),
        [EVENT_MESSAGE] = PART(message),
        [EVENT_PREFLIGHT] = PART(preflight),
        [EVENT_COMMAND] = PART(command),
        [EVENT_USAGE] = PART(usage),
};

void pong_memory_deinit(struct pong_memory *memory) {
        for (size_t i = 0; i < memory->n_messages; i++)
                free(memory->messages[i]);
        free(memory->messages);
        *memory = (struct pong_memory) { 0 };
}

/* Where the last pong of a VM is kept; NULL when out of memory. */
static struct message **pong_of(struct pong_memory *memory, int pair, enum side side) {
        size_t i = (size_t) pair * SIDE_MAX + (size_t) side;

        if (i >= memory->n_messages) {
                size_t n = (i + 1) * 2;
                struct message **grown = realloc(memory->messages, n * sizeof(*grown));

                if (!grown)
                        return NULL;
                memset(grown + memory->n_messages, 0, (n - memory->n_messages) * sizeof(*grown));
                memory->messages = grown;
                memory->n_messages = n;
        }
        return &memory->messages[i];
}

static int pong_keep(struct message **kept, const struct message *message) {
        if (!*kept)
                *kept = malloc(sizeof(**kept));
        if (!*kept)
                return -ENOMEM;
        **kept = *message;
        return 0;
}

/* ---- out ------------------------------------------------------------------------------------------------- */

static int write_pong(struct buffer *out, const struct event *event, struct pong_memory *pongs) {
        struct message **kept = pong_of(pongs, event->pair, event->side);

        if (!kept)
                return -ENOMEM;
        if (!*kept)
                layout_write(out, &message_layout, event->message, NULL, "message.");
        else {
                /* Of the same type: what tells a pong from the rest is there each time. */
                buffer_add_text(out, " message.type=pong");
                layout_write(out, &message_layout, event->message, *kept, "message.");
        }
        return pong_keep(kept, event->message);
}

static int write_part(struct buffer *out, const struct event *event, struct pong_memory *pongs) {
        const struct part *part = &parts[event->kind];

        if (event->kind == EVENT_POLICY) {
                buffer_add_char(out, '\n');
                return policy_block_write(out, event->policy);
        }
        if (event->kind == EVENT_MESSAGE && event->message->type == MESSAGE_PONG)
                return write_pong(out, event, pongs);
        if (part->layout)
                layout_write(out, part->layout,
                             *(const void *const *) (const void *) ((const char *) event + part->event_offset), NULL,
                             part->prefix);
        return 0;
}

int event_text_write(struct buffer *out, const struct event *event, struct event_clock before,
                     struct pong_memory *pongs) {
        usec_t since = event->time_usec - before.time_usec;
        struct event fields = *event;
        int r;

        buffer_add_char(out, '+');
        buffer_add_number(out, since);
        if (event->real_usec != before.real_usec + since) {
                buffer_add_char(out, '~');
                buffer_add_signed(out, (int64_t) (event->real_usec - before.real_usec - since));
        }
        buffer_add_char(out, ' ');
        buffer_add_text(out, event_kind_to_string(event->kind));
        buffer_add_char(out, ' ');
        if (event->pair >= 0)
                buffer_add_number(out, (uint64_t) event->pair);
        else
                buffer_add_char(out, '-');
        if (event->side >= 0)
                buffer_add_char(out, event->side == SIDE_A ? 'a' : 'b');
        if (event->kind == EVENT_WAKE) {
                buffer_add_text(out, event->due_usec > event->time_usec ? " +" : " ");
                buffer_add_signed(out, (int64_t) (event->due_usec - event->time_usec));
                fields.due_usec = 0;
        }
        layout_write(out, &event_layout, &fields, NULL, "");
        r = write_part(out, event, pongs);
        if (event->kind != EVENT_POLICY)
                buffer_add_char(out, '\n');
        return r < 0 ? r : out->failed ? -ENOMEM : 0;
}

/* ---- in -------------------------------------------------------------------------------------------------- */

void event_storage_deinit(struct event_storage *storage) {
        policy_free(storage->policy);
        *storage = (struct event_storage) { 0 };
}

static int bad(struct error *error, const char *word, const char *expected) {
        char quoted[QUOTE_LEN];

        return error_set(error, -EBADMSG, "\"%s\" is %s", text_quote(word, strlen(word), quoted), expected);
}

/* A number with its sign. */
static int parse_signed(const char *word, char **ret_end, int64_t *ret) {
        bool negative = *word == '-';

        if (*word == '+' || *word == '-')
                word++;
        if (*word < '0' || *word > '9')
                return -EBADMSG;
        errno = 0;
        *ret = strtoll(word, ret_end, 10);
        if (errno)
                return -EBADMSG;
        if (negative)
                *ret = -*ret;
        return 0;
}

/* "+102~-1" */
static int parse_time(const char *word, struct event_clock before, struct event *event, struct error *error) {
        int64_t since, apart = 0;
        char *end;

        if (*word != '+' || parse_signed(word, &end, &since) < 0 || (*end && *end != '~') ||
            (*end == '~' && (parse_signed(end + 1, &end, &apart) < 0 || *end)))
                return bad(error, word, "no time of an event (\"+\", microseconds)");
        if (__builtin_add_overflow(before.time_usec, (uint64_t) since, &event->time_usec))
                return bad(error, word, "past the end of time");
        event->real_usec = before.real_usec + (uint64_t) since + (uint64_t) apart;
        return 0;
}

/* "3a", "3", "-" */
static int parse_place(const char *word, struct event *event, struct error *error) {
        char *end = (char *) word + 1;
        unsigned long slot;

        event->pair = NO_PAIR;
        event->side = NO_SIDE;
        if (*word != '-') {
                if (*word < '0' || *word > '9')
                        return bad(error, word, "no pair's slot and side, such as 3a");
                errno = 0;
                slot = strtoul(word, &end, 10);
                if (errno || slot >= RECORDING_SLOTS_MAX)
                        return bad(error, word, "past the slots that there can be");
                event->pair = (int) slot;
        }
        if (*end == 'a' || *end == 'b')
                event->side = *end++ == 'a' ? SIDE_A : SIDE_B;
        return *end ? bad(error, word, "no pair's slot and side, such as 3a") : 0;
}

/* Does an event of this kind name a VM by which the engine looks something up? */
static bool about_vm(const struct event *event) {
        switch (event->kind) {
        case EVENT_POLICY:
        case EVENT_RESTORED:
        case EVENT_STORE_LOST:
        case EVENT_READY:
        case EVENT_WAKE:
        case EVENT_HYPERVISOR:
        case EVENT_PRESSURE:
        case EVENT_RECLAIM:
        case EVENT_COMMAND:
                return false;
        case EVENT_DONE:
                return event->action != ACTION_PERSIST;
        default:
                return true;
        }
}

static int check(const struct event_storage *storage, struct error *error) {
        const struct event *event = &storage->event;
        const struct operator_command *command = &storage->command;

        if (about_vm(event) && (event->pair < 0 || (event->side < 0 && event->kind != EVENT_DONE)))
                return error_set(error, -EBADMSG, "%s has to name a pair's slot and side, such as 3a",
                                 event_kind_to_string(event->kind));
        if (event->kind == EVENT_DONE && event->action == ACTION_PAGE_OUT && event->app < 0)
                return error_set(error, -EBADMSG, "what was paged out is an application's");
        if (event->kind == EVENT_RESTORED && event->pair < 0)
                return error_set(error, -EBADMSG, "restored has to name a pair's slot");
        if (event->kind == EVENT_COMMAND && command->verb == COMMAND_ADOPT && command->side < 0)
                return error_set(error, -EBADMSG, "adopt has to name a side");
        return 0;
}

/* Hands a name to the part that it belongs to, or to the event itself. */
static int parse_field(struct event_storage *storage, const char *name, const char *value,
                       struct layout_reading *reading, struct error *error) {
        const struct part *part = &parts[storage->event.kind];

        if (part->layout && strncmp(name, part->prefix, strlen(part->prefix)) == 0)
                return layout_read_field(part->layout, (char *) storage + part->storage_offset,
                                         name + strlen(part->prefix), value, reading, error);
        return layout_read_field(&event_layout, &storage->event, name, value, reading, error);
}

/* The first fields without a value: time, kind, place, and the lateness of a wake. */
static int parse_head(char **text, struct event_clock before, struct event *event, struct error *error) {
        char *words[3], *value, *end, *name;
        int64_t late;

        for (int i = 0; i < 3; i++) {
                int r = layout_next(text, &words[i], &value, error);

                if (r < 0 || r == 0 || value)
                        return r < 0 ? r : error_set(error, -EBADMSG, "an event begins with its time, kind and place");
        }
        event->kind = event_kind_from_string(words[1]);
        if (event->kind < 0)
                return bad(error, words[1], "no kind of event");
        if (parse_time(words[0], before, event, error) < 0 || parse_place(words[2], event, error) < 0)
                return -EBADMSG;
        if (event->kind != EVENT_WAKE)
                return 0;
        if (layout_next(text, &name, &value, error) <= 0 || value || parse_signed(name, &end, &late) < 0 || *end)
                return error_set(error, -EBADMSG, "a wake tells by how much it is late, such as -87");
        event->due_usec = event->time_usec + (uint64_t) late;
        return 0;
}

/* A pong, as its first field tells, begins with what the last one said. */
static int begin_pong(struct event_storage *storage, struct pong_memory *pongs, struct message ***ret_kept,
                      struct error *error) {
        const struct event *event = &storage->event;

        if (event->pair < 0 || event->side < 0)
                return 0; /* told below */
        *ret_kept = pong_of(pongs, event->pair, event->side);
        if (!*ret_kept)
                return error_set(error, -ENOMEM, "out of memory");
        if (**ret_kept)
                storage->message = ***ret_kept;
        return 0;
}

static int parse(struct event_storage *storage, char *text, struct event_clock before, struct pong_memory *pongs,
                 struct layout_reading *reading, struct error *error) {
        struct message **kept = NULL;
        char *name, *value;
        int r;

        r = parse_head(&text, before, &storage->event, error);
        while (r >= 0 && (r = layout_next(&text, &name, &value, error)) > 0) {
                if (value && storage->event.kind == EVENT_MESSAGE && strcmp(name, "message.type") == 0 &&
                    strcmp(value, "pong") == 0)
                        r = begin_pong(storage, pongs, &kept, error);
                if (r >= 0)
                        r = value ? parse_field(storage, name, value, reading, error)
                                  : bad(error, name, "without a value");
        }
        if (r >= 0)
                r = check(storage, error);
        if (r >= 0 && kept && storage->message.type == MESSAGE_PONG)
                r = pong_keep(kept, &storage->message);
        return r;
}

int event_text_parse(const char *line, struct event_clock before, struct pong_memory *pongs,
                     struct layout_reading *reading, struct event_storage *ret, struct error *error) {
        _cleanup_free_ char *text = NULL;
        struct event *event = &ret->event;
        int r;

        *ret = (struct event_storage) { 0 };
        if (strlen(line) > LINE_MAX_BYTES)
                return error_set(error, -EBADMSG, "an event is longer than %" PRIu64 " KiB", LINE_MAX_BYTES / KIB);
        text = strdup(line);
        if (!text)
                return error_set(error, -ENOMEM, "out of memory");
        r = parse(ret, text, before, pongs, reading, error);
        if (r < 0)
                return r;
        if (parts[event->kind].layout)
                *(const void **) (void *) ((char *) event + parts[event->kind].event_offset) =
                        (const char *) ret + parts[event->kind].storage_offset;
        return 0;
}
