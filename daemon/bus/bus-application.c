/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "agents/protocol/message.h"
#include "daemon/bus/bus-internal.h"
#include "daemon/bus/status-member.h"

static int get_text(sd_bus *connection, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_object *object = userdata;
        const struct pair *pair = bus_object_pair(object);
        const struct app_state *state = pair ? &pair->apps[object->app] : NULL;
        enum side owner = pair ? pair->record.apps[object->app].owner : SIDE_A;
        const char *text;

        if (!pair)
                return -ENOENT;
        if (strcmp(property, "Name") == 0)
                text = pair->policy->applications[object->app].name;
        else if (strcmp(property, "Pair") == 0)
                text = pair->policy->name;
        else if (strcmp(property, "Kind") == 0)
                text = application_kind_to_string(pair_application_kind(pair, object->app));
        else if (strcmp(property, "Owner") == 0)
                text = pair->policy->members[owner].domain;
        else if (strcmp(property, "State") == 0)
                text = state->state_usec[owner] ? application_state_to_string(state->state[owner]) : "unknown";
        else if (strcmp(property, "Refusal") == 0)
                text = state->refused ? state->refusal : "";
        else
                text = state->failure;
        return bus_append_text(reply, text);
}

static int get_number(sd_bus *connection, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_object *object = userdata;
        const struct pair *pair = bus_object_pair(object);

        if (!pair)
                return -ENOENT;
        if (strcmp(property, "Token") == 0)
                return sd_bus_message_append(reply, "t", pair->record.apps[object->app].token);
        return sd_bus_message_append(reply, "t", pair->policy->applications[object->app].memory_bytes);
}

static int get_restarts_left(sd_bus *connection, const char *path, const char *interface, const char *property,
                             sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_object *object = userdata;
        const struct pair *pair = bus_object_pair(object);
        const struct bus_interface *manager = object->bus->interface;

        if (!pair)
                return -ENOENT;
        return sd_bus_message_append(reply, "u",
                                     application_restarts_left(pair, object->app, manager->now(manager->userdata)));
}

static int get_healthy(sd_bus *connection, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_object *object = userdata;
        const struct pair *pair = bus_object_pair(object);

        return pair ? sd_bus_message_append(reply, "b", (int) application_is_healthy(pair, object->app)) : -ENOENT;
}

const sd_bus_vtable bus_application_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Pair", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("MemoryBytes", "t", get_number, 0, 0),
        SD_BUS_PROPERTY("Kind", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Owner", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Healthy", "b", get_healthy, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Failure", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Refusal", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Token", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("RestartsLeft", "u", get_restarts_left, 0, 0),
        SD_BUS_VTABLE_END,
};
