/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "daemon/bus/json-build.h"
#include "daemon/bus/status.h"

struct plan {
        struct json_builder builder;
        struct json_object *steps;
};

static void __attribute__((format(printf, 2, 3))) step(struct plan *plan, const char *format, ...) {
        char text[512];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        json_put_text(&plan->builder, plan->steps, NULL, text);
}

static const char *cause_text(enum drill_fault fault) {
        switch (fault) {
        case DRILL_APP_KILL:
                return "the agent kills the application's processes";
        case DRILL_PANIC:
                return "the guest's kernel panics";
        case DRILL_HANG:
                return "the guest's processors are kept busy so that nothing else runs";
        case DRILL_QEMU_KILL:
                return "its QEMU is killed";
        case DRILL_QEMU_STOP:
                return "its QEMU is stopped";
        default:
                return "nothing";
        }
}

static bool moves(const struct pair *pair, size_t app, enum side from) {
        return pair_application_kind(pair, (int) app) == APPLICATION_HOT_STANDBY &&
               pair->record.apps[app].owner == from && !pair->record.apps[app].ended;
}

static void plan_leave(struct plan *plan, const struct pair *pair, enum side from, bool fence) {
        const char *domain = pair->policy->members[from].domain;

        if (fence) {
                step(plan, "fence %s: stop its processors, drain its disks, kill its QEMU", domain);
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        if (pair_application_kind(pair, (int) i) != APPLICATION_HOT_STANDBY &&
                            pair->record.apps[i].owner == from && pair->record.apps[i].granted_bytes[from] > 0)
                                step(plan, "end the plain application %s; its memory returns to the monitor",
                                     pair->policy->applications[i].name);
                return;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (moves(pair, i, from))
                        step(plan, "stop %s on %s and see that it lets go of what only one side may hold",
                             pair->policy->applications[i].name, domain);
}

static void plan_take(struct plan *plan, const struct pair *pair, enum side to) {
        const struct pair_policy *policy = pair->policy;
        const char *domain = policy->members[to].domain;
        char size[UNITS_TEXT_MAX];

        for (size_t i = 0; i < policy->n_applications; i++) {
                const struct application *app = &policy->applications[i];

                if (!moves(pair, i, side_other(to)))
                        continue;
                step(plan, "grant %s for %s to %s and plug it", size_format(size, app->memory_bytes), app->name,
                     domain);
                for (size_t k = 0; k < app->n_disks; k++)
                        step(plan, "attach disk %s to %s once it is gone from %s", app->disks[k], domain,
                             policy->members[side_other(to)].domain);
                if (app->vcpus > 0)
                        step(plan, "plug %u processors into %s", app->vcpus, domain);
                step(plan, "start %s on %s and wait until it is healthy", app->name, domain);
        }
}

static void plan_fill(struct plan *plan, const struct pair *pair, const struct operator_command *command) {
        enum side from = pair_active(pair), to = side_other(from);
        bool fence = command->verb == COMMAND_DRILL && command->fault != DRILL_APP_KILL;

        if (command->verb == COMMAND_RETURN && from == SIDE_A && !pair_split(pair)) {
                step(plan, "nothing: %s is active already", pair->policy->members[SIDE_A].domain);
                return;
        }
        if (command->verb == COMMAND_RETURN) {
                to = SIDE_A;
                from = SIDE_B;
        }
        if (command->verb == COMMAND_DRILL) {
                step(plan, "cause the fault on %s: %s", pair->policy->members[from].domain, cause_text(command->fault));
                step(plan, "from here on failoverd does what it does for a real fault:");
        }
        if (command->verb == COMMAND_DRILL && command->fault == DRILL_APP_KILL)
                step(plan, "judge the severity; a minor failure restarts in place within its budget, else:");
        plan_leave(plan, pair, from, fence);
        plan_take(plan, pair, to);
        if (fence)
                step(plan, "start %s anew as the standby and arm the pair", pair->policy->members[from].domain);
        else
                step(plan, "take the memory back from %s; it is the standby now", pair->policy->members[from].domain);
}

struct json_object *plan_json(const struct engine *engine, int slot, const struct operator_command *command) {
        const struct pair *pair = engine->pairs[slot];
        struct plan plan = { 0 };
        struct json_object *root = json_object_new_object();

        json_put_number(&plan.builder, root, "version", JSON_VERSION);
        json_put_text(&plan.builder, root, "kind", "plan");
        json_put_text(&plan.builder, root, "pair", pair->policy->name);
        json_put_text(&plan.builder, root, "verb", command_verb_to_string(command->verb));
        json_put_text(&plan.builder, root, "state", pair_state_to_string(pair->state));
        plan.steps = json_put_array(&plan.builder, root, "steps");
        plan_fill(&plan, pair, command);
        return json_finish(&plan.builder, root);
}
