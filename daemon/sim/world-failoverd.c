/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* failoverd itself: the engine, fed and obeyed; started, killed, and started again. */

#include <stdlib.h>
#include <string.h>

#include "daemon/core/retired.h"
#include "daemon/sim/world.h"

#define CONNECT_USEC (5 * USEC_PER_MSEC)
#define RESTART_USEC (100 * USEC_PER_MSEC) /* until systemd starts a failoverd again that has ended by itself */

static usec_t boottime(const struct sim *sim) {
        return sim->now_usec - sim->boot_offset_usec;
}

/* One step: an event in, actions carried out in their order. A kill that is due strikes between two actions. */
void failoverd_step(struct sim *sim, struct event *event) {
        if (!sim->engine)
                return;
        event->time_usec = boottime(sim);
        event->real_usec = sim_real_usec(sim);
        checker_event(sim, event);
        record_event(sim, event);
        engine_step(sim->engine, event, &sim->update);
        sim->result.steps++;
        if (sim->update.failed) { /* as manager_event() does */
                print_line(sim, "failoverd is out of memory and ends");
                failoverd_die(sim, RESTART_USEC);
                return;
        }
        record_update(sim);
        if (event->kind == EVENT_POLICY)
                policy_in_force(sim);
        for (size_t i = 0; i < sim->update.n_actions; i++) {
                const struct action *action = &sim->update.actions[i];

                if (sim->die_after && --sim->die_after == 0) {
                        print_line(sim, "failoverd is killed before: %s", action_kind_to_string(action->kind));
                        failoverd_die(sim, sim->die_down_usec);
                        return;
                }
                print_action(sim, action);
                checker_action(sim, action);
                foretell_action(sim, action);
                host_act(sim, action);
        }
        print_states(sim, event->pair);
        checker_step(sim, event);
        overflow_follow(sim, event->pair);
}

static void restore(struct sim *sim, int slot) {
        const struct sim_pair *pair = &sim->pairs[slot];
        const struct record *newest = store_newest(pair);
        int found = engine_find_pair(sim->engine, pair->name);
        struct record record;

        if (!newest)
                return;
        record = *newest;
        if (!pair->step_known) /* as store_load() does: of an earlier boot */
                record.lost_bytes = record.reserve_used_bytes = 0;
        failoverd_step(sim, &(struct event){ .kind = EVENT_RESTORED, .pair = found, .record = &record });
        if (sim->engine && found >= 0)
                checker_restored(sim, sim->engine->pairs[found], &record);
}

/* The policy of the file with what may not be out of its VMs yet, as begin_policy() of daemon/manager/ has it. */
static struct policy *policy_with_retired(struct sim *sim) {
        struct policy *policy = policy_copy(sim->file_policy);
        struct record *records = calloc((size_t) sim->n_pairs + 1, sizeof(*records));
        size_t n = 0;

        for (int i = 0; records && i < sim->n_pairs; i++)
                if (store_newest(&sim->pairs[i]) && !sim->store_gone)
                        records[n++] = *store_newest(&sim->pairs[i]);
        if (!policy || !records || retired_restore(policy, sim->policy, records, n, sim->store_lost) < 0)
                policy = policy_free(policy);
        free(records);
        return policy;
}

static bool takes_policy(struct sim *sim, const struct policy *policy) {
        failoverd_step(sim, &(struct event){ .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        return sim->engine && sim->engine->policy;
}

static void begin_policy(struct sim *sim) {
        const struct policy *last = sim->policy;
        struct policy *policy = policy_with_retired(sim);

        if (!policy || !takes_policy(sim, policy))
                (void) (sim->engine && takes_policy(sim, last));
        policy_free(policy);
}

void failoverd_start(struct sim *sim) {
        if (sim->engine)
                return;
        sim->engine = engine_new();
        if (!sim->engine) {
                sim->failed = true;
                return;
        }
        sim->host++;
        record_start(sim);
        begin_policy(sim);
        if (sim->engine && !sim->engine->policy) { /* as manager_new() does */
                failoverd_die(sim, RESTART_USEC);
                return;
        }
        if (sim->store_lost)
                failoverd_step(sim, &(struct event){ .kind = EVENT_STORE_LOST, .pair = NO_PAIR });
        for (int i = 0; sim->store_gone && i < sim->n_pairs; i++)
                sim->pairs[i].step_known = sim->pairs[i].owner_known = false;
        sim->store_lost = sim->store_torn = sim->store_gone = false;
        for (int i = 0; sim->engine && i < sim->n_pairs; i++)
                if (sim->pairs[i].present)
                        restore(sim, i);
        failoverd_step(sim, &(struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        memory_tell_reclaim(sim);
        if (sim->libvirt_up && sim->engine)
                sim_add(sim, (struct item){ .kind = ITEM_EVENT, .pair = NO_PAIR, .action = EVENT_HYPERVISOR, .up = true,
                                            .host = sim->host },
                        CONNECT_USEC);
        for (int i = 0; sim->engine && i < sim->n_pairs; i++)
                for (int side = 0; sim->pairs[i].present && side < SIDE_MAX; side++)
                        libvirt_inspect(sim, i, side, false, 0);
}

/* It ends at once: what was under way for it has no receiver any more. */
void failoverd_die(struct sim *sim, usec_t down_usec) {
        if (!sim->engine)
                return;
        sim->engine = engine_free(sim->engine);
        sim->host++;
        sim->wake++;
        sim->die_after = 0;
        checker_forget(sim);
        sim->foretold.active = false;
        for (int i = 0; i < sim->n_pairs; i++)
                for (int side = 0; side < SIDE_MAX; side++) {
                        struct sim_vm *vm = sim_vm(sim, i, side);

                        vm->held = vm->absence_told = vm->link_up = vm->greeted = false;
                        vm->link++;
                        memset(vm->lane_stuck, 0, sizeof(vm->lane_stuck));
                }
        sim_add(sim, (struct item){ .kind = ITEM_FAILOVERD_START, .pair = NO_PAIR }, down_usec);
}

/* Everything on the host ends; the run-time directory is gone, what is on disk is not. */
void failoverd_power_loss(struct sim *sim, usec_t down_usec) {
        failoverd_die(sim, down_usec);
        sim->power++;
        for (int i = 0; i < sim->n_pairs; i++) {
                sim->pairs[i].step_known = false;
                for (int side = 0; side < SIDE_MAX; side++) {
                        struct sim_vm *vm = sim_vm(sim, i, side);

                        vm->kill_sticks = false;
                        vm_kill(sim, i, side, REASON_UNKNOWN, 0);
                        vm->domain = DOMAIN_SHUTOFF;
                        vm->reason = REASON_UNKNOWN;
                        vm->hang_until_usec = 0;
                }
        }
        sim->boot_offset_usec = sim->now_usec + down_usec - 20 * USEC_PER_SEC;
        if (sim->boot_offset_usec > sim->now_usec)
                sim->boot_offset_usec = sim->now_usec;
}
