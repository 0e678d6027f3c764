/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/control-ask.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "agents/protocol/codec.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/unix-socket.h"

#define ITEMS_MAX 4096 /* of one answer: more than a server has */

DEFINE_CLEANUP(struct json_object *, json_object_put)

/* What an answer may carry. */
struct answer {
        char *capability; /* CAPABILITY_LEN bytes to fill, or NULL */
        struct space_status *space;
        struct json_object *items; /* to add to, or NULL */
        bool found;                /* one of the first two came */
};

struct talk {
        const struct control_ask *ask;
        usec_t until_usec;
        int fd;
        struct line_reader reader;
};

static int no_answer(const struct control_ask *ask, struct error *error, const char *text) {
        return error_set(error, -ENOTCONN, "%s: %s", ask->path, text);
}

/* Waits until the socket is ready. */
static int wait_for(const struct talk *talk, short events, struct error *error) {
        struct pollfd polls[] = { { .fd = talk->fd, .events = events },
                                  { .fd = talk->ask->cancel_fd, .events = POLLIN } };
        usec_t now = clock_usec(CLOCK_BOOTTIME);
        int r;

        if (now >= talk->until_usec)
                return no_answer(talk->ask, error, "no answer within the deadline");
        r = poll(polls, ELEMENTSOF(polls), (int) ((talk->until_usec - now) / USEC_PER_MSEC) + 1);
        if (r < 0 && errno != EINTR)
                return no_answer(talk->ask, error, strerror(errno));
        return r > 0 && polls[1].revents ? error_set(error, -ECANCELED, "%s: something else is urgent",
                                                     talk->ask->path) : 0;
}

