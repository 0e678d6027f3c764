/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory that an operator moves by hand (N: requests, variant 5), and what that means for the table.
 *
 * Which memory. The region of a hot-standby application belongs to the application, and a VM's base to its system;
 * neither can be moved by hand. A VM that may be extended has a region of kind `memory` in the policy: a virtio-mem
 * device of its own (ua-NAME, on its own guest NUMA node) in which no application runs. What is assigned to a VM is
 * plugged there. It comes out of the pool's unused memory, less what is promised to hot-standby applications, and goes
 * back there.
 *
 * Where it is. Memory of the pool is memory; that requests may name ranges needs places. So the pool is numbered from 0
 * to its size, and each stretch of these numbers has at most one manager. A place says whose a piece is, and nothing
 * of where a guest or the host has it. What the table's other rows have has no place: it counts in amounts only.
 *
 * Two steps (N). A request moves management at once, all of it or nothing: that is *granted*, and it is in the record
 * of each pair (`assigned`). Usage follows: `granted_bytes` of the region is what the table gives the VM at present.
 * It rises as unused memory is there, and falls as the guest lets go; where both differ, each event compares them
 * again, so that a crash, a failover or a slow guest in between are no special cases. A running request (variant 5:
 * small requests to the VMs, never two at once for one VM) decides how far each VM is asked to go at a time, and
 * reports. When it is over, however it came to that, what has not followed yet goes on following.
 *
 * What comes first. A VM that is fenced keeps what it manages and loses what it uses: that is unused for the failover,
 * and is given to it again afterwards. While a failover is under way, or a VM that was fenced is not gone, nobody is
 * extended. When a hot-standby application is short of memory, all that was assigned by hand is called back, and given
 * again once nobody has been short for a while. A policy that would not leave room for what is assigned is refused.
 */

#include "daemon/core/assignment.h"
#include "daemon/core/pair.h"

/* How far one VM has been asked to go in the request under way. */
struct assigning_vm {
        uint64_t target_bytes;
        uint64_t request_id; /* asked for now; 0: nothing */
        bool extend;
        uint64_t bytes;      /* of that */
        uint64_t before_bytes; /* the target before it */
        uint64_t seen_bytes; /* the most of it that was ever seen to be done, */
        usec_t seen_usec;    /* since then */
        usec_t issued_usec;
};

/* Who waits to hear that a request is granted, or ended. */
struct asker {
        uint64_t command_id; /* an operator's command; 0: none */
        struct holder guest; /* or a VM's agent, which asked by this message; 0: none */
        uint64_t message_id;
};

/* The request under way, or the last one. After a start of failoverd there is none. */
struct assigning {
        struct assignment plan;
        struct assigning_vm vms[ASSIGNMENT_VMS_MAX]; /* as in `plan` */
        char who[NAME_LEN];
        bool of_guest;       /* a guest asked for it: it gives way to an operator */
        struct asker asker;  /* waits until the records say it, */
        usec_t asked_usec;   /* since then */
        usec_t begun_usec; /* 0: there was none */
        usec_t ended_usec; /* 0: it is under way */
};

struct engine;

/* What the VM manages by hand assignment. */
uint64_t assigned_bytes(const struct pair *pair, enum side side);
/* Is what was assigned by hand called back for hot-standby applications now? */
bool assigned_called_back(const struct engine *engine);
/* How much of `app`, a region of kind memory, a VM is to have now: that, as far as the region holds it; less where it
 * is called back, or where the request under way has not asked for it yet. */
uint64_t assigned_target(const struct engine *engine, const struct pair *pair, int app, enum side side);
/* What the pool could still assign: unused, less what is promised and what has been granted and not followed yet. */
uint64_t assigned_available(const struct engine *engine);

/* The places of the pool, and who manages them. The caller frees it with rights_deinit(). -E2BIG for a pool of too many
 * extents, -ENOMEM. */
int assigned_map(const struct engine *engine, struct rights *ret);

/* Reads a request and compares it with the table, changing nothing: what it falls into in `ret_plan`, and how the map
 * would be afterwards in `ret_map`, which the caller frees. Otherwise a negative errno with the reason in `why`:
 * -EBUSY where an operator's is under way (a guest's gives way, with what it was promised where the pool lacks it), and
 * what assignment_begin() answers; -EOPNOTSUPP for a VM without a region of kind memory; -EAGAIN. */
int assigned_plan(const struct engine *engine, const char *text, struct assignment *ret_plan, struct rights *ret_map,
                  char *why, size_t size);
