/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What to do next about one overflow disk: memory beyond a VM's own, on memory servers (T, I). It takes a configuration
 * on the host, a pager that serves it, and a disk that QEMU attaches.
 *
 * Nothing of it is remembered: each look compares what the policy wants with what there is, so a crash between any two
 * steps, of failoverd, of a pager or of the VM, is no special case, and a pager that was started by an earlier
 * failoverd is one like any other. A pager that a guest may have pages with is never ended: the disk is taken
 * off first, and that only once the guest has let go of it, or the pager is dead anyway. Pure.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/enum-table.h"
#include "daemon/base/units.h"

/* The guest has been asked for so long before its word, that nothing of it is there, counts: what it had begun before
 * it was asked is over. */
#define OVERFLOW_ASKED_USEC (3 * USEC_PER_SEC)
/* A pager whose disk is attached nowhere and that has no client stays so long: it may have one in a moment. */
#define OVERFLOW_IDLE_USEC (3 * USEC_PER_SEC)
/* A pager that was started has so long to be there. */
#define OVERFLOW_START_USEC (10 * USEC_PER_SEC)
/* A pager is dead, as far as its disk goes, when it has been seen to be for so long. */
#define OVERFLOW_DEAD_USEC (2 * USEC_PER_SEC)

struct overflow_sight {
        bool wanted;     /* by the policy, of a VM that runs */
        bool vm_known;   /* whether the disk is attached is known */
        bool vm_ready;   /* it can be attached now: the guest is up, nothing more urgent is done with it */
        bool attached;
        bool pager_known; /* the next four hold; without them nothing is done: a guest may have pages with it */
        bool configured; /* there is a configuration */
        bool current;    /* it says what is wanted, and the pager was started since */
        bool bearable;   /* current, or what differs can wait until the VM is off */
        bool alive;      /* the pager's process is there */
        bool told;       /* its status is fresh: the next three hold */
        bool serving;
        bool recovering;     /* it has no server at the moment */
        uint64_t held_bytes; /* of the guest's, at servers; as it was told last, also where that is not fresh */
        unsigned waiting;    /* requests of the guest that a server is waited for with; the same */
        unsigned clients;
        usec_t dead_usec;    /* since when the pager has been seen to be dead, without a break; 0: it has not */
        usec_t asked_usec;   /* since when the guest has been asked to let go, without a break; 0: it has not */
        usec_t started_usec; /* when the pager was started last; 0: not by this failoverd */
        usec_t idle_usec;    /* since when it has been attached nowhere and without a client; 0: it is not */
};

enum overflow_work {
        OVERFLOW_REST,      /* all is as it should be, or something has to come first by itself */
        OVERFLOW_CONFIGURE, /* write the configuration, before anything rests on it */
        OVERFLOW_START,     /* the pager */
        OVERFLOW_ATTACH,
        OVERFLOW_ASK,       /* the guest to let go; again with each look for as long as that is wanted */
        OVERFLOW_DETACH,
        OVERFLOW_END,       /* the pager */
        OVERFLOW_FORGET,    /* the configuration: nothing is left of it */
        OVERFLOW_WORK_MAX,
        OVERFLOW_WORK_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(overflow_work); /* "rest", "configure", "start", "attach", "ask", "detach", "end", "forget" */

enum overflow_work overflow_next(const struct overflow_sight *sight, usec_t now_usec);
/* May the guest be waiting for a server? Not one that has nothing there. */
bool overflow_stalls(const struct overflow_sight *sight);
