/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The name server on a real socket: who gets which name, for how long, and what somebody can do to others. */

#include "daemon/pages/name-server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agents/region/names-client.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "tests/unit/test.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC)
#define SECRET "nbd+unix:///CAPABILITY?socket=/run/x"

struct world {
        char dir[64], path[80];
        sd_event *loop;
        struct name_server *server;
};

static char reserved_name[] = "ledger"; /* of the policy */

static bool is_reserved(void *userdata, const char *name) {
        return strcmp(name, userdata) == 0;
}

static void world_init(struct world *world) {
        const struct name_table_rules rules = { .own_uid = geteuid(), .reserved = is_reserved,
                                                .userdata = reserved_name };
        struct error error = ERROR_INIT;
        struct rlimit limit;

        strcpy(world->dir, "/tmp/test-name-server-XXXXXX");
        REQUIRE(mkdtemp(world->dir) != NULL);
        REQUIRE(chmod(world->dir, 0711) == 0);
        snprintf(world->path, sizeof(world->path), "%s/names.sock", world->dir);
        REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_cur = limit.rlim_max;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        REQUIRE(sd_event_new(&world->loop) >= 0);
        REQUIRE(name_server_new(world->loop, world->path, &rules, &world->server, &error) == 0);
}

static void world_deinit(struct world *world) {
        name_server_free(world->server);
        CHECK(access(world->path, F_OK) < 0);
        CHECK(rmdir(world->dir) == 0);
        sd_event_unref(world->loop);
}

static int connect_to(const struct world *world) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        strcpy(address.sun_path, world->path);
        REQUIRE(fd >= 0 && connect(fd, (const struct sockaddr *) &address, sizeof(address)) == 0);
        return fd;
}

static void say(int fd, const char *text) {
        REQUIRE(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t) strlen(text));
}

/* Lets the server work until a line has come; false at the end of the connection, or of patience. */
static bool hear(const struct world *world, int fd, char line[static NAMES_LINE_MAX]) {
        usec_t until = clock_usec(CLOCK_BOOTTIME) + PATIENCE_USEC;
        size_t used = 0;

        while (clock_usec(CLOCK_BOOTTIME) < until) {
                ssize_t n = recv(fd, line + used, 1, MSG_DONTWAIT);

                if (n == 0 || (n < 0 && errno != EAGAIN))
                        return false;
                if (n < 0) {
                        REQUIRE(sd_event_run(world->loop, 10 * USEC_PER_MSEC) >= 0);
                        continue;
                }
                if (line[used] == '\n') {
                        line[used] = 0;
                        return true;
                }
                if (++used == NAMES_LINE_MAX)
                        return false;
        }
        return false;
}

static void expect(const struct world *world, int fd, const char *part) {
        char line[NAMES_LINE_MAX] = "";

        CHECK(hear(world, fd, line));
        if (!strstr(line, part))
                printf("%s, expected %s\n", line, part);
        CHECK(strstr(line, part) != NULL);
}

static void expect_end(const struct world *world, int fd) {
        char line[NAMES_LINE_MAX];

        CHECK(!hear(world, fd, line));
        close(fd);
}

static void wait_for_count(const struct world *world, size_t n) {
        usec_t until = clock_usec(CLOCK_BOOTTIME) + PATIENCE_USEC;

        while (name_table_count(name_server_names(world->server)) != n && clock_usec(CLOCK_BOOTTIME) < until)
                REQUIRE(sd_event_run(world->loop, 10 * USEC_PER_MSEC) >= 0);
        CHECK(name_table_count(name_server_names(world->server)) == n);
}

#define REGISTER(name) "{\"failover-names\":1,\"register\":{\"name\":\"" name "\",\"uri\":\"" SECRET \
                       "\",\"size\":4096,\"kinds\":[1,3]}}\n"
#define RESOLVE(name, kind) "{\"failover-names\":1,\"resolve\":{\"name\":\"" name "\",\"kind\":" #kind "}}\n"

