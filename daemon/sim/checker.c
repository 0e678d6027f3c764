/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/sim/checker.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define COMMAND_LIMIT_USEC (10 * 60 * USEC_PER_SEC)
#define STEPS_A_MSEC_MAX 20000
#define ACTIONS_BASE_MAX 256
#define ACTIONS_A_PAIR_MAX 128
#define TO_COME_BASE_MAX 1024
#define TO_COME_A_PAIR_MAX 512
#define OTHERS_LITTLE_BYTES (16 * MIB) /* what finds room elsewhere in any guest */

void checker_violated(struct sim *sim, const char *format, ...) {
        va_list ap;

        sim->result.violations++;
        if (!sim->out)
                return;
        fprintf(sim->out, "%8" PRIu64 " VIOLATION: ", sim_since(sim) / USEC_PER_MSEC);
        va_start(ap, format);
        vfprintf(sim->out, format, ap);
        va_end(ap);
        fputc('\n', sim->out);
}

bool checker_can_act(const struct sim_vm *vm, int app) {
        enum application_state state = vm->apps[app].state;

        return vm->process && !vm->paused && (vm->guest == GUEST_RUNNING || vm->guest == GUEST_HUNG) &&
               (state == APPLICATION_STARTING || state == APPLICATION_RUNNING || state == APPLICATION_STOPPING);
}

void checker_world(struct sim *sim, int pair) {
        const struct pair_policy *policy = sim_policy(sim, pair);

        checker_listen(sim, pair);
        for (size_t i = 0; policy && i < policy->n_applications; i++) {
                const struct sim_vm *a = sim_vm(sim, pair, SIDE_A), *b = sim_vm(sim, pair, SIDE_B);

                /* An application's stop rests on its agent's word: a guest that lies brings this upon itself. */
                if (policy->applications[i].kind == APPLICATION_HOT_STANDBY && checker_can_act(a, (int) i) &&
                    checker_can_act(b, (int) i) && !a->lied && !b->lied &&
                    !a->stated_dead && !b->stated_dead)
                        checker_violated(sim, "%s runs on %s and on %s", policy->applications[i].name,
                                 policy->members[SIDE_A].domain, policy->members[SIDE_B].domain);
                if (a->process && b->process && !a->stated_dead && !b->stated_dead && (a->disks[i] & b->disks[i]))
                        checker_violated(sim, "a disk of %s is attached to both VMs", policy->applications[i].name);
        }
}

/* ---- starts ------------------------------------------------------------------------------------------------ */

static const struct record_app *stored_app(const struct record *record, const char *name) {
        for (unsigned i = 0; i < record->n_apps; i++)
                if (strcmp(record->apps[i].name, name) == 0)
                        return &record->apps[i];
        return NULL;
}

static bool stored(const struct record *record, bool known, const char *name, enum side side, uint64_t token) {
        const struct record_app *app = known ? stored_app(record, name) : NULL;

        return app && app->owner == side && app->token == token;
}

/* The token rises at each grant: an agent that was told before cannot be taken for the one that is told now. */
static void check_token(struct sim *sim, const struct action *action, const struct application *app) {
        const struct sim_app *other = &sim_vm(sim, action->pair, side_other(action->side))->apps[action->app];
        struct sim_app *here = &sim_vm(sim, action->pair, action->side)->apps[action->app];
        uint64_t token = action->message->token;

        if ((other->told_token && token <= other->told_token) || token < here->told_token)
                checker_violated(sim,
                                 "%s is to be started with token %" PRIu64 ", which is no higher than was told before",
                                 app->name, token);
        here->told_token = token;
}

/* The same application under another pair, which a policy took it out of: it is nowhere when it is started here. */
static void check_elsewhere(struct sim *sim, const struct action *action, const struct application *app) {
        for (int i = 0; i < sim->n_pairs; i++) {
                const struct pair_policy *policy = i == action->pair ? NULL : sim_policy(sim, i);
                int other = policy ? pair_policy_find_application(policy, app->name) : -1;

                for (int side = 0; other >= 0 && side < SIDE_MAX; side++) {
                        const struct sim_vm *vm = sim_vm(sim, i, side);

                        if (vm->lied || vm->stated_dead)
                                continue;
                        if (checker_can_act(vm, other))
                                checker_violated(sim, "%s is to be started on %s and can still act on %s", app->name,
                                                 sim_policy(sim, action->pair)->members[action->side].domain,
                                                 policy->members[side].domain);
                        if (vm->process && vm->disks[other])
                                checker_violated(sim, "%s is to be started on %s while %s still holds a disk of it",
                                                 app->name, sim_policy(sim, action->pair)->members[action->side].domain,
                                                 policy->members[side].domain);
                }
        }
}

