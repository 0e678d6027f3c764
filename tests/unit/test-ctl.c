/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The real failoverctl against a fake failoverd: what it prints, to the letter, and its exit codes. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/redact.h"
#include "daemon/ctl/render-table.h"
#include "tests/unit/golden.h"
#include "tests/unit/private-bus.h"
#include "tests/unit/test.h"

#define OUTPUT_MAX (256 * 1024)

/* A running failoverctl. */
struct run {
        pid_t pid;
        int fd;
        size_t used;
        char output[OUTPUT_MAX + 64]; /* both streams, then "exit CODE" */
};

static char *file_path(const char *name) {
        char *path;

        REQUIRE(asprintf(&path, "%s/tests/ctl/%s", getenv("TEST_SOURCE_DIR"), name) >= 0);
        return path;
}

/* `line` is split at blanks; a word of the form @NAME is a file beside the golden ones, given by its name there. Where
 * nobody is reading, its standard output is a pipe whose other end is closed. */
static void run_begin_reading(struct run *run, const char *line, bool reading) {
        _cleanup_free_ char *program = NULL, *words = strdup(line), *directory = file_path("");
        const char *argv[16] = { "failoverctl", "--user" };
        int pipes[2], closed[2], n = 2;

        REQUIRE(words && asprintf(&program, "%s/daemon/ctl/failoverctl", getenv("TEST_BUILD_DIR")) >= 0);
        for (char *save, *word = strtok_r(words, " ", &save); word && n < 15; word = strtok_r(NULL, " ", &save))
                argv[n++] = word;
        REQUIRE(pipe(pipes) == 0 && pipe(closed) == 0);
        close(closed[0]);
        fflush(stdout);
        run->used = 0;
        run->pid = fork();
        if (run->pid == 0) {
                signal(SIGPIPE, SIG_DFL);
                dup2(reading ? pipes[1] : closed[1], STDOUT_FILENO);
                dup2(pipes[1], STDERR_FILENO);
                close(pipes[0]);
                close(pipes[1]);
                close(closed[1]);
                if (chdir(directory) == 0)
                        execv(program, (char *const *) argv);
                _exit(127);
        }
        close(pipes[1]);
        close(closed[1]);
        run->fd = pipes[0];
}

static void run_begin(struct run *run, const char *line) {
        run_begin_reading(run, line, true);
}

/* Reads until `text` has come, or to the end where it is NULL. */
static bool run_read(struct run *run, const char *text) {
        struct pollfd poll_fd = { .fd = run->fd, .events = POLLIN };

        while (run->used < OUTPUT_MAX && poll(&poll_fd, 1, 20000) == 1) {
                ssize_t n = read(run->fd, run->output + run->used, OUTPUT_MAX - run->used);

                if (n <= 0)
                        return text == NULL;
                run->used += (size_t) n;
                run->output[run->used] = 0;
                if (text && strstr(run->output, text))
                        return true;
        }
        return false;
}