static void a_name_leads_to_who_registered_it(void) {
        struct name_status status[2];
        struct world world;
        struct stat st;
        int owner, other;

        world_init(&world);
        CHECK(stat(world.path, &st) == 0 && (st.st_mode & 0777) == 0666);
        owner = connect_to(&world);
        other = connect_to(&world);
        say(other, RESOLVE("orders", 3));
        expect(&world, other, "nobody has registered orders");
        say(owner, REGISTER("orders"));
        expect(&world, owner, "{\"registered\":{\"name\":\"orders\"}}");
        say(other, RESOLVE("orders", 3));
        expect(&world, other, "CAPABILITY?socket=");
        say(other, RESOLVE("orders", 2));
        expect(&world, other, "does not serve orders as kind 2");
        REQUIRE(name_table_list(name_server_names(world.server), status, 2) == 1);
        CHECK_TEXT(status[0].name, "orders");
        CHECK(status[0].pid == getpid() && status[0].uid == geteuid() && status[0].size_bytes == 4096);
        CHECK(status[0].kinds == (1U << 1 | 1U << 3) && status[0].resolved == 1);
        close(owner);
        close(other);
        world_deinit(&world);
}

static void a_held_name_is_refused_until_its_owner_is_gone(void) {
        struct world world;
        int owner, other;
        char text[64];

        world_init(&world);
        owner = connect_to(&world);
        other = connect_to(&world);
        say(owner, REGISTER("orders"));
        expect(&world, owner, "registered");
        say(other, REGISTER("orders"));
        snprintf(text, sizeof(text), "orders is held by process %d of user %u", (int) getpid(), (unsigned) geteuid());
        expect(&world, other, text);
        say(owner, REGISTER("orders")); /* its own, said anew */
        expect(&world, owner, "registered");
        close(owner);
        wait_for_count(&world, 0);
        say(other, REGISTER("orders"));
        expect(&world, other, "registered");
        close(other);
        wait_for_count(&world, 0);
        world_deinit(&world);
}

static void names_of_the_policy_are_nobodys(void) {
        struct world world;
        int fd;

        world_init(&world);
        fd = connect_to(&world);
        say(fd, REGISTER("ledger"));
        expect(&world, fd, "ledger is a region of the policy: the agent hands it");
        say(fd, RESOLVE("ledger", 3));
        expect(&world, fd, "ledger is a region of the policy: the agent hands it");
        CHECK(name_table_count(name_server_names(world.server)) == 0);
        close(fd);
        world_deinit(&world);
}

static void what_is_no_request_is_refused_and_the_next_one_heard(void) {
        struct world world;
        int fd;

        world_init(&world);
        fd = connect_to(&world);
        say(fd, "\nnonsense\n{}\n{\"registered\":{\"name\":\"a\"}}\n" REGISTER("orders"));
        for (int i = 0; i < 4; i++)
                expect(&world, fd, "refused");
        expect(&world, fd, "registered");
        close(fd);
        world_deinit(&world);
}

static void half_lines_are_put_together_or_forgotten(void) {
        static const char line[] = REGISTER("orders");
        struct world world;
        int fd, gone;

        world_init(&world);
        fd = connect_to(&world);
        gone = connect_to(&world);
        say(gone, "{\"failover-names\":1,\"register\":{\"name\":\"half\"");
        for (size_t i = 0; i < sizeof(line) - 1; i += 40) {
                char part[41];

                snprintf(part, sizeof(part), "%.40s", line + i);
                say(fd, part);
                REQUIRE(sd_event_run(world.loop, 0) >= 0);
        }
        expect(&world, fd, "registered");
        close(gone);
        say(fd, RESOLVE("orders", 1) RESOLVE("half", 1));
        expect(&world, fd, "found");
        expect(&world, fd, "nobody has registered half");
        close(fd);
        wait_for_count(&world, 0);
        world_deinit(&world);
}

