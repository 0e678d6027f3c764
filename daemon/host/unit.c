/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <systemd/sd-bus.h>

#include "daemon/base/cleanup.h"

struct asked {
        void (*done)(void *userdata, const char *error);
        void *userdata;
};

static int on_reply(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *error = sd_bus_message_get_error(message);
        struct asked *asked = userdata;

        asked->done(asked->userdata, error ? error->message ? error->message : error->name : NULL);
        return 0;
}

static int default_bus(bool user, sd_bus **ret) {
        return user ? sd_bus_default_user(ret) : sd_bus_default_system(ret);
}

/* Lets go of a connection whose bus has gone. Who waits for an answer over it is told that there will be none. */
static void drop_closed(sd_bus *bus) {
        while (sd_bus_process(bus, NULL) > 0)
                continue;
        sd_bus_detach_event(bus);
        sd_bus_unref(bus); /* what kept it */
}

/* The thread's default connection stays when it has been attached to the loop, until it is closed. */
static int connect_bus(sd_event *loop, bool user, sd_bus **ret) {
        sd_bus *bus = NULL;
        int r = default_bus(user, &bus);

        if (r >= 0 && sd_bus_is_open(bus) <= 0) {
                drop_closed(bus);
                sd_bus_unref(bus);
                bus = NULL;
                r = default_bus(user, &bus);
        }
        if (r >= 0 && !sd_bus_get_event(bus)) {
                r = sd_bus_attach_event(bus, loop, SD_EVENT_PRIORITY_IDLE);
                if (r >= 0)
                        sd_bus_ref(bus);
        }
        if (r < 0) {
                sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

int unit_ask(sd_event *loop, bool user, const char *method, const char *unit,
             void (*done)(void *userdata, const char *error), void *userdata) {
        _cleanup_free_ struct asked *asked = malloc(sizeof(*asked));
        sd_bus_slot *slot = NULL;
        sd_bus *bus = NULL;
        int r;

        if (!asked)
                return -ENOMEM;
        *asked = (struct asked) { done, userdata };
        r = connect_bus(loop, user, &bus);
        if (r < 0)
                return r;
        r = sd_bus_call_method_async(bus, &slot, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                     "org.freedesktop.systemd1.Manager", method, on_reply, asked, "ss", unit,
                                     "replace");
        if (r >= 0) {
                sd_bus_slot_set_destroy_callback(slot, free);
                sd_bus_slot_set_floating(slot, true);
                sd_bus_slot_unref(slot);
                asked = NULL;
        }
        sd_bus_unref(bus);
        return r < 0 ? r : 0;
}
