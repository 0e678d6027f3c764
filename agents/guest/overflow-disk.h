/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One overflow disk as the agent sees it (overflow.h), and what is to be done about it next. Pure. */

#include <stdbool.h>

#include "agents/protocol/message.h"

#define OVERFLOW_NAME_LEN 32
#define OVERFLOW_SLICE_NAME_LEN (OVERFLOW_NAME_LEN + 4)
#define OVERFLOW_SLICES_MAX 4
#define OVERFLOW_SLICE_MIN (16 * MIB) /* a disk that would have smaller ones is not divided */

enum overflow_step {
        OVERFLOW_NOTHING,
        OVERFLOW_ON,       /* switch a slice on */
        OVERFLOW_HOME,     /* bring its pages home */
        OVERFLOW_WITHDRAW, /* switch it off: servers have no room for it */
        OVERFLOW_OFF,      /* switch it off: the host wants the disk back */
        OVERFLOW_LEAVE,    /* all are off: empty the disk */
        OVERFLOW_STOP,     /* do not go on with that */
};

struct overflow_slice {
        char name[OVERFLOW_SLICE_NAME_LEN]; /* "vdb1", or "vdb" where that is not divided */
        uint64_t size_bytes;
        bool on;             /* at the last look, and */
        uint64_t used_bytes; /* so much of it was in use */
        bool withdrawn;      /* for want of room */
        usec_t failed_usec;  /* when the last step with it failed; 0: it did not */
        int failure;         /* why, as negative errno, when that was said last; 0: it did not */
};

struct overflow_disk {
        char name[OVERFLOW_NAME_LEN]; /* "vdb" */
        struct overflow_slice slices[OVERFLOW_SLICES_MAX];
        unsigned n_slices;
        uint64_t size_bytes;
        uint64_t room_bytes;          /* that servers could hold of it; UINT64_MAX: the host has not said */
        usec_t roomy_usec;            /* since when there has been room for one more slice; 0: there is not */
        usec_t enough_usec;           /* since when there has been memory enough; 0: there is not */
        unsigned n_home;              /* slices that have been brought home since then */
        usec_t leave_usec;            /* when the host last said that it is to be let go of; 0: it has not */
        bool left;                    /* it has been, and is empty */
        usec_t failed_usec;           /* when a step failed that says nothing of one slice alone; 0: it did not */
};

/* What a decision rests on beside the disk. */
struct overflow_sight {
        uint64_t total_bytes, available_bytes; /* memory of the guest */
        bool coming_home;                      /* a slice's pages are just brought home */
};

/* What to do about one disk at `now_usec`, and to which slice. Pure, but for what it notes in `disk`. */
enum overflow_step overflow_decide(struct overflow_disk *disk, const struct overflow_sight *sight, usec_t now_usec,
                                   unsigned *ret_slice);
bool overflow_is_on(const struct overflow_disk *disk);
/* A disk of that size as it is to be divided; `whole`: not at all. */
void overflow_divide(struct overflow_disk *disk, uint64_t size_bytes, bool whole);
