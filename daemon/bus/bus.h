/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * org.failover1 on the system bus, or the session bus with --user. Handlers parse, authorise, call one function
 * of the interface below and reply; nothing is decided here. A bus that is not there, or goes away, disturbs
 * nobody: the connection is made anew in the background, and everything below does nothing meanwhile.
 */

#include <systemd/sd-event.h>

#include "daemon/base/error.h"
#include "daemon/bus/facts.h"
#include "daemon/core/engine.h"

struct bus;

/*
 * What the manager offers. All are called on the loop's thread. Those with an `id` are answered later by one
 * bus_reply() with that id (it may also come before the function returns); where they return a negative errno,
 * no bus_reply() may follow and `error` (or the errno) goes to the caller at once.
 */
struct bus_interface {
        const struct engine *engine; /* borrowed; outlives the bus */
        void *userdata;

        usec_t (*now)(void *userdata); /* CLOCK_BOOTTIME */
        /* Facts as fresh as can be had without waiting; valid until the next call. May return NULL. */
        const struct host_facts *(*facts)(void *userdata);

        /* An operator's command for a pair (NO_PAIR: all). command->id is the id of the reply, which
         * ACTION_REPLY carries back: result and text. Copy what is kept. */
        int (*command)(void *userdata, int pair, const struct operator_command *command, struct error *error);

        /* Reply's text: JSON of history_json(). failover_id "" is all, a pair's name is that pair's. */
        int (*history)(void *userdata, uint64_t id, const char *failover_id, unsigned limit, struct error *error);

        /* Reply's text: a report for people, one change a line. On -EINVAL the text has every message of the
         * policy's reader. Nothing is changed with dry_run. `who` is the caller, for the record. */
        int (*apply_policy)(void *userdata, uint64_t id, const char *text, bool dry_run, const char *who,
                            struct error *error);

        /* Answered at once: the policy in force as text (heap, the caller frees). -ENODATA where there is none. */
        int (*show_policy)(void *userdata, char **ret_text, struct error *error);

        /* Reads the policy file again and applies it; the reply's text as for apply_policy. */
        int (*reload)(void *userdata, uint64_t id, struct error *error);
};

/* Connects in the background. `user`: session bus, and its owner may do everything. `address` overrides the
 * address of the bus (tests), NULL for the usual one. Fails on -ENOMEM only, and what sd-event says. */
int bus_new(struct bus **ret, sd_event *event, const struct bus_interface *interface, bool user, const char *address);
/* Callers that still wait are told that failoverd stops. Takes NULL; returns NULL. */
struct bus *bus_free(struct bus *bus);

/* Is the name org.failover1 ours now? */
bool bus_is_ready(const struct bus *bus);

/* The outcome of a request. `result` 0: `text` is the answer; negative errno: `text` says why (may be empty).
 * Ids that nobody waits for are ignored. */
void bus_reply(struct bus *bus, uint64_t id, int result, const char *text);

/* ACTION_CHANGED. Tells who listens about the pair, its applications and regions. */
void bus_pair_changed(struct bus *bus, int slot);
/* After each EVENT_POLICY: pairs, applications and regions came or went. */
void bus_policy_changed(struct bus *bus);
/* ACTION_PHASE. */
void bus_phase(struct bus *bus, int slot, const struct flow *flow, enum phase phase);
/* ACTION_FLOW_ENDED; before the ACTION_REPLY of the command that asked for the flow. */
void bus_flow_ended(struct bus *bus, int slot, const struct flow *flow, int result, const char *text);
/* ACTION_DRILL_ENDED; before the ACTION_REPLY of the command that asked for the drill. */
void bus_drill_ended(struct bus *bus, int slot, const struct drill_result *drill, uint64_t command_id);
/* ACTION_RECORD: a line for `failoverctl monitor`. `slot` may be NO_PAIR, `app_name` empty. */
void bus_record(struct bus *bus, int slot, enum side side, enum record_kind kind, const char *app_name,
                const char *text);
/* The same of a VM that stands alone, of no pair. */
void bus_vm_record(struct bus *bus, const char *domain, enum record_kind kind, const char *text);
