/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "daemon/bus/bus-internal.h"

static const char *text_of(const struct pair *pair, const char *property, char id[FAILOVER_ID_LEN]) {
        const struct record *record = &pair->record;

        if (strcmp(property, "Name") == 0)
                return pair->policy->name;
        if (strcmp(property, "State") == 0)
                return pair_state_to_string(pair->state);
        if (strcmp(property, "Readiness") == 0)
                return readiness_level_to_string(pair->readiness);
        if (strcmp(property, "Active") == 0)
                return pair->policy->members[pair_active(pair)].domain;
        if (strcmp(property, "Standby") == 0)
                return pair->policy->members[side_other(pair_active(pair))].domain;
        if (strcmp(property, "PauseReason") == 0)
                return record->paused ? record->pause_reason : "";
        if (strcmp(property, "HeldReason") == 0)
                return record->held ? record->held_reason : "";
        if (strcmp(property, "FlowKind") == 0)
                return flow_kind_to_string(record->flow.kind);
        if (strcmp(property, "Rehearsal") == 0)
                return rehearsal_state_to_string(record->rehearsal);
        if (strcmp(property, "FlowId") == 0)
                return record->flow.kind == FLOW_NONE ? "" : flow_id(pair->policy, &record->flow, id);
        return NULL;
}

static int get_text(sd_bus *connection, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const struct pair *pair = bus_object_pair(userdata);
        char id[FAILOVER_ID_LEN];
        const char *text = pair ? text_of(pair, property, id) : NULL;

        return text ? sd_bus_message_append(reply, "s", text) : -ENOENT;
}

static int get_flag(sd_bus *connection, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const struct pair *pair = bus_object_pair(userdata);
        bool value;

        if (!pair)
                return -ENOENT;
        if (strcmp(property, "Armed") == 0)
                value = pair->state == PAIR_ARMED;
        else if (strcmp(property, "Split") == 0)
                value = pair_split(pair);
        else if (strcmp(property, "Paused") == 0)
                value = pair->record.paused;
        else
                value = pair->record.held;
        return sd_bus_message_append(reply, "b", (int) value);
}

static int get_number(sd_bus *connection, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_object *object = userdata;
        const struct pair *pair = bus_object_pair(object);
        uint64_t value;

        if (!pair)
                return -ENOENT;
        if (strcmp(property, "StateSince") == 0)
                value = bus_wall_usec(object->bus, pair->state_usec);
        else if (strcmp(property, "ReadinessSince") == 0)
                value = bus_wall_usec(object->bus, pair->readiness_usec);
        else if (strcmp(property, "ObjectiveUSec") == 0)
                value = pair->policy->objective_usec;
        else
                value = pair->record.failovers;
        return sd_bus_message_append(reply, "t", value);
}

static int get_drill(sd_bus *connection, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const struct pair *pair = bus_object_pair(userdata);
        const struct drill_result *drill = pair ? &pair->record.last_drill : NULL;

        if (!drill)
                return -ENOENT;
        return sd_bus_message_append(reply, "(stbts)", drill->at_usec ? drill_level_to_string(drill->level) : "",
                                     drill->at_usec, (int) drill->ok, drill->took_usec, drill->text);
}

static int get_reasons(sd_bus *connection, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const struct pair *pair = bus_object_pair(userdata);
        int r;

        if (!pair)
                return -ENOENT;
        r = sd_bus_message_open_container(reply, 'a', "s");
        for (unsigned i = 0; r >= 0 && i < pair->n_reasons && i < REASONS_MAX; i++)
                r = bus_append_text(reply, pair->reasons[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int read_level(sd_bus_message *message, struct operator_command *command, sd_bus_error *ret_error) {
        const char *level;
        int r = sd_bus_message_read(message, "v", "s", &level);

        if (r == -ENXIO || r == -EINVAL)
                return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""), "Option \"level\" takes a string.");
        if (r < 0)
                return r;
        command->level = drill_level_from_string(level);
        if ((int) command->level < 0)
                return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""),
                                         "Unknown level \"%.40s\"; there are plan, rehearse and full.", level);
        return 0;
}

