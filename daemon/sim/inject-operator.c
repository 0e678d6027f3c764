/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of a timeline about what operators ask of failoverd, and about the end of all faults. */

#include <stdio.h>
#include <string.h>

#include "daemon/sim/inject-internal.h"

static void note_command(struct sim *sim, const struct line *line, uint64_t id) {
        struct sim_command *asked = &sim->commands[sim->n_commands++];

        *asked = (struct sim_command) { .id = id, .asked_usec = sim->now_usec };
        snprintf(asked->what, sizeof(asked->what), "%.63s", line->text);
}

void line_operator(struct sim *sim, const struct arguments *a) {
        struct operator_command command = {
                .verb = command_verb_from_string(word(a->line, 1)), .who = "operator", .until_usec = USEC_INFINITY,
        };

        if (!sim->engine || sim->n_commands == SIM_COMMANDS_MAX)
                return;
        command.dry_run = strcmp(a->line->words[a->line->n_words - 1], "dry-run") == 0;
        command.force = strcmp(a->line->words[a->line->n_words - 1], "force") == 0;
        if (command.force && a->pair >= 0)
                for (int side = 0; side < SIDE_MAX; side++)
                        sim_vm(sim, a->pair, side)->stated_dead |= sim_vm(sim, a->pair, side)->kill_sticks;
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
void line_assign(struct sim *sim, const struct arguments *a) {
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

void line_apply(struct sim *sim, const struct arguments *a) {
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

void line_calm(struct sim *sim, const struct arguments *a) {
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

void line_explain(struct sim *sim, const struct arguments *a) {
        print_explanation(sim, a->pair);
}

void line_check(struct sim *sim, const struct arguments *a) {
        foretell_print(sim, a->pair);
}

void line_try(struct sim *sim, const struct arguments *a) {
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
        libvirt_unstick(sim, pair, side);
        vm_release_deferred(sim, pair, side);
        if (vm->paused && vm->guest != GUEST_PANICKED && (!known || !known->record.fence_wanted[side]))
                vm_go_on(sim, pair, side); /* an operator resumes it */
        else if (vm->paused && vm->guest == GUEST_PANICKED && known && known->members[side].operator_hold)
                vm_kill(sim, pair, side, REASON_DESTROYED, DESTROY_USEC); /* there is nothing to resume */
        else if (known && known->policy->retired && vm->guest == GUEST_HUNG && !known->members[side].configured)
                vm_kill(sim, pair, side, REASON_DESTROYED, DESTROY_USEC); /* as status says */
        else if (!vm->process && vm->domain == DOMAIN_SHUTOFF && known && known->members[side].operator_hold)
                vm_start(sim, pair, side); /* an operator starts it */
        if (vm->process)
                host_link(sim, pair, side, true);
        if (vm->agent_old && vm->agent_up && vm->guest == GUEST_RUNNING)
                agent_die(sim, pair, side); /* a newer one is installed, and started */
        vm->agent_old = false;
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

void line_heal(struct sim *sim, const struct arguments *a) {
        sim->libvirt_twice = sim->store_tears = false;
        holder_heal(sim);
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
        policy_mend_pool(sim);
        failoverd_step(sim, &(struct event){ .kind = EVENT_COMMAND,
                                             .pair = NO_PAIR,
                                             .side = SIDE_INVALID,
                                             .app = NO_APP,
                                             .command = &(struct operator_command){ .verb = COMMAND_RESUME,
                                                                                    .who = "operator" } });
}
