/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pause, resume and adopt: what a person says about pairs. */

#include <string.h>
#include <time.h>

#include "daemon/ctl/ctl.h"

/* "30min", or a local time "HH:MM" (the next one) or "YYYY-MM-DD HH:MM". Returns false where it is neither. */
static bool parse_until(const char *text, usec_t *ret_usec) {
        time_t now = time(NULL), then;
        struct tm local;
        const char *end;
        usec_t span;

        if (duration_parse(text, &span) == 0 && span > 0) {
                *ret_usec = (usec_t) now * USEC_PER_SEC + span;
                return true;
        }
        if (!localtime_r(&now, &local))
                return false;
        local.tm_sec = 0;
        local.tm_isdst = -1;
        end = strptime(text, "%Y-%m-%d %H:%M", &local);
        if (!end)
                end = strptime(text, "%H:%M", &local);
        if (!end || *end)
                return false;
        then = mktime(&local);
        if (then <= now && strlen(text) <= strlen("HH:MM")) {
                local.tm_mday++;
                local.tm_isdst = -1;
                then = mktime(&local);
        }
        *ret_usec = (usec_t) then * USEC_PER_SEC;
        return then > now;
}

static const char *whom(const struct ctl *ctl) {
        return ctl->n_args > 0 ? ctl->args[0] : "";
}

int verb_pause(struct ctl *ctl) {
        usec_t until = 0;
        char time[FORMAT_MAX];
        int r;

        if (ctl->until && !parse_until(ctl->until, &until))
                return ctl_fail(CTL_USAGE, "--until takes a span (30min), a time (17:30) or a date with time "
                                           "(\"2026-11-30 06:00\") in the future, not \"%s\"", ctl->until);
        r = ctl_change(ctl, "Pause", NULL, "sts", whom(ctl), (uint64_t) until, ctl->reason ? ctl->reason : "");
        if (r != CTL_OK)
                return r;
        printf("Paused %s%s%s: failures are seen and recorded, nothing is failed over. Resume: failoverctl "
               "resume%s%s\n",
               *whom(ctl) ? whom(ctl) : "all pairs", until ? " until " : "",
               until ? format_time(time, (int64_t) (until / USEC_PER_MSEC)) : "", *whom(ctl) ? " " : "", whom(ctl));
        return CTL_OK;
}

int verb_resume(struct ctl *ctl) {
        int r = ctl_change(ctl, "Resume", NULL, "s", whom(ctl));

        if (r == CTL_OK)
                printf("Resumed %s.\n", *whom(ctl) ? whom(ctl) : "all pairs");
        return r;
}

int verb_adopt(struct ctl *ctl) {
        int r;

        if (!ctl->active)
                return ctl_fail(CTL_USAGE, "adopt needs --active DOMAIN: the side that owns the data");
        r = ctl_change(ctl, "Adopt", NULL, "ss", ctl->args[0], ctl->active);
        if (r == CTL_OK)
                printf("%s is the active side of %s now.\n", ctl->active, ctl->args[0]);
        return r;
}