/* One entry of the options: a drill's level, or a boolean. */
static int read_option(sd_bus_message *message, struct operator_command *command, sd_bus_error *ret_error) {
        const char *key;
        int value, r;

        r = sd_bus_message_read(message, "s", &key);
        if (r < 0)
                return r;
        if (strcmp(key, "level") == 0 && command->verb == COMMAND_DRILL)
                return read_level(message, command, ret_error);
        if (strcmp(key, "dry-run") != 0 && (strcmp(key, "force") != 0 || command->verb == COMMAND_DRILL))
                return sd_bus_error_setf(
                        ret_error, bus_error_name(-EINVAL, ""),
                        "Unknown option \"%.40s\"; the options are dry-run and, of a drill, level, else force.", key);
        r = sd_bus_message_read(message, "v", "b", &value);
        if (r == -ENXIO || r == -EINVAL)
                return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""), "Option \"%s\" takes a boolean.", key);
        if (r < 0)
                return r;
        if (key[0] == 'd')
                command->dry_run = value;
        else
                command->force = value;
        return 0;
}

static int read_options(sd_bus_message *message, struct operator_command *command, sd_bus_error *ret_error) {
        unsigned n = 0;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                if (++n > BUS_OPTIONS_MAX)
                        return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""), "Too many options.");
                r = read_option(message, command, ret_error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int run_command(struct bus_request *request, struct error *error) {
        const struct bus_interface *manager = request->bus->interface;
        int slot = engine_find_pair(manager->engine, request->pair); /* it may have gone while polkit was asked */

        if (slot < 0)
                return error_set(error, -ENOENT, "The pair \"%s\" has left the policy.", request->pair);
        request->slot = slot;
        if (request->command.dry_run)
                request->plan = plan_json(manager->engine, slot, &request->command);
        return manager->command(manager->userdata, slot, &request->command, error);
}

static int begin(sd_bus_message *message, struct bus_object *object, const struct operator_command *command,
                 const char *action) {
        const struct pair *pair = bus_object_pair(object);
        struct bus_request *request;
        int r;

        if (!pair)
                return bus_reply_error(message, -ENOENT, "The pair has left the policy.");
        r = bus_request_new(object->bus, message, action, run_command, &request);
        if (r < 0)
                return bus_reply_error(message, r, "Too many calls wait for their answer; try again later.");
        request->slot = object->slot;
        snprintf(request->pair, sizeof(request->pair), "%s", pair->policy->name);
        request->command = *command;
        request->command.id = request->id;
        return bus_request_begin(request);
}

static int method_switch(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct operator_command command = { .verb = COMMAND_SWITCH };
        int r = read_options(message, &command, ret_error);

        return r < 0 ? r : begin(message, userdata, &command, "org.failover1.switch");
}

static int method_return(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct operator_command command = { .verb = COMMAND_RETURN };
        int r = read_options(message, &command, ret_error);

        return r < 0 ? r : begin(message, userdata, &command, "org.failover1.switch");
}

static int method_drill(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct operator_command command = { .verb = COMMAND_DRILL, .level = DRILL_LEVEL_FULL };
        const char *fault;
        int r;

        r = sd_bus_message_read(message, "s", &fault);
        if (r >= 0)
                r = read_options(message, &command, ret_error);
        if (r < 0)
                return r;
        command.dry_run |= command.level == DRILL_LEVEL_PLAN;
        /* Only what is full causes one; a plan is by default that of the plainest. */
        command.fault = *fault || (command.level == DRILL_LEVEL_FULL && !command.dry_run)
                                ? drill_fault_from_string(fault)
                                : DRILL_PANIC;
        if ((int) command.fault < 0)
                return sd_bus_error_setf(ret_error, bus_error_name(-EINVAL, ""),
                                         "Unknown fault \"%.40s\"; there are app-kill, panic, hang, qemu-kill and "
                                         "qemu-stop.", fault);
        return begin(message, userdata, &command, "org.failover1.drill");
}

const sd_bus_vtable bus_pair_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StateSince", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Armed", "b", get_flag, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Readiness", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ReadinessSince", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Reasons", "as", get_reasons, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Active", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Standby", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Split", "b", get_flag, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Paused", "b", get_flag, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("PauseReason", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Held", "b", get_flag, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("HeldReason", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("FlowId", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("FlowKind", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Failovers", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastDrill", "(stbts)", get_drill, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Rehearsal", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ObjectiveUSec", "t", get_number, 0, 0),
        SD_BUS_METHOD_WITH_ARGS("Switch", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", report), method_switch,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Return", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", report), method_return,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Drill", SD_BUS_ARGS("s", fault, "a{sv}", options), SD_BUS_RESULT("s", report),
                                method_drill, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};