static void a_line_without_an_end_ends_its_connection(void) {
        char text[NAMES_LINE_MAX + 1000];
        struct world world;
        int fd, other;

        world_init(&world);
        fd = connect_to(&world);
        other = connect_to(&world);
        say(fd, REGISTER("orders"));
        expect(&world, fd, "registered");
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        say(fd, text);
        expect(&world, fd, "a line is at most 4096 bytes");
        expect_end(&world, fd);
        say(other, REGISTER("orders"));
        expect(&world, other, "registered");
        close(other);
        world_deinit(&world);
}

/* The lower bound holds however slow the machine is. */
static void who_says_much_is_held_back_and_nobody_else(void) {
        enum { LINES = NAME_SERVER_LINES_MAX * 3 / 2 };
        usec_t begun = clock_usec(CLOCK_BOOTTIME);
        struct world world;
        int flood, other;

        world_init(&world);
        flood = connect_to(&world);
        other = connect_to(&world);
        for (int i = 0; i < LINES; i++)
                say(flood, RESOLVE("nothing", 1));
        say(other, REGISTER("orders"));
        expect(&world, other, "registered");
        for (int i = 0; i < LINES; i++)
                expect(&world, flood, "nobody has registered nothing");
        CHECK(clock_usec(CLOCK_BOOTTIME) - begun >= 900 * USEC_PER_MSEC);
        close(flood);
        close(other);
        world_deinit(&world);
}

static void who_does_not_read_is_let_go(void) {
        char line[NAMES_LINE_MAX];
        struct world world;
        int owner, deaf, n;

        world_init(&world);
        owner = connect_to(&world);
        n = snprintf(line, sizeof(line),
                     "{\"failover-names\":1,\"register\":{\"name\":\"long\",\"uri\":\"nbd+unix:///");
        memset(line + n, 'c', REGION_URI_LENGTH_MAX - 40);
        strcpy(line + n + REGION_URI_LENGTH_MAX - 40, "?socket=/s\",\"size\":4096,\"kinds\":[1]}}\n");
        say(owner, line);
        expect(&world, owner, "registered");
        deaf = connect_to(&world);
        say(deaf, REGISTER("deaf"));
        wait_for_count(&world, 2);
        /* Room for few answers, as a reader that has stopped long ago leaves. */
        for (int i = 0; i < 2000; i++)
                if (send(deaf, RESOLVE("long", 1), strlen(RESOLVE("long", 1)), MSG_NOSIGNAL) < 0)
                        break;
        wait_for_count(&world, 1);
        close(deaf);
        close(owner);
        world_deinit(&world);
}

static void a_hundred_clients_have_their_names(void) {
        enum { CLIENTS = 100 };
        struct world world;
        int fds[CLIENTS];

        world_init(&world);
        for (int i = 0; i < CLIENTS; i++) {
                char line[512];

                fds[i] = connect_to(&world);
                snprintf(line, sizeof(line),
                         "{\"failover-names\":1,\"register\":{\"name\":\"region-%d\",\"uri\":\"" SECRET
                         "\",\"size\":4096,\"kinds\":[1]}}\n", i);
                say(fds[i], line);
        }
        for (int i = 0; i < CLIENTS; i++)
                expect(&world, fds[i], "registered");
        wait_for_count(&world, CLIENTS);
        for (int i = 0; i < CLIENTS; i += 2)
                close(fds[i]);
        wait_for_count(&world, CLIENTS / 2);
        for (int i = 1; i < CLIENTS; i += 2)
                close(fds[i]);
        wait_for_count(&world, 0);
        world_deinit(&world);
}


