/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* main: options, signals, readiness, the watchdog. */

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/units.h"
#include "daemon/manager/manager.h"

#define STATUS_EVERY_USEC (5 * USEC_PER_SEC)
/* What comes after `systemctl start failoverd` finds it on the bus. A bus that is not there does not hold it up. */
#define REACHABLE_WAIT_USEC (2 * USEC_PER_SEC)
#define REACHABLE_POLL_USEC (10 * USEC_PER_MSEC)

struct program {
        sd_event *loop;
        struct manager *manager;
        sd_event_source *heart;
        usec_t heart_usec;
        usec_t status_usec;
        usec_t started_usec;
        bool ready;
};

static void help(void) {
        puts("failoverd [OPTION...]\n"
             "\n"
             "Hot-standby failover for pairs of virtual machines on this host.\n"
             "\n"
             "  --policy FILE       the policy (default /etc/failoverd/policy.yaml)\n"
             "  --state-dir DIR     who owns what, and history; survives power loss\n"
             "                      (default $STATE_DIRECTORY or /var/lib/failoverd)\n"
             "  --runtime-dir DIR   steps under way; survives a crash of failoverd\n"
             "                      (default $RUNTIME_DIRECTORY or /run/failoverd)\n"
             "  --helper SOCKET     failoverd-helper's socket, for QEMU processes of another user\n"
             "  --nbdkit FILE, --pager-plugin FILE\n"
             "                      with --user: what pagers are started with\n"
             "  --standby FILE      with --user: the program that stands by for VMs that stand alone\n"
             "  --user              on the session bus, for qemu:///session\n"
             "  --debug             every event and action on standard error\n"
             "  --help, --version\n"
             "\n"
             "Stopping failoverd leaves guests and applications running. See failoverd(8).");
}

static void tell_ready(struct program *program, usec_t now_usec) {
        if (program->ready)
                return;
        program->ready = manager_is_reachable(program->manager) ||
                         now_usec - program->started_usec >= REACHABLE_WAIT_USEC;
        if (program->ready)
                sd_notify(0, "READY=1");
}

/* The heart is fed by the loop: it beats only if events are dispatched, and says how the pairs are. */
static int on_heart(sd_event_source *source, uint64_t usec, void *userdata) {
        struct program *program = userdata;
        char summary[256];

        if (usec - program->status_usec >= STATUS_EVERY_USEC || program->status_usec == 0) {
                program->status_usec = usec;
                sd_notifyf(0, "STATUS=%s", manager_summary(program->manager, summary, sizeof(summary)));
        }
        sd_notify(0, "WATCHDOG=1");
        tell_ready(program, usec);
        sd_event_source_set_time(source, usec + (program->ready ? program->heart_usec : REACHABLE_POLL_USEC));
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        struct program *program = userdata;

        (void) source;
        (void) info;
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long) clock_usec(CLOCK_MONOTONIC));
        manager_reload(program->manager, NULL);
        sd_notify(0, "READY=1");
        return 0;
}