static int run_end(struct run *run) {
        int status = 0;

        CHECK(run_read(run, NULL));
        close(run->fd);
        waitpid(run->pid, &status, 0);
        snprintf(run->output + run->used, 64, "exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(const char *name, const char *line) {
        struct run *run = calloc(1, sizeof(*run));

        REQUIRE(run != NULL);
        run_begin(run, line);
        run_end(run);
        CHECK(golden_matches(name, run->output));
        free(run);
}

static void serve(struct private_bus *bus, bool broken) {
        REQUIRE(private_bus_start(bus));
        REQUIRE(private_bus_serve(bus, true, broken));
        setenv("DBUS_SESSION_BUS_ADDRESS", bus->address, 1);
        setenv("TZ", "UTC", 1);
        setenv("LC_ALL", "C", 1);
}

static void end(struct private_bus *bus) {
        CHECK(private_bus_serve_end(bus));
        private_bus_stop(bus);
}

static void what_is_read_is_shown_for_people(void) {
        struct private_bus bus;

        serve(&bus, false);
        expect("status", "status");
        expect("status-armed", "status web");
        expect("status-unknown-pair", "status nobody");
        expect("check", "check");
        expect("check-armed", "check web");
        expect("check-unknown-pair", "check nobody");
        expect("explain", "explain web");
        expect("explain-unprotected", "explain db");
        expect("explain-failover", "explain web-2");
        expect("explain-unknown", "explain web-99");
        expect("table", "table");
        expect("memory", "memory");
        expect("regions", "regions");
        expect("regions-json", "--json regions");
        expect("json-memory", "--json memory");
        expect("history", "history");
        expect("history-one", "history web-2");
        expect("history-unknown", "history web-99");
        expect("metrics", "metrics");
        expect("policy-show", "policy show --json");
        end(&bus);
}

static void what_is_wrong_is_said_with_what_to_do(void) {
        struct private_bus bus;

        serve(&bus, true);
        expect("status-broken", "status");
        end(&bus);
}

static void long_calls_show_their_phases_and_their_verdict(void) {
        struct private_bus bus;

        serve(&bus, false);
        expect("switch", "switch web");
        expect("switch-dry-run", "switch web --dry-run");
        expect("switch-refused", "switch db");
        expect("return-dry-run", "return mail --dry-run");
        expect("drill", "drill web --fault panic");
        expect("drill-missed", "drill web --fault hang");
        expect("context-governed", "context save web-a night");
        expect("context-in-failover", "context swap mail-a --out night --in day");
        expect("drill-unknown-fault", "drill web --fault earthquake");
        expect("drill-no-fault", "drill web");
        expect("drill-plan", "drill web --level plan");
        expect("drill-rehearse", "drill web --level rehearse");
        expect("drill-rehearse-json", "drill web --level rehearse --json");
        expect("drill-return", "drill web --fault panic --return");
        expect("drill-level-unknown", "drill web --level real --fault panic");
        expect("drill-rehearse-fault", "drill web --level rehearse --fault panic");
        expect("drill-rehearse-return", "drill web --level rehearse --return");
        expect("switch-unknown-pair", "switch nobody");
        end(&bus);
}

static void what_changes_things_says_what_it_did(void) {
        struct private_bus bus;

        serve(&bus, false);
        expect("pause", "pause web --reason maintenance");
        expect("pause-all", "pause");
        expect("pause-past", "pause web --until 2020-01-01");
        expect("resume", "resume web");
        expect("adopt", "adopt web --active web-b");
        expect("memory-extend", "memory extend db-a 1GiB");
        expect("memory-release", "memory release db-a top:512MiB --json");
        expect("memory-assign", "memory assign db-a=-1GiB web-a=+1GiB");
        expect("memory-assign-dry-run", "memory assign 0-1GiB=web-b --dry-run");
        expect("memory-assign-cancel", "memory assign --cancel");
        expect("memory-assign-wait", "memory assign --wait");
        expect("memory-assign-nothing", "memory assign");
        expect("memory-shrink", "memory shrink db-a");
        expect("adopt-wrong", "adopt web --active db-a");
        expect("policy-apply", "policy apply good.yaml --dry-run --force");
        expect("policy-apply-unknown", "policy apply domains.yaml");
        expect("policy-apply-bad", "policy apply bad.yaml");
        end(&bus);
}

static void wrong_command_lines_are_refused(void) {
        unsetenv("DBUS_SESSION_BUS_ADDRESS");
        expect("usage-none", "");
        expect("usage-verb", "dance");
        expect("usage-option", "status --force");
        expect("usage-unknown-option", "status --fast");
        expect("usage-args", "switch");
        expect("usage-limit", "history --limit many");
        expect("context-verb", "context freeze");
        expect("context-args", "context save a");
        expect("context-swap", "context swap a --out night");
        expect("context-name", "context save a no/name");
        expect("context-server", "context list --server /run/x.sock");
        expect("context-elsewhere", "context save a night --on qemu+ssh://h2/system");
        expect("program-verb", "program freeze");
        expect("program-args", "program put /bin/true");
        expect("program-option", "program list --keep");
        expect("program-name", "program put /bin/true no/name");
        expect("usage-forms", "policy apply a b");
        expect("help", "--help");
        expect("help-verb", "drill --help");
        expect("help-unknown-verb", "dance --help");
}

static void without_a_daemon_the_next_step_is_named(void) {
        struct private_bus bus;

        REQUIRE(private_bus_start(&bus));
        setenv("DBUS_SESSION_BUS_ADDRESS", bus.address, 1);
        expect("no-daemon", "status");
        private_bus_stop(&bus);
        setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
        expect("no-bus", "table");
        unsetenv("DBUS_SESSION_BUS_ADDRESS");
}

static void policy_check_needs_no_daemon(void) {
        unsetenv("DBUS_SESSION_BUS_ADDRESS");
        expect("policy-check", "policy check good.yaml");
        expect("policy-check-json", "policy check --json good.yaml");
        expect("policy-check-bad", "policy check bad.yaml");
        expect("policy-check-missing", "policy check missing.yaml");
        expect("policy-xml-json", "policy xml --json good.yaml");
}

/* libvirt's own test driver has a domain "test" that lacks everything. */
static void policy_check_names_what_domains_lack(void) {
        struct run *run = calloc(1, sizeof(*run));

        REQUIRE(run != NULL);
        run_begin(run, "policy check --domains domains.yaml");
        CHECK(run_end(run) == CTL_FAILED);
        CHECK(strstr(run->output, "missing test: it has no agent channel org.failover1.agent.0\n    mend: ") != NULL);
        CHECK(strstr(run->output, "missing test: no virtio-mem device has the alias ua-shop\n    mend: ") != NULL);
        CHECK(strstr(run->output, "domains.yaml:9:23: pairs[0].standby.domain: libvirt (test:///default) knows no "
                                  "domain \"web-b\"") != NULL);
        CHECK(strstr(run->output, "missing web-b") == NULL);
        CHECK(strstr(run->output, "<alias name='ua-shop'/>") != NULL);
        run_begin(run, "policy check --json --domains domains.yaml");
        CHECK(run_end(run) == CTL_FAILED);
        CHECK(strstr(run->output, "\"ok\": false") != NULL);
        CHECK(strstr(run->output, "\"path\": \"pairs[0].standby.domain\"") != NULL);
        CHECK(strstr(run->output, "\"text\": \"no virtio-mem device has the alias ua-shop\"") != NULL);
        free(run);
}

/* A switch that begins and does not end, with a monitor that sees it. */
static void begin_endless_switch(struct private_bus *bus, struct run *run, struct run *monitor) {
        serve(bus, false);
        run_begin(monitor, "monitor");
        REQUIRE(run_read(monitor, "active is mail-b\n"));
        run_begin(run, "switch mail");
        CHECK(run_read(monitor, "begun, and never ends"));
}

static void an_interrupt_says_that_the_daemon_goes_on(void) {
        struct run *run = calloc(1, sizeof(*run)), *monitor = calloc(1, sizeof(*monitor));
        struct private_bus bus;

        REQUIRE(run && monitor);
        begin_endless_switch(&bus, run, monitor);
        kill(run->pid, SIGINT);
        CHECK(run_end(run) == CTL_FAILED);
        CHECK(strstr(run->output, "the switch goes on in failoverd") != NULL);
        kill(monitor->pid, SIGTERM);
        CHECK(run_end(monitor) == CTL_OK);
        free(run);
        free(monitor);
        end(&bus);
}

static void an_interrupt_of_a_request_for_memory_says_how_to_go_on(void) {
        struct run *run = calloc(1, sizeof(*run));
        struct private_bus bus;

        REQUIRE(run != NULL);
        serve(&bus, false);
        run_begin(run, "memory assign mail-a=-1GiB --wait");
        CHECK(run_read(run, "mail-a=-1GiB: "));
        kill(run->pid, SIGINT);
        CHECK(run_end(run) == CTL_FAILED);
        CHECK(strstr(run->output, "failoverd goes on. See: failoverctl memory assign --wait") != NULL);
        /* which finds it as it was */
        run_begin(run, "memory assign --wait");
        CHECK(run_read(run, "mail-a=-1GiB: "));
        kill(run->pid, SIGTERM);
        CHECK(run_end(run) == CTL_FAILED);
        free(run);
        end(&bus);
}

static void a_daemon_that_goes_ends_the_wait(void) {
        struct run *run = calloc(1, sizeof(*run)), *monitor = calloc(1, sizeof(*monitor));
        struct private_bus bus;

        REQUIRE(run && monitor);
        begin_endless_switch(&bus, run, monitor);
        CHECK(private_bus_serve_end(&bus));
        CHECK(run_end(run) != CTL_OK);
        CHECK(strstr(run->output, "failoverd stops; what was begun is finished by the next one.") != NULL);
        CHECK(run_read(monitor, "failoverd has gone"));
        kill(monitor->pid, SIGTERM);
        CHECK(run_end(monitor) == CTL_OK);
        free(run);
        free(monitor);
        private_bus_stop(&bus);
}

static void monitor_shows_what_happens_and_ends_well(void) {
        struct run *run = calloc(1, sizeof(*run)), *other = calloc(1, sizeof(*other));
        struct private_bus bus;

        REQUIRE(run && other);
        serve(&bus, false);
        run_begin(run, "monitor");
        REQUIRE(run_read(run, "active is mail-b\n"));
        run_begin(other, "switch web");
        CHECK(run_end(other) == CTL_OK);
        CHECK(run_read(run, "ended well"));
        kill(run->pid, SIGINT);
        CHECK(run_end(run) == CTL_OK);
        CHECK(strstr(run->output, "web-4 detected +0.000s") != NULL);
        CHECK(strstr(run->output, "started web-b shop: shop started on web-b") != NULL);
        free(run);
        free(other);
        end(&bus);
}

static char *read_text(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        char *text = NULL;
        size_t n = 0;

        return f && getdelim(&text, &n, 0, f) >= 0 ? text : NULL;
}

static void a_report_holds_no_secrets(void) {
        char directory[] = "/tmp/failover-test-report-XXXXXX", name[64], tar[80], line[96], member[256];
        struct run *run = calloc(1, sizeof(*run));
        _cleanup_free_ char *text = NULL;
        struct private_bus bus;
        size_t size = 0;
        FILE *f;

        REQUIRE(run && mkdtemp(directory));
        serve(&bus, false);
        snprintf(name, sizeof(name), "%s/r", directory);
        snprintf(tar, sizeof(tar), "%s.tar", name);
        snprintf(line, sizeof(line), "report --output %s", name);
        run_begin(run, line);
        CHECK(run_end(run) == CTL_OK);
        snprintf(member, sizeof(member), "tar --extract --to-stdout --file %s --wildcards '*policy.yaml'", tar);
        f = popen(member, "re");
        REQUIRE(f && getdelim(&text, &size, 0, f) > 0);
        CHECK(pclose(f) == 0);
        CHECK(strstr(text, "version: 1") != NULL);
        CHECK(strstr(text, "hunter2") == NULL);
        CHECK(access(name, F_OK) < 0);
        unlink(tar);
        rmdir(directory);
        free(run);
        end(&bus);
}

static void secrets_are_seen_in_all_their_forms(void) {
        static const char *const samples[] = {
                "--password=hunter2",        "--password hunter2",          "[--password, hunter2]",
                "PGPASSWORD=hunter2 psql",   "\"secret\": \"hunter2\"",     "api_key: 'hunter2'",
                "qemu+tcp://me:hunter2@host/system", "Authorization: hunter2", "DB_PWD=x my_pwd=hunter2",
                "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        };
        char *plain = redact("state: armed\ntoken: 4\nqemu:///system\nkeyboard: us\n");

        for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
                _cleanup_free_ char *clean = redact(samples[i]);

                REQUIRE(clean != NULL);
                CHECK(strstr(clean, "hunter2") == NULL);
                CHECK(strstr(clean, "REDACTED") != NULL);
        }
        CHECK_TEXT(plain, "state: armed\ntoken: 4\nqemu:///system\nkeyboard: us\n");
        free(plain);
}

static void write_text(const char *directory, const char *name, const char *text) {
        char path[128];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        f = fopen(path, "we");
        REQUIRE(f != NULL);
        fputs(text, f);
        REQUIRE(fclose(f) == 0);
}

static int __attribute__((format(printf, 2, 3))) run_line(struct run *run, const char *format, ...) {
        char line[256];
        va_list ap;

        va_start(ap, format);
        vsnprintf(line, sizeof(line), format, ap);
        va_end(ap);
        run_begin(run, line);
        return run_end(run);
}

/* Simulated, recorded, stripped of secrets as a report is, replayed, made a scenario of, and that run. */
static void a_recording_without_its_secrets_decides_the_same(void) {
        static const char policy[] =
                "version: 1\n"
                "pool: {memory: 4GiB}\n"
                "pairs:\n"
                "  - name: orders\n"
                "    active: {domain: vm-a, base: 512MiB}\n"
                "    standby: {domain: vm-b, base: 512MiB}\n"
                "    applications:\n"
                "      - {name: db, kind: hot-standby, memory: 512MiB,\n"
                "         start: {command: [/bin/db, --password, hunter2]}}\n";
        static const char *const names[] = {
                "policy.yaml",          "timeline",        "recorded",        "clean",    "scenario/README",
                "scenario/policy.yaml", "scenario/events", "scenario/expect", "scenario", ""
        };
        char directory[] = "/tmp/failover-test-replay-XXXXXX", path[128];
        struct run *run = calloc(1, sizeof(*run));
        _cleanup_free_ char *text = NULL, *clean = NULL, *expected = NULL;

        REQUIRE(run && mkdtemp(directory));
        write_text(directory, "policy.yaml", policy);
        write_text(directory, "timeline", "20s panic vm-a\n40s end\n");
        CHECK(run_line(run, "simulate %s --record %s/recorded", directory, directory) == CTL_OK);
        snprintf(path, sizeof(path), "%s/recorded", directory);
        text = read_text(path);
        REQUIRE(text && strstr(text, "hunter2"));
        clean = redact(text);
        REQUIRE(clean && !strstr(clean, "hunter2"));
        write_text(directory, "clean", clean);
        CHECK(run_line(run, "replay %s/clean", directory) == CTL_OK);
        CHECK(strstr(run->output, "the os-failure has ended (good)") &&
              strstr(run->output, "decisions are those that failoverd"));
        CHECK(run_line(run, "replay %s/clean --scenario %s/scenario", directory, directory) == CTL_OK);
        CHECK(run_line(run, "simulate %s/scenario", directory) == CTL_OK);
        snprintf(path, sizeof(path), "%s/scenario/expect", directory);
        expected = read_text(path);
        CHECK(expected && strncmp(run->output, expected, strlen(expected)) == 0 &&
              strcmp(run->output + strlen(expected), "exit 0\n") == 0);
        CHECK(strstr(expected, "< vm-a       domain crashed (panicked)") != NULL);
        /* An engine that has asked for more before gives other numbers to what it asks for: that decides nothing. */
        snprintf(path, sizeof(path), "%s/scenario/events", directory);
        free(steal_ptr(text));
        text = read_text(path);
        REQUIRE(text && strstr(text, " next_id=") && strstr(text, "\n! "));
        strstr(text, " next_id=")[strlen(" next_id=")] = '9';
        write_text(directory, "scenario/events", text);
        CHECK(run_line(run, "simulate %s/scenario", directory) == CTL_OK);
        CHECK(strncmp(run->output, expected, strlen(expected)) == 0);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
                CHECK(remove(path) == 0);
        }
        free(run);
}

