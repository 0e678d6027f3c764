/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the lines of a timeline do to the world. Lines were checked when the run began (inject_check()). */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/inject.h"
#include "daemon/sim/world.h"

#define ANNOUNCED_USEC USEC_PER_SEC /* from an announced stop to its end */
#define DESTROY_USEC (1400 * USEC_PER_MSEC)
#define FAILOVERD_DOWN_USEC USEC_PER_SEC

/* Arguments of one line, found in the policy. */
struct arguments {
        const struct line *line;
        int pair, side, app;
        usec_t duration;
        uint64_t number;
        bool on;
};

static const char *word(const struct line *line, unsigned i) {
        return i < line->n_words ? line->words[i] : "";
}

static bool find_vm(const struct sim *sim, const char *name, struct arguments *a) {
        for (size_t p = 0; p < sim->policy->n_pairs; p++)
                for (int side = 0; side < SIDE_MAX; side++) {
                        if (strcmp(sim->policy->pairs[p].members[side].domain, name) != 0)
                                continue;
                        a->side = side;
                        for (a->pair = 0; a->pair < sim->n_pairs; a->pair++)
                                if (strcmp(sim->pairs[a->pair].name, sim->policy->pairs[p].name) == 0)
                                        return true;
                }
        return false;
}

static bool find_pair(const struct sim *sim, const char *name, size_t length, struct arguments *a) {
        for (a->pair = 0; a->pair < sim->n_pairs; a->pair++)
                if (sim->pairs[a->pair].present && strlen(sim->pairs[a->pair].name) == length &&
                    memcmp(sim->pairs[a->pair].name, name, length) == 0)
                        return true;
        a->pair = NO_PAIR;
        return false;
}

/* "APP" where only one pair has it, or "PAIR/APP"; in a line that names a VM, the VM's pair. */
static bool find_app(const struct sim *sim, const char *name, struct arguments *a) {
        const char *slash = strchr(name, '/');

        if (slash && !find_pair(sim, name, (size_t) (slash - name), a))
                return false;
        for (int i = 0; i < sim->n_pairs; i++) {
                const struct pair_policy *policy = sim_policy(sim, i);

                if (!policy || (a->pair >= 0 && a->pair != i))
                        continue;
                a->app = pair_policy_find_application(policy, slash ? slash + 1 : name);
                if (a->app < 0)
                        continue;
                a->pair = i;
                return true;
        }
        return false;
}

/* Reads a line's arguments by a template: V a VM, A an application, D a duration, N a number, B on or off, P a pair,
 * O a pair or "all", S a size, w any word; in brackets what may be missing. */
static bool match(const struct sim *sim, const struct line *line, unsigned from, const char *template,
                  struct arguments *a) {
        bool optional = false;
        unsigned i = from;

        for (; *template; template++) {
                const char *w = word(line, i);
                char *end = NULL;
                bool ok = *w != 0;

                if (*template == '[') {
                        optional = true;
                        continue;
                }
                if (optional && !ok)
                        return true;
                switch (*template) {
                case 'V': ok = ok && find_vm(sim, w, a); break;
                case 'A': ok = ok && find_app(sim, w, a); break;
                case 'D': ok = ok && duration_parse(w, &a->duration) >= 0; break;
                case 'S': ok = ok && size_parse(w, &a->number) >= 0; break;
                case 'B': a->on = strcmp(w, "on") == 0; ok = a->on || strcmp(w, "off") == 0; break;
                case 'P': ok = ok && find_pair(sim, w, strlen(w), a); break;
                case 'O': ok = ok && (strcmp(w, "all") == 0 || find_pair(sim, w, strlen(w), a)); break;
                case 'N': a->number = strtoull(w, &end, 10); ok = ok && *end == 0; break;
                default: break;
                }
                if (!ok)
                        return false;
                i++;
        }
        return i == line->n_words;
}

/* ---- guests and QEMU ----------------------------------------------------------------------------------------- */

static void line_panic(struct sim *sim, const struct arguments *a) {
        vm_panic(sim, a->pair, a->side);
}

