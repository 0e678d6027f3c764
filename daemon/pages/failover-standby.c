/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* main: options, the lock, signals. */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/alive.h"
#include "daemon/pages/standby.h"

static volatile sig_atomic_t stopped;
static int cancel_fd = -1; /* readable once it is to end: what waits for a memory server gives up */

static void on_signal(int number) {
        const uint64_t one = 1;
        int saved = errno;

        stopped = 1;
        (void) !write(cancel_fd, &one, sizeof(one));
        errno = saved;
}

/* Whatever it waits for, libvirt most likely, has not answered: another life of it begins anew, with a connection of
 * its own. The record says what was under way. */
static void on_alarm(int number) {
        static const char text[] =
                "<3>nothing was heard for four minutes of what was asked for; ended, to be started anew\n";

        (void) !write(STDERR_FILENO, text, sizeof(text) - 1);
        _exit(EXIT_FAILURE);
}

static int take_signals(void) {
        struct sigaction action = { .sa_handler = on_signal }, alarmed = { .sa_handler = on_alarm };

        cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (cancel_fd < 0)
                return -errno;
        (void) sigaction(SIGINT, &action, NULL);
        (void) sigaction(SIGTERM, &action, NULL);
        (void) sigaction(SIGALRM, &alarmed, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        return 0;
}

static void print_help(void) {
        puts("failover-standby [OPTION...] DOMAIN\n"
             "The standby of a VM that stands alone: takes its checkpoints to memory servers, and lets it go on from\n"
             "the last one when it is lost. failoverd starts it.\n"
             "\n"
             "  --policy FILE      the policy in force (default /var/lib/failoverd/policy.last)\n"
             "  --dir DIR          its record and status; survives a crash, not a boot\n"
             "                     (default /run/failover-standby/DOMAIN)\n"
             "  --state DIR        what it has told, which survives a boot too\n"
             "                     (default /var/lib/failover-standby/DOMAIN)\n"
             "  --help, --version");
}

static int parse_options(int argc, char **argv, struct standby *standby) {
        static const struct option longs[] = {
                { "policy", required_argument, NULL, 'p' }, { "dir", required_argument, NULL, 'd' },
                { "state", required_argument, NULL, 's' },  { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },
                { 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0)
                switch (c) {
                case 'p':
                        standby->policy_path = optarg;
                        break;
                case 'd':
                        standby->dir = optarg;
                        break;
                case 's':
                        standby->state_dir = optarg;
                        break;
                case 'h':
                        print_help();
                        exit(EXIT_SUCCESS);
                case 'V':
                        puts("failover-standby " PROJECT_VERSION);
                        exit(EXIT_SUCCESS);
                default:
                        return -EINVAL;
                }
        if (optind + 1 != argc) {
                fprintf(stderr, "failover-standby takes the name of one VM; see failover-standby --help\n");
                return -EINVAL;
        }
        standby->domain = argv[optind];
        return 0;
}

/* Two of them for one VM would be two who resume it. */
static int take_place(const struct standby *standby, struct error *error) {
        _cleanup_free_ char *path = NULL;
        int r;

        if (mkdir(standby->dir, 0755) < 0 && errno != EEXIST)
                return error_set(error, -errno, "%s: %s", standby->dir, strerror(errno));
        if (asprintf(&path, "%s/" STANDBY_ALIVE_FILE, standby->dir) < 0) {
                path = NULL;
                return error_set(error, -ENOMEM, "out of memory");
        }
        if (mkdir(standby->state_dir, 0755) < 0 && errno != EEXIST)
                fprintf(stderr, "<4>%s: %s, ignoring: what is told does not survive a boot\n", standby->state_dir,
                        strerror(errno));
        r = alive_take(path);
        if (r == -EBUSY)
                return error_set(error, r, "%s: another standby of this VM lives", path);
        return r < 0 ? error_set(error, r, "%s: %s", path, strerror(-r)) : 0;
}

int main(int argc, char **argv) {
        struct standby standby = STANDBY_INIT;
        struct error error = ERROR_INIT;
        char dir[PATH_MAX], state_dir[PATH_MAX];
        int r;

        setvbuf(stderr, NULL, _IOLBF, 0);
        standby.policy_path = "/var/lib/failoverd/policy.last";
        standby.stop = &stopped;
        if (parse_options(argc, argv, &standby) < 0)
                return 2;
        snprintf(dir, sizeof(dir), "/run/failover-standby/%s", standby.domain);
        if (!standby.dir)
                standby.dir = dir;
        snprintf(state_dir, sizeof(state_dir), "/var/lib/failover-standby/%s", standby.domain);
        if (!standby.state_dir)
                standby.state_dir = state_dir;
        r = take_place(&standby, &error);
        if (r == 0) {
                r = take_signals();
                if (r < 0)
                        error_set(&error, r, "%s", strerror(-r));
        }
        if (r == 0) {
                standby.servers.cancel_fd = cancel_fd;
                r = context_spool_default(&standby.spool, &standby.key);
                if (r < 0)
                        error_set(&error, r, "there is no place for a VM's state and the key: %s", strerror(-r));
        }
        if (r == 0) {
                (void) sd_notify(0, "READY=1");
                r = standby_run(&standby, &error);
        }
        if (r < 0)
                fprintf(stderr, "<3>failover-standby: %s\n", error_text(&error));
        error_deinit(&error);
        standby_deinit(&standby);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
