/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/bundle.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

/* This, the number of saves, an offset and a length for each, all of 64 bits, least byte first, then their data. */
static const char magic[16] = "failover-saves1";

#define WORDS_AT sizeof(magic)
#define HEAD_BYTES(n) (WORDS_AT + (1 + 2 * (n)) * sizeof(uint64_t))

_Static_assert(HEAD_BYTES(BUNDLE_SAVES_MAX) <= BUNDLE_HEAD_MAX, "every head has room");

static void put_word(unsigned char *bundle, size_t i, uint64_t word) {
        word = htole64(word);
        memcpy(bundle + WORDS_AT + i * sizeof(word), &word, sizeof(word));
}

static uint64_t get_word(const unsigned char *bundle, size_t i) {
        uint64_t word;

        memcpy(&word, bundle + WORDS_AT + i * sizeof(word), sizeof(word));
        return le64toh(word);
}

size_t bundle_encode(const struct bundle_save *saves, size_t n, unsigned char ret[static BUNDLE_BYTES]) {
        size_t at = HEAD_BYTES(n);

        assert(n <= BUNDLE_SAVES_MAX);
        memcpy(ret, magic, sizeof(magic));
        put_word(ret, 0, n);
        for (size_t i = 0; i < n; i++) {
                put_word(ret, 1 + 2 * i, saves[i].offset);
                put_word(ret, 2 + 2 * i, saves[i].length);
                assert(saves[i].length <= BUNDLE_BYTES - at);
                memcpy(ret + at, saves[i].data, saves[i].length);
                at += saves[i].length;
        }
        return at;
}

int bundle_decode(const unsigned char *bundle, size_t length, struct bundle_save ret[static BUNDLE_SAVES_MAX]) {
        uint64_t n, at;

        if (length < HEAD_BYTES(0) || length > BUNDLE_BYTES || memcmp(bundle, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        n = get_word(bundle, 0);
        if (n == 0 || n > BUNDLE_SAVES_MAX || length < HEAD_BYTES(n))
                return -EBADMSG;
        at = HEAD_BYTES(n);
        for (size_t i = 0; i < n; i++) {
                ret[i] = (struct bundle_save) { bundle + at, get_word(bundle, 2 + 2 * i), get_word(bundle, 1 + 2 * i) };
                if (ret[i].length > length - at)
                        return -EBADMSG;
                at += ret[i].length;
        }
        return at == length ? (int) n : -EBADMSG;
}