void checker_forgotten(struct sim *sim, const struct sim_vm *vm, int app, const char *name, const char *domain) {
        if (checker_can_act(vm, app) && !vm->lied && !vm->stated_dead)
                checker_violated(sim, "%s is in no policy any more and can still act on %s", name, domain);
}

static void check_start(struct sim *sim, const struct action *action) {
        const struct sim_pair *pair = &sim->pairs[action->pair];
        const struct pair_policy *policy = sim_policy(sim, action->pair);
        const struct sim_vm *other = sim_vm(sim, action->pair, side_other(action->side));
        const struct application *app;
        bool on_disk, disk_silent;

        if (!policy)
                return;
        app = &policy->applications[action->app];
        if (app->kind == APPLICATION_HOT_STANDBY && checker_can_act(other, action->app) && !other->lied &&
            !other->stated_dead)
                checker_violated(sim, "%s is to be started on %s and can still act on %s", app->name,
                         policy->members[action->side].domain,
                                 policy->members[side_other(action->side)].domain);
        for (size_t i = 0; i < app->n_disks; i++)
                if (!(sim_vm(sim, action->pair, action->side)->disks[action->app] & 1U << i))
                        checker_violated(sim, "%s is to be started on %s without its disk %s", app->name,
                                 policy->members[action->side].domain, app->disks[i]);
        if (app->n_regions > 0 && pair->regions[action->app].without != action->message->token &&
            (pair->regions[action->app].side != action->side ||
             pair->regions[action->app].token != action->message->token))
                checker_violated(sim, "%s is to be started on %s, and its state is not its own to write", app->name,
                                 policy->members[action->side].domain);
        if (sim->engine->pairs[action->pair]->record.apps[action->app].ended)
                checker_violated(sim, "%s has ended, and is to be started", app->name);
        check_token(sim, action, app);
        check_elsewhere(sim, action, app);
        if (pair->checker.dumping[side_other(action->side)] &&
            sim_vm(sim, action->pair, side_other(action->side))->process)
                checker_violated(sim, "%s is to be started on %s while %s is being dumped", app->name,
                                 policy->members[action->side].domain,
                                 policy->members[side_other(action->side)].domain);
        on_disk = stored(&pair->owner, pair->owner_known, app->name, action->side, action->message->token);
        /* A damaged database is found at the next start, and is loud then. */
        disk_silent = (sim->engine->pairs[action->pair]->store_late || sim->store_torn) &&
                      stored(&pair->step, pair->step_known, app->name, action->side, action->message->token);
        if (!on_disk && !disk_silent)
                checker_violated(sim, "%s is to be started on %s before the store holds that it belongs there",
                                 app->name, policy->members[action->side].domain);
}

/* A disk is asked for only when it is free: not by trying. */
static void check_attach(struct sim *sim, const struct action *action) {
        const struct pair_policy *policy = sim_policy(sim, action->pair);
        const struct sim_vm *other = sim_vm(sim, action->pair, side_other(action->side));
        const struct application *app;

        if (!policy || other->stated_dead)
                return;
        app = &policy->applications[action->app];
        for (size_t i = 0; i < app->n_disks; i++)
                if (strcmp(app->disks[i], action->text) == 0 && other->process && (other->disks[action->app] & 1U << i))
                        checker_violated(sim, "%s of %s is to be attached to %s while %s still holds it", action->text,
                                         app->name, policy->members[action->side].domain,
                                         policy->members[side_other(action->side)].domain);
}

/* ---- rehearsals -------------------------------------------------------------------------------------------- */

/* A side is grown only for what it owns or is given by a flow; or for a rehearsal that the store knows of. An old user
 * may keep what it uses, and what unused memory stands in for. */
