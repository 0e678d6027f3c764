/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "agents/protocol/message.h"
#include "daemon/base/error.h"

/* Encodes one message as a line of JSON with its newline. Returns 0 and a heap string in `ret_line` (caller
 * frees), -E2BIG past MESSAGE_LINE_MAX, -ENOMEM. */
int codec_encode(const struct message *message, char **ret_line);

/* Decodes one line (`length` bytes, without its newline; may hold any bytes). Everything in it is checked:
 * UTF-8, depth, types, ranges, lengths, names. On success `*ret` is filled and owned by the caller
 * (message_deinit()). -EBADMSG for anything malformed, -EOPNOTSUPP for an unknown type, -E2BIG past
 * MESSAGE_LINE_MAX; `error` says what and where without quoting more than 40 printable characters of it. */
int codec_decode(const char *line, size_t length, struct message *ret, struct error *error);

/*
 * Splits a byte stream into lines with a bound: a line longer than MESSAGE_LINE_MAX is reported once as
 * -E2BIG and skipped to its newline, so that one bad line costs nothing but itself.
 */
struct line_reader {
        char *buffer; /* owned, MESSAGE_LINE_MAX bytes, allocated at first use */
        size_t used, scanned;
        size_t consumed; /* length of the line last handed out, newline included */
        int skipping;
};

/* Reads what `fd` has (one read(2), non-blocking). Returns the bytes read, 0 at end of file, -EAGAIN, or
 * another -errno. Call line_reader_next() until it returns 0 before reading again. */
int line_reader_fill(struct line_reader *reader, int fd);
/* Appends bytes from memory in place of a descriptor. Returns bytes taken (as many as fit). */
size_t line_reader_push(struct line_reader *reader, const char *bytes, size_t n);
/* 1 and a line (valid until the next call), 0 when more bytes are needed, -E2BIG for a line that was too
 * long. */
int line_reader_next(struct line_reader *reader, const char **ret_line, size_t *ret_length);
void line_reader_deinit(struct line_reader *reader);
