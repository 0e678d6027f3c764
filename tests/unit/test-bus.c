/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <systemd/sd-bus.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/bus/bus-internal.h"
#include "tests/unit/golden.h"
#include "tests/unit/private-bus.h"
#include "tests/unit/test.h"

#define ERROR_PREFIX "org.failover1.Error."
#define WEB "/org/failover1/pair/web"

struct session {
        struct private_bus bus;
        sd_bus *connection;
};

static void connect_session(struct session *session) {
        REQUIRE(sd_bus_new(&session->connection) >= 0);
        REQUIRE(sd_bus_set_address(session->connection, session->bus.address) >= 0);
        REQUIRE(sd_bus_set_bus_client(session->connection, true) >= 0);
        REQUIRE(sd_bus_start(session->connection) >= 0);
}

static void open_session(struct session *session, bool user) {
        *session = (struct session) { 0 };
        REQUIRE(private_bus_start(&session->bus));
        REQUIRE(private_bus_serve(&session->bus, user, false));
        connect_session(session);
}

static void close_session(struct session *session) {
        sd_bus_flush_close_unref(session->connection);
        CHECK(private_bus_serve_end(&session->bus));
        private_bus_stop(&session->bus);
}

/* Name of the error that a call ends in, "" for none. The reply's string, where it has one, goes to `ret`. */
static const char *call(struct session *session, const char *path, const char *interface, const char *method,
                        char **ret, const char *types, ...) {
        static char name[128];
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *message = NULL, *reply = NULL;
        const char *text;
        va_list ap;

        REQUIRE(sd_bus_message_new_method_call(session->connection, &message, "org.failover1", path, interface,
                                               method) >= 0);
        va_start(ap, types);
        REQUIRE(sd_bus_message_appendv(message, types, ap) >= 0);
        va_end(ap);
        name[0] = 0;
        if (sd_bus_call(session->connection, message, 10 * USEC_PER_SEC, &error, &reply) < 0)
                snprintf(name, sizeof(name), "%s", error.name ? error.name : "none");
        else if (ret && sd_bus_message_read(reply, "s", &text) >= 0)
                *ret = strdup(text);
        if (name[0])
                CHECK(error.message && error.message[0]);
        sd_bus_error_free(&error);
        sd_bus_message_unref(message);
        sd_bus_message_unref(reply);
        return name;
}

#define MANAGER(session, ...) call(session, BUS_PATH, BUS_MANAGER_INTERFACE, __VA_ARGS__)

static void documents_come_over_the_bus(void) {
        static const char *const methods[] = { "Describe", "DescribeTable", "DescribeMemory", "DescribeRegions",
                                                "Metrics", "ShowPolicy" };
        struct session session;

        open_session(&session, true);
        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                _cleanup_free_ char *text = NULL;

                CHECK_TEXT(MANAGER(&session, methods[i], &text, ""), "");
                CHECK(text && strlen(text) > 10);
        }
        close_session(&session);
}

static void wrong_arguments_are_clear_errors_and_harm_nobody(void) {
        _cleanup_free_ char *long_text = malloc(BUS_POLICY_TEXT_MAX + 2), *name = malloc(400), *text = NULL;
        struct session session;

        REQUIRE(long_text && name);
        memset(long_text, 'a', BUS_POLICY_TEXT_MAX + 1);
        long_text[BUS_POLICY_TEXT_MAX + 1] = 0;
        memset(name, 'x', 399);
        name[399] = 0;
        open_session(&session, true);
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "s", "web"), SD_BUS_ERROR_INVALID_ARGS);
        CHECK_TEXT(MANAGER(&session, "Describe", NULL, "u", 3), SD_BUS_ERROR_INVALID_ARGS);
        CHECK_TEXT(MANAGER(&session, "NoSuchMethod", NULL, ""), SD_BUS_ERROR_UNKNOWN_METHOD);
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", "nobody", UINT64_C(0), ""), ERROR_PREFIX "NoSuchPair");
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", name, UINT64_C(0), ""), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", "../web", UINT64_C(0), ""), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", "web", UINT64_C(0), name), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", "web", UINT64_C(0), "a\nb"), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", "web", UINT64_C(1), ""), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", "web", UINT64_C(4000000000) * USEC_PER_SEC, ""), "");
        CHECK_TEXT(MANAGER(&session, "Pause", NULL, "sts", "", UINT64_C(0), "all of them"), "");
        CHECK_TEXT(MANAGER(&session, "Adopt", NULL, "ss", "web", "db-a"), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "AssignMemory", NULL, "sb", long_text, 0), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "AssignMemory", NULL, "sb", "web-a=+1GiB", 0), "");
        CHECK_TEXT(MANAGER(&session, "GetHistory", NULL, "su", name, 10), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "GetHistory", NULL, "su", "web-99", 10), ERROR_PREFIX "NoSuchFailover");
        CHECK_TEXT(MANAGER(&session, "ApplyPolicy", NULL, "sb", long_text, 0), ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(MANAGER(&session, "ApplyPolicy", NULL, "sb", "nonsense", 0), ERROR_PREFIX "InvalidPolicy");
        CHECK_TEXT(MANAGER(&session, "Reload", NULL, ""), ERROR_PREFIX "InvalidPolicy");
        CHECK_TEXT(MANAGER(&session, "Describe", &text, ""), "");
        CHECK(text != NULL);
        close_session(&session);
}

