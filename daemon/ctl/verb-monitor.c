/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "daemon/ctl/ctl.h"

struct monitor {
        struct ctl *ctl;
        sd_event *event;
};

static enum color record_color(const char *record) {
        static const char *const bad[] = { "unprotected", "fence-failed", "application-failed", "held", "store",
                                           "table-mismatch", "refused", "drill-missed" };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (strcmp(record, bad[i]) == 0)
                        return COLOR_BAD;
        return strcmp(record, "armed") == 0 || strcmp(record, "started") == 0 ? COLOR_GOOD : COLOR_NONE;
}

static void print_event(const struct ctl *ctl, struct json_object *event) {
        const char *kind = get_text(event, "kind", "?"), *record = get_text(event, "record", kind);
        char time[FORMAT_MAX], span[FORMAT_MAX];

        if (strcmp(kind, "drill-ended") == 0)
                return; /* a record says the same */

        printf("%s  %s  ", format_time(time, get_number(event, "time_ms")), get_text(event, "pair", "-"));
        if (strcmp(kind, "phase") == 0)
                printf("%s %s +%s\n", get_text(event, "id", "?"), get_text(event, "phase", "?"),
                       format_seconds(span, get_number(event, "since_start_usec")));
        else if (strcmp(kind, "flow-ended") == 0)
                printf("%s ended %s: %s\n", get_text(event, "id", "?"), get_bool(event, "ok") ? "well" : "badly",
                       get_text(event, "text", "-"));
        else
                printf("%s%s%s%s%s%s%s: %s\n", color_begin(ctl, record_color(record)), record, color_end(ctl),
                       get_text(event, "domain", NULL) ? " " : "", get_text(event, "domain", ""),
                       get_text(event, "application", NULL) ? " " : "", get_text(event, "application", ""),
                       get_text(event, "text", ""));
}

static int on_event(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        struct monitor *monitor = userdata;
        _cleanup_json_ struct json_object *event = NULL;
        const char *text;

        if (sd_bus_message_read(message, "s", &text) < 0)
                return 0;
        if (monitor->ctl->json)
                puts(text);
        else if ((event = json_tokener_parse(text)))
                print_event(monitor->ctl, event);
        fflush(stdout);
        return ferror(stdout) ? sd_event_exit(monitor->event, CTL_FAILED) : 0;
}

static int on_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const char *name, *before, *after;

        if (sd_bus_message_read(message, "sss", &name, &before, &after) < 0 || strcmp(name, "org.failover1") != 0)
                return 0;
        fprintf(stderr, "failoverctl: failoverd has %s\n", *after ? "come" : "gone; waiting for it to come back");
        return 0;
}

static int subscribe(struct monitor *monitor) {
        int r;

        r = sd_bus_match_signal(monitor->ctl->bus, NULL, "org.failover1", "/org/failover1", "org.failover1.Manager",
                                "Event", on_event, monitor);
        if (r >= 0)
                r = sd_bus_match_signal(monitor->ctl->bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "NameOwnerChanged", on_owner_changed, monitor);
        return r;
}

/* Ends well at SIGINT and SIGTERM. */
static int catch_signals(sd_event *event) {
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return -errno;
        r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
        return r < 0 ? r : sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
}

/* Where each pair stands as the watch begins. Subscribed first, so that nothing falls between the two. */
static int print_start(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        char age[FORMAT_MAX];
        int r = ctl_read_json(ctl, "Describe", &root, NULL);

        for (size_t i = 0; r == CTL_OK && !ctl->json && i < get_count(root, "pairs"); i++) {
                struct json_object *pair = get_item(root, "pairs", i);

                printf("%s: %s for %s, active is %s\n", get_text(pair, "name", "?"), get_text(pair, "state", "?"),
                       format_age(age, get_number(pair, "state_age_ms")), get_text(pair, "active.domain", "?"));
        }
        fflush(stdout);
        return r;
}

int verb_monitor(struct ctl *ctl) {
        struct monitor monitor = { .ctl = ctl };
        int code, r;

        code = ctl_connect(ctl);
        if (code != CTL_OK)
                return code;
        r = sd_event_new(&monitor.event);
        if (r >= 0)
                r = catch_signals(monitor.event);
        if (r >= 0)
                r = subscribe(&monitor);
        if (r >= 0)
                code = print_start(ctl);
        if (r >= 0 && code == CTL_OK)
                r = sd_bus_attach_event(ctl->bus, monitor.event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0 && code == CTL_OK)
                r = code = sd_event_loop(monitor.event);
        if (r < 0)
                code = ctl_fail(CTL_FAILED, "%s", strerror(-r));
        sd_bus_detach_event(ctl->bus);
        ctl_disconnect(ctl);
        sd_event_unref(monitor.event);
        return code;
}