static void a_recording_that_differs_or_is_none_says_so(void) {
        expect("replay-none", "replay good.yaml");
        expect("replay-missing", "replay nowhere");
        expect("replay-time", "replay good.yaml --from yesterday");
}

/* As `| head` has when it has its lines. */
static void whoever_reads_may_have_enough(void) {
        static const char *const lines[] = {
                "simulate --json ../scenarios/guest-hang-fails-over",
                "simulate --json ../scenarios/recorded-panic-of-a-real-guest-fails-over",
                "replay ../scenarios/recorded-panic-of-a-real-guest-fails-over",
        };
        struct run *run = calloc(1, sizeof(*run));

        REQUIRE(run != NULL);
        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                run_begin_reading(run, lines[i], false);
                CHECK(run_end(run) == CTL_OK);
                CHECK_TEXT(run->output, "exit 0\n");
        }
        free(run);
}

static void columns_are_as_wide_as_their_widest_cell(void) {
        struct render_table table = { .heads = { "A", "NUMBER" }, .right = { [1] = true }, .n_columns = 2 };
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        REQUIRE(f != NULL);
        render_cell(&table, "wide cell");
        render_cell(&table, "1");
        render_cell(&table, "x");
        render_cell(&table, "12345678");
        CHECK(render_print(&table, f) == 0);
        fclose(f);
        CHECK_TEXT(text, "A            NUMBER\nwide cell         1\nx          12345678\n");
}

TEST_MAIN("ctl",
          TEST(what_is_read_is_shown_for_people),
          TEST(what_is_wrong_is_said_with_what_to_do),
          TEST(long_calls_show_their_phases_and_their_verdict),
          TEST(what_changes_things_says_what_it_did),
          TEST(wrong_command_lines_are_refused),
          TEST(without_a_daemon_the_next_step_is_named),
          TEST(policy_check_needs_no_daemon),
          TEST(policy_check_names_what_domains_lack),
          TEST(an_interrupt_says_that_the_daemon_goes_on),
          TEST(an_interrupt_of_a_request_for_memory_says_how_to_go_on),
          TEST(a_daemon_that_goes_ends_the_wait),
          TEST(monitor_shows_what_happens_and_ends_well),
          TEST(a_report_holds_no_secrets), TEST(a_recording_without_its_secrets_decides_the_same),
          TEST(a_recording_that_differs_or_is_none_says_so),
          TEST(whoever_reads_may_have_enough),
          TEST(secrets_are_seen_in_all_their_forms),
          TEST(columns_are_as_wide_as_their_widest_cell))