static int connect_socket(struct talk *talk, struct error *error) {
        struct sockaddr_un address;

        if (unix_address(talk->ask->path, &address) < 0)
                return error_set(error, -EINVAL, "%s: not an absolute path, or too long for a socket", talk->ask->path);
        talk->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        /* EAGAIN: as many as it listens for wait already. */
        if (talk->fd < 0 || connect(talk->fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return no_answer(talk->ask, error, strerror(errno));
        return 0;
}

static int send_all(struct talk *talk, const char *text, struct error *error) {
        size_t left = strlen(text);
        int r = 0;

        while (left > 0 && r == 0) {
                ssize_t n = send(talk->fd, text, left, MSG_NOSIGNAL);
                if (n > 0) {
                        text += n;
                        left -= (size_t) n;
                } else if (errno == EAGAIN || errno == EINTR) {
                        r = wait_for(talk, POLLOUT, error);
                } else if (errno == EPIPE || errno == ECONNRESET) {
                        return 0; /* it may have said why */
                } else {
                        r = no_answer(talk->ask, error, strerror(errno));
                }
        }
        return r;
}

static int take_capability(struct json_object *json, struct answer *answer) {
        struct json_object *value;

        if (!answer->capability || !json_object_object_get_ex(json, "capability", &value))
                return 0;
        if (!json_object_is_type(value, json_type_string) ||
            json_object_get_string_len(value) != CAPABILITY_LEN - 1)
                return -EBADMSG;
        memcpy(answer->capability, json_object_get_string(value), CAPABILITY_LEN);
        answer->found = true;
        return 0;
}

/* The space that was asked for, and no other. */
static int take_space(const struct space_name *asked, struct json_object *json, struct answer *answer,
                      struct error *error) {
        struct space_status *space = answer->space;
        struct json_object *value;
        int r;

        if (!space || !json_object_object_get_ex(json, "space", &value))
                return 0;
        *space = (struct space_status) { 0 };
        r = fields_decode(value, &space_status_fields, space_status_fields.required, UINT64_MAX, space, error);
        if (r < 0)
                return r;
        if (strcmp(space->node, asked->node) != 0 || strcmp(space->owner, asked->owner) != 0 ||
            strcmp(space->space, asked->space) != 0)
                return -EBADMSG;
        answer->found = true;
        return 0;
}

/* The item, under whatever name it comes. */
static int take_item(struct json_object *json, struct answer *answer) {
        if (!answer->items)
                return 0;
        json_object_object_foreach(json, key, value) {
                if (!json_object_is_type(value, json_type_object))
                        continue;
                (void) key;
                if (json_object_array_length(answer->items) == ITEMS_MAX)
                        return -E2BIG;
                if (json_object_array_add(answer->items, json_object_get(value)) < 0) {
                        json_object_put(value);
                        return -ENOMEM;
                }
        }
        return 0;
}

/* 1 for the last line of the answer, which says 0 or what went wrong. */
static int take_line(struct talk *talk, const char *line, size_t length, struct answer *answer, int *ret_result,
                     struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct json_object *value, *text;
        int r = json_text_parse(line, length, &json, NULL);

        if (r == 0)
                r = take_capability(json, answer);
        if (r == 0)
                r = take_space(talk->ask->name, json, answer, error);
        if (r == 0)
                r = take_item(json, answer);
        if (r == 0 && !json_object_object_get_ex(json, "result", &value))
                return 0;
        if (r == 0 && (!json_object_is_type(value, json_type_int) || json_object_get_int(value) > 0))
                r = -EBADMSG;
        if (r < 0)
                return no_answer(talk->ask, error, "the answer is malformed");
        *ret_result = json_object_get_int(value);
        if (*ret_result < 0 && json_object_object_get_ex(json, "text", &text))
                (void) error_set(error, *ret_result, "%s: %s", talk->ask->path, json_object_get_string(text));
        else if (*ret_result < 0)
                (void) error_set(error, *ret_result, "%s: %s", talk->ask->path, strerror(-*ret_result));
        return 1;
}

static int hear(struct talk *talk, struct answer *answer, struct error *error) {
        const char *line;
        size_t length;
        int r, result = 0;

        for (;;) {
                while ((r = line_reader_next(&talk->reader, &line, &length)) > 0) {
                        r = take_line(talk, line, length, answer, &result, error);
                        if (r != 0)
                                return r < 0 ? r : result;
                }
                r = r < 0 ? r : line_reader_fill(&talk->reader, talk->fd);
                if (r > 0 && clock_usec(CLOCK_BOOTTIME) >= talk->until_usec)
                        r = no_answer(talk->ask, error, "the answer has no end within the deadline");
                else if (r == -EAGAIN || r == -EINTR)
                        r = wait_for(talk, POLLIN, error);
                else if (r <= 0)
                        r = no_answer(talk->ask, error, r == 0 ? "the server hung up" : strerror(-r));
                if (r < 0)
                        return r;
        }
}

static int converse(const struct control_ask *ask, struct json_object *request, struct answer *answer,
                    struct error *error) {
        struct talk talk = { .ask = ask, .fd = -1, .until_usec = clock_usec(CLOCK_BOOTTIME) + ask->deadline_usec };
        char *line = NULL;
        int r = request ? json_text_line(request, &line) : -ENOMEM;

        if (r < 0)
                return error_set(error, r, "%s", strerror(-r));
        r = connect_socket(&talk, error);
        if (r == 0)
                r = send_all(&talk, line, error);
        if (r == 0)
                r = hear(&talk, answer, error);
        if (talk.reader.buffer)
                explicit_bzero(talk.reader.buffer, MESSAGE_LINE_MAX); /* it may have held a capability */
        line_reader_deinit(&talk.reader);
        closep(&talk.fd);
        explicit_bzero(line, strlen(line));
        free(line);
        return r;
}

/* A call about the space. NULL when out of memory. */
static struct json_object *new_call(const struct control_ask *ask, enum control_call call) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();

        if (!json || json_object_object_add(json, "version", json_object_new_int(CONTROL_VERSION)) < 0 ||
            json_object_object_add(json, "id", json_object_new_int(1)) < 0 ||
            json_object_object_add(json, "call", json_object_new_string(control_call_to_string(call))) < 0)
                return NULL;
        if (ask->name &&
            (json_object_object_add(json, "node", json_object_new_string(ask->name->node)) < 0 ||
             json_object_object_add(json, "owner", json_object_new_string(ask->name->owner)) < 0 ||
             json_object_object_add(json, "space", json_object_new_string(ask->name->space)) < 0))
                return NULL;
        return steal_ptr(json);
}

static void add_number(struct json_object *json, const char *key, uint64_t number) {
        if (json)
                (void) json_object_object_add(json, key, json_object_new_uint64(number));
}

static void add_text(struct json_object *json, const char *key, const char *text) {
        if (json)
                (void) json_object_object_add(json, key, json_object_new_string(text));
}

int control_ask_items(const struct control_ask *ask, enum control_call call, usec_t since_usec,
                      struct json_object **ret, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, call);
        _cleanup_(json_object_putp) struct json_object *items = json_object_new_array();
        struct answer answer = { .items = items };
        int r;

        if (!items)
                return error_set(error, -ENOMEM, "out of memory");
        if (since_usec > 0)
                add_number(request, "since_usec", since_usec);
        r = converse(ask, request, &answer, error);
        if (r == 0)
                *ret = steal_ptr(items);
        return r;
}

int control_ask_space(const struct control_ask *ask, struct space_status *ret, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, CONTROL_SPACES);
        struct space_status space;
        struct answer answer = { .space = &space };
        int r = converse(ask, request, &answer, error);

        if (r < 0 || !answer.found)
                return r;
        *ret = space;
        return 1;
}

