/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs a fuzz entry without a fuzzer: each input that was kept, and many that are like it.
 *
 *   fuzz-NAME-replay FILE...
 *
 * MUTATIONS, how many of each, comes from meson.build.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/random.h"

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t input[2 * INPUT_MAX];

/* Changes, takes out, doubles or adds a few bytes. */
static size_t mutate(uint8_t *data, size_t n, uint64_t *random) {
        unsigned changes = 1 + random_below(random, 4);

        for (unsigned i = 0; i < changes && n > 0 && n < INPUT_MAX; i++) {
                size_t at = random_below(random, (unsigned) n), length = 1 + random_below(random, 12);

                length = length < n - at ? length : n - at;
                switch (random_below(random, 4)) {
                case 0:
                        data[at] = (uint8_t) random_draw(random);
                        break;
                case 1:
                        memmove(data + at, data + at + length, n - at - length);
                        n -= length;
                        break;
                case 2:
                        memmove(data + at + length, data + at, n - at);
                        n += length;
                        break;
                default:
                        data[n++] = (uint8_t) random_draw(random);
                }
        }
        return n;
}

static bool replay(const char *path, uint64_t seed) {
        uint8_t kept[INPUT_MAX];
        FILE *f = fopen(path, "re");
        size_t n = f ? fread(kept, 1, sizeof(kept), f) : 0;

        if (!f) {
                perror(path);
                return false;
        }
        fclose(f);
        LLVMFuzzerTestOneInput(kept, n);
        for (unsigned i = 0; i < MUTATIONS; i++) {
                uint64_t random = seed * MUTATIONS + i;
                size_t length;
                uint8_t *exact;

                memcpy(input, kept, n);
                length = mutate(input, n, &random);
                exact = malloc(length); /* so that a sanitizer sees a read past its end */
                if (length && !exact)
                        return false;
                if (length)
                        memcpy(exact, input, length);
                LLVMFuzzerTestOneInput(exact, length);
                free(exact);
        }
        return true;
}

int main(int argc, char **argv) {
        bool good = argc > 1;

        for (int i = 1; i < argc; i++)
                good = replay(argv[i], (uint64_t) i) && good;
        printf("%d inputs, %d mutations of each\n", argc - 1, MUTATIONS);
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