static int set_up_loop(struct program *program) {
        uint64_t watchdog_usec = 0;
        sigset_t signals;
        int r;

        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return -errno;
        signal(SIGPIPE, SIG_IGN);
        r = sd_event_default(&program->loop);
        if (r >= 0)
                r = sd_event_add_signal(program->loop, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(program->loop, NULL, SIGINT, NULL, NULL);
        if (r >= 0)
                r = sd_event_add_signal(program->loop, NULL, SIGHUP, on_reload, program);
        if (r < 0)
                return r;
        sd_watchdog_enabled(0, &watchdog_usec);
        program->heart_usec = watchdog_usec > 0 && watchdog_usec / 4 < USEC_PER_SEC ? watchdog_usec / 4 : USEC_PER_SEC;
        return 0;
}

static int start_heart(struct program *program) {
        uint64_t now;
        int r = sd_event_now(program->loop, CLOCK_MONOTONIC, &now);

        if (r < 0)
                return r;
        program->started_usec = now;
        return sd_event_add_time(program->loop, &program->heart, CLOCK_MONOTONIC, now, 10 * USEC_PER_MSEC, on_heart,
                                 program);
}

/* A daemon that is paged out cannot tell a slow guest from a slow self. */
static void lock_memory(void) {
        if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
                fprintf(stderr, "memory is not locked (%s); give the service LimitMEMLOCK=infinity, ignoring\n",
                        strerror(errno));
}

static const char *directory(const char *given, const char *variable, const char *otherwise) {
        const char *from_service = getenv(variable);

        return given ? given : from_service && from_service[0] ? from_service : otherwise;
}

static int parse_options(int argc, char *argv[], struct manager_options *ret) {
        enum {
                OPTION_POLICY = 256,
                OPTION_STATE,
                OPTION_RUNTIME,
                OPTION_HELPER,
                OPTION_NBDKIT,
                OPTION_PAGER_PLUGIN,
                OPTION_STANDBY,
                OPTION_USER,
                OPTION_DEBUG,
                OPTION_HELP,
                OPTION_VERSION
        };
        static const struct option options[] = {
                { "policy", required_argument, NULL, OPTION_POLICY },
                { "state-dir", required_argument, NULL, OPTION_STATE },
                { "runtime-dir", required_argument, NULL, OPTION_RUNTIME },
                { "helper", required_argument, NULL, OPTION_HELPER },
                { "nbdkit", required_argument, NULL, OPTION_NBDKIT },
                { "pager-plugin", required_argument, NULL, OPTION_PAGER_PLUGIN },
                { "standby", required_argument, NULL, OPTION_STANDBY },
                { "user", no_argument, NULL, OPTION_USER },             { "help", no_argument, NULL, OPTION_HELP },
                { "version", no_argument, NULL, OPTION_VERSION },       { "debug", no_argument, NULL, OPTION_DEBUG },
                { 0 },
        };
        int c;

        *ret = (struct manager_options) { .policy_path = "/etc/failoverd/policy.yaml", .nbdkit = "nbdkit",
                                          .pager_plugin = PAGER_PLUGIN, .standby = STANDBY_PROGRAM };
        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case OPTION_POLICY:
                        ret->policy_path = optarg;
                        break;
                case OPTION_STATE:
                        ret->state_dir = optarg;
                        break;
                case OPTION_RUNTIME:
                        ret->runtime_dir = optarg;
                        break;
                case OPTION_HELPER:
                        ret->helper_path = optarg;
                        break;
                case OPTION_NBDKIT:
                        ret->nbdkit = optarg;
                        break;
                case OPTION_PAGER_PLUGIN:
                        ret->pager_plugin = optarg;
                        break;
                case OPTION_STANDBY:
                        ret->standby = optarg;
                        break;
                case OPTION_USER:
                        ret->user = true;
                        break;
                case OPTION_DEBUG:
                        ret->debug = true;
                        break;
                case 'h':
                case OPTION_HELP:
                        help();
                        return 0;
                case OPTION_VERSION:
                        puts("failoverd " PROJECT_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "failoverd takes no argument \"%s\"; see failoverd --help\n", argv[optind]);
                return -EINVAL;
        }
        ret->state_dir = directory(ret->state_dir, "STATE_DIRECTORY", "/var/lib/failoverd");
        ret->runtime_dir = directory(ret->runtime_dir, "RUNTIME_DIRECTORY", "/run/failoverd");
        return 1;
}

static int run(const struct manager_options *options) {
        struct program program = { 0 };
        struct error error = ERROR_INIT;
        int r;

        r = set_up_loop(&program);
        if (r >= 0)
                r = manager_new(program.loop, options, &program.manager, &error);
        if (r >= 0) {
                lock_memory();
                r = start_heart(&program);
        }
        if (r >= 0) {
                r = sd_event_loop(program.loop);
                sd_notify(0, "STOPPING=1");
        } else {
                fprintf(stderr, "failoverd: %s\n", error.message ? error.message : strerror(-r));
                sd_notifyf(0, "STATUS=%s\nERRNO=%i", error.message ? error.message : strerror(-r), -r);
        }
        error_deinit(&error);
        sd_event_source_disable_unref(program.heart);
        manager_free(program.manager);
        sd_event_unref(program.loop);
        return r;
}

int main(int argc, char *argv[]) {
        struct manager_options options;
        int r;

        setvbuf(stderr, NULL, _IOLBF, 0);
        /* Dozens of threads wait in libvirt; an arena for each would multiply what they once needed. */
        (void) mallopt(M_ARENA_MAX, 2);
        r = parse_options(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        return run(&options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
