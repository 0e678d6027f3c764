/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/sim/timeline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define END_USEC (60 * USEC_PER_SEC)
#define TIME_MAX_USEC (30 * 24 * 3600 * USEC_PER_SEC)

void timeline_deinit(struct timeline *timeline) {
        for (size_t i = 0; i < timeline->n_lines; i++)
                free(timeline->lines[i]);
        free(timeline->lines);
        *timeline = (struct timeline) { 0 };
}

/* Splits at blanks; false where there are too many words. */
static bool split(struct line *line) {
        char *p = line->buffer;

        for (;;) {
                p += strspn(p, " \t");
                if (*p == 0)
                        return true;
                if (line->n_words == LINE_WORDS_MAX)
                        return false;
                line->words[line->n_words++] = p;
                p += strcspn(p, " \t");
                if (*p)
                        *p++ = 0;
        }
}

static int keep(struct timeline *timeline, struct line *line) {
        size_t i;

        if (timeline->n_lines == timeline->n_allocated) {
                size_t n = timeline->n_allocated ? timeline->n_allocated * 2 : 16;
                struct line **grown = realloc(timeline->lines, n * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                timeline->lines = grown;
                timeline->n_allocated = n;
        }
        for (i = timeline->n_lines++; i > 0 && timeline->lines[i - 1]->at_usec > line->at_usec; i--)
                timeline->lines[i] = timeline->lines[i - 1];
        timeline->lines[i] = line;
        return 0;
}

static int header(struct timeline *timeline, const struct line *line, struct error *error) {
        char *end = NULL;

        if (line->n_words == 3 && strcmp(line->words[0], "show") == 0 && strcmp(line->words[1], "from") == 0 &&
            duration_parse(line->words[2], &timeline->show_from_usec) >= 0)
                return 0;
        if (line->n_words == 2 && strcmp(line->words[0], "seed") == 0) {
                timeline->seed = strtoull(line->words[1], &end, 10);
                if (*end == 0)
                        return 0;
        }
        return error_set(error, -EINVAL, "line %u: \"%.60s\": a line begins with its time (\"10s panic vm-a\")",
                         line->number, line->text);
}

/* One line of the text: a header, an end, or something that happens. Takes the line over when it returns 1. */
static int take(struct timeline *timeline, struct line *line, usec_t *last_usec, struct error *error) {
        bool after = line->words[0][0] == '+';
        const char *rest;
        usec_t at;
        int r;

        if (duration_parse(line->words[0] + after, &at) < 0)
                return header(timeline, line, error);
        if (after)
                at += *last_usec;
        if (at > TIME_MAX_USEC)
                return error_set(error, -ERANGE, "line %u: no time past 30 days", line->number);
        if (line->n_words < 2)
                return error_set(error, -EINVAL, "line %u: what is to happen at %s?", line->number, line->words[0]);
        *last_usec = line->at_usec = at;
        if (strcmp(line->words[1], "end") == 0) {
                timeline->end_usec = at;
                return 0;
        }
        rest = line->text + strspn(line->text, " \t");
        rest += strcspn(rest, " \t");
        rest += strspn(rest, " \t");
        memmove(line->text, rest, strlen(rest) + 1);
        memmove(line->words, line->words + 1, (line->n_words - 1) * sizeof(line->words[0]));
        line->n_words--;
        r = keep(timeline, line);
        return r < 0 ? r : 1;
}

static int read_line(struct timeline *timeline, const char *text, size_t n, unsigned number, usec_t *last_usec,
                     struct error *error) {
        struct line *line;
        int r = 0;

        if (memchr(text, '#', n))
                n = (size_t) ((const char *) memchr(text, '#', n) - text);
        while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t' || text[n - 1] == '\r'))
                n--;
        if (n >= LINE_LENGTH_MAX)
                return error_set(error, -EINVAL, "line %u: longer than %d bytes", number, LINE_LENGTH_MAX - 1);
        line = calloc(1, sizeof(*line));
        if (!line)
                return -ENOMEM;
        memcpy(line->text, text, n);
        memcpy(line->buffer, text, n);
        line->number = number;
        if (memchr(text, 0, n) || !split(line))
                r = error_set(error, -EINVAL, "line %u: more than %d words", number, LINE_WORDS_MAX);
        else if (line->n_words > 0)
                r = take(timeline, line, last_usec, error);
        if (r != 1)
                free(line);
        return r < 0 ? r : 0;
}

int timeline_parse(const char *text, struct timeline *ret, struct error *error) {
        struct timeline timeline = { 0 };
        usec_t last = 0;
        unsigned number = 0;
        int r = 0;

        while (*text && r >= 0) {
                size_t n = strcspn(text, "\n");

                r = ++number > LINES_MAX ? error_set(error, -E2BIG, "more than %d lines", LINES_MAX)
                                         : read_line(&timeline, text, n, number, &last, error);
                text += n + (text[n] == '\n');
        }
        if (r < 0) {
                timeline_deinit(&timeline);
                return r;
        }
        if (timeline.end_usec == 0)
                timeline.end_usec = last + END_USEC;
        *ret = timeline;
        return 0;
}
