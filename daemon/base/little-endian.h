/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Numbers of 64 bits in what is kept or sent, least byte first, at any address. */

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void le64_put(unsigned char *at, uint64_t number) {
        number = htole64(number);
        memcpy(at, &number, sizeof(number));
}

static inline uint64_t le64_take(const unsigned char *at) {
        uint64_t number;

        memcpy(&number, at, sizeof(number));
        return le64toh(number);
}