static void line_hang(struct sim *sim, const struct arguments *a) {
        agent_fault(sim, a->pair, a->side, "hang", NO_APP);
}

static void line_unhang(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm->guest == GUEST_HUNG)
                vm->guest = GUEST_RUNNING;
        vm_release_deferred(sim, a->pair, a->side);
}

static void line_guest_stop(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const struct sim_message going = { .type = MESSAGE_GOING,
                                           .text = strcmp(word(a->line, 0), "reboot") == 0 ? "reboot" : "shutdown" };
        bool announced = strcmp(word(a->line, 2), "announced") == 0;

        if (!vm_guest_acts(vm))
                return;
        if (announced && vm->agent_up && !vm->agent_stopped)
                agent_say(sim, a->pair, a->side, NO_APP, &going);
        /* on_reboot is destroy: both end QEMU, and libvirt says that the guest shut down. */
        vm_kill(sim, a->pair, a->side, REASON_SHUTDOWN, announced ? ANNOUNCED_USEC : USEC_PER_MSEC);
}

static void line_reset(struct sim *sim, const struct arguments *a) {
        vm_reset(sim, a->pair, a->side);
}

static void line_qemu_kill(struct sim *sim, const struct arguments *a) {
        vm_kill(sim, a->pair, a->side, REASON_FAILED, 5 * USEC_PER_MSEC);
}

static void line_qemu_stop(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm->process && !vm->process_stopped) {
                vm->process_stopped = true;
                vm->alive_usec = sim->now_usec;
        }
}

static void line_qemu_cont(struct sim *sim, const struct arguments *a) {
        sim_vm(sim, a->pair, a->side)->process_stopped = false;
        vm_release_deferred(sim, a->pair, a->side);
        host_unstick(sim, a->pair, a->side);
}

static void line_watchdog(struct sim *sim, const struct arguments *a) {
        if (vm_guest_acts(sim_vm(sim, a->pair, a->side)))
                host_tell(sim, a->pair, a->side, EVENT_WATCHDOG, USEC_PER_MSEC, (struct item){ 0 });
}

static void line_io_error(struct sim *sim, const struct arguments *a) {
        bool paused = a->line->n_words == 2;

        if (!vm_guest_acts(sim_vm(sim, a->pair, a->side)))
                return;
        host_tell(sim, a->pair, a->side, EVENT_IO_ERROR, USEC_PER_MSEC, (struct item){ .up = paused, .text = "vda" });
        if (paused)
                vm_pause(sim, a->pair, a->side, REASON_IO_ERROR);
}

static void line_memory_failure(struct sim *sim, const struct arguments *a) {
        if (sim_vm(sim, a->pair, a->side)->process)
                host_tell(sim, a->pair, a->side, EVENT_MEMORY_FAILURE, USEC_PER_MSEC,
                          (struct item){ .app = (signed char) a->app, .value = a->number });
}

/* ---- operators at virsh --------------------------------------------------------------------------------------- */

static void line_virsh(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 0);

        if (!sim->libvirt_up || host_stuck(sim, vm, ACTION_INSPECT))
                return; /* virsh fails too */
        if (strcmp(what, "suspend") == 0 && !vm->paused && vm->guest != GUEST_PANICKED) {
                vm_pause(sim, a->pair, a->side, REASON_USER);
                vm->suspended = true;
        } else if (strcmp(what, "resume-suspended") == 0 && !(vm->suspended && vm->paused))
                return; /* not an operator's, to be let go on */
        else if (strncmp(what, "resume", 6) == 0 && vm->guest != GUEST_PANICKED)
                vm_go_on(sim, a->pair, a->side);
        else if (strcmp(what, "destroy") == 0)
                vm_kill(sim, a->pair, a->side, REASON_DESTROYED, DESTROY_USEC);
        else if (strcmp(what, "save") == 0)
                vm_kill(sim, a->pair, a->side, REASON_SAVED, DESTROY_USEC);
        else if (strcmp(what, "migrate") == 0)
                vm_kill(sim, a->pair, a->side, REASON_MIGRATED, DESTROY_USEC);
        else if (strcmp(what, "start") == 0 && !vm->process && vm->domain == DOMAIN_SHUTOFF)
                vm_start(sim, a->pair, a->side);
}

