/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Keeps what tells why a VM failed, before recovery destroys it: DIRECTORY/FAILOVER-ID/{console,messages,process}-
 * SIDE; and what failoverd was told and decided: DIRECTORY/FAILOVER-ID/events. Bounded: 64 KiB a side, a recording of
 * 8 MiB, 32 failovers, 90 days; the oldest are removed. Everything is read and written on a short thread of its own.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/host/records/event-ring.h"

struct evidence;

#define EVIDENCE_BYTES_MAX (64 * KIB) /* of one side of one failover */
#define EVIDENCE_EVENTS_MAX (8 * MIB) /* of a recording */
#define EVIDENCE_KEPT 32              /* failovers */
#define EVIDENCE_AT_ONCE 8            /* threads */
#define EVIDENCE_AGE_USEC (90 * 24 * 3600 * USEC_PER_SEC)

/* What to keep. All is copied. */
struct evidence_request {
        const char *failover_id; /* "PAIR-NUMBER", or what else is a file name */
        enum side side;
        const char *console_path; /* log of the guest's console; NULL: none */
        const char *messages;     /* agent_link_get_recent(); NULL: none */
        int pid;                  /* QEMU's; 0: none */
        struct event_ring_part events[EVENT_RING_FILES_MAX]; /* a recording, part by part */
        int n_events;
};

/* An id that can be the name of a directory. */
bool evidence_id_is_valid(const char *id);

/* `directory` is created (mode 0700) when there is something to keep; its parent has to be there. */
int evidence_new(const char *directory, struct evidence **ret);
/* Waits up to two seconds for what is under way. Takes NULL; returns NULL. */
struct evidence *evidence_free(struct evidence *evidence);

/* Begins to keep. -EBUSY while EVIDENCE_AT_ONCE are under way, -EINVAL for an id that is no file name, -ENOMEM,
 * -EAGAIN where no thread could be had. What goes wrong later is a line in the file concerned. */
int evidence_keep(struct evidence *evidence, const struct evidence_request *request);

/* A file of it. */
struct evidence_file {
        char name[64];
        uint64_t bytes;
        usec_t time_usec; /* last written, CLOCK_REALTIME */
};
#define EVIDENCE_FILES_MAX 32

/* The files of one failover, by name; the caller frees. -ENOENT where there are none. */
int evidence_list(const char *directory, const char *failover_id, struct evidence_file **ret, size_t *ret_n);

/* The same at once, on the caller's thread: for threads and tests. */
int evidence_write(const char *directory, const struct evidence_request *request);
