/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES 4096
#define DIGITS_MAX 20 /* of a 64-bit number */

void buffer_deinit(struct buffer *buffer) {
        free(buffer->bytes);
        *buffer = (struct buffer) { 0 };
}

void buffer_clear(struct buffer *buffer) {
        buffer->n = 0;
        buffer->failed = false;
}

static bool make_room(struct buffer *buffer, size_t n) {
        size_t wanted = buffer->n_allocated ? buffer->n_allocated : FIRST_BYTES;
        char *grown;

        if (buffer->failed)
                return false;
        if (n <= buffer->n_allocated - buffer->n)
                return true;
        while (wanted - buffer->n < n)
                wanted *= 2;
        grown = realloc(buffer->bytes, wanted);
        if (!grown) {
                buffer->failed = true;
                return false;
        }
        buffer->bytes = grown;
        buffer->n_allocated = wanted;
        return true;
}

void buffer_add(struct buffer *buffer, const char *bytes, size_t n) {
        if (n == 0 || !make_room(buffer, n))
                return;
        memcpy(buffer->bytes + buffer->n, bytes, n);
        buffer->n += n;
}

void buffer_add_text(struct buffer *buffer, const char *text) {
        buffer_add(buffer, text, strlen(text));
}

void buffer_add_char(struct buffer *buffer, char c) {
        if (make_room(buffer, 1))
                buffer->bytes[buffer->n++] = c;
}

void buffer_add_number(struct buffer *buffer, uint64_t number) {
        char digits[DIGITS_MAX], *p = digits + sizeof(digits);

        do {
                *--p = (char) ('0' + number % 10);
                number /= 10;
        } while (number > 0);
        buffer_add(buffer, p, (size_t) (digits + sizeof(digits) - p));
}

void buffer_add_signed(struct buffer *buffer, int64_t number) {
        if (number < 0)
                buffer_add_char(buffer, '-');
        buffer_add_number(buffer, number < 0 ? -(uint64_t) number : (uint64_t) number);
}

void buffer_add_quoted(struct buffer *buffer, const char *text) {
        static const char hex[] = "0123456789abcdef";

        buffer_add_char(buffer, '"');
        for (; *text; text++) {
                unsigned char c = (unsigned char) *text;

                if (c == '"' || c == '\\') {
                        buffer_add_char(buffer, '\\');
                        buffer_add_char(buffer, *text);
                } else if (c < 0x20 || c == 0x7f)
                        buffer_add(buffer, (char[]) { '\\', 'x', hex[c >> 4], hex[c & 15] }, 4);
                else
                        buffer_add_char(buffer, *text);
        }
        buffer_add_char(buffer, '"');
}