/* ---- applications and agents ---------------------------------------------------------------------------------- */

static void line_fail(struct sim *sim, const struct arguments *a) {
        enum failure_cause cause = failure_cause_from_string(word(a->line, 2));
        bool has_code = cause == FAILURE_SIGNAL || cause == FAILURE_EXIT || cause == FAILURE_CHECK;
        bool hard = strcmp(a->line->words[a->line->n_words - 1], "hard") == 0;

        for (int side = 0; side < SIDE_MAX; side++)
                agent_app_fails(sim, a->pair, side, a->app, cause, has_code ? atoi(word(a->line, 3)) : 0, hard);
}

static void line_agent(struct sim *sim, const struct arguments *a) {
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
static void line_out_of_memory(struct sim *sim, const struct arguments *a) {
        const struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        int largest = NO_APP;

        if (!vm_guest_acts(vm))
                return;
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                if (vm->apps[i].state == APPLICATION_RUNNING &&
                    (largest < 0 || vm->apps[i].bytes > vm->apps[largest].bytes))
                        largest = i;
        if (largest >= 0)
                agent_app_fails(sim, a->pair, a->side, largest, FAILURE_MEMORY, 0, false);
        else
                vm_panic(sim, a->pair, a->side);
}

static void line_lie(struct sim *sim, const struct arguments *a) {
        liar_say(sim, a->pair, a->side, word(a->line, 2), a->app < 0 ? 0 : a->app);
}

static void line_lies(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        vm->lie_percent = (unsigned) a->number;
        vm->lied |= vm->lie_percent > 0;
}

static void line_cut(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        host_link(sim, a->pair, a->side, false);
        vm->link_cut = true;
        sim_add(sim, (struct item){ .kind = ITEM_LINK_BACK, .pair = (short) a->pair, .side = (signed char) a->side },
                a->duration);
}

static void line_link(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (strcmp(word(a->line, 0), "lag") == 0)
                vm->lag_usec = a->duration;
        else if (strcmp(word(a->line, 0), "repeat") == 0)
                vm->repeat_percent = (unsigned) a->number;
        else
                vm->lose_percent = (unsigned) a->number;
}

static void line_app_fault(struct sim *sim, const struct arguments *a) {
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

static void line_vm_share(struct sim *sim, const struct arguments *a) {
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

static void line_takes(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 0);

        if (strcmp(what, "plug-takes") == 0)
                vm->plug_usec = a->duration;
        else if (strcmp(what, "boot-takes") == 0)
                vm->boot_usec = a->duration;
        else
                vm->dump_usec = a->duration;
}

static void line_vm_fault(struct sim *sim, const struct arguments *a) {
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

static void line_touch(struct sim *sim, const struct arguments *a) {
        memory_touch(sim, a->pair, a->side, a->app, a->number);
}

static void line_touches(struct sim *sim, const struct arguments *a) {
        sim_vm(sim, a->pair, a->side)->touches_bytes[a->app] = a->number;
}

static void line_others(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm_guest_acts(vm))
                vm->others_bytes[a->app] = a->number < vm->plugged[a->app] ? a->number : vm->plugged[a->app];
}

static void line_reclaim(struct sim *sim, const struct arguments *a) {
        sim->reclaim = a->on;
        memory_tell_reclaim(sim);
}

static void line_preflight(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 2);

        if (strcmp(what, "autostart") == 0)
                vm->bad_autostart = a->on;
        else if (strcmp(what, "channel") == 0)
                vm->bad_channel = a->on;
        else if (strcmp(what, "requested") == 0)
                vm->bad_requested = a->on;
        else if (strcmp(what, "huge-pages") == 0)
                vm->huge_pages = a->on;
        else
                vm->bad_device = a->on;
}

/* ---- the host --------------------------------------------------------------------------------------------------- */

static usec_t later(usec_t a, usec_t b) {
        return a > b ? a : b;
}

static void line_libvirt(struct sim *sim, const struct arguments *a) {
        if (strcmp(word(a->line, 1), "down") == 0)
                host_libvirt(sim, false);
        else
                sim->libvirt_hang_usec = later(sim->libvirt_hang_usec, sim->now_usec + a->duration);
        sim_add(sim, (struct item){ .kind = ITEM_LIBVIRT_BACK, .pair = NO_PAIR }, a->duration);
}

/* Its QEMU gets no processor: the guest stands still, and the kernel tells that it waits. */
static void line_starve(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm->starved || !vm->process)
                return;
        vm->starved = true;
        vm->starved_usec = sim->now_usec;
        vm->alive_usec = sim->now_usec;
        sim_add(sim,
                (struct item){ .kind = ITEM_STARVED_OVER,
                               .pair = (short) a->pair,
                               .side = (signed char) a->side,
                               .life = vm->life },
                a->duration);
}

