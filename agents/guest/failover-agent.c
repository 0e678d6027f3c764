/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "agents/guest/agent.h"
#include "agents/guest/announce.h"
#include "agents/guest/log.h"
#include "daemon/base/cleanup.h"

#define CAPABILITY_IPC_LOCK 14

struct arguments {
        struct agent_options options;
        const char *announce, *ask;
        bool kmsg;
};

static const char usage[] =
        "failover-agent [OPTION...]\n"
        "Supervises applications in this guest for failoverd on the host.\n\n"
        "  --device PATH       virtio-serial port (default: the one named " AGENT_CHANNEL ")\n"
        "  --vsock PORT        connect to the host over vsock instead\n"
        "  --socket PATH       connect to a unix socket instead: for tests\n"
        "  --echo-device PATH  terminal that echoes for the host (default: /dev/ttyS1, /dev/hvc0; \"none\")\n"
        "  --run-dir DIR       run-time state (default: /run/failover-agent)\n"
        "  --sys DIR           in place of /sys\n"
        "  --proc DIR          in place of /proc, for memory figures and drills\n"
        "  --cgroup DIR        where cgroup v2 is mounted (default: below SYS/fs/cgroup)\n"
        "  --kmsg              log to the kernel log\n"
        "  --announce WORD     tell the running agent that the guest begins a shutdown or reboot\n"
        "  --ask CHANGE        ask the host, through the running agent, for memory of this VM: +SIZE, -SIZE,\n"
        "                      +RANGE, -RANGE or -top:SIZE, such as +512MiB or -0-1GiB\n"
        "  --version, --help\n";

enum {
        OPTION_DEVICE = 256, OPTION_VSOCK, OPTION_SOCKET, OPTION_ECHO_DEVICE, OPTION_RUN_DIR, OPTION_SYS, OPTION_PROC,
        OPTION_CGROUP, OPTION_KMSG, OPTION_ANNOUNCE, OPTION_ASK, OPTION_VERSION, OPTION_HELP,
};

static const struct option long_options[] = {
        { "device", required_argument, NULL, OPTION_DEVICE },   { "vsock", required_argument, NULL, OPTION_VSOCK },
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "echo-device", required_argument, NULL, OPTION_ECHO_DEVICE },
        { "run-dir", required_argument, NULL, OPTION_RUN_DIR }, { "sys", required_argument, NULL, OPTION_SYS },
        { "proc", required_argument, NULL, OPTION_PROC },       { "cgroup", required_argument, NULL, OPTION_CGROUP },
        { "kmsg", no_argument, NULL, OPTION_KMSG },
        { "announce", required_argument, NULL, OPTION_ANNOUNCE },
        { "ask", required_argument, NULL, OPTION_ASK },
        { "version", no_argument, NULL, OPTION_VERSION },       { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
};

static int set_port(struct transport *transport, const char *text) {
        char *end;
        unsigned long port = strtoul(text, &end, 10);

        if (*text < '0' || *text > '9' || *end || port == 0 || port > UINT32_MAX - 1) {
                fprintf(stderr, "--vsock: \"%s\" is not a port\n", text);
                return -EINVAL;
        }
        *transport = (struct transport) { .open = transport_vsock_open, .port = (unsigned) port };
        return 0;
}

/* Returns 1 to go on, 0 when all is done, -EINVAL. */
static int set_argument(struct arguments *arguments, int option) {
        struct agent_options *options = &arguments->options;

        switch (option) {
        case OPTION_DEVICE:
                options->transport.path = optarg;
                return 1;
        case OPTION_VSOCK:
                return set_port(&options->transport, optarg) < 0 ? -EINVAL : 1;
        case OPTION_SOCKET:
                options->transport = (struct transport) { .open = transport_unix_open, .path = optarg,
                                                          .is_test = true };
                return 1;
        case OPTION_ECHO_DEVICE:
                options->echo_device = optarg;
                return 1;
        case OPTION_RUN_DIR:
                options->paths.run_dir = optarg;
                return 1;
        case OPTION_SYS:
                options->paths.sys_dir = optarg;
                return 1;
        case OPTION_PROC:
                options->paths.proc_dir = optarg;
                return 1;
        case OPTION_CGROUP:
                options->paths.cgroup_dir = optarg;
                return 1;
        case OPTION_KMSG:
                arguments->kmsg = true;
                return 1;
        case OPTION_ANNOUNCE:
                arguments->announce = optarg;
                return 1;
        case OPTION_ASK:
                arguments->ask = optarg;
                return 1;
        case OPTION_VERSION:
                printf("failover-agent %s, protocol %d\n", AGENT_VERSION, PROTOCOL_VERSION);
                return 0;
        case OPTION_HELP:
                fputs(usage, stdout);
                return 0;
        default:
                return -EINVAL;
        }
}

