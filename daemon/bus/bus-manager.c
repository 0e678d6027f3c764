/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/bus/assignment-json.h"
#include "daemon/bus/bus-internal.h"
#include "daemon/bus/check-json.h"
#include "daemon/bus/explain-json.h"

#define HISTORY_LIMIT_MAX 1000

static const struct host_facts *facts_of(const struct bus_interface *manager) {
        return manager->facts ? manager->facts(manager->userdata) : NULL;
}

static int reply_json(sd_bus_message *message, struct json_object *object) {
        const char *text = object ? json_text_print(object, JSON_C_TO_STRING_PLAIN, NULL) : NULL;
        int r;

        r = text ? sd_bus_reply_method_return(message, "s", text) : bus_reply_error(message, -ENOMEM, NULL);
        json_object_put(object);
        return r;
}

static int method_describe(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const struct bus_interface *manager = ((struct bus *) userdata)->interface;

        return reply_json(message, status_json(manager->engine, facts_of(manager), manager->now(manager->userdata)));
}

static int method_describe_table(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const struct bus_interface *manager = ((struct bus *) userdata)->interface;

        return reply_json(message, table_json(manager->engine, facts_of(manager), manager->now(manager->userdata)));
}

static int method_describe_memory(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const struct bus_interface *manager = ((struct bus *) userdata)->interface;

        return reply_json(message, memory_json(manager->engine, facts_of(manager), manager->now(manager->userdata)));
}

static int method_describe_regions(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const struct bus_interface *manager = ((struct bus *) userdata)->interface;

        return reply_json(message, regions_json(manager->engine, facts_of(manager), manager->now(manager->userdata)));
}

/* Pair by name, "" being all. */
static int find_pair_or_all(struct bus *bus, const char *name, int *ret_slot, sd_bus_error *ret_error) {
        int slot = name[0] ? bus_find_pair(bus, name, ret_error) : NO_PAIR;

        if (name[0] && slot < 0)
                return slot;
        *ret_slot = slot;
        return 0;
}

static int method_check(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const struct bus_interface *manager = ((struct bus *) userdata)->interface;
        const struct policy *policy = manager->engine->policy;
        const char *name;
        int slot = NO_PAIR, r;
        bool vm;

        r = sd_bus_message_read(message, "s", &name);
        if (r < 0)
                return r;
        vm = policy && policy_find_pair(policy, name) < 0 && policy_find_vm(policy, name) >= 0;
        if (!vm && (r = find_pair_or_all(userdata, name, &slot, ret_error)) < 0)
                return r;
        return reply_json(message, check_json(manager->engine, slot, vm ? name : NULL, facts_of(manager),
                                              manager->now(manager->userdata)));
}

static int method_explain(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const struct bus_interface *manager = ((struct bus *) userdata)->interface;
        const char *name;
        int slot, r;

        r = sd_bus_message_read(message, "s", &name);
        if (r < 0 || (slot = r = bus_find_pair(userdata, name, ret_error)) < 0)
                return r;
        return reply_json(message,
                          explain_json(manager->engine, slot, facts_of(manager), manager->now(manager->userdata)));
}

static int method_metrics(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const struct bus_interface *manager = ((struct bus *) userdata)->interface;
        _cleanup_free_ char *text = NULL;
        int r = metrics_text(manager->engine, facts_of(manager), manager->now(manager->userdata), &text);

        if (r < 0)
                return bus_reply_error(message, r, NULL);
        return sd_bus_reply_method_return(message, "s", text);
}

static int run_history(struct bus_request *request, struct error *error) {
        const struct bus_interface *manager = request->bus->interface;

        return manager->history(manager->userdata, request->id, request->text, request->limit, error);
}

static int run_apply(struct bus_request *request, struct error *error) {
        const struct bus_interface *manager = request->bus->interface;

        return manager->apply_policy(manager->userdata, request->id, request->text, request->command.dry_run,
                                     request->who, error);
}

static int run_reload(struct bus_request *request, struct error *error) {
        const struct bus_interface *manager = request->bus->interface;

        return manager->reload(manager->userdata, request->id, error);
}

static int run_show(struct bus_request *request, struct error *error) {
        const struct bus_interface *manager = request->bus->interface;
        _cleanup_free_ char *text = NULL;
        int r = manager->show_policy(manager->userdata, &text, error);

        if (r < 0)
                return r;
        bus_request_answer(request, 0, text);
        return 0;
}

static int run_command(struct bus_request *request, struct error *error) {
        const struct bus_interface *manager = request->bus->interface;

        if (request->pair[0]) {
                request->slot = engine_find_pair(manager->engine, request->pair);
                if (request->slot < 0)
                        return error_set(error, -ENOENT, "The pair \"%s\" has left the policy.", request->pair);
        }
        return manager->command(manager->userdata, request->slot, &request->command, error);
}

