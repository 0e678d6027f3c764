/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a run shows: faults, decisions and actions of weight with their milliseconds, the table at the end. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/explain.h"
#include "daemon/sim/world.h"

static bool shown(const struct sim *sim) {
        return sim->out && !sim->options->quiet && sim_since(sim) >= sim->timeline.show_from_usec;
}

void print_line(struct sim *sim, const char *format, ...) {
        va_list ap;

        if (!shown(sim))
                return;
        fprintf(sim->out, "%8" PRIu64 " ", sim_since(sim) / USEC_PER_MSEC);
        va_start(ap, format);
        vfprintf(sim->out, format, ap);
        va_end(ap);
        fputc('\n', sim->out);
}

static const char *vm_name(struct sim *sim, const struct action *action) {
        const struct pair_policy *policy = action->pair >= 0 ? sim_policy(sim, action->pair) : NULL;

        return policy && action->side >= 0 && action->side < SIDE_MAX ? policy->members[action->side].domain : "-";
}

static void print_message(struct sim *sim, const struct action *action) {
        static const char *const words[MESSAGE_TYPE_MAX] = {
                [MESSAGE_ATTACH] = "attach", [MESSAGE_DETACH] = "detach", [MESSAGE_START] = "start", [MESSAGE_STOP] = "stop",
                [MESSAGE_RESTART] = "restart", [MESSAGE_GRANT] = "grant", [MESSAGE_REFUSE] = "refuse", [MESSAGE_FAULT] = "fault",
        };
        const struct message *m = action->message;

        if (!words[m->type])
                return;
        if (m->type == MESSAGE_START || m->type == MESSAGE_RESTART)
                print_line(sim, "%-10s to its agent: %s %s, token %" PRIu64, vm_name(sim, action), words[m->type], m->app, m->token);
        else
                print_line(sim, "%-10s to its agent: %s %s", vm_name(sim, action), words[m->type], m->app[0] ? m->app : m->text);
}

/* Only what weighs: no heartbeats, looks or wakes. */
void print_action(struct sim *sim, const struct action *action) {
        const char *vm = vm_name(sim, action);

        if (!shown(sim))
                return;
        switch (action->kind) {
        case ACTION_PERSIST:
                if (action->level == PERSIST_OWNER)
                        print_line(sim, "%-10s write the owners to disk", sim->pairs[action->pair].name);
                break;
        case ACTION_FREEZE:
        case ACTION_KILL:
        case ACTION_STOP_PROCESS:
        case ACTION_START_DOMAIN:
        case ACTION_DROP_LINK:
                print_line(sim, "%-10s %s", vm, action_kind_to_string(action->kind));
                break;
        case ACTION_RESIZE:
                print_line(sim, "%-10s resize %s to %" PRIu64 " MiB", vm, action->app_name, action->bytes / MIB);
                break;
        case ACTION_PAGE_OUT:
                print_line(sim, "%-10s page out %s from %" PRIu64 " MiB on, %" PRIu64 " MiB", vm, action->app_name, action->offset / MIB, action->bytes / MIB);
                break;
        case ACTION_VCPUS:
                print_line(sim, "%-10s %u processors", vm, action->count);
                break;
        case ACTION_ATTACH_DISK:
        case ACTION_DETACH_DISK:
                print_line(sim, "%-10s %s %s of %s", vm, action_kind_to_string(action->kind), action->text, action->app_name);
                break;
        case ACTION_SEND:
                print_message(sim, action);
                break;
        case ACTION_RECORD:
                print_line(sim, "%-10s [%s] %s", vm, record_kind_to_string(action->record_kind), action->text);
                break;
        case ACTION_PHASE:
                print_line(sim, "%-10s phase: %s", sim->pairs[action->pair].name, phase_to_string(action->phase));
                break;
        case ACTION_FLOW_ENDED:
                print_line(sim, "%-10s the %s has ended (%s): %s", sim->pairs[action->pair].name, flow_kind_to_string(action->flow.kind),
                           action->result ? strerror(-action->result) : "good", action->text);
                break;
        case ACTION_DRILL_ENDED:
                print_line(sim, "%-10s drill (%s): %s", sim->pairs[action->pair].name, drill_level_to_string(action->drill.level),
                           drill_verdict(&action->drill));
                break;
        case ACTION_REPLY:
                print_line(sim, "%-10s answer (%s): %s", "operator", action->result ? strerror(-action->result) : "good", action->text);
                break;
        default:
                break;
        }
}

