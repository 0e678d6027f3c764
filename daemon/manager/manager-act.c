/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Actions go to the adapter that carries them out. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/alert.h"
#include "daemon/manager/journal.h"
#include "daemon/manager/manager-internal.h"

#define PROTOCOL_PAUSE_USEC (5 * USEC_PER_SEC)

/* The adapter could not even begin: the answer that the engine waits for is given here. */
static void answer_failure(struct manager *manager, const struct action *action, int result) {
        struct event event = {
                .kind = EVENT_DONE, .pair = action->pair, .side = action->side, .app = action->app,
                .action = (int) action->kind, .action_id = action->id, .result = result,
        };

        snprintf(event.text, sizeof(event.text), "%s", strerror(-result));
        manager_owe(manager, &event);
}

static struct manager_pair *find_pair(struct manager *manager, int slot) {
        return slot >= 0 && slot < manager->n_pairs ? manager->pairs[slot] : NULL;
}

static void act_wake(struct manager *manager, const struct action *action) {
        int r = wakes_set(manager->wakes, action->pair, action->due_usec, action->deadline_usec);

        if (r < 0) {
                fprintf(stderr, "cannot set a timer (%s), exiting; guests run on\n", strerror(-r));
                abort(); /* without timers nothing would be detected any more */
        }
}

static void act_configure(struct manager *manager, const struct action *action) {
        struct manager_pair *slot = find_pair(manager, action->pair);
        const struct pair *pair = manager->engine->pairs[action->pair];
        struct application_spec specs[POLICY_APPLICATIONS_MAX];
        struct message message = { .type = MESSAGE_CONFIGURE, .specs = specs };
        int r;

        if (!slot || !slot->links[action->side])
                return;
        message.n_specs = pair_fill_configure(pair, action->side, specs);
        r = agent_link_send(slot->links[action->side], &message);
        if (r < 0 && r != -ENOTCONN)
                agent_link_drop(slot->links[action->side], USEC_PER_SEC, strerror(-r));
}

static void act_send(struct manager *manager, const struct action *action) {
        struct manager_pair *slot = find_pair(manager, action->pair);
        struct message message = *action->message; /* borrows what that owns */

        if (!slot || !slot->links[action->side])
                return;
        if (message.type == MESSAGE_START || message.type == MESSAGE_RESTART)
                message.regions = (char *) region_holder_list(manager->regions, slot->name, message.app, message.token);
        agent_link_send(slot->links[action->side], &message); /* a lost one is asked again */
}

static void act_grant_state(struct manager *manager, const struct action *action) {
        const struct pair *pair = manager->engine->pairs[action->pair];
        int r = pair ? region_holder_grant(manager->regions, manager->engine->policy, pair->policy, action) : -ESRCH;

        if (r < 0)
                answer_failure(manager, action, r);
}

static void act_evidence(struct manager *manager, const struct action *action) {
        struct manager_pair *slot = find_pair(manager, action->pair);
        char *recent = slot && slot->links[action->side] ? agent_link_get_recent(slot->links[action->side]) : NULL;
        struct evidence_request request = {
                .failover_id = action->text, .side = action->side, .messages = recent,
                .console_path = hypervisor_console(manager->hypervisor, action->pair, action->side),
                .pid = hypervisor_pid(manager->hypervisor, action->pair, action->side),
        };

        if (action->text[0])
                evidence_keep(manager->evidence, &request);
        free(recent);
}

static const char *pair_name(struct manager *manager, int slot) {
        struct manager_pair *pair = find_pair(manager, slot);

        return pair ? pair->name : NULL;
}

static void act_record(struct manager *manager, const struct action *action) {
        const char *pair = pair_name(manager, action->pair);
        const char *vm = pair && action->side >= 0 ? find_pair(manager, action->pair)->domains[action->side] : NULL;
        char recording[RECORDING_PATH_LEN];

        journal_record(
                action->record_kind, pair, vm, action->text,
                manager_keep_decision(manager, find_pair(manager, action->pair), action->record_kind, recording));
        store_add_event(manager->store, pair, action->side, action->record_kind, action->text);
        if (manager->bus)
                bus_record(manager->bus, action->pair, action->side, action->record_kind, action->app_name,
                           action->text);
        if (pair && manager->engine->pairs[action->pair] && manager->engine->pairs[action->pair]->policy->on_event)
                alert_record(manager->loop, manager->user, action->record_kind,
                             manager->engine->pairs[action->pair]->policy->on_event, pair);
}

static void act_flow(struct manager *manager, const struct action *action) {
        const char *pair = pair_name(manager, action->pair);
        char id[FAILOVER_ID_LEN], recording[RECORDING_PATH_LEN];

        if (!pair || !manager->engine->pairs[action->pair])
                return;
        flow_id(manager->engine->pairs[action->pair]->policy, &action->flow, id);
        if (action->kind == ACTION_PHASE) {
                journal_phase(pair, id, action->phase, &action->flow);
                store_add_phase(manager->store, pair, &action->flow, action->phase);
                if (manager->bus)
                        bus_phase(manager->bus, action->pair, &action->flow, action->phase);
                return;
        }
        journal_flow_ended(
                pair, id, action->result, action->text,
                manager_keep_flow(manager, manager->engine->pairs[action->pair]->policy, &action->flow, recording));
        store_end_flow(manager->store, pair, &action->flow, action->result, action->text);
        if (manager->bus)
                bus_flow_ended(manager->bus, action->pair, &action->flow, action->result, action->text);
}

static void act_drill(struct manager *manager, const struct action *action) {
        const char *pair = pair_name(manager, action->pair);

        if (!pair)
                return;
        store_add_drill(manager->store, pair, &action->drill);
        if (manager->bus)
                bus_drill_ended(manager->bus, action->pair, &action->drill, action->command_id);
}