/* A request whose arguments are in order; `text` is copied. NULL with the reply sent where that fails. */
static struct bus_request *request_of(struct bus *bus, sd_bus_message *message, const char *action,
                                      bus_request_run_t run, const char *text, int *ret) {
        struct bus_request *request;
        int r = bus_request_new(bus, message, action, run, &request);

        if (r < 0) {
                *ret = bus_reply_error(message, r, "Too many calls wait for their answer; try again later.");
                return NULL;
        }
        if (text && !(request->text = strdup(text))) {
                *ret = bus_reply_error(message, -ENOMEM, NULL);
                bus_request_free(request);
                return NULL;
        }
        return request;
}

static int method_get_history(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct bus_request *request;
        uint32_t limit;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "su", &id, &limit);
        if (r < 0)
                return r;
        if (id[0] && (r = bus_check_text(id, FAILOVER_ID_LEN - 1, "failover id", ret_error)) < 0)
                return r;
        request = request_of(userdata, message, NULL, run_history, id, &r);
        if (!request)
                return r;
        request->limit = limit == 0 || limit > HISTORY_LIMIT_MAX ? HISTORY_LIMIT_MAX : limit;
        bus_request_allowed(request); /* everybody may read it */
        return 1;
}

static int begin_apply(struct bus *bus, sd_bus_message *message, const char *text, bool dry_run, const char *action,
                       sd_bus_error *ret_error) {
        struct bus_request *request;
        int r;

        r = bus_check_text(text, BUS_POLICY_TEXT_MAX, "policy", ret_error);
        if (r < 0)
                return r;
        request = request_of(bus, message, action, run_apply, text, &r);
        if (!request)
                return r;
        request->command.dry_run = dry_run;
        return bus_request_begin(request);
}

static int method_check_policy(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const char *text;
        int r = sd_bus_message_read(message, "s", &text);

        return r < 0 ? r : begin_apply(userdata, message, text, true, "org.failover1.show-policy", ret_error);
}

static int method_apply_policy(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const char *text;
        int dry_run, r;

        r = sd_bus_message_read(message, "sb", &text, &dry_run);
        return r < 0 ? r : begin_apply(userdata, message, text, dry_run, "org.failover1.manage-policy", ret_error);
}

static int method_show_policy(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        int r = 0;
        struct bus_request *request = request_of(userdata, message, "org.failover1.show-policy", run_show, NULL, &r);

        return request ? bus_request_begin(request) : r;
}

static int method_reload(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        int r = 0;
        struct bus_request *request =
                request_of(userdata, message, "org.failover1.manage-policy", run_reload, NULL, &r);

        return request ? bus_request_begin(request) : r;
}

static int begin_command(struct bus *bus, sd_bus_message *message, int slot, const char *pair, const char *action,
                         const struct operator_command *command) {
        int r = 0;
        struct bus_request *request = request_of(bus, message, action, run_command, NULL, &r);

        if (!request)
                return r;
        request->slot = slot;
        snprintf(request->pair, sizeof(request->pair), "%s", pair);
        request->command = *command;
        request->command.id = request->id;
        return bus_request_begin(request);
}

/* Text that a person gave and that other people will read. */
static int check_reason(const char *reason, sd_bus_error *ret_error) {
        int r = bus_check_text(reason, RECORD_TEXT_LEN - 1, "reason", ret_error);

        for (const char *p = reason; r >= 0 && *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""),
                                                 "The reason holds a control character.");
        return r;
}

static int method_pause(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct operator_command command = { .verb = COMMAND_PAUSE, .until_usec = USEC_INFINITY };
        struct bus *bus = userdata;
        const char *name, *reason;
        uint64_t until;
        int slot, r;

        r = sd_bus_message_read(message, "sts", &name, &until, &reason);
        if (r < 0)
                return r;
        if ((r = find_pair_or_all(bus, name, &slot, ret_error)) < 0 || (r = check_reason(reason, ret_error)) < 0)
                return r;
        if (until != 0 && until != USEC_INFINITY) {
                if (until <= clock_usec(CLOCK_REALTIME))
                        return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""), "That time is past.");
                command.until_usec = until;
        }
        snprintf(command.text, sizeof(command.text), "%s", reason);
        return begin_command(bus, message, slot, name, "org.failover1.pause", &command);
}

static int method_resume(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct operator_command command = { .verb = COMMAND_RESUME };
        const char *name;
        int slot, r;

        r = sd_bus_message_read(message, "s", &name);
        if (r < 0 || (r = find_pair_or_all(userdata, name, &slot, ret_error)) < 0)
                return r;
        return begin_command(userdata, message, slot, name, "org.failover1.pause", &command);
}

static int method_adopt(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct operator_command command = { .verb = COMMAND_ADOPT };
        const struct engine *engine = ((struct bus *) userdata)->interface->engine;
        const char *name, *side;
        int slot, r;

        r = sd_bus_message_read(message, "ss", &name, &side);
        if (r < 0)
                return r;
        if ((slot = bus_find_pair(userdata, name, ret_error)) < 0)
                return slot;
        command.side = side_from_string(side);
        for (int i = 0; (int) command.side < 0 && i < SIDE_MAX; i++)
                if (strcmp(engine->pairs[slot]->policy->members[i].domain, side) == 0)
                        command.side = (enum side) i;
        if ((int) command.side < 0)
                return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""),
                                         "\"%.63s\" is no side of pair \"%s\"; it has \"%s\" and \"%s\".", side, name,
                                         engine->pairs[slot]->policy->members[SIDE_A].domain,
                                         engine->pairs[slot]->policy->members[SIDE_B].domain);
        return begin_command(userdata, message, slot, name, "org.failover1.adopt", &command);
}

