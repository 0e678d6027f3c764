/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/manager/alert.h"

#include <stdio.h>
#include <string.h>

#include "daemon/host/unit.h"

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

static void on_started(void *userdata, const char *error) {
        (void) userdata;
        if (error)
                fprintf(stderr, "the alert unit could not be started: %s, ignoring\n", error);
}

void alert_record(sd_event *loop, bool user, enum record_kind kind, const char *unit, const char *pair) {
        char name[256];
        int r;

        if (!worth_a_call(kind))
                return;
        unit_name(unit, pair, name, sizeof(name));
        r = unit_ask(loop, user, "StartUnit", name, on_started, NULL);
        if (r < 0)
                fprintf(stderr, "the alert unit %s could not be asked for: %s, ignoring\n", name, strerror(-r));
}
