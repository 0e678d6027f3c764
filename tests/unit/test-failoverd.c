/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* failoverd as a whole, above libvirt's own test driver: it starts, tells what it knows, takes another policy, and ends
 * well, with nothing there and with what an earlier one has left. */

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "tests/unit/private-bus.h"
#include "tests/unit/test.h"

#define READY_MSEC 60000 /* a deadline, not a wait */
#define SHOWN_EVERY_MSEC 100
#define SHOWN_TRIES 300

static struct {
        struct private_bus bus;
        char directory[64];
        int notify; /* the other end of sd_notify(3) */
        pid_t failoverd;
} stand;

static char *in_directory(const char *name) {
        char *path = NULL;

        REQUIRE(asprintf(&path, "%s/%s", stand.directory, name) >= 0);
        return path;
}

/* An example of the sources, with libvirt's test driver in place of its hypervisor. */
static void write_policy(const char *example) {
        _cleanup_free_ char *from = NULL, *to = in_directory("policy.yaml"), *line = NULL;
        _cleanup_fclose_ FILE *in = NULL, *out = fopen(to, "we");
        size_t size = 0;

        REQUIRE(asprintf(&from, "%s/etc/%s", getenv("TEST_SOURCE_DIR"), example) >= 0);
        in = fopen(from, "re");
        REQUIRE(in && out);
        fputs("hypervisor: test:///default\n", out);
        while (getline(&line, &size, in) >= 0)
                if (strncmp(line, "hypervisor:", strlen("hypervisor:")) != 0)
                        fputs(line, out);
}

static void open_notify(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_free_ char *path = in_directory("notify");

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        stand.notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        REQUIRE(stand.notify >= 0 && bind(stand.notify, (struct sockaddr *) &address, sizeof(address)) == 0);
        REQUIRE(setenv("NOTIFY_SOCKET", path, 1) == 0);
}

static void begin(void) {
        snprintf(stand.directory, sizeof(stand.directory), "/tmp/failover-test-XXXXXX");
        REQUIRE(mkdtemp(stand.directory) != NULL);
        REQUIRE(private_bus_start(&stand.bus));
        REQUIRE(setenv("DBUS_SESSION_BUS_ADDRESS", stand.bus.address, 1) == 0);
        REQUIRE(setenv("XDG_RUNTIME_DIR", stand.directory, 1) == 0);
        open_notify();
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
        return remove(path);
}

