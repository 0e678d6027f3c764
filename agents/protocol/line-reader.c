/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/protocol/codec.h"

/* Forgets the line last handed out and makes room behind what is left. */
static int make_room(struct line_reader *reader) {
        if (!reader->buffer) {
                reader->buffer = malloc(MESSAGE_LINE_MAX);
                if (!reader->buffer)
                        return -ENOMEM;
        }
        if (reader->consumed > 0) {
                reader->used -= reader->consumed;
                memmove(reader->buffer, reader->buffer + reader->consumed, reader->used);
                reader->consumed = 0;
                reader->scanned = 0;
        }
        return 0;
}

int line_reader_fill(struct line_reader *reader, int fd) {
        ssize_t n;
        int r;

        r = make_room(reader);
        if (r < 0)
                return r;
        if (reader->used == MESSAGE_LINE_MAX)
                return -ENOBUFS;
        n = read(fd, reader->buffer + reader->used, MESSAGE_LINE_MAX - reader->used);
        if (n < 0)
                return -errno;
        reader->used += (size_t) n;
        return (int) n;
}

size_t line_reader_push(struct line_reader *reader, const char *bytes, size_t n) {
        if (make_room(reader) < 0)
                return 0;
        if (n > MESSAGE_LINE_MAX - reader->used)
                n = MESSAGE_LINE_MAX - reader->used;
        if (n > 0)
                memcpy(reader->buffer + reader->used, bytes, n);
        reader->used += n;
        return n;
}

/* Drops the line that has begun, up to where its newline was seen or all that there is. */
static void skip(struct line_reader *reader, const char *newline) {
        reader->consumed = newline ? (size_t) (newline - reader->buffer) + 1 : reader->used;
        reader->skipping = newline == NULL;
        (void) make_room(reader);
}

int line_reader_next(struct line_reader *reader, const char **ret_line, size_t *ret_length) {
        const char *newline;

        if (!reader->buffer || make_room(reader) < 0)
                return 0;
        for (;;) {
                newline = reader->used == reader->scanned
                                ? NULL
                                : memchr(reader->buffer + reader->scanned, '\n', reader->used - reader->scanned);
                if (!reader->skipping)
                        break;
                skip(reader, newline);
                if (!newline)
                        return 0;
        }
        if (newline) {
                reader->consumed = (size_t) (newline - reader->buffer) + 1;
                *ret_line = reader->buffer;
                *ret_length = reader->consumed - 1;
                return 1;
        }
        reader->scanned = reader->used;
        if (reader->used < MESSAGE_LINE_MAX)
                return 0;
        skip(reader, NULL);
        return -E2BIG;
}

void line_reader_deinit(struct line_reader *reader) {
        free(reader->buffer);
        *reader = (struct line_reader) { 0 };
}
