/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/private-bus.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "tests/unit/fake-manager.h"

#define READY_MSEC 10000 /* a deadline, not a wait */

/* Asks a child to end, makes it end past the deadline. True where it ended well. */
static bool end_process(pid_t *pid) {
        _cleanup_close_ int fd = *pid > 0 ? (int) syscall(SYS_pidfd_open, *pid, 0) : -1;
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        int status = 0;

        if (*pid <= 0)
                return true;
        kill(*pid, SIGTERM);
        if (fd < 0 || poll(&poll_fd, 1, READY_MSEC) != 1)
                kill(*pid, SIGKILL);
        waitpid(*pid, &status, 0);
        *pid = 0;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Reads one line that a child writes when it is ready. */
static bool read_line(int fd, char *line, size_t size) {
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        size_t used = 0;

        while (used + 1 < size && poll(&poll_fd, 1, READY_MSEC) == 1 && read(fd, line + used, 1) == 1)
                if (line[used++] == '\n') {
                        line[used - 1] = 0;
                        return true;
                }
        return false;
}

static bool write_config(const char *path, const char *directory) {
        _cleanup_fclose_ FILE *f = fopen(path, "we");

        if (!f)
                return false;
        fprintf(f,
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
                "\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
                "<busconfig><type>session</type><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"
                "<policy context=\"default\"><allow user=\"*\"/><allow send_destination=\"*\" eavesdrop=\"true\"/>"
                "<allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>\n",
                directory);
        return true;
}

/* Starts dbus-daemon in the directory that there is. */
static bool start_daemon(struct private_bus *bus) {
        char argument[128], line[160];
        int pipes[2], quiet;
        bool ready;

        snprintf(argument, sizeof(argument), "--config-file=%s/config", bus->directory);
        if (pipe(pipes) < 0)
                return false;
        bus->daemon = fork();
        if (bus->daemon == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(pipes[1], STDOUT_FILENO);
                quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
                if (quiet >= 0)
                        dup2(quiet, STDERR_FILENO); /* it complains about limits that do not matter here */
                execlp("dbus-daemon", "dbus-daemon", argument, "--nofork", "--nopidfile", "--print-address=1", NULL);
                _exit(127);
        }
        close(pipes[1]);
        ready = read_line(pipes[0], line, sizeof(line));
        close(pipes[0]);
        if (!ready)
                fprintf(stderr, "dbus-daemon does not start; the package dbus-daemon has it\n");
        return ready;
}

bool private_bus_start(struct private_bus *bus) {
        char config[96];

        *bus = (struct private_bus) { .directory = "/tmp/failover-test-bus-XXXXXX" };
        if (!mkdtemp(bus->directory) || chmod(bus->directory, 0755) < 0)
                return false;
        snprintf(config, sizeof(config), "%s/config", bus->directory);
        snprintf(bus->address, sizeof(bus->address), "unix:path=%s/bus", bus->directory);
        if (write_config(config, bus->directory) && start_daemon(bus))
                return true;
        private_bus_stop(bus);
        return false;
}

bool private_bus_restart(struct private_bus *bus) {
        end_process(&bus->daemon);
        return start_daemon(bus);
}

void private_bus_stop(struct private_bus *bus) {
        char path[96];

        private_bus_serve_end(bus);
        end_process(&bus->daemon);
        snprintf(path, sizeof(path), "%s/config", bus->directory);
        unlink(path);
        snprintf(path, sizeof(path), "%s/bus", bus->directory);
        unlink(path);
        rmdir(bus->directory);
}

static int tell_ready(sd_event_source *source, uint64_t usec, void *userdata) {
        struct fake *fake = userdata;

        if (bus_is_ready(fake->bus))
                return write(STDOUT_FILENO, "ready\n", 6) == 6 ? 0 : sd_event_exit(fake->event, 1);
        if (sd_event_source_set_time_relative(source, 1000) < 0)
                return sd_event_exit(fake->event, 1);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int serve(const struct private_bus *bus, bool user, bool broken) {
        struct fake *fake = fake_new();
        sigset_t signals;
        int r;

        if (broken)
                fake_break(fake);
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        r = sd_event_new(&fake->event);
        if (r >= 0)
                r = sd_event_add_signal(fake->event, NULL, SIGTERM, NULL, NULL);
        if (r >= 0)
                r = bus_new(&fake->bus, fake->event, &fake->interface, user, bus->address);
        if (r >= 0)
                r = sd_event_add_time_relative(fake->event, NULL, CLOCK_MONOTONIC, 0, 0, tell_ready, fake);
        if (r >= 0)
                r = sd_event_loop(fake->event);
        bus_free(fake->bus);
        sd_event_unref(fake->event);
        fake_free(fake);
        return r < 0 ? 1 : 0;
}

bool private_bus_serve(struct private_bus *bus, bool user, bool broken) {
        char line[16];
        int pipes[2];
        bool ready;

        if (pipe(pipes) < 0)
                return false;
        fflush(stdout);
        bus->failoverd = fork();
        if (bus->failoverd == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                close(pipes[0]);
                dup2(pipes[1], STDOUT_FILENO);
                exit(serve(bus, user, broken));
        }
        close(pipes[1]);
        ready = read_line(pipes[0], line, sizeof(line));
        close(pipes[0]);
        return ready;
}

bool private_bus_serve_end(struct private_bus *bus) {
        return end_process(&bus->failoverd);
}
