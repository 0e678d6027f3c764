/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text that grows as it is written. When memory runs out, `failed` is set and additions are lost until it is emptied:
 * looked at once, by whoever takes the text. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
        char *bytes; /* owned; not NUL-terminated */
        size_t n, n_allocated;
        bool failed;
};

void buffer_deinit(struct buffer *buffer);
/* Empties it and keeps its room. */
void buffer_clear(struct buffer *buffer);
void buffer_add(struct buffer *buffer, const char *bytes, size_t n);
void buffer_add_text(struct buffer *buffer, const char *text);
void buffer_add_char(struct buffer *buffer, char c);
void buffer_add_number(struct buffer *buffer, uint64_t number); /* in decimal */
void buffer_add_signed(struct buffer *buffer, int64_t number);
/* In double quotes, on one line: quotes, backslashes and control characters are written as \", \\ and \xNN. */
void buffer_add_quoted(struct buffer *buffer, const char *text);