static void check_grow(struct sim *sim, const struct action *action) {
        const struct sim_pair *pair = &sim->pairs[action->pair];
        const struct record_app *app = &sim->engine->pairs[action->pair]->record.apps[action->app];
        const struct record_app *known = pair->step_known ? stored_app(&pair->step, app->name) : NULL;

        if (action->bytes <= app->using_bytes[action->side] ||
            (app->releasing[action->side] && action->bytes <= app->granted_bytes[action->side]) ||
            app->owner == action->side || app->moving ||
            checker_by_hand(sim->engine->pairs[action->pair], action->app))
                return;
        if (!known || !known->rehearsed || known->granted_bytes[action->side] < action->bytes ||
            pair->step.rehearsal == REHEARSAL_NONE)
                checker_violated(sim,
                                 "%s is plugged into a VM that does not own it, and the store knows of no rehearsal",
                                 app->name);
}

/* Is the rest of what an old user's guest cannot spare taken back from it by force, or waited for, since unused memory
 * stands in for it? */
static bool may_keep(const struct sim *sim, const struct pair *pair, enum side side, int app) {
        const struct record_app *record = &pair->record.apps[app];

        if (record->using_bytes[side] > 0)
                return sim->engine->reclaim_able;
        return record->releasing[side] && record->owner != side && !record->rehearsed &&
               pair_application_kind(pair, app) == APPLICATION_HOT_STANDBY &&
               pair->policy->handover == HANDOVER_LAZY &&
               pair->apps[app].needed_usec[side] > pair->apps[app].release_usec &&
               table_unused(&sim->engine->table) >= engine_promised_bytes(sim->engine);
}

/* An old user's guest is asked for no more than it can spare, as far as it has told. */
static void check_spare(struct sim *sim, const struct action *action) {
        const struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        const struct pair *pair = sim->engine->pairs[action->pair];
        uint64_t others = vm->others_told[action->app];

        if (vm->lied || vm->agent_old || others <= OTHERS_LITTLE_BYTES ||
            pair->record.apps[action->app].ended || !may_keep(sim, pair, action->side, action->app))
                return;
        if (action->bytes < (others < vm->plugged[action->app] ? others : vm->plugged[action->app]))
                checker_violated(sim, "%s is to give up what else runs there needs %" PRIu64 " MiB of",
                                 sim_policy(sim, action->pair)->members[action->side].domain, others / MIB);
}

/* The active side is not touched. */
static void check_rehearsal_message(struct sim *sim, const struct action *action) {
        const struct record *record = &sim->engine->pairs[action->pair]->record;

        if (record->apps[action->app].owner == action->side || record->apps[action->app].moving ||
            record->rehearsal_side != action->side)
                checker_violated(sim, "a rehearsal reaches the side that owns %s", record->apps[action->app].name);
}

/* ---- actions ----------------------------------------------------------------------------------------------- */

static bool is_done_action(enum action_kind kind) {
        return kind <= ACTION_PREFLIGHT;
}

static bool same(const struct checker_out *out, const struct action *action) {
        if (out->kind != action->kind)
                return false;
        if (action->kind == ACTION_PERSIST)
                return out->level == (int) action->level;
        return out->side == (int) action->side && out->app == action->app;
}

static void check_reply(struct sim *sim, const struct action *action) {
        for (size_t i = 0; i < sim->n_commands; i++) {
                if (sim->commands[i].id != action->command_id)
                        continue;
                sim->commands[i] = sim->commands[--sim->n_commands];
                return;
        }
        checker_violated(sim, "an answer that nobody waits for: %s", action->text);
}