static void line_libvirt_twice(struct sim *sim, const struct arguments *a) {
        sim->libvirt_twice = a->on;
}

static void line_libvirt_fails(struct sim *sim, const struct arguments *a) {
        sim->fail_call = (unsigned) a->number;
        sim->fail_done = a->line->n_words > 3;
}

static void line_domain_hang(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        vm->hang_until_usec = later(vm->hang_until_usec, sim->now_usec + a->duration);
        sim_add(sim, (struct item){ .kind = ITEM_HANG_OVER, .pair = (short) a->pair, .side = (signed char) a->side },
                a->duration);
}

static void line_store(struct sim *sim, const struct arguments *a) {
        const char *what = word(a->line, 1);

        if (strcmp(what, "stall") == 0)
                sim->store_stall_usec = sim->now_usec + a->duration;
        else if (strcmp(what, "fail") == 0)
                sim->store_fail_usec = sim->now_usec + a->duration;
        else if (strcmp(what, "tear") == 0)
                sim->store_tears = true;
        else
                sim->store_lost = sim->store_gone = true; /* found at failoverd's next start */
}

static void line_host_tells_signals(struct sim *sim, const struct arguments *a) {
        sim->tells_signals = a->on;
}

static void line_host(struct sim *sim, const struct arguments *a) {
        const char *what = word(a->line, 1);

        if (strcmp(what, "stall") == 0)
                sim->stalled_until_usec = later(sim->stalled_until_usec, sim->now_usec + a->duration);
        else if (strcmp(what, "clock-forward") == 0)
                sim->clock_step_usec += (int64_t) a->duration;
        else if (strcmp(what, "clock-back") == 0)
                sim->clock_step_usec -= (int64_t) a->duration;
        else if (strcmp(what, "pressure") == 0)
                failoverd_step(sim,
                               &(struct event){ .kind = EVENT_PRESSURE, .pair = NO_PAIR, .bytes = a->number * 10000 });
        else
                failoverd_power_loss(sim, a->duration);
}

static void line_paging(struct sim *sim, const struct arguments *a) {
        failoverd_step(sim, &(struct event){ .kind = EVENT_PAGING,
                                             .pair = a->pair,
                                             .side = a->side,
                                             .app = NO_APP,
                                             .bytes = a->number });
}

static void line_kill(struct sim *sim, const struct arguments *a) {
        sim->die_down_usec = a->duration && strcmp(word(a->line, 2), "after") != 0 ? a->duration : FAILOVERD_DOWN_USEC;
        if (strcmp(word(a->line, 2), "after") == 0)
                sim->die_after = (int) a->number;
        else
                failoverd_die(sim, sim->die_down_usec);
}

static void note_command(struct sim *sim, const struct line *line, uint64_t id) {
        struct sim_command *asked = &sim->commands[sim->n_commands++];

        *asked = (struct sim_command) { .id = id, .asked_usec = sim->now_usec };
        snprintf(asked->what, sizeof(asked->what), "%.63s", line->text);
}

