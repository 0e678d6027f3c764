/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/recording-reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/quote.h"
#include "daemon/replay/issued.h"
#include "daemon/replay/policy-block.h"
#include "daemon/replay/snapshot.h"

#define LINE_BYTES_MAX MIB

int recording_reader_init(struct recording_reader *reader, const char *text, size_t n, struct error *error) {
        const struct policy *policy = reader->policy;

        if (memchr(text, 0, n))
                return error_set(error, -EBADMSG, "it holds a NUL byte");
        *reader = (struct recording_reader) { .policy = policy, .at = text, .end = text + n };
        return 0;
}

void recording_reader_deinit(struct recording_reader *reader) {
        free(reader->copy);
        pong_memory_deinit(&reader->pongs);
        engine_free(reader->engine);
        event_storage_deinit(&reader->event);
        *reader = (struct recording_reader) { 0 };
}

/* ---- time ------------------------------------------------------------------------------------------------ */

void recording_time_segment(struct recording_time *time, const struct engine *engine) {
        if (time->begun || engine->now_usec == 0)
                return;
        time->begun = true;
        time->real_usec = engine->real_usec;
}

/* Within a life of failoverd by the clock that measures spans; from one life to the next by the one that does not begin
 * anew with the host. */
void recording_time_event(struct recording_time *time, const struct engine *engine, const struct event *event) {
        if (time->begun && engine->now_usec > 0)
                time->since_usec += event->time_usec - engine->now_usec;
        else if (time->begun && event->real_usec > time->real_usec)
                time->since_usec += event->real_usec - time->real_usec;
        time->begun = true;
        time->real_usec = event->real_usec;
}

/* ---- lines ----------------------------------------------------------------------------------------------- */

/* Takes the next line. 1 and a copy of it, 0 at the end. Empty lines and comments are stepped over. */
static int next_line(struct recording_reader *reader, struct error *error) {
        const char *end;

        do {
                if (reader->at == reader->end)
                        return 0;
                end = memchr(reader->at, '\n', (size_t) (reader->end - reader->at));
                if (!end) {
                        reader->torn = true;
                        reader->at = reader->end;
                        return 0;
                }
                reader->line++;
                if ((size_t) (end - reader->at) > LINE_BYTES_MAX)
                        return error_set(error, -EBADMSG, "is longer than 1 MiB");
                free(reader->copy);
                reader->copy = strndup(reader->at, (size_t) (end - reader->at));
                if (!reader->copy)
                        return error_set(error, -ENOMEM, "out of memory");
                reader->at = end + 1;
        } while (reader->copy[0] == 0 || reader->copy[0] == '#');
        return 1;
}

/* Takes the lines behind a "|" that come next. */
static void next_block(struct recording_reader *reader, const char **ret, size_t *ret_n) {
        *ret = reader->at;
        while (reader->at < reader->end && *reader->at == '|') {
                const char *end = memchr(reader->at, '\n', (size_t) (reader->end - reader->at));

                if (!end)
                        break; /* torn: what is missing shows when the policy is read */
                reader->line++;
                reader->at = end + 1;
        }
        *ret_n = (size_t) (reader->at - *ret);
}

/* ---- segments -------------------------------------------------------------------------------------------- */

/* A policy and what was taken out of it: the texts behind `reader->at`. */
static int read_policy(struct recording_reader *reader, struct policy **ret, struct error *error) {
        const char *block;
        size_t n;

        next_block(reader, &block, &n);
        return policy_block_parse(block, n, ret, error);
}

static int read_retired(struct recording_reader *reader, struct policy *policy, struct error *error) {
        bool whole = strcmp(reader->copy, "retired pair") == 0;
        const char *block;
        size_t n;

        if (!policy)
                return error_set(error, -EBADMSG, "what was taken out of a policy comes behind it");
        next_block(reader, &block, &n);
        return policy_block_parse_retired(policy, whole, block, n, error);
}

static bool retired_follows(const struct recording_reader *reader) {
        return reader->end - reader->at > 8 && memcmp(reader->at, "retired ", 8) == 0;
}

/* The lines of a snapshot up to the first that is not about the policy. */
static int read_policies(struct recording_reader *reader, struct policy **policy, struct error *error) {
        int r;

        while ((r = next_line(reader, error)) > 0) {
                if (strcmp(reader->copy, "policy") == 0 && !*policy)
                        r = read_policy(reader, policy, error);
                else if (strcmp(reader->copy, "policy beside") == 0 && !*policy) {
                        *policy = reader->policy ? policy_copy(reader->policy) : NULL;
                        if (!*policy)
                                r = error_set(
                                        error, reader->policy ? -ENOMEM : -EBADMSG,
                                        "there is no policy beside this file: it is part of a scenario's directory");
                } else if (strncmp(reader->copy, "retired ", 8) == 0)
                        r = read_retired(reader, *policy, error);
                else
                        return 1;
                if (r < 0)
                        return r;
        }
        return r;
}

static int too_short(struct recording_reader *reader, struct error *error) {
        return error_set(error, -EBADMSG, "the recording ends in the middle of a snapshot");
}