static void wrong_options_of_a_pair_are_clear_errors(void) {
        struct session session;

        open_session(&session, true);
        CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Switch", NULL, "a{sv}", 1, "dry-run", "s", "yes"),
                   ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Switch", NULL, "a{sv}", 1, "fast", "b", 1),
                   ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Drill", NULL, "sa{sv}", "earthquake", 0),
                   ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Drill", NULL, "sa{sv}", "panic", 1, "force", "b", 1),
                   ERROR_PREFIX "InvalidArgument");
        CHECK_TEXT(call(&session, "/org/failover1/pair/nobody", BUS_PAIR_INTERFACE, "Switch", NULL, "a{sv}", 0),
                   SD_BUS_ERROR_UNKNOWN_OBJECT);
        CHECK_TEXT(call(&session, "/org/failover1/pair/db", BUS_PAIR_INTERFACE, "Switch", NULL, "a{sv}", 0),
                   ERROR_PREFIX "Refused");
        CHECK_TEXT(call(&session, "/org/failover1/pair/mail", BUS_PAIR_INTERFACE, "Drill", NULL, "sa{sv}", "panic", 0),
                   ERROR_PREFIX "Busy");
        close_session(&session);
}

static void a_drill_has_a_level(void) {
        static const struct { const char *fault, *type, *value, *error; } cases[] = {
                { "", "s", "plan", "" },
                { "", "s", "rehearse", "" },
                { "panic", "s", "plan", "" },
                { "", "s", "full", ERROR_PREFIX "InvalidArgument" },      /* it needs a fault */
                { "panic", "s", "real", ERROR_PREFIX "InvalidArgument" },
                { "panic", "o", "/plan", ERROR_PREFIX "InvalidArgument" },
        };
        struct session session;

        open_session(&session, true);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Drill", NULL, "sa{sv}", cases[i].fault, 1, "level",
                                cases[i].type, cases[i].value), cases[i].error);
        }
        CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Switch", NULL, "a{sv}", 1, "level", "s", "plan"),
                   ERROR_PREFIX "InvalidArgument");
        close_session(&session);
}

static void a_switch_is_answered_when_it_has_ended(void) {
        _cleanup_free_ char *report = NULL;
        struct session session;

        open_session(&session, true);
        CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Switch", &report, "a{sv}", 0), "");
        REQUIRE(report != NULL);
        CHECK(strstr(report, "\"id\":\"web-4\"") != NULL);
        CHECK(strstr(report, "\"phase\":\"healthy\"") != NULL);
        CHECK(strstr(report, "\"objective_met\":true") != NULL);
        close_session(&session);
}

static void objects_are_listed_with_their_properties(void) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        struct session session;
        _cleanup_free_ char *state = NULL, *owner = NULL;
        unsigned n = 0;
        const char *path;

        open_session(&session, true);
        REQUIRE(sd_bus_call_method(session.connection, "org.failover1", BUS_PATH, "org.freedesktop.DBus.ObjectManager",
                                   "GetManagedObjects", &error, &reply, "") >= 0);
        REQUIRE(sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}") > 0);
        while (sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}") > 0) {
                REQUIRE(sd_bus_message_read(reply, "o", &path) > 0);
                n += strncmp(path, BUS_PATH "/", sizeof(BUS_PATH)) == 0;
                REQUIRE(sd_bus_message_skip(reply, "a{sa{sv}}") >= 0 && sd_bus_message_exit_container(reply) >= 0);
        }
        CHECK(n == 3 + 4 + 14); /* pairs, applications, regions */
        sd_bus_message_unref(reply);
        CHECK(sd_bus_get_property_string(session.connection, "org.failover1", WEB, BUS_PAIR_INTERFACE, "State", &error,
                                         &state) >= 0);
        CHECK_TEXT(state ? state : "", "armed");
        CHECK(sd_bus_get_property_string(session.connection, "org.failover1", "/org/failover1/application/mail_3aimap",
                                         BUS_APPLICATION_INTERFACE, "Owner", &error, &owner) >= 0);
        CHECK_TEXT(owner ? owner : "", "mail-b");
        sd_bus_error_free(&error);
        close_session(&session);
}

