/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* drill: its level, its verdict as the exit status, and the way back. */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "daemon/base/clock.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/long-call.h"

#define ARMED_USEC (600 * USEC_PER_SEC) /* a pair is armed again within that time, or something is wrong */
#define LOOK_USEC (5 * USEC_PER_SEC)

static int print_drill(struct ctl *ctl, const struct long_call *call, struct json_object *report) {
        struct json_object *drill = get_object(report, "drill");

        long_call_print(ctl, call, report);
        if (!drill)
                return CTL_OK;
        if (!ctl->json) {
                printf("drill (%s): ", get_text(drill, "level", "?"));
                print_verdict(ctl, drill);
                putchar('\n');
                print_rehearsal(ctl, drill);
        }
        return get_bool(drill, "ok") ? CTL_OK : CTL_MISSED;
}

static int on_changed(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        return 0; /* whoever waits looks again */
}

/* 1 armed, 0 not yet, -EPERM held; another negative errno when it cannot be told. */
static int look(struct ctl *ctl, const char *path) {
        _cleanup_free_ char *state = NULL;
        int r = sd_bus_get_property_string(ctl->bus, "org.failover1", path, "org.failover1.Pair", "State", NULL,
                                           &state);

        if (r < 0)
                return r;
        return strcmp(state, "held") == 0 ? -EPERM : strcmp(state, "armed") == 0;
}

static int wait_until_armed(struct ctl *ctl, const char *pair) {
        usec_t end_usec = clock_usec(CLOCK_MONOTONIC) + ARMED_USEC;
        _cleanup_free_ char *path = NULL;
        int r = ctl_connect(ctl);

        if (r != CTL_OK)
                return r;
        r = ctl_pair_path(pair, &path);
        if (r >= 0)
                r = sd_bus_match_signal(ctl->bus, NULL, "org.failover1", path, "org.freedesktop.DBus.Properties",
                                        "PropertiesChanged", on_changed, NULL);
        while (r >= 0 && (r = look(ctl, path)) == 0) {
                if (clock_usec(CLOCK_MONOTONIC) >= end_usec)
                        r = -ETIMEDOUT;
                while (r >= 0 && (r = sd_bus_process(ctl->bus, NULL)) > 0)
                        ;
                if (r >= 0)
                        r = sd_bus_wait(ctl->bus, LOOK_USEC);
        }
        ctl_disconnect(ctl);
        if (r == -EPERM)
                return ctl_fail(CTL_FAILED, "no way back: %s is held; failoverctl status %s says why", pair, pair);
        if (r == -ETIMEDOUT)
                return ctl_fail(CTL_FAILED, "no way back: %s is not armed again; failoverctl status %s says why", pair,
                                pair);
        return r < 0 ? ctl_fail(CTL_FAILED, "no way back: %s", strerror(-r)) : CTL_OK;
}

/* To the side that was active before. */
static int go_back(struct ctl *ctl, struct json_object *report) {
        bool home = strcmp(get_text(report, "flow.from.side", "a"), "a") == 0;
        const struct long_call call = {
                .verb = home ? "return" : "switch", .method = home ? "Return" : "Switch", .pair = ctl->args[0],
        };
        _cleanup_json_ struct json_object *back = NULL;
        int r;

        if (!get_object(report, "flow"))
                return CTL_OK; /* repaired in place: nothing has moved */
        r = wait_until_armed(ctl, ctl->args[0]);
        if (r == CTL_OK)
                r = long_call_run(ctl, &call, &back);
        if (r == CTL_OK)
                long_call_print(ctl, &call, back);
        return r;
}

int verb_drill(struct ctl *ctl) {
        const char *level = ctl->level ?: ctl->dry_run ? "plan" : "full";
        bool full = strcmp(level, "full") == 0;
        struct long_call call = {
                .verb = "drill", .method = "Drill", .pair = ctl->args[0], .fault = ctl->fault ?: "", .level = level,
        };
        _cleanup_json_ struct json_object *report = NULL;
        int r, verdict;

        if (!full && strcmp(level, "plan") != 0 && strcmp(level, "rehearse") != 0)
                return ctl_fail(CTL_USAGE, "no level \"%s\"; drill has --level plan, rehearse or full", level);
        if (full && !ctl->dry_run && !ctl->fault)
                return ctl_fail(
                        CTL_USAGE,
                        "a full drill needs --fault KIND: app-kill, panic, hang, qemu-kill or qemu-stop; --level "
                        "rehearse causes none");
        if (ctl->fault && strcmp(level, "rehearse") == 0)
                return ctl_fail(CTL_USAGE, "a rehearsal causes no fault; leave --fault out");
        if (ctl->go_back && (!full || ctl->dry_run))
                return ctl_fail(CTL_USAGE, "--return is of a full drill: nothing else moves anything");
        r = long_call_run(ctl, &call, &report);
        if (r != CTL_OK)
                return r;
        verdict = print_drill(ctl, &call, report);
        if (ctl->go_back)
                r = go_back(ctl, report);
        return r != CTL_OK ? r : verdict;
}