static void line_operator(struct sim *sim, const struct arguments *a) {
        struct operator_command command = {
                .verb = command_verb_from_string(word(a->line, 1)), .who = "operator", .until_usec = USEC_INFINITY,
        };

        if (!sim->engine || sim->n_commands == SIM_COMMANDS_MAX)
                return;
        command.dry_run = strcmp(a->line->words[a->line->n_words - 1], "dry-run") == 0;
        command.side = (enum side) a->side;
        if (strcmp(word(a->line, 1), "rehearse") == 0) {
                command.verb = COMMAND_DRILL;
                command.level = DRILL_LEVEL_REHEARSE;
        } else if (command.verb == COMMAND_DRILL) {
                command.level = DRILL_LEVEL_FULL;
                command.fault = drill_fault_from_string(word(a->line, 3));
        }
        if (a->duration)
                command.until_usec = sim_real_usec(sim) + a->duration;
        command.id = a->pair < 0 ? 0 : ++sim->next_command;
        if (command.id)
                note_command(sim, a->line, command.id);
        failoverd_step(sim, &(struct event){ .kind = EVENT_COMMAND,
                                             .pair = a->pair,
                                             .side = SIDE_INVALID,
                                             .app = NO_APP,
                                             .command = &command });
}

/* Memory by hand: "operator assign vm-a=-1GiB vm-b=+1GiB", "operator assign-cancel". */
static void line_assign(struct sim *sim, const struct arguments *a) {
        struct operator_command command = { .verb = command_verb_from_string(word(a->line, 1)), .who = "operator" };
        size_t used = 0;

        if (!sim->engine || sim->n_commands == SIM_COMMANDS_MAX)
                return;
        for (unsigned i = 2; i < a->line->n_words; i++)
                used += (size_t) snprintf(command.request + used, sizeof(command.request) - used, "%s%s",
                                          used ? " " : "", a->line->words[i]);
        command.id = ++sim->next_command;
        note_command(sim, a->line, command.id);
        failoverd_step(sim, &(struct event){ .kind = EVENT_COMMAND,
                                             .pair = NO_PAIR,
                                             .side = SIDE_INVALID,
                                             .app = NO_APP,
                                             .command = &command });
}

static void line_apply(struct sim *sim, const struct arguments *a) {
        struct error error = ERROR_INIT;
        struct policy *policy = NULL;

        if (!sim->options->load_policy ||
            sim->options->load_policy(sim->options->userdata, word(a->line, 1), &policy, &error) < 0) {
                print_line(sim, "%s: %s", word(a->line, 1),
                           error.message ? error.message : "no policies can be loaded here");
                error_deinit(&error);
                return;
        }
        policy_apply(sim, policy);
}

/* Faults that lie in wait. */
static void calm_vm(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        vm->kill_sticks = vm->boot_fails = vm->no_echo = vm->no_balloon = vm->start_fails = vm->page_out_fails = false;
        vm->touch_fails = false;
        vm->plug_percent = vm->unplug_percent = 100;
        vm->lose_percent = vm->repeat_percent = vm->lie_percent = vm->calls_fail_percent = 0;
        vm->lag_usec = vm->plug_usec = vm->boot_usec = vm->dump_usec = 0;
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                struct sim_app *app = &vm->apps[i];

                app->start_fails = app->stop_sticks = app->disk_sticks = false;
                app->canary_fails = app->canary_hangs = false;
                app->start_usec = app->stop_usec = 0;
        }
}

static void line_calm(struct sim *sim, const struct arguments *a) {
        (void) a;
        for (int i = 0; sim->engine && i < sim->engine->n_pairs; i++)
                for (int side = 0; sim->engine->pairs[i] && side < SIDE_MAX; side++) {
                        /* An armed pair is not looked at again, and what has been found there is not asked for again.
                         */
                        if (sim->engine->pairs[i]->members[side].preflight.apps[0].present)
                                sim_vm(sim, i, side)->bad_device = false;
                        for (int k = 0; k < POLICY_APPLICATIONS_MAX; k++)
                                if (sim->engine->pairs[i]->apps[k].checked[side])
                                        sim_vm(sim, i, side)->apps[k].check_fails = false;
                }
        sim->store_stall_usec = sim->store_fail_usec = 0;
        sim->die_after = 0;
        for (int i = 0; i < sim->n_pairs; i++)
                for (int side = 0; sim->pairs[i].present && side < SIDE_MAX; side++) {
                        calm_vm(sim, i, side);
                        vm_release_deferred(sim, i, side); /* the guest tries again to give up what it kept */
                }
        failoverd_start(sim);
}

