/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls of org.failover1 with any arguments, by a peer that is connected directly. One input is lines: whose bus it is
 * ("user" or "system"), then calls, each "OBJECT INTERFACE METHOD SIGNATURE" and one line for each value that the
 * signature asks for: a number or a text, the length of an array, the signature of a variant. On the system's bus
 * failoverd asks who calls and what polkit says: the line "SIGNATURE" and values are the answer.
 */

#include <assert.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "daemon/base/cleanup.h"
#include "daemon/bus/bus-internal.h"
#include "tests/unit/fake-manager.h"

#define LINE_MAX 4096
#define DEPTH_MAX 8
#define ELEMENTS_MAX 64
#define CALLS_MAX 40
#define TURNS_MAX 10000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
        struct fake *fake;
        struct bus bus;
        sd_bus *client;
} world;

/* What is left of the input. */
static const char *at, *end;

/* The next line; in it, the byte 1 stands for a line's end. False behind the last. */
static bool next_line(char line[LINE_MAX]) {
        size_t n = 0;

        if (at == end)
                return false;
        for (; at < end && *at != '\n'; at++)
                if (n < LINE_MAX - 1 && *at)
                        line[n++] = *at == 1 ? '\n' : *at;
        at += at < end;
        line[n] = 0;
        return true;
}

/* Length of the first complete type, 0 for none. */
static size_t type_length(const char *signature, unsigned depth) {
        size_t n = 1, inner;

        if (depth > DEPTH_MAX || *signature == 0)
                return 0;
        if (*signature == 'a')
                return (inner = type_length(signature + 1, depth + 1)) > 0 ? 1 + inner : 0;
        if (*signature != '(' && *signature != '{')
                return 1;
        while (signature[n] && signature[n] != ')' && signature[n] != '}') {
                inner = type_length(signature + n, depth + 1);
                if (inner == 0)
                        return 0;
                n += inner;
        }
        return signature[n] ? n + 1 : 0;
}

static int append_all(sd_bus_message *message, const char *signature, unsigned depth);

static int append_number(sd_bus_message *message, char type, const char *text) {
        uint64_t number = strtoull(text, NULL, 0);
        double real = strtod(text, NULL);
        union {
                uint8_t y;
                uint16_t q;
                uint32_t u;
                uint64_t t;
        } value = { .t = 0 };

        if (type == 'y')
                value.y = (uint8_t) number;
        else if (type == 'n' || type == 'q')
                value.q = (uint16_t) number;
        else if (type == 'i' || type == 'u' || type == 'b')
                value.u = (uint32_t) number;
        else
                value.t = number;
        return sd_bus_message_append_basic(message, type, type == 'd' ? (const void *) &real : &value);
}

