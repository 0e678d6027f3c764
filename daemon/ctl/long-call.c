/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/long-call.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-event.h>

struct run {
        struct ctl *ctl;
        const struct long_call *call;
        sd_event *event;
        struct json_object *report;
        int result; /* enum ctl_exit */
};

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct run *run = userdata;
        const char *text;
        int r = -sd_bus_message_get_errno(reply);

        if (sd_bus_message_is_method_error(reply, NULL))
                run->result = ctl_call_failed(run->ctl, sd_bus_message_get_error(reply), r);
        else if ((r = sd_bus_message_read(reply, "s", &text)) < 0 || !(run->report = json_tokener_parse(text)))
                run->result = ctl_fail(CTL_FAILED, "failoverd has answered with something that is no report; "
                                       "are both of the same version?");
        return sd_event_exit(run->event, 0);
}

static int on_phase(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const char *pair, *id, *phase;
        struct run *run = userdata;
        char time[FORMAT_MAX];
        uint64_t usec;

        if (sd_bus_message_read(message, "ssst", &pair, &id, &phase, &usec) < 0 || strcmp(pair, run->call->pair) != 0)
                return 0;
        printf("  %s %-10s %10s\n", id, phase, format_seconds(time, (int64_t) usec));
        fflush(stdout);
        return 0;
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        struct run *run = userdata;

        run->result = ctl_fail(CTL_FAILED,
                               "stopped waiting; the %s goes on in failoverd. See: failoverctl status %s; failoverctl "
                               "history %s", run->call->verb, run->call->pair, run->call->pair);
        return sd_event_exit(run->event, 0);
}

static int append_options(const struct ctl *ctl, const struct long_call *call, sd_bus_message *message) {
        int r = sd_bus_message_open_container(message, 'a', "{sv}");

        if (r >= 0 && ctl->dry_run)
                r = sd_bus_message_append(message, "{sv}", "dry-run", "b", 1);
        if (r >= 0 && ctl->force)
                r = sd_bus_message_append(message, "{sv}", "force", "b", 1);
        if (r >= 0 && call->level)
                r = sd_bus_message_append(message, "{sv}", "level", "s", call->level);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int begin(struct run *run, const char *path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = ctl_new_call(run->ctl, &message, path, "org.failover1.Pair", run->call->method, true);
        if (r >= 0 && run->call->fault)
                r = sd_bus_message_append(message, "s", run->call->fault);
        if (r >= 0)
                r = append_options(run->ctl, run->call, message);
        if (r >= 0 && run->ctl->progress && !run->ctl->json)
                r = sd_bus_match_signal(run->ctl->bus, NULL, "org.failover1", "/org/failover1", "org.failover1.Manager",
                                        "Phase", on_phase, run);
        return r < 0 ? r : sd_bus_call_async(run->ctl->bus, NULL, message, on_reply, run, USEC_INFINITY);
}

static int mask_signals(int how) {
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        return sigprocmask(how, &signals, NULL) < 0 ? -errno : 0;
}

/* Lets SIGINT and SIGTERM come through the loop. */
static int catch_signals(struct run *run) {
        int r = mask_signals(SIG_BLOCK);

        if (r < 0)
                return r;
        r = sd_event_add_signal(run->event, NULL, SIGINT, on_interrupt, run);
        return r < 0 ? r : sd_event_add_signal(run->event, NULL, SIGTERM, on_interrupt, run);
}

/* The daemon going away ends the wait: the operation is on record, its successor goes on with it. */
static int on_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const char *name, *before, *after;
        struct run *run = userdata;

        if (sd_bus_message_read(message, "sss", &name, &before, &after) < 0 || strcmp(name, "org.failover1") != 0)
                return 0;
        run->result = ctl_fail(CTL_NO_DAEMON,
                               "failoverd has gone in the middle of the %s; what was begun is on record and the next "
                               "one goes on with it. See: systemctl status failoverd; failoverctl history %s",
                               run->call->verb, run->call->pair);
        return sd_event_exit(run->event, 0);
}

int long_call_run(struct ctl *ctl, const struct long_call *call, struct json_object **ret) {
        _cleanup_free_ char *path = NULL;
        struct run run = { .ctl = ctl, .call = call };
        int r;

        r = ctl_connect(ctl);
        if (r != CTL_OK)
                return r;
        r = sd_event_new(&run.event);
        if (r >= 0)
                r = catch_signals(&run);
        if (r >= 0)
                r = ctl_pair_path(call->pair, &path);
        if (r >= 0)
                r = sd_bus_match_signal(ctl->bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "NameOwnerChanged", on_owner_changed, &run);
        if (r >= 0)
                r = begin(&run, path);
        if (r >= 0)
                r = sd_bus_attach_event(ctl->bus, run.event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_event_loop(run.event);
        if (r < 0)
                run.result = ctl_fail(CTL_FAILED, "%s", strerror(-r));
        sd_bus_detach_event(ctl->bus);
        ctl_disconnect(ctl);
        sd_event_unref(run.event);
        (void) mask_signals(SIG_UNBLOCK);
        if (run.result != CTL_OK) {
                json_object_put(run.report);
                return run.result;
        }
        *ret = run.report;
        return CTL_OK;
}

static void print_report(const struct ctl *ctl, const struct long_call *call, struct json_object *report) {
        struct json_object *flow = get_object(report, "flow"), *plan = get_object(report, "plan");

        if (plan) {
                printf("Would %s %s (state now: %s); nothing was done:\n", call->verb, call->pair,
                       get_text(plan, "state", "unknown"));
                for (size_t i = 0; i < get_count(plan, "steps"); i++)
                        printf("  %zu. %s\n", i + 1, json_object_get_string(get_item(plan, "steps", i)));
        }
        if (get_text(report, "text", NULL) && (plan || !get_object(report, "drill"))) /* a verdict has the same text */
                printf("%s\n", get_text(report, "text", ""));
        if (!flow)
                return;
        printf("%s%s%s: %s, %s -> %s\n", color_begin(ctl, COLOR_BOLD), get_text(flow, "id", "?"), color_end(ctl),
               get_text(flow, "kind", "?"), get_text(flow, "from.domain", "?"), get_text(flow, "to.domain", "?"));
        print_timeline(ctl, flow);
}

void long_call_print(const struct ctl *ctl, const struct long_call *call, struct json_object *report) {
        if (ctl->json)
                ctl_print_json(report);
        else
                print_report(ctl, call, report);
}