static void line_explain(struct sim *sim, const struct arguments *a) {
        print_explanation(sim, a->pair);
}

static void line_check(struct sim *sim, const struct arguments *a) {
        foretell_print(sim, a->pair);
}

static void line_try(struct sim *sim, const struct arguments *a) {
        foretell_cause(sim, a->pair, a->number);
}

static void heal_vm(struct sim *sim, int pair, int side) {
        const struct pair *known = sim->engine && pair < sim->engine->n_pairs ? sim->engine->pairs[pair] : NULL;
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct arguments a = { .pair = pair, .side = side };

        calm_vm(sim, pair, side);
        vm->bad_autostart = vm->bad_channel = vm->bad_requested = vm->bad_device = vm->agent_stopped = vm->link_cut =
                false;
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                vm->apps[i].check_fails = false;
        if (vm->process_stopped)
                line_qemu_cont(sim, &a);
        host_unstick(sim, pair, side);
        vm_release_deferred(sim, pair, side);
        if (vm->paused && vm->guest != GUEST_PANICKED && (!known || !known->record.fence_wanted[side]))
                vm_go_on(sim, pair, side); /* an operator resumes it */
        else if (vm->paused && vm->guest == GUEST_PANICKED && known && known->members[side].operator_hold)
                vm_kill(sim, pair, side, REASON_DESTROYED, DESTROY_USEC); /* there is nothing to resume */
        else if (known && known->policy->retired && known->members[side].failure[0])
                vm_kill(sim, pair, side, REASON_DESTROYED, DESTROY_USEC); /* nobody builds it anew any more */
        else if (!vm->process && vm->domain == DOMAIN_SHUTOFF && known && known->members[side].operator_hold)
                vm_start(sim, pair, side); /* an operator starts it */
        if (vm->process)
                host_link(sim, pair, side, true);
}

/* After a lost store a person, who knows where the data is, says so. */
static void heal_owner(struct sim *sim, int slot) {
        const struct pair *pair = sim->engine ? sim->engine->pairs[slot] : NULL;
        struct operator_command adopt = { .verb = COMMAND_ADOPT, .who = "operator" };

        if (!pair || !pair->unsettled || !pair->record.held)
                return;
        for (unsigned i = 0; i < sim->pairs[slot].last.n_apps; i++)
                if (sim->pairs[slot].last.apps[i].owner == SIDE_B)
                        adopt.side = SIDE_B;
        failoverd_step(sim, &(struct event){ .kind = EVENT_COMMAND,
                                             .pair = slot,
                                             .side = SIDE_INVALID,
                                             .app = NO_APP,
                                             .command = &adopt });
}

static void line_heal(struct sim *sim, const struct arguments *a) {
        sim->libvirt_twice = sim->store_tears = false;
        sim->fail_call = 0;
        sim->store_stall_usec = sim->store_fail_usec = 0; /* hangs and stalls of libvirt and the host run out */
        sim->die_after = 0;
        sim->healed_usec = sim->now_usec;
        if (sim->libvirt_hang_usec <= sim->now_usec)
                host_libvirt(sim, true);
        for (int i = 0; i < sim->n_pairs; i++)
                for (int side = 0; sim->pairs[i].present && side < SIDE_MAX; side++)
                        heal_vm(sim, i, side);
        if (sim->store_torn && sim->engine) /* an operator restarts it, so that what is damaged is set aside */
                failoverd_die(sim, FAILOVERD_DOWN_USEC);
        else
                failoverd_start(sim);
        for (int i = 0; sim->engine && i < sim->engine->n_pairs; i++)
                heal_owner(sim, i);
        failoverd_step(sim, &(struct event){ .kind = EVENT_COMMAND,
                                             .pair = NO_PAIR,
                                             .side = SIDE_INVALID,
                                             .app = NO_APP,
                                             .command = &(struct operator_command){ .verb = COMMAND_RESUME,
                                                                                    .who = "operator" } });
}