static void act_persist(struct manager *manager, const struct action *action) {
        int r = store_persist(manager->store, action->record, action->level, action->pair, action->id,
                              action->deadline_usec);

        if (r < 0)
                answer_failure(manager, action, r);
}

/* What a VM is and manages now: by the table, and QEMU's overhead. */
static void tell_vm(struct manager *manager, const struct pair *pair, enum side side) {
        const struct engine *engine = manager->engine;
        const struct holder holder = { pair->slot, side };
        const struct region *system = table_find_system(&engine->table, holder);
        struct shares_vm vm = { .pair = pair->slot, .side = side };

        vm.pid = hypervisor_pid(manager->hypervisor, pair->slot, side);
        memcpy(vm.domain, pair->policy->members[side].domain, sizeof(vm.domain));
        vm.system_bytes = vm.managed_bytes = (system ? system->usage_bytes : 0) + engine->policy->overhead_bytes;
        for (int app = 0; app < POLICY_APPLICATIONS_MAX; app++) {
                const struct region *region = table_find_application(&engine->table, holder, app);

                vm.managed_bytes += region ? region->usage_bytes : 0;
        }
        reclaim_set_vm(manager->reclaim, &vm);
}

static void act_follow(struct manager *manager, const struct action *action) {
        const struct pair *pair = manager->engine->pairs[action->pair];
        struct manager_pair *slot = find_pair(manager, action->pair);
        struct reclaim_region region = { .pair = action->pair, .app = action->app, .from = action->side };

        if (slot && action->count != 0 && pair)
                slot->followed |= UINT32_C(1) << action->app;
        else if (slot)
                slot->followed &= ~(UINT32_C(1) << action->app);
        if (action->count == 0 || !pair) {
                reclaim_forget(manager->reclaim, action->pair, action->app);
                return;
        }
        region.bytes = pair->policy->applications[action->app].memory_bytes;
        memcpy(region.app_name, pair->policy->applications[action->app].name, sizeof(region.app_name));
        for (enum side side = 0; side < SIDE_MAX; side++) {
                memcpy(region.domains[side], pair->policy->members[side].domain, sizeof(region.domains[side]));
                region.pids[side] = hypervisor_pid(manager->hypervisor, action->pair, side);
        }
        if (reclaim_follow(manager->reclaim, &region) < 0)
                fprintf(stderr, "out of memory: a region that changes hands is not followed, ignoring\n");
}

static void tell_pair(struct manager *manager, int i) {
        struct manager_pair *slot = find_pair(manager, i);
        const struct pair *pair = slot ? manager->engine->pairs[i] : NULL;

        for (enum side side = 0; pair && side < SIDE_MAX; side++) {
                int pid = manager->engine->policy->pool_group[0] ? hypervisor_pid(manager->hypervisor, i, side) : 0;

                if (slot->followed || pid != slot->told_pids[side])
                        tell_vm(manager, pair, side);
                slot->told_pids[side] = pid;
        }
}

void manager_tell_shares(struct manager *manager, const struct event *event) {
        const struct policy *policy = manager->engine->policy;

        if (policy && manager->reclaim) /* the first policy comes before it; the next event tells it */
                reclaim_set_pool(manager->reclaim, policy->pool_group,
                                 policy->pool_bytes - table_monitor(&manager->engine->table));
        if (event->pair == NO_PAIR)
                for (int i = 0; i < manager->n_pairs; i++)
                        tell_pair(manager, i);
        else
                tell_pair(manager, event->pair);
        for (size_t i = 0; i < manager->update.n_actions; i++)
                if (manager->update.actions[i].pair != event->pair)
                        tell_pair(manager, manager->update.actions[i].pair);
}

static void act_page_out(struct manager *manager, const struct action *action) {
        int r = reclaim_page_out(manager->reclaim, action);

        if (r < 0)
                answer_failure(manager, action, r);
}

void manager_act(struct manager *manager, const struct action *action) {
        struct manager_pair *slot = find_pair(manager, action->pair);
        int r;

        switch (action->kind) {
        case ACTION_PERSIST:
                act_persist(manager, action);
                break;
        case ACTION_FOLLOW:
                act_follow(manager, action);
                break;
        case ACTION_PAGE_OUT:
                act_page_out(manager, action);
                break;
        case ACTION_SEND:
                act_send(manager, action);
                break;
        case ACTION_GRANT_STATE:
                act_grant_state(manager, action);
                break;
        case ACTION_CONFIGURE:
                act_configure(manager, action);
                break;
        case ACTION_DROP_LINK:
                if (slot && slot->links[action->side])
                        agent_link_drop(slot->links[action->side], PROTOCOL_PAUSE_USEC, "dropped by failoverd");
                break;
        case ACTION_EVIDENCE:
                act_evidence(manager, action);
                break;
        case ACTION_WAKE:
                act_wake(manager, action);
                break;
        case ACTION_RECORD:
                act_record(manager, action);
                break;
        case ACTION_PHASE:
        case ACTION_FLOW_ENDED:
                act_flow(manager, action);
                break;
        case ACTION_DRILL_ENDED:
                act_drill(manager, action);
                break;
        case ACTION_CHANGED:
                if (manager->bus)
                        bus_pair_changed(manager->bus, action->pair);
                break;
        case ACTION_REPLY:
                if (manager->bus)
                        bus_reply(manager->bus, action->command_id, action->result, action->text);
                break;
        case ACTION_PROBE:
                manager_sample_processor(manager, action->pair, action->side);
                __attribute__((fallthrough));
        default:
                r = manager->hypervisor ? hypervisor_act(manager->hypervisor, action) : -ENOTCONN;
                if (r < 0 && action->id)
                        answer_failure(manager, action, r);
                break;
        }
}