void checker_action(struct sim *sim, const struct action *action) {
        struct checker_pair *pair;

        if (action->kind == ACTION_SEND &&
            (action->message->type == MESSAGE_START || action->message->type == MESSAGE_RESTART))
                check_start(sim, action);
        if (action->kind == ACTION_SEND && (action->message->type == MESSAGE_CANARY ||
                                            (action->message->type == MESSAGE_TOUCH &&
                                             sim->engine->pairs[action->pair]->record.rehearsal != REHEARSAL_NONE)))
                check_rehearsal_message(sim, action); /* without a rehearsal a touch is the policy's prefault */
        if (action->kind == ACTION_DUMP || action->kind == ACTION_KILL)
                sim->pairs[action->pair].checker.dumping[action->side] = action->kind == ACTION_DUMP;
        if (action->kind == ACTION_RESIZE) {
                check_grow(sim, action);
                check_spare(sim, action);
        }
        if (action->kind == ACTION_ATTACH_DISK)
                check_attach(sim, action);
        if (action->kind == ACTION_REPLY)
                check_reply(sim, action);
        if (action->kind == ACTION_PHASE)
                checker_decision(sim, action);
        if (action->kind == ACTION_PERSIST)
                checker_persist(sim, action);
        if (!is_done_action(action->kind))
                return;
        pair = &sim->pairs[action->pair].checker;
        for (size_t i = 0; i < pair->n_out; i++)
                if (same(&pair->out[i], action))
                        checker_violated(sim, "%s is asked for while the same one is under way",
                                         action_kind_to_string(action->kind));
        if (action->id == 0)
                checker_violated(sim, "%s without a number", action_kind_to_string(action->kind));
        if (pair->n_out == CHECKER_OUT_MAX) {
                checker_violated(sim, "more than %d actions are under way", CHECKER_OUT_MAX);
                return;
        }
        pair->out[pair->n_out++] = (struct checker_out) {
                .kind = action->kind, .side = (signed char) action->side, .app = (signed char) action->app,
                .level = (signed char) action->level, .id = action->id,
        };
}

void checker_event(struct sim *sim, const struct event *event) {
        struct checker_pair *pair;

        if (event->kind != EVENT_DONE)
                return;
        pair = &sim->pairs[event->pair].checker;
        if (event->action == ACTION_DUMP)
                pair->dumping[event->side] = false;
        for (size_t i = 0; i < pair->n_out; i++)
                if (pair->out[i].id == event->action_id) {
                        pair->out[i] = pair->out[--pair->n_out];
                        return;
                }
}

void checker_step(struct sim *sim, const struct event *event) {
        struct checker *checker = &sim->checker;
        size_t limit = ACTIONS_BASE_MAX + ACTIONS_A_PAIR_MAX * (size_t) (event->pair < 0 ? sim->n_pairs : 1);

        if (sim->update.failed)
                sim->failed = true;
        if (sim->update.n_actions > limit)
                checker_violated(sim, "one step asks for %zu things", sim->update.n_actions);
        if (checker->msec != sim->now_usec / USEC_PER_MSEC) {
                checker->msec = sim->now_usec / USEC_PER_MSEC;
                checker->steps_this_msec = 0;
        }
        if (sim->queue.n_heap > TO_COME_BASE_MAX + TO_COME_A_PAIR_MAX * (size_t) sim->n_pairs)
                checker_violated(sim, "%zu things are still to come, and more and more", sim->queue.n_heap);
        if (++checker->steps_this_msec == STEPS_A_MSEC_MAX)
                checker_violated(sim, "the engine does not come to rest");
        checker_table(sim, event->pair);
        checker_lean(sim, event);
        for (size_t i = 0; i < sim->n_commands; i++)
                if (sim->now_usec - sim->commands[i].asked_usec > COMMAND_LIMIT_USEC) {
                        checker_violated(sim, "`%s` has had no answer for too long", sim->commands[i].what);
                        sim->commands[i--] = sim->commands[--sim->n_commands];
                }
}

void checker_policy(struct sim *sim) {
        for (int i = 0; i < sim->n_pairs; i++)
                sim->pairs[i].checker.n_out = 0;
}

static void forget_dumps(struct sim *sim) {
        for (int i = 0; i < sim->n_pairs; i++)
                memset(sim->pairs[i].checker.dumping, 0, sizeof(sim->pairs[i].checker.dumping));
}

void checker_forget(struct sim *sim) {
        checker_policy(sim);
        forget_dumps(sim);
        sim->n_commands = 0;
}

/* ---- the end ----------------------------------------------------------------------------------------------- */

/* What a guest has just been asked to take in is there after so long. */
#define PLUG_USEC (2 * USEC_PER_SEC)