void print_states(struct sim *sim, int slot) {
        for (int i = slot < 0 ? 0 : slot; sim->engine && i < sim->engine->n_pairs && i < sim->n_pairs; i++) {
                const struct pair *pair = sim->engine->pairs[i];

                if (slot >= 0 && i != slot)
                        break;
                if (!pair || pair->state == sim->pairs[i].shown)
                        continue;
                print_line(sim, "%-10s %s -> %s", pair->policy->name, pair_state_to_string(sim->pairs[i].shown), pair_state_to_string(pair->state));
                sim->pairs[i].shown = pair->state;
        }
}

static void print_sentences(struct sim *sim, const char *name, const char *rule, const char *tip) {
        print_line(sim, "%-10s   %s: %s", "", name, rule);
        if (tip[0])
                print_line(sim, "%-10s     tips: %s", "", tip);
}

void print_explanation(struct sim *sim, int slot) {
        const struct pair *pair = sim->engine ? sim->engine->pairs[slot] : NULL;
        struct explanation explanation;

        if (!pair || !shown(sim))
                return;
        explain_pair(sim->engine, pair, sim->engine->now_usec, &explanation);
        if (explanation.doubt[0])
                print_line(sim, "%-10s   doubt: %s", "", explanation.doubt);
        for (enum side side = 0; side < SIDE_MAX; side++)
                print_sentences(sim, pair->policy->members[side].domain, explanation.members[side].rule, explanation.members[side].tip);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                print_sentences(sim, pair->policy->applications[i].name, explanation.apps[i].rule, explanation.apps[i].tip);
}

static const char *holder_name(const struct sim *sim, struct holder holder, char buffer[NAME_LEN]) {
        const struct pair_policy *policy = holder.pair >= 0 ? sim_policy(sim, holder.pair) : NULL;

        snprintf(buffer, NAME_LEN, "%s", policy ? policy->members[holder.side].domain : "monitor");
        return buffer;
}

static void print_table(struct sim *sim) {
        const struct table *table = &sim->engine->table;
        char user[NAME_LEN], target[NAME_LEN];

        fprintf(sim->out, "\n%-24s %10s  %-12s %s\n", "region", "MiB", "user", "failover target");
        for (size_t i = 0; i < table->n_rows; i++) {
                const struct region *row = &table->rows[i];

                fprintf(sim->out, "%-24s %10" PRIu64 "  %-12s %s\n", row->name, row->usage_bytes / MIB, holder_name(sim, row->user, user),
                        holder_name(sim, row->target, target));
        }
}

static void print_pair(struct sim *sim, const struct pair *pair) {
        fprintf(sim->out, "\n%s: %s\n", pair->policy->name, pair_state_to_string(pair->state));
        for (unsigned i = 0; i < pair->n_reasons; i++)
                fprintf(sim->out, "  why: %s\n", pair->reasons[i]);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct record_app *app = &pair->record.apps[i];
                const struct sim_vm *vms = sim->pairs[pair->slot].vms;

                fprintf(sim->out, "  %s: owner %s, token %" PRIu64 "%s; in the world %s on %s, %s on %s\n", app->name,
                        pair->policy->members[app->owner].domain, app->token, app->ended ? ", ended" : "",
                        application_state_to_string(vms[SIDE_A].apps[i].state), pair->policy->members[SIDE_A].domain,
                        application_state_to_string(vms[SIDE_B].apps[i].state), pair->policy->members[SIDE_B].domain);
        }
}

void print_end(struct sim *sim) {
        if (!sim->out || sim->options->quiet)
                return;
        print_line(sim, "end");
        if (!sim->engine) {
                fprintf(sim->out, "\nfailoverd does not run\n");
                return;
        }
        print_table(sim);
        for (int i = 0; i < sim->engine->n_pairs; i++)
                if (sim->engine->pairs[i])
                        print_pair(sim, sim->engine->pairs[i]);
}
