/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The first page of what a program shares, which the program and its server process have in common. A stream's blocks
 * are numbered from 0 on; block N is in buffer N modulo the number of buffers. */

#include <stdatomic.h>
#include <stdint.h>

#define SHARE_HEADER_BYTES 4096
#define SHARE_MAGIC UINT64_C(0x3152414853464f46)
#define SHARE_CAPABILITY_LEN 33
#define SHARE_STREAM_BYTES (UINT64_C(1) << 62) /* what a stream's export seems to have; its last page tells the state */

struct share_header {
        uint64_t magic;
        uint64_t size_bytes;   /* of the region, or of a stream's block */
        uint64_t stride_bytes; /* a buffer's whole pages */
        uint32_t n_buffers;    /* 0: no stream */
        uint32_t may_write;
        char capability[SHARE_CAPABILITY_LEN];
        _Atomic uint32_t changed; /* futex, rises with each of the following */
        _Atomic uint64_t produced, consumed; /* blocks */
        _Atomic uint32_t ended;
        _Atomic uint32_t n_clients; /* connections that are open */
};

/* What a stream's reader finds at the end of the export. */
struct share_state {
        uint64_t size_bytes, consumed;
};

/* Waits until `changed` is no longer `seen`, at most so long. */
void share_wait(struct share_header *header, uint32_t seen, uint64_t timeout_usec);
/* Says that something has changed. */
void share_tell(struct share_header *header);
