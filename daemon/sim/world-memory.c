/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What of a region is really in memory. Plugged memory of the old user counts as resident until it is unplugged or
 * paged out; an application that was started on the new side touches its region from the beginning on, at a steady
 * rate. failoverd looks at both every 20 ms while a region is being handed over, and less often when nothing moves.
 */

#include <string.h>

#include "daemon/sim/world.h"

#define TOUCH_BYTES_PER_SEC (1 * GIB)
#define PAGE_OUT_USEC_PER_GIB (2 * USEC_PER_SEC)
#define LOOK_USEC (20 * USEC_PER_MSEC)
#define LOOK_MAX_USEC USEC_PER_SEC

static bool bit(const uint8_t *bits, unsigned i) {
        return bits[i / 8] & (1u << i % 8);
}

static void set_bits(uint8_t *bits, unsigned begin, unsigned end, bool on) {
        for (unsigned i = begin; i < end && i < USAGE_EXTENTS_MAX; i++)
                bits[i / 8] = on ? bits[i / 8] | (uint8_t) (1u << i % 8) : bits[i / 8] & (uint8_t) ~(1u << i % 8);
}

/* How far its application has touched its region by now. */
static uint64_t touched(const struct sim *sim, const struct sim_vm *vm, int app) {
        uint64_t bytes;

        if (vm->apps[app].state != APPLICATION_RUNNING || !vm->process)
                return 0;
        bytes = (sim->now_usec - vm->touch_usec[app]) * (TOUCH_BYTES_PER_SEC / MIB) / USEC_PER_SEC * MIB;
        if (vm->touches_bytes[app] && bytes > vm->touches_bytes[app])
                bytes = vm->touches_bytes[app];
        return bytes < vm->plugged[app] ? bytes : vm->plugged[app];
}

uint64_t memory_others(const struct sim_vm *vm, int app) {
        return vm->others_bytes[app] < vm->plugged[app] ? vm->others_bytes[app] : vm->plugged[app];
}

void memory_app_started(struct sim *sim, int pair, int side, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        vm->touch_usec[app] = sim->now_usec;
        memset(vm->paged_out[app], 0, sizeof(vm->paged_out[app]));
}

void memory_touch(struct sim *sim, int pair, int side, int app, uint64_t bytes) {
        const struct pair_policy *policy = sim_policy(sim, pair);
        uint64_t extent = policy ? usage_extent_bytes(policy->applications[app].memory_bytes) : 2 * MIB;

        set_bits(sim_vm(sim, pair, side)->paged_out[app], 0, (unsigned) ((bytes + extent - 1) / extent), false);
}

static uint64_t look_side(const struct sim *sim, const struct sim_vm *vm, int app, bool old_user, uint64_t extent,
                          uint16_t pages[USAGE_EXTENTS_MAX]) {
        uint64_t end = old_user ? vm->plugged[app] : touched(sim, vm, app), sum = 0;

        for (unsigned i = 0; i * extent < end; i++)
                if (!old_user || !bit(vm->paged_out[app], i)) {
                        pages[i] = (uint16_t) (extent / USAGE_PAGE_BYTES > UINT16_MAX ? UINT16_MAX
                                                                                      : extent / USAGE_PAGE_BYTES);
                        sum += extent;
                }
        return sum;
}

void memory_follow(struct sim *sim, const struct action *action) {
        struct sim_pair *pair = &sim->pairs[action->pair];

        pair->followed[action->app]++;
        if (action->count == 0)
                return;
        pair->look_usec[action->app] = LOOK_USEC;
        sim_add(sim, (struct item){ .kind = ITEM_LOOK, .pair = (short) action->pair, .side = (signed char) action->side,
                                    .app = (signed char) action->app, .value = pair->followed[action->app],
                                    .host = sim->host }, LOOK_USEC);
}

/* One look: what it finds goes to failoverd; the next comes soon where something has moved. */
void memory_look(struct sim *sim, struct item *item) {
        struct sim_pair *pair = &sim->pairs[item->pair];
        const struct pair_policy *policy = sim_policy(sim, item->pair);
        struct usage usage = { .known = { true, true } };
        uint64_t sum = 0;

        if (item->value != pair->followed[item->app] || !policy || (size_t) item->app >= policy->n_applications)
                return;
        usage.extent_bytes = usage_extent_bytes(policy->applications[item->app].memory_bytes);
        usage.n_extents = usage_n_extents(policy->applications[item->app].memory_bytes);
        for (int side = 0; side < SIDE_MAX; side++)
                sum += look_side(sim, &pair->vms[side], item->app, side == item->side, usage.extent_bytes,
                                 usage.pages[side]) *
                       (side ? 7 : 1);
        pair->look_usec[item->app] = sum != pair->looked[item->app]               ? LOOK_USEC
                                     : pair->look_usec[item->app] < LOOK_MAX_USEC ? pair->look_usec[item->app] * 2
                                                                                  : LOOK_MAX_USEC;
        pair->looked[item->app] = sum;
        sim_add(sim, *item, pair->look_usec[item->app]);
        failoverd_step(sim, &(struct event){ .kind = EVENT_USAGE, .pair = item->pair, .side = item->side,
                                             .app = item->app, .usage = &usage });
}

void memory_page_out(struct sim *sim, const struct action *action) {
        const struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        struct item item = { .kind = ITEM_PAGED_OUT, .pair = (short) action->pair, .side = (signed char) action->side,
                             .app = (signed char) action->app, .id = action->id, .life = vm->life, .host = sim->host,
                             .value = action->bytes, .offset = action->offset };

        sim_add(sim, item, sim_latency(sim, PAGE_OUT_USEC_PER_GIB * (action->bytes / MIB) / 1024 + 500));
}

void memory_paged_out(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        const struct pair_policy *policy = sim_policy(sim, item->pair);
        struct event event = { .kind = EVENT_DONE, .pair = item->pair, .side = item->side, .app = item->app,
                               .action = ACTION_PAGE_OUT, .action_id = item->id, .bytes = item->value };

        if (!sim->reclaim || vm->page_out_fails)
                event.result = -ENOMEM;
        else if (item->life != vm->life || !policy || (size_t) item->app >= policy->n_applications)
                event.result = -ESRCH;
        else {
                uint64_t extent = usage_extent_bytes(policy->applications[item->app].memory_bytes);

                set_bits(vm->paged_out[item->app], (unsigned) (item->offset / extent),
                         (unsigned) ((item->offset + item->value) / extent), true);
        }
        if (event.result < 0)
                snprintf(event.text, sizeof(event.text), "%s", strerror(-event.result));
        if (item->host == sim->host)
                failoverd_step(sim, &event);
}

/* Memory can, or can no longer, be taken back by force. */
void memory_tell_reclaim(struct sim *sim) {
        if (sim->engine)
                failoverd_step(sim, &(struct event){ .kind = EVENT_RECLAIM, .pair = NO_PAIR, .side = SIDE_INVALID,
                                                     .app = NO_APP,
                                                     .up = sim->reclaim, .text = "simulated",
                                                     .bytes = sim->pool_limited ? sim->engine->policy->pool_bytes : 0,
                                                     .swap_bytes = sim->swap_bytes });
}