/* A call that is answered with a capability. */
static int ask_capability(const struct control_ask *ask, struct json_object *request,
                          char ret_capability[static CAPABILITY_LEN], struct error *error) {
        struct answer answer = { .capability = ret_capability };
        int r = converse(ask, request, &answer, error);

        return r == 0 && !answer.found ? no_answer(ask, error, "the answer has no capability") : r;
}

static void add_yes(struct json_object *json, const char *key) {
        if (json)
                (void) json_object_object_add(json, key, json_object_new_boolean(true));
}

static struct json_object *new_open(const struct control_ask *ask, enum space_role role, uint64_t size_bytes,
                                    uint64_t token) {
        struct json_object *request = new_call(ask, CONTROL_OPEN);

        add_number(request, "size_bytes", size_bytes);
        add_number(request, "token", token);
        add_text(request, "role", space_role_to_string(role));
        return request;
}

int control_ask_open(const struct control_ask *ask, enum space_role role, uint64_t size_bytes, uint64_t token,
                     char ret_capability[static CAPABILITY_LEN], struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_open(ask, role, size_bytes, token);

        return ask_capability(ask, request, ret_capability, error);
}

int control_ask_open_persistent(const struct control_ask *ask, enum space_role role, uint64_t size_bytes,
                                uint64_t token, char ret_capability[static CAPABILITY_LEN], struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_open(ask, role, size_bytes, token);

        add_yes(request, "persist");
        return ask_capability(ask, request, ret_capability, error);
}

int control_ask_grant(const struct control_ask *ask, uint64_t token, char ret_capability[static CAPABILITY_LEN],
                      struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, CONTROL_GRANT);

        add_number(request, "token", token);
        return ask_capability(ask, request, ret_capability, error);
}

int control_ask_look(const struct control_ask *ask, enum space_role role, char ret_capability[static CAPABILITY_LEN],
                     struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, CONTROL_LOOK);

        add_text(request, "role", space_role_to_string(role));
        return ask_capability(ask, request, ret_capability, error);
}

int control_ask_promote(const struct control_ask *ask, uint64_t token, usec_t lost_usec,
                        char ret_capability[static CAPABILITY_LEN], struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, CONTROL_PROMOTE);

        add_number(request, "token", token);
        add_number(request, "lost_usec", lost_usec);
        return ask_capability(ask, request, ret_capability, error);
}

int control_ask_promote_forced(const struct control_ask *ask, uint64_t token,
                               char ret_capability[static CAPABILITY_LEN], struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, CONTROL_PROMOTE);

        add_number(request, "token", token);
        add_yes(request, "force");
        return ask_capability(ask, request, ret_capability, error);
}

int control_ask_drop(const struct control_ask *ask, uint64_t token, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, CONTROL_DROP);
        struct answer answer = { 0 };

        add_number(request, "token", token);
        return converse(ask, request, &answer, error);
}

static int ask_copy(const struct control_ask *ask, enum control_call call, uint64_t token, const char *uri,
                    usec_t deadline_usec, uint64_t rate_bytes, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, call);
        struct answer answer = { 0 };

        if (token > 0)
                add_number(request, "token", token);
        add_text(request, "uri", uri);
        add_number(request, "deadline_usec", deadline_usec);
        add_number(request, "rate_bytes", rate_bytes);
        return converse(ask, request, &answer, error);
}

int control_ask_copy(const struct control_ask *ask, enum control_call call, const char *uri, usec_t deadline_usec,
                     uint64_t rate_bytes, struct error *error) {
        return ask_copy(ask, call, 0, uri, deadline_usec, rate_bytes, error);
}

int control_ask_mirror(const struct control_ask *ask, uint64_t token, const char *uri, usec_t deadline_usec,
                       uint64_t rate_bytes, struct error *error) {
        return ask_copy(ask, CONTROL_MIRROR, token, uri, deadline_usec, rate_bytes, error);
}

/* A call that says no more than the space, and the token, where there is one. */
static int ask_plainly(const struct control_ask *ask, enum control_call call, uint64_t token, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *request = new_call(ask, call);
        struct answer answer = { 0 };

        if (token > 0)
                add_number(request, "token", token);
        return converse(ask, request, &answer, error);
}

int control_ask_unmirror(const struct control_ask *ask, uint64_t token, struct error *error) {
        return ask_plainly(ask, CONTROL_UNMIRROR, token, error);
}

int control_ask_stay(const struct control_ask *ask, struct error *error) {
        return ask_plainly(ask, CONTROL_STAY, 0, error);
}