/* ---- the language ------------------------------------------------------------------------------------------------ */

static const struct {
        const char *first, *second; /* words; second NULL: the arguments follow at once */
        const char *template;
        void (*run)(struct sim *sim, const struct arguments *arguments);
} lines[] = {
        { "panic", NULL, "V", line_panic },
        { "hang", NULL, "V", line_hang },
        { "unhang", NULL, "V", line_unhang },
        { "reboot", NULL, "Vw", line_guest_stop },
        { "shutdown", NULL, "Vw", line_guest_stop },
        { "reset", NULL, "V", line_reset },
        { "qemu-kill", NULL, "V", line_qemu_kill },
        { "qemu-stop", NULL, "V", line_qemu_stop },
        { "qemu-cont", NULL, "V", line_qemu_cont },
        { "watchdog", NULL, "V", line_watchdog },
        { "io-error", NULL, "V[w", line_io_error },
        { "memory-failure", NULL, "VS[A", line_memory_failure },
        { "suspend", NULL, "V", line_virsh },
        { "resume", NULL, "V", line_virsh },
        { "resume-suspended", NULL, "V", line_virsh },
        { "destroy", NULL, "V", line_virsh },
        { "save", NULL, "V", line_virsh },
        { "migrate", NULL, "V", line_virsh },
        { "start", NULL, "V", line_virsh },
        { "fail", NULL, "Aw[ww", line_fail },
        { "agent-kill", NULL, "V", line_agent },
        { "agent-stop", NULL, "V", line_agent },
        { "agent-cont", NULL, "V", line_agent },
        { "cut", NULL, "VD", line_cut },
        { "lag", NULL, "VD", line_link },
        { "lose", NULL, "VN", line_link },
        { "repeat", NULL, "VN", line_link },
        { "lie", NULL, "VN", line_lies },
        { "lie", NULL, "Vw[A", line_lie },
        { "out-of-memory", NULL, "V", line_out_of_memory },
        { "start-fails", NULL, "VAB", line_app_fault },
        { "stop-sticks", NULL, "VAB", line_app_fault },
        { "check-fails", NULL, "VAB", line_app_fault },
        { "disk-sticks", NULL, "VAB", line_app_fault },
        { "canary-fails", NULL, "VAB", line_app_fault },
        { "canary-hangs", NULL, "VAB", line_app_fault },
        { "start-takes", NULL, "VAD", line_app_fault },
        { "plug", NULL, "VN", line_vm_share },
        { "plug-takes", NULL, "VD", line_takes },
        { "dump-takes", NULL, "VD", line_takes },
        { "unplug", NULL, "VN", line_vm_share },
        { "calls-fail", NULL, "VN", line_vm_share },
        { "boot-fails", NULL, "VB", line_vm_fault },
        { "paging", NULL, "VN", line_paging },
        { "boot-takes", NULL, "VD", line_takes },
        { "page-out-fails", NULL, "VB", line_vm_fault },
        { "touch", NULL, "VAS", line_touch },
        { "touches", NULL, "VAS", line_touches },
        { "others", NULL, "VAS", line_others },
        { "reclaim", NULL, "B", line_reclaim },
        { "domain-start-fails", NULL, "VB", line_vm_fault },
        { "kill-sticks", NULL, "VB", line_vm_fault },
        { "touch-fails", NULL, "VB", line_vm_fault },
        { "agent-old", NULL, "VB", line_vm_fault },
        { "echo", NULL, "VB", line_vm_fault },
        { "balloon", NULL, "VB", line_vm_fault },
        { "preflight", NULL, "VwB", line_preflight },
        { "libvirt", "down", "D", line_libvirt },
        { "libvirt", "hang", "D", line_libvirt },
        { "libvirt", "twice", "B", line_libvirt_twice },
        { "libvirt", "fails", "N[w", line_libvirt_fails },
        { "domain-hang", NULL, "VD", line_domain_hang },
        { "starve", NULL, "VD", line_starve },
        { "store", "stall", "D", line_store },
        { "store", "fail", "D", line_store },
        { "store", "lost", "", line_store },
        { "store", "tear", "", line_store },
        { "host", "stall", "D", line_host },
        { "host", "clock-forward", "D", line_host },
        { "host", "clock-back", "D", line_host },
        { "host", "pressure", "N", line_host },
        { "host", "power-loss", "D", line_host },
        { "host", "tells-signals", "B", line_host_tells_signals },
        { "kill", "failoverd", "wNw", line_kill },
        { "kill", "failoverd", "[D", line_kill },
        { "operator", "switch", "P[w", line_operator },
        { "operator", "return", "P[w", line_operator },
        { "operator", "drill", "Pw[w", line_operator },
        { "operator", "rehearse", "P", line_operator },
        { "operator", "pause", "O[D", line_operator },
        { "operator", "resume", "O", line_operator },
        { "operator", "adopt", "PV", line_operator },
        { "operator", "assign", "w[wwwww", line_assign },
        { "operator", "assign-cancel", "", line_assign },
        { "apply", NULL, "w", line_apply },
        { "explain", NULL, "P", line_explain },
        { "check", NULL, "P", line_check },
        { "try", NULL, "PN", line_try },
        { "calm", NULL, "", line_calm },
        { "heal", NULL, "", line_heal },
};