/* Copies the parts of an introspection that are ours. */
static void copy_interfaces(FILE *out, const char *xml) {
        for (const char *p = xml; (p = strstr(p, " <interface name=\"org.failover1."));) {
                const char *end = strstr(p, "</interface>");

                REQUIRE(end != NULL);
                fprintf(out, "%.*s\n", (int) (end + strlen("</interface>") - p), p);
                p = end;
        }
}

/* etc/org.failover1.xml is what is installed, and what the bus says. */
static void the_installed_description_is_true(void) {
        static const char *const paths[] = { BUS_PATH, WEB, BUS_APPLICATION_PREFIX "/web_3ashop",
                                             BUS_REGION_PREFIX "/monitor" };
        _cleanup_free_ char *description = NULL;
        struct session session;
        size_t size;
        FILE *out = open_memstream(&description, &size);

        REQUIRE(out != NULL);
        open_session(&session, true);
        fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?> <!-- SPDX-License-Identifier: LGPL-2.1-or-later -->\n"
              "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
              "        \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n"
              "<!-- Written by the bus itself, see test-bus.c; explained in org.failover1(5). -->\n<node>\n", out);
        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                _cleanup_free_ char *xml = NULL;

                CHECK_TEXT(call(&session, paths[i], "org.freedesktop.DBus.Introspectable", "Introspect", &xml, ""), "");
                REQUIRE(xml != NULL);
                copy_interfaces(out, xml);
        }
        fputs("</node>\n", out);
        REQUIRE(fclose(out) == 0);
        CHECK(strstr(description, "org.failover1.Region") != NULL);
        CHECK(golden_file_matches("etc/org.failover1.xml", description));
        close_session(&session);
}

static int on_owner(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const char *name, *before, *after;

        if (sd_bus_message_read(message, "sss", &name, &before, &after) >= 0 && strcmp(name, "org.failover1") == 0)
                *(bool *) userdata = *after != 0;
        return 0;
}

static void a_bus_that_comes_back_is_found_again(void) {
        uint64_t deadline_usec = 15 * USEC_PER_SEC;
        struct session session;
        bool here = false;
        time_t begun = time(NULL);

        open_session(&session, true);
        sd_bus_close_unref(session.connection);
        session.connection = NULL;
        REQUIRE(private_bus_restart(&session.bus));
        connect_session(&session);
        REQUIRE(sd_bus_match_signal(session.connection, NULL, "org.freedesktop.DBus", NULL, NULL, "NameOwnerChanged",
                                    on_owner, &here) >= 0);
        here = sd_bus_get_name_creds(session.connection, "org.failover1", 0, NULL) >= 0; /* it may be back already */
        while (!here && (uint64_t) (time(NULL) - begun) * USEC_PER_SEC < deadline_usec)
                if (sd_bus_process(session.connection, NULL) == 0 && sd_bus_wait(session.connection, deadline_usec) < 0)
                        break;
        CHECK(here);
        CHECK_TEXT(MANAGER(&session, "Describe", NULL, ""), "");
        close_session(&session);
}

static void one_caller_cannot_fill_the_queue(void) {
        struct session session;
        sd_bus_message *message;
        unsigned n = 0;

        open_session(&session, true);
        for (int i = 0; i < BUS_REQUESTS_SENDER_MAX; i++) { /* pair mail's switch is never answered */
                REQUIRE(sd_bus_message_new_method_call(session.connection, &message, "org.failover1",
                                                       "/org/failover1/pair/mail", BUS_PAIR_INTERFACE, "Switch") >= 0);
                REQUIRE(sd_bus_message_append(message, "a{sv}", 0) >= 0);
                n += sd_bus_send(session.connection, message, NULL) >= 0;
                sd_bus_message_unref(message);
        }
        CHECK(n == BUS_REQUESTS_SENDER_MAX);
        CHECK_TEXT(call(&session, WEB, BUS_PAIR_INTERFACE, "Switch", NULL, "a{sv}", 0), ERROR_PREFIX "Busy");
        CHECK_TEXT(MANAGER(&session, "Describe", NULL, ""), "");
        close_session(&session);
}