static int parse(int argc, char **argv, struct arguments *arguments) {
        int option, r;

        while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
                r = set_argument(arguments, option);
                if (r <= 0)
                        return r;
        }
        if (optind < argc) {
                fprintf(stderr, "failover-agent: \"%s\" is not an option; see --help\n", argv[optind]);
                return -EINVAL;
        }
        if (arguments->announce && !announce_is_valid(arguments->announce)) {
                fputs("--announce: expected \"shutdown\" or \"reboot\"\n", stderr);
                return -EINVAL;
        }
        return 1;
}

static bool may_lock_memory(void) {
        char status[4096];
        unsigned long long effective;
        const char *line;

        return file_read(status, sizeof(status), "/proc/self/status") > 0 && (line = strstr(status, "CapEff:")) &&
               sscanf(line, "CapEff: %llx", &effective) == 1 && effective & (1ULL << CAPABILITY_IPC_LOCK);
}

/* The agent has to answer in a guest that is short of everything. Each of these is worth having and none is
 * worth not running for. Locked only without a limit: with one, a later allocation would fail. */
static void protect(void) {
        const struct sched_param lowest = { .sched_priority = 1 };

        if (may_lock_memory() && mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
                log_warning("failover-agent may be paged out, since it cannot be locked in memory: %s, ignoring",
                            strerror(errno));
        (void) file_write("-1000", "/proc/self/oom_score_adj");
        (void) sched_setscheduler(0, SCHED_RR, &lowest);
        (void) prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void log_to_kmsg(void) {
        int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return;
        (void) dup2(fd, STDERR_FILENO);
        close(fd);
}

static int run(const struct agent_options *options) {
        struct agent agent;
        int r;

        if (mkdir(options->paths.run_dir, 0700) < 0 && errno != EEXIST) {
                r = -errno;
                log_error("%s: %s", options->paths.run_dir, strerror(-r));
                return r;
        }
        protect();
        r = agent_init(&agent, options);
        if (r == 0)
                r = agent_run(&agent);
        if (r < 0)
                log_error("failover-agent ends: %s", strerror(-r));
        agent_deinit(&agent);
        return r;
}

static int ask(const struct arguments *arguments) {
        char text[ASK_TEXT_LEN];
        int r = ask_send(arguments->options.paths.run_dir, arguments->ask, text);

        fprintf(r < 0 ? stderr : stdout, "%s%s\n", r < 0 ? "failover-agent: " : "", text);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        struct arguments arguments = {
                .options.transport = { .open = transport_virtio_open, .keeps_descriptor = true },
                .options.paths = { .run_dir = "/run/failover-agent", .sys_dir = "/sys", .proc_dir = "/proc" },
        };
        char cgroup_dir[PATH_LENGTH];
        int r;

        r = parse(argc, argv, &arguments);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        if (arguments.ask)
                return ask(&arguments);
        if (arguments.announce) {
                r = announce_send(arguments.options.paths.run_dir, arguments.announce);
                if (r < 0)
                        fprintf(stderr, "failover-agent: cannot tell the agent: %s\n", strerror(-r));
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        if (arguments.kmsg)
                log_to_kmsg();
        if (!arguments.options.paths.cgroup_dir) {
                /* systemd's hybrid layout has cgroup v2 one level below. */
                snprintf(cgroup_dir, sizeof(cgroup_dir), "%s/fs/cgroup/unified", arguments.options.paths.sys_dir);
                if (!cgroup_is_mounted(cgroup_dir))
                        *strrchr(cgroup_dir, '/') = 0;
                arguments.options.paths.cgroup_dir = cgroup_dir;
        }
        arguments.options.transport.sys_dir = arguments.options.paths.sys_dir;
        return run(&arguments.options) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