const char *inject_form(size_t i, const char **ret_second) {
        if (i >= sizeof(lines) / sizeof(lines[0]))
                return NULL;
        *ret_second = lines[i].second;
        return lines[i].first;
}

static int find_line(const struct sim *sim, const struct line *line, struct arguments *ret) {
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                struct arguments a = { .line = line, .pair = NO_PAIR, .side = SIDE_INVALID, .app = NO_APP };

                if (strcmp(line->words[0], lines[i].first) != 0 ||
                    (lines[i].second && strcmp(word(line, 1), lines[i].second) != 0) ||
                    !match(sim, line, lines[i].second ? 2 : 1, lines[i].template, &a))
                        continue;
                *ret = a;
                return (int) i;
        }
        return -ENOENT;
}

int inject_check(const struct sim *sim, const struct line *line, struct error *error) {
        struct arguments a;

        if (find_line(sim, line, &a) < 0)
                return error_set(error, -EINVAL,
                                 "line %u: \"%.100s\": unknown, or its arguments are not of the form that it takes, or "
                                 "name nothing in the policy",
                                 line->number, line->text);
        if (strcmp(line->words[0], "fail") == 0 && (int) failure_cause_from_string(word(line, 2)) < 0)
                return error_set(error, -EINVAL,
                                 "line %u: \"%s\" is no cause of a failure (exit, signal, check, memory, start)",
                                 line->number, word(line, 2));
        if (strcmp(word(line, 1), "fails") == 0 &&
            (a.number == 0 || (line->n_words > 3 && strcmp(word(line, 3), "done") != 0)))
                return error_set(error, -EINVAL, "line %u: \"%s\": calls are counted from 1, and \"done\" may follow",
                                 line->number, line->text);
        if (strcmp(line->words[0], "lie") == 0 && a.number == 0 && strcmp(word(line, 2), "0") != 0 &&
            !liar_knows(word(line, 2)))
                return error_set(
                        error, -EINVAL,
                        "line %u: \"%s\" is no lie (started, running, stopped, failed, memory, foreign, token, ids)",
                        line->number, word(line, 2));
        if (strcmp(word(line, 1), "drill") == 0 && (int) drill_fault_from_string(word(line, 3)) < 0)
                return error_set(error, -EINVAL, "line %u: \"%s\" is no fault of a drill", line->number, word(line, 3));
        return 0;
}

void inject(struct sim *sim, const struct line *line) {
        struct arguments a;
        int i = find_line(sim, line, &a);

        print_line(sim, "> %s", line->text);
        if (i < 0)
                print_line(sim, "  (names nothing in the policy that is in force now, ignoring)");
        else
                lines[i].run(sim, &a);
}