/* Runs `check` as somebody who is not root, in a child where the test runs as root. */
static bool as_nobody(const struct session *session, bool (*check)(struct session *session)) {
        int status = 1;
        pid_t pid;

        fflush(stdout);
        pid = fork();
        if (pid == 0) {
                struct session other = { .bus = session->bus };

                if (getuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
                        _exit(2);
                if (sd_bus_new(&other.connection) < 0 || sd_bus_set_address(other.connection, other.bus.address) < 0 ||
                    sd_bus_set_bus_client(other.connection, true) < 0 || sd_bus_start(other.connection) < 0)
                        _exit(3);
                _exit(check(&other) ? 0 : 1);
        }
        waitpid(pid, &status, 0);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool is_denied(struct session *session) {
        return strcmp(MANAGER(session, "Resume", NULL, "s", "web"), SD_BUS_ERROR_ACCESS_DENIED) == 0 &&
               strcmp(MANAGER(session, "ShowPolicy", NULL, ""), SD_BUS_ERROR_ACCESS_DENIED) == 0 &&
               strcmp(MANAGER(session, "Describe", NULL, ""), "") == 0;
}

static void without_polkit_only_root_may_change_things(void) {
        struct session session;

        open_session(&session, false);
        CHECK(as_nobody(&session, is_denied));
        if (getuid() == 0)
                CHECK_TEXT(MANAGER(&session, "Resume", NULL, "s", "web"), "");
        close_session(&session);
}

/* A polkit of the test's own: grants what has to do with pauses, and nothing else. */
static int on_check(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        const char *action;

        if (sd_bus_message_skip(message, "(sa{sv})") < 0 || sd_bus_message_read(message, "s", &action) < 0)
                return -EINVAL;
        return sd_bus_reply_method_return(message, "(bba{ss})", strcmp(action, "org.failover1.pause") == 0, 0, 0);
}

static const sd_bus_vtable polkit_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void serve_polkit(const struct session *session, int ready) {
        sd_bus *connection = NULL;

        if (sd_bus_new(&connection) < 0 || sd_bus_set_address(connection, session->bus.address) < 0 ||
            sd_bus_set_bus_client(connection, true) < 0 || sd_bus_start(connection) < 0 ||
            sd_bus_add_object_vtable(connection, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                     "org.freedesktop.PolicyKit1.Authority", polkit_vtable, NULL) < 0 ||
            sd_bus_request_name(connection, "org.freedesktop.PolicyKit1", 0) < 0 || write(ready, "r", 1) != 1)
                _exit(1);
        for (;;)
                if (sd_bus_process(connection, NULL) == 0 && sd_bus_wait(connection, UINT64_MAX) < 0)
                        _exit(0);
}

static bool may_pause_only(struct session *session) {
        return strcmp(MANAGER(session, "Resume", NULL, "s", "web"), "") == 0 &&
               strcmp(MANAGER(session, "Adopt", NULL, "ss", "web", "a"), SD_BUS_ERROR_ACCESS_DENIED) == 0 &&
               strcmp(MANAGER(session, "AssignMemory", NULL, "sb", "web-a=+1GiB", 0), SD_BUS_ERROR_ACCESS_DENIED) ==
                       0 &&
               strcmp(MANAGER(session, "EndAssignment", NULL, ""), SD_BUS_ERROR_ACCESS_DENIED) == 0 &&
               strcmp(call(session, WEB, BUS_PAIR_INTERFACE, "Switch", NULL, "a{sv}", 0), SD_BUS_ERROR_ACCESS_DENIED) ==
                       0;
}

static void polkit_decides_for_everybody_else(void) {
        struct session session;
        int pipes[2];
        char byte;
        pid_t pid;

        open_session(&session, false);
        REQUIRE(pipe(pipes) == 0);
        fflush(stdout);
        pid = fork();
        if (pid == 0)
                serve_polkit(&session, pipes[1]);
        close(pipes[1]);
        CHECK(read(pipes[0], &byte, 1) == 1);
        close(pipes[0]);
        CHECK(as_nobody(&session, may_pause_only));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close_session(&session);
}

TEST_MAIN("bus",
          TEST(documents_come_over_the_bus),
          TEST(wrong_arguments_are_clear_errors_and_harm_nobody),
          TEST(wrong_options_of_a_pair_are_clear_errors),
          TEST(a_drill_has_a_level), TEST(a_switch_is_answered_when_it_has_ended),
          TEST(objects_are_listed_with_their_properties),
          TEST(the_installed_description_is_true),
          TEST(a_bus_that_comes_back_is_found_again),
          TEST(one_caller_cannot_fill_the_queue),
          TEST(without_polkit_only_root_may_change_things),
          TEST(polkit_decides_for_everybody_else))
