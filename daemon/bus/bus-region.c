/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/bus/bus-internal.h"

static int get_text(sd_bus *connection, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_object *object = userdata;
        const struct engine *engine = object->bus->interface->engine;
        const struct region *region = bus_object_region(object);
        const char *text;

        if (!region)
                return -ENOENT;
        if (strcmp(property, "Key") == 0)
                text = object->key;
        else if (strcmp(property, "Kind") == 0)
                text = region_kind_to_string(region->kind);
        else if (strcmp(property, "User") == 0)
                text = holder_text(engine, region->user);
        else
                text = holder_text(engine, region->target);
        return sd_bus_message_append(reply, "s", text);
}

static int get_usage(sd_bus *connection, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const struct region *region = bus_object_region(userdata);

        return region ? sd_bus_message_append(reply, "t", region->usage_bytes) : -ENOENT;
}

const sd_bus_vtable bus_region_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Key", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Kind", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("UsageBytes", "t", get_usage, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("User", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("FailoverTarget", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};
