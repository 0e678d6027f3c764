/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/protocol/region-report.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* This, then numbers of 64 bits, least byte first, then zeroes. */
static const char magic[16] = "failover-use-1";

enum { RESIDENT, DIRTY, FAULTS, FETCHED, WRITTEN, ERRORS, N_NUMBERS };

_Static_assert(sizeof(magic) + N_NUMBERS * sizeof(uint64_t) <= REGION_REPORT_BYTES, "there is room for all");

void region_report_encode(const struct region_report *report, unsigned char ret[static REGION_REPORT_BYTES]) {
        const uint64_t numbers[N_NUMBERS] = {
                [RESIDENT] = htole64(report->resident_bytes), [DIRTY] = htole64(report->dirty_bytes),
                [FAULTS] = htole64(report->faults),           [FETCHED] = htole64(report->fetched_bytes),
                [WRITTEN] = htole64(report->written_bytes),   [ERRORS] = htole64(report->errors),
        };

        memset(ret, 0, REGION_REPORT_BYTES);
        memcpy(ret, magic, sizeof(magic));
        memcpy(ret + sizeof(magic), numbers, sizeof(numbers));
}

int region_report_decode(const unsigned char bytes[static REGION_REPORT_BYTES], struct region_report *ret) {
        uint64_t numbers[N_NUMBERS];

        if (memcmp(bytes, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        memcpy(numbers, bytes + sizeof(magic), sizeof(numbers));
        *ret = (struct region_report) {
                .resident_bytes = le64toh(numbers[RESIDENT]), .dirty_bytes = le64toh(numbers[DIRTY]),
                .faults = le64toh(numbers[FAULTS]),           .fetched_bytes = le64toh(numbers[FETCHED]),
                .written_bytes = le64toh(numbers[WRITTEN]),   .errors = le64toh(numbers[ERRORS]),
        };
        return 0;
}