/* A plan is made at once, by whoever may carry it out. */
static int run_assign(struct bus_request *request, struct error *error) {
        const struct engine *engine = request->bus->interface->engine;
        char why[EVENT_TEXT_LEN] = "out of memory";
        int r = -ENOMEM;

        if (!request->command.dry_run)
                return run_command(request, error);
        request->plan = assignment_plan_json(engine, request->command.request, &r, why, sizeof(why));
        if (r < 0)
                return error_set(error, r, "%s", why);
        bus_request_answer(request, 0, "it would be granted");
        return 0;
}

static int begin_assign(struct bus *bus, sd_bus_message *message, const char *action,
                        const struct operator_command *command) {
        int r = 0;
        struct bus_request *request = request_of(bus, message, action, run_assign, NULL, &r);

        if (!request)
                return r;
        request->command = *command;
        request->command.id = request->id;
        return bus_request_begin(request);
}

static int method_assign_memory(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct operator_command command = { .verb = COMMAND_ASSIGN };
        const char *text;
        int dry_run, r;

        r = sd_bus_message_read(message, "sb", &text, &dry_run);
        if (r < 0 || (r = bus_check_text(text, sizeof(command.request) - 1, "request", ret_error)) < 0)
                return r;
        snprintf(command.request, sizeof(command.request), "%s", text);
        command.dry_run = dry_run;
        return begin_assign(userdata, message, "org.failover1.assign-memory", &command);
}

static int method_end_assignment(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        return begin_assign(userdata, message, "org.failover1.assign-memory",
                            &(struct operator_command) { .verb = COMMAND_ASSIGN_CANCEL });
}

static int get_flag(sd_bus *connection, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const struct engine *engine = ((struct bus *) userdata)->interface->engine;
        bool value = strcmp(property, "Ready") == 0          ? engine->ready
                     : strcmp(property, "HypervisorUp") == 0 ? engine->hypervisor_up
                                                             : engine->store_lost;

        return sd_bus_message_append(reply, "b", (int) value);
}

static int get_governed(sd_bus *connection, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_message_append(reply, "t", ((struct bus *) userdata)->interface->engine->table.governed_bytes);
}

static int get_version(sd_bus *connection, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        return sd_bus_message_append(reply, "s", PROJECT_VERSION);
}

#define READ(name, result, handler)                                                                      \
        SD_BUS_METHOD_WITH_ARGS(name, SD_BUS_NO_ARGS, SD_BUS_RESULT("s", result), handler, SD_BUS_VTABLE_UNPRIVILEGED)

const sd_bus_vtable bus_manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Ready", "b", get_flag, 0, 0),
        SD_BUS_PROPERTY("HypervisorUp", "b", get_flag, 0, 0),
        SD_BUS_PROPERTY("StoreLost", "b", get_flag, 0, 0),
        SD_BUS_PROPERTY("GovernedBytes", "t", get_governed, 0, 0),
        READ("Describe", json, method_describe),
        READ("DescribeTable", json, method_describe_table),
        READ("DescribeMemory", json, method_describe_memory),
        READ("DescribeRegions", json, method_describe_regions),
        SD_BUS_METHOD_WITH_ARGS("Check", SD_BUS_ARGS("s", pair), SD_BUS_RESULT("s", json), method_check,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("s", pair), SD_BUS_RESULT("s", json), method_explain,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        READ("Metrics", text, method_metrics),
        SD_BUS_METHOD_WITH_ARGS("GetHistory", SD_BUS_ARGS("s", id, "u", limit), SD_BUS_RESULT("s", json),
                                method_get_history, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CheckPolicy", SD_BUS_ARGS("s", text), SD_BUS_RESULT("s", report), method_check_policy,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ApplyPolicy", SD_BUS_ARGS("s", text, "b", dry_run), SD_BUS_RESULT("s", report),
                                method_apply_policy, SD_BUS_VTABLE_UNPRIVILEGED),
        READ("ShowPolicy", text, method_show_policy),
        READ("Reload", report, method_reload),
        SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_ARGS("s", pair, "t", until_usec, "s", reason), SD_BUS_NO_RESULT,
                                method_pause, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_ARGS("s", pair), SD_BUS_NO_RESULT, method_resume,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Adopt", SD_BUS_ARGS("s", pair, "s", side), SD_BUS_NO_RESULT, method_adopt,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AssignMemory", SD_BUS_ARGS("s", request, "b", dry_run), SD_BUS_RESULT("s", report),
                                method_assign_memory, SD_BUS_VTABLE_UNPRIVILEGED),
        READ("EndAssignment", report, method_end_assignment),
        SD_BUS_SIGNAL_WITH_ARGS("Phase", SD_BUS_ARGS("s", pair, "s", id, "s", phase, "t", since_start_usec), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Event", SD_BUS_ARGS("s", json), 0),
        SD_BUS_VTABLE_END,
};
