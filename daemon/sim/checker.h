/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What must always hold, looked at from outside the core after every step and every change of the world. Each
 * violation is printed with its time and counted.
 *
 *  - never two running instances of a hot-standby application, and no disk attached to two VMs
 *  - no start of an application while its other side could still act: it is off, frozen, or its stop there was
 *    confirmed to failoverd
 *  - no start while the same application, under a pair that the policy took it out of, can act or holds a disk; and
 *    nothing that can still act is forgotten
 *  - no start while the other side is being dumped
 *  - an owner is safe in the store before its application is started (on disk; in the run-time directory alone
 *    only while the disk does not answer)
 *  - an application is started under a higher token than its other side ever was, and not at all once it has ended
 *  - the table's rows add up, each VM's rows are its base and what it was granted, and a region has one row
 *  - nothing is plugged for a rehearsal before the store knows of it, its rows are what the record says, it reaches
 *    no side that owns an application, and in the end all of it has come back
 *  - an old user keeps what moved away only as far as the swap takes it; and where VMs may have nothing beside the
 *    pool, only while the kernel holds them to it
 *  - the guest of an old user is asked to give up no more of a region than it can spare
 *  - every command has exactly one answer, in bounded time
 *  - no action is asked for again while the same one is still under way
 *  - one step asks for a bounded number of things, and what is still to come is bounded
 *  - nothing is decided on a pair that is paused or past its flap limit, or about the hang of a guest that can be heard
 *    (checker-decision.c)
 *  - what was written is known again after a crash, and nothing older is written over it (checker-store.c)
 */

#include "daemon/core/event.h"
#include "daemon/core/update.h"

struct pair;
struct sim;

/* An action under way. */
struct checker_out {
        enum action_kind kind;
        signed char side, app, level;
        uint64_t id;
};

/* One of each kind for each VM, application and level of the store; none is asked for twice. */
#define CHECKER_OUT_MAX (ACTION_PREFLIGHT * SIDE_MAX * (1 + POLICY_APPLICATIONS_MAX))

/* What is remembered of one pair. */
struct checker_pair {
        struct checker_out out[CHECKER_OUT_MAX];
        size_t n_out;
        bool dumping[SIDE_MAX]; /* a dump was asked for that has not ended, and no kill since */
};

struct checker {
        uint64_t steps_this_msec;
        usec_t msec;
        size_t unlooked; /* steps since the table was added up */
        uint64_t leant_bytes; /* what old users had after the last step */
};

/* Prints and counts one. */
struct sim_vm;
/* Can the application still act there, now or when somebody lets it go on? */
bool checker_can_act(const struct sim_vm *vm, int app);
void checker_violated(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An application of that VM is in the policy in force no more. */
void checker_forgotten(struct sim *sim, const struct sim_vm *vm, int app, const char *name, const char *domain);
/* Before the engine is given an event. */
void checker_event(struct sim *sim, const struct event *event);
/* As each action is about to be carried out. */
void checker_action(struct sim *sim, const struct action *action);
/* After a step was carried out. */
void checker_step(struct sim *sim, const struct event *event);
/* After the world changed. */
void checker_world(struct sim *sim, int pair);
/* failoverd has ended: nobody waits for answers any more. */
void checker_forget(struct sim *sim);
/* A policy takes effect: calls that are under way for its pairs are forgotten. */
void checker_policy(struct sim *sim);
/* At the end of the run. */
void checker_end(struct sim *sim);

/* checker-decision.c: a phase is reached; the world of this pair has changed. */
void checker_decision(struct sim *sim, const struct action *action);
void checker_listen(struct sim *sim, int pair);
/* checker-table.c: after a step; and at rest. */
void checker_table(struct sim *sim, int slot);
void checker_lean(struct sim *sim, const struct event *event);
void checker_assigned(struct sim *sim, const struct pair *pair);
/* A region of kind memory: both VMs of the pair have one. */
bool checker_by_hand(const struct pair *pair, int app);
/* checker-store.c: a record is to be written; one was read, and the engine has taken it in. */
void checker_persist(struct sim *sim, const struct action *action);
void checker_restored(struct sim *sim, const struct pair *pair, const struct record *record);
