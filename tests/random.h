/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Numbers that are the same for the same seed everywhere (splitmix64). */

#include <stdint.h>

static inline uint64_t random_draw(uint64_t *state) {
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

static inline unsigned random_below(uint64_t *state, unsigned n) {
        return (unsigned) (random_draw(state) % n);
}