static void limits_of_names_are_kept(void) {
        const struct name_table_rules rules = { .own_uid = 7, .reserved = is_reserved, .userdata = reserved_name };
        struct name_owner owners[NAME_TABLE_MAX / NAME_TABLE_OWNER_MAX + 1] = { 0 };
        struct name_table *table;
        unsigned registered = 0, refused = 0;

        REQUIRE(name_table_new(&rules, &table) == 0);
        for (size_t i = 0; i < ELEMENTSOF(owners); i++)
                for (int k = 0; k <= NAME_TABLE_OWNER_MAX; k++) {
                        struct names_message request = { .type = NAMES_REGISTER, .uri = strdup(SECRET),
                                                         .size_bytes = 1, .kinds = 2 }, answer;

                        owners[i].uid = i % 2 ? 7 : 0;
                        snprintf(request.name, sizeof(request.name), "n-%zu-%d", i, k);
                        name_table_answer(table, &owners[i], &request, 1, &answer);
                        registered += answer.type == NAMES_REGISTERED;
                        refused += answer.type == NAMES_REFUSED;
                        names_deinit(&request);
                        names_deinit(&answer);
                }
        CHECK(registered == NAME_TABLE_MAX && name_table_count(table) == NAME_TABLE_MAX);
        CHECK(refused == ELEMENTSOF(owners) - 1 + NAME_TABLE_OWNER_MAX + 1);
        name_table_leave(table, &owners[0]);
        CHECK(name_table_count(table) == NAME_TABLE_MAX - NAME_TABLE_OWNER_MAX && owners[0].n_names == 0);
        name_table_free(table);
}

static unsigned register_many(struct name_table *table, struct name_owner *owners, size_t n, uid_t uid) {
        unsigned registered = 0;

        for (size_t i = 0; i < n; i++)
                for (int k = 0; k < NAME_TABLE_OWNER_MAX; k++) {
                        struct names_message request = { .type = NAMES_REGISTER, .uri = strdup(SECRET),
                                                         .size_bytes = 1, .kinds = 2 }, answer;

                        owners[i].uid = uid;
                        snprintf(request.name, sizeof(request.name), "n-%zu-%d", i, k);
                        name_table_answer(table, &owners[i], &request, 1, &answer);
                        registered += answer.type == NAMES_REGISTERED;
                        names_deinit(&request);
                        names_deinit(&answer);
                }
        return registered;
}

static void other_users_leave_room_for_root(void) {
        const struct name_table_rules rules = { .own_uid = 7, .reserved = is_reserved, .userdata = reserved_name };
        enum { N = NAME_TABLE_MAX / 2 / NAME_TABLE_OWNER_MAX };
        struct name_owner owners[4][N] = { 0 };
        struct name_table *table;

        REQUIRE(name_table_new(&rules, &table) == 0);
        CHECK(register_many(table, owners[0], N, 1000) == NAME_TABLE_USER_MAX);
        CHECK(register_many(table, owners[1], N, 1001) == NAME_TABLE_USERS_MAX - NAME_TABLE_USER_MAX);
        CHECK(register_many(table, owners[2], N, 1002) == 0);
        CHECK(register_many(table, owners[3], N, 7) == NAME_TABLE_MAX - NAME_TABLE_USERS_MAX);
        name_table_free(table);
}

/* At the limit of clients who waits without a name goes, the oldest first, and who holds one stays. */
static void who_holds_no_name_makes_room(void) {
        int fds[NAME_SERVER_CLIENTS_MAX], late;
        struct world world;

        world_init(&world);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                fds[i] = connect_to(&world);
                if (i % 64 != 0 && i != ELEMENTSOF(fds) - 1)
                        continue;
                say(fds[i], i == 0 ? REGISTER("orders") : RESOLVE("orders", 1)); /* all before it are in by then */
                expect(&world, fds[i], i == 0 ? "registered" : "found");
        }
        late = connect_to(&world);
        say(late, RESOLVE("orders", 1));
        expect(&world, late, "found");
        expect_end(&world, fds[1]);
        for (size_t i = 2; i < ELEMENTSOF(fds); i++)
                close(fds[i]);
        close(late);
        CHECK(name_table_count(name_server_names(world.server)) == 1);
        close(fds[0]);
        wait_for_count(&world, 0);
        world_deinit(&world);
}

