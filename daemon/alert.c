/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/alert.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

static bool worth_a_call(enum record_kind kind) {
        switch (kind) {
        case RECORD_UNPROTECTED:
        case RECORD_DECIDED:
        case RECORD_FENCE_FAILED:
        case RECORD_HELD:
        case RECORD_REFUSED:
        case RECORD_TABLE_MISMATCH:
        case RECORD_STORE:
        case RECORD_RESERVE_USED:
        case RECORD_DRILL_MISSED:
                return true;
        default:
                return false;
        }
}

/* "alert@.service" or "alert@%i.service" for pair "orders" is "alert@orders.service". */
static void unit_name(const char *unit, const char *pair, char *ret, size_t size) {
        const char *at = strstr(unit, "%i"), *rest;

        if (at)
                rest = at + 2;
        else {
                at = strstr(unit, "@.");
                if (at)
                        at++;
                rest = at;
        }
        if (!at)
                snprintf(ret, size, "%s", unit);
        else
                snprintf(ret, size, "%.*s%s%s", (int) (at - unit), unit, pair, rest);
}

static int on_started(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *error = sd_bus_message_get_error(message);

        (void) userdata;
        (void) ret_error;
        if (error)
                fprintf(stderr, "the alert unit could not be started: %s, ignoring\n", error->message);
        return 0;
}

void alert_record(bool user, enum record_kind kind, const char *unit, const char *pair) {
        sd_bus *bus = NULL;
        bool attached = false;
        char name[256];
        int r;

        if (!worth_a_call(kind))
                return;
        unit_name(unit, pair, name, sizeof(name));
        r = user ? sd_bus_default_user(&bus) : sd_bus_default_system(&bus);
        attached = r >= 0 && sd_bus_get_event(bus);
        if (r >= 0 && !attached) {
                sd_event *loop = NULL;

                if (sd_event_default(&loop) >= 0)
                        r = sd_bus_attach_event(bus, loop, SD_EVENT_PRIORITY_IDLE);
                sd_event_unref(loop);
        }
        if (r >= 0)
                r = sd_bus_call_method_async(bus, NULL, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                             "org.freedesktop.systemd1.Manager", "StartUnit", on_started, NULL, "ss",
                                             name, "replace");
        if (r < 0)
                fprintf(stderr, "the alert unit %s could not be asked for: %s, ignoring\n", name, strerror(-r));
        if (attached)
                sd_bus_unref(bus); /* the first reference keeps the thread's default connection */
}