/* At rest the guests hold what the table grants them. */
static void check_sizes(struct sim *sim, const struct pair *pair) {
        for (enum side side = 0; side < SIDE_MAX; side++)
                for (size_t i = 0; i < pair->policy->n_applications; i++) {
                        const struct sim_vm *vm = sim_vm(sim, pair->slot, side);
                        uint64_t granted = pair->record.apps[i].granted_bytes[side];

                        if (pair->members[side].resize[i].id || pair->members[side].resize[i].failures ||
                            sim->now_usec - pair->members[side].resize[i].sent_usec < PLUG_USEC ||
                            pair->apps[i].start[side].id || vm->plug_percent < 100)
                                continue; /* not at rest yet */
                        if (vm->plugged[i] != granted && !pair->record.apps[i].releasing[side])
                                checker_violated(sim,
                                                 "%s has %" PRIu64 " MiB plugged for %s and %" PRIu64 " MiB granted",
                                                 pair->policy->members[side].domain, vm->plugged[i] / MIB,
                                                 pair->policy->applications[i].name, granted / MIB);
                }
}

static void check_runs(struct sim *sim, const struct pair *pair) {
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct record_app *app = &pair->record.apps[i];

                if (pair->policy->applications[i].kind == APPLICATION_HOT_STANDBY &&
                    sim_vm(sim, pair->slot, app->owner)->apps[i].state != APPLICATION_RUNNING)
                        checker_violated(sim, "%s is armed and %s does not run", pair->policy->name, app->name);
        }
}

/* Memory that was lost and that the pool cannot make good keeps an application from running; and what a lost store had
 * given out may be more than the pool covers by now: that is stated. */
static bool short_of_memory(const struct sim *sim, const struct pair *pair) {
        uint64_t unused = table_unused(&sim->engine->table);

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                for (int side = 0; side < SIDE_MAX; side++)
                        if (pair->apps[i].mismatch[side] &&
                            unused + pair->record.apps[i].granted_bytes[side] < pair->members[side].plugged_bytes[i])
                                return true;
        for (size_t i = 0; sim->engine->lost_bytes && i < pair->policy->n_applications; i++)
                if (pair->apps[i].refused &&
                    table_unused(&sim->engine->table) < pair->policy->applications[i].memory_bytes)
                        return true;
        return false;
}

/* Held after the last resume, as the policy has it. */
static bool at_flap_limit(const struct pair *pair) {
        return pair->record.held && pair->record.n_flaps >= pair->policy->flap_limit;
}

void checker_end(struct sim *sim) {
        for (int i = 0; sim->engine && i < sim->engine->n_pairs; i++) {
                const struct pair *pair = sim->engine->pairs[i];

                if (!pair)
                        continue;
                if (pair->policy->retired && !sim_is_released(pair) && sim->options->must_arm)
                        checker_violated(sim, "%s was taken out of the policy and holds memory: %s", pair->policy->name,
                                         pair->n_reasons ? pair->reasons[0] : "and does not say why");
                if (sim->options->must_arm && pair->state != PAIR_ARMED && !pair->policy->retired &&
                    !short_of_memory(sim, pair) && !at_flap_limit(pair))
                        checker_violated(sim, "%s is %s and not armed: %s", pair->policy->name,
                                         pair_state_to_string(pair->state),
                                         pair->n_reasons ? pair->reasons[0] : "and does not say why");
                if (pair->state != PAIR_ARMED && pair->state != PAIR_FAILOVER && pair->n_reasons == 0 &&
                    sim->engine->hypervisor_up)
                        checker_violated(sim, "%s is %s and does not say why", pair->policy->name,
                                         pair_state_to_string(pair->state));
                if (sim->options->must_arm && pair->record.rehearsal != REHEARSAL_NONE)
                        checker_violated(sim, "%s: the memory of a rehearsal has not come back (%s)",
                                         pair->policy->name, rehearsal_state_to_string(pair->record.rehearsal));
                if (pair->state != PAIR_ARMED)
                        continue;
                check_sizes(sim, pair);
                if (sim->options->must_arm)
                        checker_assigned(sim, pair);
                check_runs(sim, pair);
        }
        if (sim->options->must_arm && sim->n_commands)
                checker_violated(sim, "`%s` has had no answer", sim->commands[0].what);
}