static int read_snapshot(struct recording_reader *reader, struct error *error) {
        _cleanup_(snapshot_reader_deinit) struct snapshot_reader snapshot = { 0 };
        struct policy *policy = NULL;
        int r = read_policies(reader, &policy, error);

        if (r <= 0) {
                policy_free(policy);
                return r < 0 ? r : too_short(reader, error);
        }
        if (snapshot_reader_init(&snapshot, policy, &reader->reading) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        while (r > 0 && strcmp(reader->copy, "end") != 0) {
                r = snapshot_reader_line(&snapshot, reader->copy, error);
                if (r >= 0)
                        r = next_line(reader, error);
        }
        if (r <= 0)
                return r < 0 ? r : too_short(reader, error);
        reader->engine = engine_free(reader->engine);
        return snapshot_reader_finish(&snapshot, &reader->engine, error);
}

static int read_segment(struct recording_reader *reader, struct error *error) {
        const char *text = reader->copy + strlen(RECORDING_MAGIC);
        struct layout_reading lenient = { .lenient = true };
        struct segment_head head = { 0 };
        char *rest;
        unsigned long format;
        int r;

        format = strtoul(text, &rest, 10);
        if (*text != ' ' || rest == text || (*rest && *rest != ' '))
                return error_set(error, -EBADMSG, "no number of a format behind \"" RECORDING_MAGIC "\"");
        if (format != RECORDING_FORMAT)
                return error_set(
                        error, -EBADMSG,
                        "format %lu is not known here, only %d; use the failoverctl of the failoverd that wrote it",
                        format, RECORDING_FORMAT);
        r = layout_read(&segment_head_layout, &head, rest, &lenient, error);
        if (r < 0)
                return r;
        reader->head = head;
        reader->reading.lenient = strcmp(head.version, PROJECT_VERSION) != 0;
        pong_memory_deinit(&reader->pongs);
        r = read_snapshot(reader, error);
        if (r < 0)
                return r;
        reader->clock = (struct event_clock) { reader->engine->now_usec, reader->engine->real_usec };
        return RECORDING_SEGMENT;
}

/* ---- items ----------------------------------------------------------------------------------------------- */

static int read_event(struct recording_reader *reader, struct error *error) {
        int r;

        event_storage_deinit(&reader->event);
        r = event_text_parse(reader->copy, reader->clock, &reader->pongs, &reader->reading, &reader->event, error);
        if (r >= 0 && reader->event.event.kind == EVENT_POLICY) {
                r = read_policy(reader, &reader->event.policy, error);
                while (r >= 0 && retired_follows(reader)) {
                        r = next_line(reader, error);
                        if (r > 0)
                                r = read_retired(reader, reader->event.policy, error);
                }
                reader->event.event.policy = reader->event.policy;
        }
        if (r < 0)
                return r;
        reader->clock = (struct event_clock) { reader->event.event.time_usec, reader->event.event.real_usec };
        return RECORDING_EVENT;
}

static int read_digest(struct recording_reader *reader, struct error *error) {
        const char *text = reader->copy + 2;

        if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
                return error_set(error, -EBADMSG, "no digest of 16 hexadecimal digits");
        reader->digest = strtoull(text, NULL, 16);
        return RECORDING_DIGEST;
}

static int read_issued(struct recording_reader *reader, struct error *error) {
        const char *text = reader->copy + 2;
        char *rest;

        reader->id = strtoull(text, &rest, 10);
        if (*text < '0' || *text > '9' || *rest != ' ' || strlen(rest + 1) >= ISSUED_KEY_LEN)
                return error_set(error, -EBADMSG, "no number and what it was given to");
        reader->text = rest + 1;
        return RECORDING_ISSUED;
}

static int next_item(struct recording_reader *reader, struct error *error) {
        char quoted[QUOTE_LEN];
        int r = next_line(reader, error);

        if (r <= 0)
                return r < 0 ? r : RECORDING_END;
        if (strncmp(reader->copy, RECORDING_MAGIC, strlen(RECORDING_MAGIC)) == 0)
                return read_segment(reader, error);
        if (!reader->head.version[0])
                return error_set(error, -EBADMSG,
                                 "this is no recording: it does not begin with \"" RECORDING_MAGIC "\"");
        if (reader->copy[0] == '+')
                return read_event(reader, error);
        if (strncmp(reader->copy, "= ", 2) == 0)
                return read_digest(reader, error);
        if (strncmp(reader->copy, "! ", 2) == 0)
                return read_issued(reader, error);
        if (strncmp(reader->copy, "> ", 2) == 0) {
                reader->text = reader->copy + 2;
                return RECORDING_DECISION;
        }
        return error_set(error, -EBADMSG, "\"%s\" is no line of a recording",
                         text_quote(reader->copy, strlen(reader->copy), quoted));
}

int recording_reader_next(struct recording_reader *reader, struct error *error) {
        int r = next_item(reader, error);

        if (r < 0)
                error_prefix(error, "line %lu", reader->line);
        return r;
}
