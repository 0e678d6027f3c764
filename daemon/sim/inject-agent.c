/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of a timeline about applications, agents and their links, and what lies in wait in a VM. */

#include <stdlib.h>
#include <string.h>

#include "daemon/sim/inject-internal.h"

void line_fail(struct sim *sim, const struct arguments *a) {
        enum failure_cause cause = failure_cause_from_string(word(a->line, 2));
        bool has_code = cause == FAILURE_SIGNAL || cause == FAILURE_EXIT || cause == FAILURE_CHECK;
        bool hard = strcmp(a->line->words[a->line->n_words - 1], "hard") == 0;

        for (int side = 0; side < SIDE_MAX; side++)
                app_fails(sim, a->pair, side, a->app, cause, has_code ? atoi(word(a->line, 3)) : 0, hard);
}

void line_agent(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 0);

        if (vm->guest != GUEST_RUNNING)
                return;
        if (strcmp(what, "agent-kill") == 0)
                agent_die(sim, a->pair, a->side);
        else
                vm->agent_stopped = strcmp(what, "agent-stop") == 0;
}

/* The guest's kernel has no memory left: it kills what is largest, or, where nothing is left to kill, panics. */
void line_out_of_memory(struct sim *sim, const struct arguments *a) {
        const struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        int largest = NO_APP;

        if (!vm_guest_acts(vm))
                return;
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                if (vm->apps[i].state == APPLICATION_RUNNING &&
                    (largest < 0 || vm->apps[i].bytes > vm->apps[largest].bytes))
                        largest = i;
        if (largest >= 0)
                app_fails(sim, a->pair, a->side, largest, FAILURE_MEMORY, 0, false);
        else
                vm_panic(sim, a->pair, a->side);
}

void line_lie(struct sim *sim, const struct arguments *a) {
        liar_say(sim, a->pair, a->side, word(a->line, 2), a->app < 0 ? 0 : a->app);
}

void line_lies(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        vm->lie_percent = (unsigned) a->number;
        vm->lied |= vm->lie_percent > 0;
}

void line_cut(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        host_link(sim, a->pair, a->side, false);
        vm->link_cut = true;
        sim_add(sim, (struct item){ .kind = ITEM_LINK_BACK, .pair = (short) a->pair, .side = (signed char) a->side },
                a->duration);
}

void line_link(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (strcmp(word(a->line, 0), "lag") == 0)
                vm->lag_usec = a->duration;
        else if (strcmp(word(a->line, 0), "repeat") == 0)
                vm->repeat_percent = (unsigned) a->number;
        else
                vm->lose_percent = (unsigned) a->number;
}

void line_app_fault(struct sim *sim, const struct arguments *a) {
        struct sim_app *app = &sim_vm(sim, a->pair, a->side)->apps[a->app];
        const char *what = word(a->line, 0);

        if (strcmp(what, "start-fails") == 0)
                app->start_fails = a->on;
        else if (strcmp(what, "stop-sticks") == 0)
                app->stop_sticks = a->on;
        else if (strcmp(what, "check-fails") == 0)
                app->check_fails = a->on;
        else if (strcmp(what, "disk-sticks") == 0)
                app->disk_sticks = a->on;
        else if (strcmp(what, "canary-fails") == 0)
                app->canary_fails = a->on;
        else if (strcmp(what, "canary-hangs") == 0)
                app->canary_hangs = a->on;
        else
                app->start_usec = a->duration;
}

void line_vm_share(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        unsigned percent = a->number > 100 ? 100 : (unsigned) a->number;
        const char *what = word(a->line, 0);

        if (strcmp(what, "calls-fail") == 0)
                vm->calls_fail_percent = percent;
        else if (strcmp(what, "plug") == 0)
                vm->plug_percent = percent;
        else
                vm->unplug_percent = percent;
        vm_release_deferred(sim, a->pair, a->side); /* the guest tries again */
}

void line_takes(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 0);

        if (strcmp(what, "plug-takes") == 0)
                vm->plug_usec = a->duration;
        else if (strcmp(what, "boot-takes") == 0)
                vm->boot_usec = a->duration;
        else
                vm->dump_usec = a->duration;
}

void line_vm_fault(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 0);

        if (strcmp(what, "boot-fails") == 0)
                vm->boot_fails = a->on;
        else if (strcmp(what, "domain-start-fails") == 0)
                vm->start_fails = a->on;
        else if (strcmp(what, "kill-sticks") == 0)
                vm->kill_sticks = a->on;
        else if (strcmp(what, "touch-fails") == 0)
                vm->touch_fails = a->on;
        else if (strcmp(what, "agent-old") == 0)
                vm->agent_old = a->on;
        else if (strcmp(what, "page-out-fails") == 0)
                vm->page_out_fails = a->on;
        else if (strcmp(what, "echo") == 0)
                vm->no_echo = !a->on;
        else
                vm->no_balloon = !a->on;
}
