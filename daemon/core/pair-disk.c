/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The disks that an application takes along, attached to the side that it is to run on. QEMU's lock on an image keeps
 * two from writing it, but not of every kind of disk, and not where it is switched off: so a disk is never asked for by
 * trying. A flow sees its old side let go first (pair-move.c); everywhere else it is this file that looks at the side
 * that does not own the application, where one was asked for there before. */

#include <stdio.h>

#include "daemon/core/pair-internal.h"

#define KEPT_ATTEMPTS 3 /* to have a guest that runs let a disk go, before its VM counts as failed */

void app_disks_forget(struct app_state *app) {
        app->disks_detached = app->disks_attached = 0;
        app->disk_side = SIDE_INVALID;
        app->disks_let_go = false;
        app->disk_stale = app->disk.id != 0;
        app->disk.failures = 0;
        app->disk.retry_usec = 0;
}

void app_disk_detach(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        struct action *action;

        if (!request_free(step, &a->disk))
                return;
        action = step_act(step, ACTION_DETACH_DISK, side, app, &a->disk, pair->policy->act_timeout_usec);
        snprintf(action->text, sizeof(action->text), "%s", pair->policy->applications[app].disks[a->disks_detached]);
}

/* True when no disk of it is left on a side that does not own it: seen to be detached there, or gone with its process.
 * That one was asked for is enough to look: whether it came is known only when it was answered. */
bool app_disks_gone(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        const struct application *policy = &pair->policy->applications[app];
        const struct member_state *member = &pair->members[side];
        struct app_state *a = &pair->apps[app];

        if (!a->disks_there[side])
                return true;
        if (a->disks_detached >= policy->n_disks || member_is_gone(member) || member_stated_dead(pair, side)) {
                a->disks_detached = 0;
                a->disks_there[side] = false;
                return true;
        }
        if (member->process_alive && !pair->record.fence_wanted[side])
                app_disk_detach(step, app, side);
        return false;
}

void app_disk_kept(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        const struct record_app *record = &pair->record.apps[app];
        const struct app_state *a = &pair->apps[app];
        bool fence = !pair_owns_hot(pair, side) || pair->policy->on_exclusive_stuck == EXCLUSIVE_FENCE_VM;

        if (record->moving || record->owner == side || !a->disks_there[side] || !fence ||
            !step->engine->hypervisor_up)
                return;
        if (pair->members[side].domain == DOMAIN_PAUSED || a->disk.failures >= KEPT_ATTEMPTS)
                member_fail(step, side, "it holds a disk of %s, which is %s's, and does not let go",
                            pair_app_name(pair, app), pair_domain(pair, record->owner));
}

bool app_disks_attached(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        const struct application *policy = &pair->policy->applications[app];
        struct app_state *a = &pair->apps[app];
        struct action *action;

        if (policy->n_disks == 0)
                return true;
        if (a->disk_side != side) {
                bool let_go = a->disks_let_go;

                app_disks_forget(a);
                a->disks_let_go = let_go;
                a->disk_side = side;
        }
        if (a->disks_attached >= policy->n_disks)
                return true;
        /* In a flow its old side has let go before (pair-move.c). */
        if (!pair->record.apps[app].moving && !app_disks_gone(step, app, side_other(side)))
                return false;
        if (request_free(step, &a->disk)) {
                action = step_act(step, ACTION_ATTACH_DISK, side, app, &a->disk, pair->policy->act_timeout_usec);
                snprintf(action->text, sizeof(action->text), "%s", policy->disks[a->disks_attached]);
                a->disks_there[side] = true;
        }
        return false;
}
