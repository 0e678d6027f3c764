/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* memory assign, release and extend: one request at the monitor (N: variant 5). It returns when management has moved;
 * with --wait, usage is followed to its end. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon/core/assignment.h"
#include "daemon/ctl/ctl.h"

#define POLL_MSEC 250

static void print_requests(struct json_object *object) {
        for (size_t i = 0; i < get_count(object, "requests"); i++) {
                struct json_object *item = get_item(object, "requests", i);
                char done[FORMAT_MAX], asked[FORMAT_MAX], more[FORMAT_MAX];

                printf("  %s: %s of %s", get_text(item, "request", "?"),
                       format_mib(done, get_number(item, "done_bytes")),
                       format_mib(asked, get_number(item, "asked_bytes")));
                if (get_number(item, "under_way_bytes") > 0)
                        printf(", %s under way", format_mib(more, get_number(item, "under_way_bytes")));
                if (get_number(item, "refused_bytes") > 0)
                        printf(", %s not: %s", format_mib(more, get_number(item, "refused_bytes")),
                               get_text(item, "why", "no reason was told"));
                putchar('\n');
        }
        fflush(stdout);
}

/* How far all of it is, so that a line is printed for each change and no more. */
static int64_t progress_of(struct json_object *object) {
        int64_t sum = 0;

        for (size_t i = 0; i < get_count(object, "requests"); i++)
                sum += get_number(get_item(object, "requests", i), "done_bytes") +
                       get_number(get_item(object, "requests", i), "refused_bytes");
        return sum;
}

static bool all_done(struct json_object *object) {
        for (size_t i = 0; i < get_count(object, "requests"); i++)
                if (get_number(get_item(object, "requests", i), "refused_bytes") > 0)
                        return false;
        return true;
}

/* True where a person has pressed Ctrl-C, within the time between two looks. */
static bool interrupted(int fd) {
        struct pollfd wait = { .fd = fd, .events = POLLIN };
        struct signalfd_siginfo signal;

        /* taken, so that it does not end the program once it is let through again */
        return poll(&wait, 1, POLL_MSEC) > 0 && read(fd, &signal, sizeof(signal)) == (ssize_t) sizeof(signal);
}

static int follow(struct ctl *ctl, int fd) {
        int64_t seen = -1;

        for (;;) {
                _cleanup_json_ struct json_object *root = NULL;
                struct json_object *assignment;
                int r = ctl_read_json(ctl, "DescribeMemory", &root, NULL);

                if (r != CTL_OK)
                        return r;
                assignment = get_object(root, "assignment");
                if (!assignment)
                        return ctl_fail(CTL_FAILED, "no request to assign memory is under way, and none was since "
                                                    "failoverd started; what was granted goes on being followed");
                if (!get_bool(assignment, "running")) {
                        if (ctl->json)
                                return ctl_print_json(assignment) != CTL_OK || !all_done(assignment) ? CTL_FAILED
                                                                                                     : CTL_OK;
                        puts(all_done(assignment) ? "Done:" : "Ended:");
                        print_requests(assignment);
                        return all_done(assignment) ? CTL_OK : CTL_FAILED;
                }
                if (!ctl->json && progress_of(assignment) != seen)
                        print_requests(assignment);
                seen = progress_of(assignment);
                if (interrupted(fd))
                        return ctl_fail(CTL_FAILED,
                                        "stopped waiting; management has moved and failoverd goes on. See: failoverctl "
                                        "memory assign --wait; to end it where it is: failoverctl memory assign "
                                        "--cancel");
        }
}

static int wait_for_end(struct ctl *ctl) {
        sigset_t signals;
        int fd, r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0 || (fd = signalfd(-1, &signals, SFD_CLOEXEC)) < 0)
                return ctl_fail(CTL_FAILED, "%s", strerror(errno));
        r = follow(ctl, fd);
        close(fd);
        (void) sigprocmask(SIG_UNBLOCK, &signals, NULL);
        return r;
}

static int print_report(const struct ctl *ctl, const char *text) {
        _cleanup_json_ struct json_object *report = json_tokener_parse(text);

        if (!report)
                return ctl_fail(CTL_FAILED, "failoverd has answered with something that is no report; are both of "
                                "the same version?");
        if (ctl->json)
                return ctl_print_json(report);
        if (get_bool(report, "dry_run"))
                puts("Would be granted; nothing was done:");
        else
                printf("%s\n", get_text(report, "text", ""));
        for (size_t i = 0; get_bool(report, "dry_run") && i < get_count(report, "plan.steps"); i++)
                printf("  %zu. %s\n", i + 1, json_object_get_string(get_item(report, "plan.steps", i)));
        return CTL_OK;
}

static int run(struct ctl *ctl, const char *request) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (ctl->cancel)
                r = ctl_change(ctl, "EndAssignment", &text, NULL);
        else
                r = ctl_change(ctl, "AssignMemory", &text, "sb", request, (int) ctl->dry_run);
        if (r != CTL_OK)
                return r;
        if (!ctl->json || !ctl->wait)
                r = print_report(ctl, text);
        return r == CTL_OK && ctl->wait && !ctl->dry_run && !ctl->cancel ? wait_for_end(ctl) : r;
}

/* "vm-a=-1GiB" out of `release vm-a 1GiB`; a range and "top:1GiB" likewise. */
static int run_one(struct ctl *ctl, char sign) {
        char request[ASSIGNMENT_TEXT_MAX];
        int n;

        if (ctl->n_args != 3 || ctl->cancel)
                return ctl_fail(CTL_USAGE, "usage: failoverctl memory %s VM SIZE|RANGE", ctl->args[0]);
        n = snprintf(request, sizeof(request), "%s=%c%s", ctl->args[1], sign, ctl->args[2]);
        if (n >= (int) sizeof(request) || strchr(request, ' '))
                return ctl_fail(CTL_USAGE, "one VM and one size or range, such as: memory %s vm-a 1GiB", ctl->args[0]);
        return run(ctl, request);
}

int verb_memory_assign(struct ctl *ctl) {
        char request[ASSIGNMENT_TEXT_MAX] = "";
        size_t used = 0;

        if (ctl->svg)
                return ctl_fail(CTL_USAGE, "--svg draws the map: failoverctl memory --svg FILE");
        if (ctl->cancel && (ctl->wait || ctl->dry_run))
                return ctl_fail(CTL_USAGE, "--cancel ends the request under way at once; leave the others out");
        if (strcmp(ctl->args[0], "release") == 0)
                return run_one(ctl, '-');
        if (strcmp(ctl->args[0], "extend") == 0)
                return run_one(ctl, '+');
        if (strcmp(ctl->args[0], "assign") != 0)
                return ctl_fail(CTL_USAGE, "memory takes assign, release or extend, not \"%s\"", ctl->args[0]);
        for (int i = 1; i < ctl->n_args; i++) {
                used += (size_t) snprintf(request + used, sizeof(request) - used, "%s%s", used ? " " : "",
                                          ctl->args[i]);
                if (used >= sizeof(request))
                        return ctl_fail(CTL_USAGE, "that is more than one request holds; ask in several");
        }
        if (ctl->n_args == 1 && ctl->wait && !ctl->dry_run) {
                int r = ctl_connect(ctl);

                return r == CTL_OK ? wait_for_end(ctl) : r;
        }
        if ((ctl->n_args == 1) != ctl->cancel)
                return ctl_fail(CTL_USAGE, "usage: failoverctl memory assign \"vm-a=-1GiB vm-b=+1GiB\" [--wait] "
                                           "[--dry-run], or --wait or --cancel alone");
        return run(ctl, request);
}