/* In a child with another user's credentials: 0 for an answer, else the errno of the library's client. */
static int ask_as(const struct world *world, uid_t uid, enum names_type type, const char *name) {
        pid_t pid = fork();
        usec_t until = clock_usec(CLOCK_BOOTTIME) + PATIENCE_USEC;
        int status = 0;

        if (pid == 0) {
                struct names_message request = { .type = type, .size_bytes = 4096, .kinds = 2, .kind = 1 }, answer;

                strcpy(request.name, name);
                request.uri = type == NAMES_REGISTER ? strdup(SECRET) : NULL;
                if (setresuid(uid, uid, uid) < 0)
                        _exit(127);
                _exit(-names_ask(world->path, &request, 10 * USEC_PER_SEC, &answer, NULL, NULL));
        }
        while (waitpid(pid, &status, WNOHANG) == 0 && clock_usec(CLOCK_BOOTTIME) < until)
                REQUIRE(sd_event_run(world->loop, 10 * USEC_PER_MSEC) >= 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void users_have_names_of_their_own(void) {
        const struct name_table_rules rules = { .own_uid = 7, .reserved = is_reserved, .userdata = reserved_name };
        struct name_table *table;
        struct world world;
        uid_t scope = 99;
        int fd;

        REQUIRE(name_table_new(&rules, &table) == 0);
        CHECK(name_table_scope(table, 0, &scope) == 0 && scope == 0);
        CHECK(name_table_scope(table, 7, &scope) == 0 && scope == 0);
        CHECK(name_table_scope(table, 1000, &scope) == 0 && scope == 1000);
        CHECK(name_table_scope(table, 65534, &scope) == -EPERM);
        name_table_free(table);

        if (geteuid() != 0) {
                puts("not root: no process of another user can be had");
                return;
        }
        world_init(&world);
        fd = connect_to(&world);
        say(fd, REGISTER("orders"));
        expect(&world, fd, "registered");
        CHECK(ask_as(&world, 0, NAMES_RESOLVE, "orders") == 0);
        CHECK(ask_as(&world, 0, NAMES_REGISTER, "orders") == EPERM);
        CHECK(ask_as(&world, 12345, NAMES_RESOLVE, "orders") == ENOENT);
        CHECK(ask_as(&world, 12345, NAMES_REGISTER, "orders") == 0);
        CHECK(ask_as(&world, 65534, NAMES_REGISTER, "others") != 0);
        close(fd);
        wait_for_count(&world, 0);
        world_deinit(&world);
}

static void a_second_server_and_what_is_no_socket_are_left_alone(void) {
        const struct name_table_rules rules = { .reserved = is_reserved, .userdata = reserved_name };
        struct name_server *second = NULL;
        struct error error = ERROR_INIT;
        struct world world;

        world_init(&world);
        CHECK(name_server_new(world.loop, world.path, &rules, &second, &error) == -EADDRINUSE);
        CHECK(access(world.path, F_OK) == 0);
        error_deinit(&error);
        CHECK(name_server_new(world.loop, "names.sock", &rules, &second, &error) == -EINVAL);
        error_deinit(&error);
        world_deinit(&world);
}

TEST_MAIN("name-server",
          TEST(a_name_leads_to_who_registered_it),
          TEST(a_held_name_is_refused_until_its_owner_is_gone),
          TEST(names_of_the_policy_are_nobodys),
          TEST(what_is_no_request_is_refused_and_the_next_one_heard),
          TEST(half_lines_are_put_together_or_forgotten),
          TEST(a_line_without_an_end_ends_its_connection),
          TEST(who_says_much_is_held_back_and_nobody_else),
          TEST(who_does_not_read_is_let_go),
          TEST(a_hundred_clients_have_their_names),
          TEST(limits_of_names_are_kept),
          TEST(other_users_leave_room_for_root),
          TEST(who_holds_no_name_makes_room),
          TEST(users_have_names_of_their_own),
          TEST(a_second_server_and_what_is_no_socket_are_left_alone))