/* `type` is one complete type. */
static int append_one(sd_bus_message *message, const char *type, unsigned depth) {
        char line[LINE_MAX], inner[LINE_MAX];
        unsigned long n;
        int r;

        if (*type == '(' || *type == '{') {
                snprintf(inner, sizeof(inner), "%.*s", (int) strlen(type) - 2, type + 1);
                r = sd_bus_message_open_container(message, *type == '(' ? 'r' : 'e', inner);
                if (r >= 0)
                        r = append_all(message, inner, depth + 1);
                return r < 0 ? r : sd_bus_message_close_container(message);
        }
        if (*type == 'h' || !next_line(line))
                return -EINVAL;
        if (strchr("sog", *type))
                return sd_bus_message_append_basic(message, *type, line);
        if (strchr("ynqiuxtbd", *type))
                return append_number(message, *type, line);
        if (*type == 'v') {
                r = sd_bus_message_open_container(message, 'v', line);
                if (r >= 0)
                        r = append_one(message, line, depth + 1);
        } else if (*type == 'a') {
                r = sd_bus_message_open_container(message, 'a', type + 1);
                n = strtoul(line, NULL, 10);
                for (unsigned long i = 0; r >= 0 && i < n && i < ELEMENTS_MAX; i++)
                        r = append_one(message, type + 1, depth + 1);
        } else
                return -EINVAL;
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int append_all(sd_bus_message *message, const char *signature, unsigned depth) {
        size_t n;
        int r = 0;

        if (depth > DEPTH_MAX)
                return -EINVAL;
        for (; r >= 0 && *signature; signature += n) {
                char type[LINE_MAX];

                n = type_length(signature, depth);
                if (n == 0)
                        return -EINVAL;
                snprintf(type, sizeof(type), "%.*s", (int) n, signature);
                r = append_one(message, type, depth);
        }
        return r;
}

/* Who calls, and what polkit says: as the input has it. */
static int answer(sd_bus_message *call) {
        sd_bus_message *reply = NULL;
        char signature[LINE_MAX] = "";
        int r;

        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = next_line(signature) ? append_all(reply, signature, 0) : -EINVAL;
        if (r >= 0)
                r = sd_bus_send(world.client, reply, NULL);
        sd_bus_message_unref(reply);
        return r < 0 ? sd_bus_reply_method_errorf(call, SD_BUS_ERROR_FAILED, "%s", signature) : r;
}

static void check_reply(sd_bus_message *reply) {
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        const char *text;

        assert(!error || (error->name && error->message && error->message[0]));
        if (error || !sd_bus_message_has_signature(reply, "s"))
                return;
        assert(sd_bus_message_read(reply, "s", &text) >= 0);
        if (text[0] == '{') {
                struct json_object *json = json_tokener_parse(text);

                assert(json);
                json_object_put(json);
        }
}

/* Both ends, until neither has anything to do. Takes the reply to `cookie`; returns whether it came. */
static bool run_until_quiet(uint64_t cookie) {
        bool busy = true, replied = false;

        for (unsigned turns = 0; busy; turns++) {
                sd_bus_message *message = NULL;
                uint64_t to;
                int r, served;

                assert(turns < TURNS_MAX);
                served = sd_event_run(world.fake->event, 0);
                r = sd_bus_process(world.client, &message);
                assert(served >= 0 && r >= 0);
                busy = served > 0 || r > 0;
                if (message && sd_bus_message_is_method_call(message, NULL, NULL))
                        (void) answer(message);
                else if (message && sd_bus_message_get_reply_cookie(message, &to) >= 0 && to == cookie) {
                        assert(!replied);
                        replied = true;
                        check_reply(message);
                }
                sd_bus_message_unref(message);
        }
        return replied;
}

static void make_call(char *head) {
        static const struct {
                const char *name, *path, *interface;
        } objects[] = {
                { "manager", BUS_PATH, BUS_MANAGER_INTERFACE },
                { "web", BUS_PAIR_PREFIX "/web", BUS_PAIR_INTERFACE },
                { "db", BUS_PAIR_PREFIX "/db", BUS_PAIR_INTERFACE },
                { "mail", BUS_PAIR_PREFIX "/mail", BUS_PAIR_INTERFACE },
                { "shop", BUS_APPLICATION_PREFIX "/web/shop", BUS_APPLICATION_INTERFACE },
        };
        const char *path = strtok(head, " "), *interface = strtok(NULL, " "), *method = strtok(NULL, " "),
                   *signature = strtok(NULL, " ");
        sd_bus_message *message = NULL;
        uint64_t cookie = 0;
        int r;

        if (!method)
                return;
        for (size_t i = 0; i < ELEMENTSOF(objects); i++)
                if (strcmp(path, objects[i].name) == 0) {
                        path = objects[i].path;
                        interface = *interface == '-' ? objects[i].interface : interface;
                }
        r = sd_bus_message_new_method_call(world.client, &message, BUS_NAME, path, interface, method);
        if (r >= 0)
                r = append_all(message, signature ?: "", 0);
        if (r >= 0 && sd_bus_send(world.client, message, &cookie) >= 0 && !run_until_quiet(cookie))
                assert(world.bus.n_requests > 0); /* it waits */
        sd_bus_message_unref(message);
}

static void connect_both(void) {
        sd_bus *server;
        sd_id128_t id;
        int fds[2], r;

        r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);
        assert(r == 0);
        r = sd_id128_randomize(&id) | sd_bus_new(&server) | sd_bus_new(&world.client);
        assert(r >= 0);
        r = sd_bus_set_fd(server, fds[0], fds[0]) | sd_bus_set_server(server, true, id) |
            sd_bus_set_fd(world.client, fds[1], fds[1]) | sd_bus_start(server) | sd_bus_start(world.client);
        assert(r >= 0);
        r = sd_event_new(&world.fake->event) | sd_bus_attach_event(server, world.fake->event, 0);
        assert(r >= 0);
        world.bus.connection = server;
}

static void make_world(void) {
        int r;

        world.fake = fake_new();
        connect_both();
        world.bus.event = world.fake->event;
        world.bus.interface = &world.fake->interface;
        world.bus.ready = true;
        world.fake->bus = &world.bus;
        r = bus_objects_register(&world.bus);
        if (r >= 0)
                r = bus_objects_refresh(&world.bus);
        assert(r >= 0);
        (void) run_until_quiet(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char line[LINE_MAX];

        if (!world.fake)
                make_world();
        at = (const char *) data;
        end = at + size;
        world.bus.user = !next_line(line) || strcmp(line, "system") != 0;
        for (unsigned i = 0; i < CALLS_MAX && next_line(line); i++)
                make_call(line);
        while (world.bus.requests)
                bus_request_answer(world.bus.requests, -ESHUTDOWN, "it ends");
        (void) run_until_quiet(0);
        assert(world.bus.n_requests == 0);
        return 0;
}
