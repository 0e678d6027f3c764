/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a program that uses a shared region counts, as it tells the region's holder from time to time: over a connection
 * to the export whose name is the capability and REGION_REPORT_SUFFIX, as a save of exactly REGION_REPORT_BYTES at its
 * beginning. It is that program's word and no more: nothing is decided by it.
 */

#include <stdint.h>

#define REGION_REPORT_SUFFIX ".report"
#define REGION_REPORT_BYTES 128
#define REGION_REPORT_USEC (2 * UINT64_C(1000000)) /* so often */

/* All of the program's use of the region since it opened it; bytes, but for `faults` and `errors`. */
struct region_report {
        uint64_t resident_bytes; /* of it here now */
        uint64_t dirty_bytes;    /* have to be written to the holder */
        uint64_t faults;         /* accesses that had to wait for a page */
        uint64_t fetched_bytes, written_bytes;
        uint64_t errors;         /* accesses that failed */
};

void region_report_encode(const struct region_report *report, unsigned char ret[static REGION_REPORT_BYTES]);
/* -EBADMSG for anything else. */
int region_report_decode(const unsigned char bytes[static REGION_REPORT_BYTES], struct region_report *ret);