static void end(void) {
        close(stand.notify);
        unsetenv("NOTIFY_SOCKET");
        private_bus_stop(&stand.bus);
        CHECK(nftw(stand.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* Until the daemon has told that line. */
static bool told(const char *line) {
        struct pollfd fd = { .fd = stand.notify, .events = POLLIN };
        char text[4096];

        while (poll(&fd, 1, READY_MSEC) == 1) {
                ssize_t n = recv(stand.notify, text, sizeof(text) - 1, 0);

                text[n > 0 ? n : 0] = 0;
                if (strstr(text, line))
                        return true;
        }
        return false;
}

static void start(void) {
        _cleanup_free_ char *program = NULL, *policy = in_directory("policy.yaml"), *state = in_directory("state"),
                            *runtime = in_directory("run"), *log = in_directory("log");

        REQUIRE(asprintf(&program, "%s/daemon/failoverd", getenv("TEST_BUILD_DIR")) >= 0);
        stand.failoverd = fork();
        if (stand.failoverd == 0) {
                int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

                dup2(fd, STDERR_FILENO);
                execl(program, "failoverd", "--user", "--policy", policy, "--state-dir", state, "--runtime-dir",
                      runtime, NULL);
                _exit(127);
        }
        REQUIRE(told("READY=1"));
}

static void stop(void) {
        _cleanup_free_ char *command = NULL;
        int status = 0;
        bool well;

        kill(stand.failoverd, SIGTERM);
        waitpid(stand.failoverd, &status, 0);
        well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        CHECK(well);
        if (!well && asprintf(&command, "cat %s/log", stand.directory) >= 0)
                (void) !system(command);
}

/* What failoverctl prints, which the caller frees. */
static char *ctl(const char *words) {
        _cleanup_free_ char *command = NULL;
        char *text = NULL;
        size_t size = 0;
        FILE *f;

        REQUIRE(asprintf(&command, "%s/daemon/ctl/failoverctl --user %s 2>&1", getenv("TEST_BUILD_DIR"), words) >= 0);
        f = popen(command, "re");
        REQUIRE(f && getdelim(&text, &size, 0, f) > 0);
        pclose(f);
        return text;
}

/* Now or soon: what libvirt is asked for is not known yet when failoverd is ready. */
static void shows(const char *words, const char *wanted) {
        _cleanup_free_ char *text = ctl(words);

        for (int tries = 0; !strstr(text, wanted) && tries < SHOWN_TRIES; tries++) {
                poll(NULL, 0, SHOWN_EVERY_MSEC);
                free(text);
                text = ctl(words);
        }
        CHECK(strstr(text, wanted) != NULL);
        if (!strstr(text, wanted))
                printf("failoverctl %s: %s\n", words, text);
}

static void it_starts_and_ends_with_every_example(void) {
        _cleanup_free_ char *apply = NULL;

        begin();
        write_policy("policy.example-minimal.yaml");
        start();
        shows("status --json", "\"ready\": true");
        shows("status", "web-a: libvirt knows no such domain");
        write_policy("policy.example.yaml");
        REQUIRE(asprintf(&apply, "policy apply %s/policy.yaml --force", stand.directory) >= 0);
        shows(apply, "applied");
        shows("policy show", "domain: \"orders-a\"");
        shows("table", "orders-a");
        shows("memory", "orders");
        shows("check", "orders");
        stop();
        start(); /* with what that one has left */
        shows("status", "orders-a: libvirt knows no such domain");
        kill(stand.failoverd, SIGHUP);
        CHECK(told("RELOADING=1") && told("READY=1"));
        kill(stand.failoverd, SIGKILL);
        waitpid(stand.failoverd, NULL, 0);
        start();
        shows("history --json", "\"kind\": \"history\"");
        stop();
        end();
}

/* The policy of the minimal example with a base that its floor does not allow, as the file or as what was in force. */
static void put_unfit_policy(const char *name) {
        _cleanup_free_ char *path = in_directory(name);
        _cleanup_fclose_ FILE *f = fopen(path, "we");

        REQUIRE(f != NULL);
        fputs("version: 1\n"
              "hypervisor: test:///default\n"
              "pool: {memory: 2GiB, extent: 128MiB}\n"
              "pairs:\n"
              "  - name: web\n"
              "    active: {domain: web-a, base: 64MiB}\n"
              "    standby: {domain: web-b, base: 64MiB}\n"
              "    applications: [{name: shop, kind: hot-standby, memory: 512MiB, start: {unit: shop.service}}]\n",
              f);
}

static void what_was_in_force_before_an_upgrade_is_in_force_after_it_and_status_says_what_to_mend(void) {
        begin();
        write_policy("policy.example-minimal.yaml");
        start();
        stop();
        put_unfit_policy("policy.yaml");
        put_unfit_policy("state/policy.last"); /* as a failoverd has left it that knew no such floor */
        start();
        shows("policy show", "base: 64MiB");
        shows("status", "The policy file is refused, and the policy that was in force last stays so");
        shows("status", "policy.yaml:6:35: pairs[0].active.base: 64MiB is too small");
        shows("status --json", "\"policy_taken\": false");
        stop();
        start(); /* it has kept it for the next start */
        shows("policy show", "base: 64MiB");
        write_policy("policy.example-minimal.yaml");
        kill(stand.failoverd, SIGHUP);
        CHECK(told("RELOADING=1") && told("READY=1"));
        shows("status --json", "\"policy_taken\": true");
        stop();
        end();
}

TEST_MAIN("failoverd",
          TEST(it_starts_and_ends_with_every_example),
          TEST(what_was_in_force_before_an_upgrade_is_in_force_after_it_and_status_says_what_to_mend))
