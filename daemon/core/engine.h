/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The engine decides. engine_step() takes one event and returns what to do about it; it has no clock, no
 * randomness, no I/O and no other input, so that the same events give the same updates, byte for byte.
 */

#include "daemon/core/assigned.h"
#include "daemon/core/pair.h"
#include "daemon/core/table.h"
#include "daemon/core/update.h"

struct engine {
        struct policy *policy; /* owned; NULL before the first EVENT_POLICY */
        struct table table;
        struct pair **pairs;   /* by slot; NULL where free. Owned */
        int n_pairs;           /* slots */

        bool pool_short;       /* the pool is smaller than what is granted, and the table cannot say it: all is held */
        bool ready;
        usec_t ready_usec;      /* since when */
        bool hypervisor_up;
        usec_t hypervisor_usec; /* since when */
        bool reclaim_able;      /* memory can be taken back from a VM by force */
        char reclaim_text[EVENT_TEXT_LEN]; /* how, or why not */
        uint64_t pool_limit_bytes; /* the kernel holds what all VMs have in memory to so much; 0: it does not */
        uint64_t swap_bytes;       /* of what VMs have, the swap takes so much: what is there already, as far as that is
                                    * known, and what is free */
        bool store_lost;
        usec_t now_usec;        /* time of the last event */
        uint64_t lost_bytes;    /* of the memory governed, to memory errors since the host's boot: the sum over the
                                 * pairs' records, and over pairs that are no more */
        uint64_t reserve_used_bytes; /* of the reserve, to replace them */

        /* doubt yourself first */
        usec_t void_usec;       /* silence before this instant does not count */
        usec_t pressure_usec;   /* last time the host was seen stalled */
        usec_t mass_usec;       /* last time that most were silent at once, 0: never */
        unsigned n_suspected;   /* members under suspicion now */
        unsigned n_watched;     /* members being watched */

        struct assigning assigning;   /* the request to assign memory that is under way, or was the last */
        usec_t assigned_short_usec;   /* a hot-standby application was short of memory then; 0: never */

        uint64_t next_id;       /* of actions and messages to agents */
        usec_t real_usec;       /* CLOCK_REALTIME of the last event */
        struct message scratch_message; /* where messages go once memory has run out */
        usec_t wake_usec;       /* the engine's own wake (NO_PAIR) */
};

/* NULL when out of memory. */
struct engine *engine_new(void);
struct engine *engine_free(struct engine *engine);

/* One step. `update` is cleared first. Events for slots that do not exist are ignored, so that an answer that
 * comes after a pair was removed does no harm. */
void engine_step(struct engine *engine, const struct event *event, struct update *update);

/* Could this policy take effect now? Changes nothing. -EBUSY, -ENOSPC or -ENOMEM, with the reason in `why`. */
int engine_try_policy(struct engine *engine, const struct policy *policy, char *why, size_t size);

/* What the policy promises to hot-standby applications and they have not got yet: nobody else gets it meanwhile, so
 * that the policy's sums hold in whichever order applications start. */
uint64_t engine_promised_bytes(const struct engine *engine);
/* What the table counts as unused although VMs that are to be ended still hold it: until their processes are gone, a
 * core dump included, it is given to nothing but a failover. */
uint64_t engine_dropped_bytes(const struct engine *engine);

/* Slot of a pair by name, or -ENOENT. */
int engine_find_pair(const struct engine *engine, const char *name);

/* Aborts when an invariant does not hold. Called at the end of every step. */
void engine_check(const struct engine *engine);
