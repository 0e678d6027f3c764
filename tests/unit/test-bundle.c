/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "daemon/memserver/bundle.h"
#include "tests/unit/test.h"

#define WORDS_AT 16 /* behind the magic */

static unsigned char bundle[BUNDLE_BYTES];

/* `n` saves of different lengths, each of a byte of its own. */
static size_t make(size_t n, struct bundle_save *saves, char *data) {
        for (size_t i = 0; i < n; i++) {
                saves[i] = (struct bundle_save) { data, 4096 - i, UINT64_MAX - i * 4096 };
                memset(data, 'a' + (int) i % 26, saves[i].length);
                data += saves[i].length;
        }
        return bundle_encode(saves, n, bundle);
}

static void what_is_put_into_a_bundle_comes_out(void) {
        static char data[BUNDLE_DATA_MAX];
        struct bundle_save saves[BUNDLE_SAVES_MAX], back[BUNDLE_SAVES_MAX];

        for (size_t n = 1; n <= BUNDLE_DATA_MAX / 4096; n++) {
                size_t length = make(n, saves, data);

                REQUIRE(bundle_decode(bundle, length, back) == (int) n);
                for (size_t i = 0; i < n; i++) {
                        CHECK(back[i].length == saves[i].length && back[i].offset == saves[i].offset);
                        CHECK(memcmp(back[i].data, saves[i].data, saves[i].length) == 0);
                }
        }
}

static void the_largest_bundles_have_room(void) {
        static char data[BUNDLE_DATA_MAX];
        struct bundle_save saves[BUNDLE_SAVES_MAX], back[BUNDLE_SAVES_MAX];
        const size_t each = BUNDLE_DATA_MAX / BUNDLE_SAVES_MAX;
        size_t length;

        for (size_t i = 0; i < BUNDLE_SAVES_MAX; i++)
                saves[i] = (struct bundle_save) { data + i * each, each, i };
        length = bundle_encode(saves, BUNDLE_SAVES_MAX, bundle);
        CHECK(length <= BUNDLE_BYTES);
        CHECK(bundle_decode(bundle, length, back) == BUNDLE_SAVES_MAX);
}

static void nothing_else_is_a_bundle(void) {
        static char data[4 * 4096];
        struct bundle_save saves[4], back[BUNDLE_SAVES_MAX];
        size_t length = make(4, saves, data);

        for (size_t shorter = 0; shorter < length; shorter++)
                CHECK(bundle_decode(bundle, shorter, back) == -EBADMSG);
        CHECK(bundle_decode(bundle, length + 1, back) == -EBADMSG);
        CHECK(bundle_decode(bundle, BUNDLE_BYTES + 1, back) == -EBADMSG);
        for (size_t i = 0; i < WORDS_AT; i++) {
                bundle[i] ^= 1;
                CHECK(bundle_decode(bundle, length, back) == -EBADMSG);
                bundle[i] ^= 1;
        }
        for (unsigned n = 0; n < 256; n++) { /* how many there are */
                bundle[WORDS_AT] = (unsigned char) n;
                CHECK(bundle_decode(bundle, length, back) == (n == 4 ? 4 : -EBADMSG));
        }
        bundle[WORDS_AT] = 4;
        for (size_t i = 0; i < 4; i++) { /* lengths that are too large, and wrap around */
                unsigned char *word = bundle + WORDS_AT + (2 + 2 * i) * 8;
                word[7] = 0xff;
                CHECK(bundle_decode(bundle, length, back) == -EBADMSG);
                word[7] = 0;
                word[0]++;
                CHECK(bundle_decode(bundle, length, back) == -EBADMSG);
                word[0]--;
        }
        CHECK(bundle_decode(bundle, length, back) == 4);
}

TEST_MAIN("bundle",
          TEST(what_is_put_into_a_bundle_comes_out),
          TEST(the_largest_bundles_have_room),
          TEST(nothing_else_is_a_bundle))
