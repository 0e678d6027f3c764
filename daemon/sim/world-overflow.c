/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Overflow disks of applications, as failoverd brings them about beside its engine (manager-overflow.c): a pager
 * is started, the disk is attached to the VM, and taken away when it is not wanted any more. */

#include "daemon/sim/world.h"

#define ATTACH_USEC (400 * USEC_PER_MSEC) /* configuration, pager, disk */
#define DETACH_USEC (3 * USEC_PER_SEC)    /* the guest is asked first */

static void plan(struct sim *sim, int slot, enum side side, int app) {
        const struct pair *pair = sim->engine->pairs[slot];
        const struct member_state *member = &pair->members[side];
        struct sim_vm *vm = sim_vm(sim, slot, (int) side);
        struct sim_app *a = &vm->apps[app];
        struct item item = { .kind = ITEM_OVERFLOW, .pair = (short) slot, .side = (signed char) side,
                             .app = (signed char) app, .life = vm->life, .host = sim->host };
        bool left = pair->record.flow.kind != FLOW_NONE && pair->record.flow.from == side;
        bool known = vm->process && member->domain == DOMAIN_RUNNING && member->fence == FENCE_NONE &&
                     !pair->record.fence_wanted[side] && !left;
        usec_t takes = ANSWER_USEC;

        if (pair->policy->applications[app].overflow.n_servers == 0 || a->disk_host == sim->host)
                return;
        item.up = known ? pair_wants_overflow(sim->engine, pair, app, side) : a->disk;
        if (item.up && !a->disk && (!member->greeted || member->protocol < PROTOCOL_VERSION_REMOTE))
                item.up = false;
        if (item.up == a->disk && pair->apps[app].overflow[side] == a->disk)
                return;
        if (item.up != a->disk)
                takes = !item.up ? DETACH_USEC : sim->overflow_usec ? sim->overflow_usec : ATTACH_USEC;
        a->disk_host = sim->host;
        sim_add(sim, item, sim_latency(sim, takes));
}

void overflow_follow(struct sim *sim, int slot) {
        if (!sim->engine || slot < 0 || slot >= sim->engine->n_pairs)
                return;
        for (enum side side = 0; side < SIDE_MAX && sim->engine->pairs[slot]; side++)
                for (size_t i = 0; i < sim->engine->pairs[slot]->policy->n_applications; i++)
                        plan(sim, slot, side, (int) i);
}

void overflow_item(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        struct sim_app *a = &vm->apps[(int) item->app];

        a->disk_host = 0;
        if (vm->process && vm->life == item->life)
                a->disk = item->up;
        failoverd_step(sim, &(struct event){ .kind = EVENT_OVERFLOW, .pair = item->pair,
                                             .side = (enum side) item->side, .app = item->app, .up = a->disk });
}

/* An application that uses all that the policy gives it, and has it neither in its region nor on a disk, is killed. */
bool overflow_lacks(struct sim *sim, int pair, int side, int app) {
        const struct sim_vm *vm = sim_vm(sim, pair, side);

        return vm->apps[app].fills && !vm->apps[app].disk &&
               vm->plugged[app] < sim_policy(sim, pair)->applications[app].memory_bytes;
}
