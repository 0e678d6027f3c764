/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What `failoverctl check` foretells, held against what happens: one of the single failures of which readiness.h
 * speaks is caused in a world at rest, and must be followed by what was said. Nothing begins where nothing was to
 * begin; a flow begins where one was to; where the failure was covered it ends well, within its time.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

/* At rest: nothing has changed for so long. */
#define REST_USEC (30 * USEC_PER_SEC)
/* From a fault to the decision at worst: beats, confirmation and a balloon's coarse time. */
#define DECIDE_USEC (15 * USEC_PER_SEC)
#define HEALTHY_USEC (31 * USEC_PER_SEC)

static const char *case_name(const struct pair *pair, const struct readiness_case *c, char buffer[2 * NAME_LEN + 32]) {
        snprintf(buffer, 2 * NAME_LEN + 32, "%s of %.63s", readiness_fault_to_string(c->fault),
                 c->app >= 0 ? pair->policy->applications[c->app].name : pair->policy->members[c->side].domain);
        return buffer;
}

static void print_part(char *text, size_t size, const char *what, uint64_t bytes) {
        size_t used = strlen(text);

        if (bytes)
                snprintf(text + used, size - used, ", %" PRIu64 " MiB %s", bytes / MIB, what);
}

static void print_case(struct sim *sim, const struct pair *pair, const struct readiness_case *c) {
        char name[2 * NAME_LEN + 32], text[256];

        print_line(sim, "%-10s   %s: %s%s%s%s", "", case_name(pair, c, name), readiness_level_to_string(c->level),
                   c->why[0] ? ": " : "", c->why,
                   c->begins || c->open || c->level != READINESS_UNCOVERED ? "" : "; nothing would begin");
        if (c->mend[0])
                print_line(sim, "%-10s     do: %s", "", c->mend);
        for (unsigned i = 0; c->begins && i < c->n_moves; i++) {
                const struct readiness_move *move = &c->moves[i];

                snprintf(text, sizeof(text), "%s to %s", pair->policy->applications[move->app].name,
                         pair->policy->members[side_other(c->side)].domain);
                print_part(text, sizeof(text), "come along", move->region_bytes);
                print_part(text, sizeof(text), "of unused stand in", move->stand_in_bytes);
                print_part(text, sizeof(text), "taken from its old user as needed", move->shared_bytes);
                print_part(text, sizeof(text), "out of unused", move->unused_bytes);
                print_part(text, sizeof(text), "at memory servers", move->remote_bytes);
                print_part(text, sizeof(text), "awaited", move->awaited_bytes);
                print_part(text, sizeof(text), "missing", move->missing_bytes);
                print_line(sim, "%-10s     %s: %s", "", flow_kind_to_string(c->flow), text);
        }
}

void foretell_print(struct sim *sim, int slot) {
        const struct pair *pair = sim->engine ? sim->engine->pairs[slot] : NULL;
        struct readiness readiness;

        if (!pair)
                return;
        readiness_list(sim->engine, pair, &readiness);
        print_line(sim, "%-10s check: %s", pair->policy->name, readiness_level_to_string(readiness.level));
        for (unsigned i = 0; i < readiness.n_cases; i++)
                print_case(sim, pair, &readiness.cases[i]);
        for (unsigned i = 0; i < readiness.n_notes; i++)
                print_line(sim, "%-10s   note: %s", "", readiness.notes[i]);
}

/* A start that is not answered may end in a failover of its own. */
static bool starts(const struct pair *pair) {
        for (size_t app = 0; app < pair->policy->n_applications; app++)
                for (int side = 0; pair_application_kind(pair, (int) app) == APPLICATION_HOT_STANDBY && side < SIDE_MAX;
                     side++)
                        if (pair->apps[app].start[side].id || pair->apps[app].start[side].failures)
                                return true;
        return false;
}

static bool at_rest(const struct sim *sim, const struct pair *pair) {
        usec_t now = sim->engine->now_usec;

        return sim->libvirt_up && sim->libvirt_hang_usec <= sim->now_usec && sim->stalled_until_usec <= sim->now_usec &&
               sim->die_after == 0 && !sim->foretold.active && !starts(pair) && now - pair->state_usec >= REST_USEC &&
               now - pair->readiness_usec >= REST_USEC && now - sim->engine->hypervisor_usec >= REST_USEC &&
               !(pair->record.paused && pair->record.paused_until_usec != USEC_INFINITY) &&
               now - pair->members[SIDE_A].started_usec >= REST_USEC &&
               now - pair->members[SIDE_B].started_usec >= REST_USEC;
}

