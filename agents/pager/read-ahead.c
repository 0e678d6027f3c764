/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/read-ahead.h"

#include <stdlib.h>
#include <string.h>

void read_ahead_deinit(struct read_ahead *ahead) {
        free(ahead->data);
        *ahead = (struct read_ahead) { 0 };
}

bool read_ahead_get(struct read_ahead *ahead, void *buffer, uint64_t length, uint64_t offset) {
        if (offset < ahead->offset || length > ahead->length || offset - ahead->offset > ahead->length - length)
                return false;
        memcpy(buffer, ahead->data + (offset - ahead->offset), length);
        ahead->next = offset + length;
        return true;
}

/* Four times what was asked for at the second of two reads, and twice as much each time that that was used up. */
static uint64_t grow(uint64_t window, uint64_t length) {
        window = window == 0 ? 4 * length : 2 * window;
        return window < READ_AHEAD_BYTES ? window : READ_AHEAD_BYTES;
}

uint64_t read_ahead_want(struct read_ahead *ahead, uint64_t length, uint64_t offset, uint64_t end) {
        bool follows = offset == ahead->next && offset > 0;

        ahead->next = offset + length;
        if (!follows || length > READ_AHEAD_ASKED_MAX || ahead->busy) {
                ahead->window = follows ? ahead->window : 0;
                return length;
        }
        if (!ahead->data)
                ahead->data = malloc(READ_AHEAD_BYTES);
        if (!ahead->data)
                return length;
        ahead->window = grow(ahead->window, length);
        if (ahead->window > end - offset)
                return end - offset > length ? end - offset : length;
        return ahead->window > length ? ahead->window : length;
}

void read_ahead_keep(struct read_ahead *ahead, uint64_t length, uint64_t offset) {
        ahead->offset = offset;
        ahead->length = length;
}

void read_ahead_forget(struct read_ahead *ahead, uint64_t length, uint64_t offset) {
        if (offset < ahead->offset + ahead->length && ahead->offset < offset + length)
                ahead->length = 0;
}