static void cause(struct sim *sim, int pair, const struct readiness_case *c) {
        switch (c->fault) {
        case READINESS_SYSTEM:
                /* A guest that has not booted cannot panic. */
                if ((sim->random & 1) && vm_guest_acts(sim_vm(sim, pair, c->side)))
                        vm_panic(sim, pair, c->side);
                else
                        vm_kill(sim, pair, c->side, REASON_FAILED, 5 * USEC_PER_MSEC);
                break;
        case READINESS_HANG:
                agent_fault(sim, pair, c->side, "hang", NO_APP);
                break;
        case READINESS_APPLICATION:
                app_fails(sim, pair, c->side, c->app, FAILURE_EXIT, 1, true);
                break;
        default:
                host_tell(sim, pair, c->side, EVENT_MEMORY_FAILURE, USEC_PER_MSEC,
                          (struct item){ .app = (signed char) c->app });
        }
}

void foretell_cause(struct sim *sim, int slot, uint64_t number) {
        const struct pair *pair = sim->engine ? sim->engine->pairs[slot] : NULL;
        struct sim_foretold *foretold = &sim->foretold;
        struct readiness readiness;
        char name[2 * NAME_LEN + 32];
        usec_t limit;

        if (!pair || !at_rest(sim, pair)) {
                print_line(sim, "  (not at rest, ignoring)");
                return;
        }
        readiness_list(sim->engine, pair, &readiness);
        if (!readiness.n_cases)
                return;
        *foretold = (struct sim_foretold) {
                .active = true, .slot = slot, .one = readiness.cases[number % readiness.n_cases],
                .limit_usec = 3 * pair->policy->act_timeout_usec, .result = -EINPROGRESS,
        };
        if (foretold->one.fault == READINESS_APPLICATION)
                foretold->limit_usec += pair->policy->applications[foretold->one.app].stop_timeout_usec;
        else
                foretold->limit_usec += pair->policy->core_dump_within_usec;
        if (foretold->one.open) {
                foretold->active = false;
                return;
        }
        print_line(sim, "%-10s to be caused: %s", pair->policy->name, case_name(pair, &foretold->one, name));
        print_case(sim, pair, &foretold->one);
        sim->result.foretold[foretold->one.level]++;
        limit = foretold->one.begins ? DECIDE_USEC + foretold->limit_usec + HEALTHY_USEC : DECIDE_USEC;
        sim_add(sim, (struct item){ .kind = ITEM_FORETOLD, .pair = NO_PAIR }, limit);
        cause(sim, slot, &foretold->one);
}

void foretell_action(struct sim *sim, const struct action *action) {
        struct sim_foretold *foretold = &sim->foretold;
        const struct flow *flow = &action->flow;

        if (!foretold->active || action->pair != foretold->slot)
                return;
        if (action->kind == ACTION_PHASE && action->phase == PHASE_DECIDED)
                foretold->begun = true;
        if (action->kind != ACTION_FLOW_ENDED || foretold->result != -EINPROGRESS)
                return;
        foretold->result = action->result;
        foretold->took_usec = flow->phase_usec[PHASE_STARTED] - flow->phase_usec[PHASE_DETECTED];
}

void foretell_judge(struct sim *sim) {
        struct sim_foretold *foretold = &sim->foretold;
        const struct readiness_case *c = &foretold->one;
        const struct pair *pair = sim->engine ? sim->engine->pairs[foretold->slot] : NULL;
        char name[2 * NAME_LEN + 32];

        foretold->active = false;
        if (!pair)
                return;
        case_name(pair, c, name);
        if (foretold->begun != c->begins)
                checker_violated(sim, "check said of %s that a failover %s, and it %s", name,
                                 c->begins ? "begins" : "does not begin", foretold->begun ? "began" : "did not");
        else if (c->level == READINESS_COVERED && c->begins && foretold->result != 0)
                checker_violated(sim, "check said that %s is covered, and the failover %s", name,
                                 foretold->result == -EINPROGRESS ? "has not ended" : "did not end well");
        else if (c->level == READINESS_COVERED && c->begins && foretold->took_usec > foretold->limit_usec)
                checker_violated(sim, "check said that %s is covered, and the failover took %" PRIu64 " ms", name,
                                 foretold->took_usec / USEC_PER_MSEC);
}
