/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/decider.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/control-ask.h"
#include "daemon/pages/discovery-socket.h"

#define ANSWERS_USEC (200 * USEC_PER_MSEC) /* for answers to come; who says nothing is not known */

DEFINE_CLEANUP(struct json_object *, json_object_put)
DEFINE_CLEANUP(struct decider *, decider_free)

struct decider {
        struct decider_options options;
        struct discovery_socket socket; /* fd -1: no discovery */
        struct discovery_address address;
        uint64_t identities[PAGE_HOLDERS_MAX]; /* of the servers; 0: not known */
};

static void tell(void *userdata, enum guard_refusal refusal, const char *from) {
        const struct decider *decider = userdata;
        char text[128];

        snprintf(text, sizeof(text), "discovery: a datagram from %s is refused: %s", from,
                 guard_refusal_to_string(refusal));
        if (decider->options.tell)
                decider->options.tell(text);
}

int decider_new(const struct decider_options *options, struct decider **ret, struct error *error) {
        _cleanup_(decider_freep) struct decider *decider = calloc(1, sizeof(*decider));
        int r = 0;

        if (!decider)
                return error_set(error, -ENOMEM, "out of memory");
        decider->options = *options;
        decider->socket.fd = -1;
        if (options->address) {
                r = discovery_key_load(options->key_file, &decider->socket.key, error);
                if (r == 0)
                        r = discovery_address_parse(options->address, &decider->address, error);
                if (r == 0)
                        r = discovery_socket_open(&decider->address, false, &decider->socket, error);
        }
        if (r < 0)
                return r;
        decider->socket.tell = tell;
        decider->socket.userdata = decider;
        *ret = steal_ptr(decider);
        return 0;
}

struct decider *decider_free(struct decider *decider) {
        discovery_socket_close(&decider->socket);
        free(decider);
        return NULL;
}

static struct placement_answer answer_of(bool willing, uint64_t total_pages, uint64_t free_pages) {
        return (struct placement_answer) { .known = true, .willing = willing, .total_pages = total_pages,
                                           .free_pages = free_pages };
}

/* One server's answer, out of what it says of its load at its control socket; its identity is noted. */
static void ask_server(struct decider *decider, size_t server, struct placement_answer *ret) {
        const struct pager_options *options = decider->options.pager;
        struct control_ask ask = { options->servers[server].control, NULL, options->deadline_usec, -1 };
        _cleanup_(json_object_putp) struct json_object *items = NULL;
        struct load_status load = { 0 };

        if (control_ask_items(&ask, CONTROL_LOAD, 0, &items, NULL) < 0 || json_object_array_length(items) != 1 ||
            fields_decode(json_object_array_get_idx(items, 0), &load_status_fields, load_status_fields.required,
                          UINT64_MAX, &load, NULL) < 0)
                return;
        decider->identities[server] = load.identity;
        *ret = answer_of(!load.draining, (load.memory_bytes + load.spill_bytes) / PAGE_BYTES,
                         (load.memory_bytes - load.memory_used_bytes + load.spill_bytes - load.spill_used_bytes) /
                                 PAGE_BYTES);
}

/* The holder of that identity. 0: a stranger's. */
static unsigned holder_of(const struct decider *decider, uint64_t identity) {
        for (unsigned i = 0; i < decider->options.pager->n_servers; i++)
                if (decider->identities[i] == identity)
                        return i + 1;
        return 0;
}

static void take_answer(const struct decider *decider, const struct discovery_message *answer,
                        struct placement *placement) {
        for (unsigned i = 0; i < answer->n_entries; i++) {
                const struct discovery_entry *entry = &answer->entries[i];
                unsigned holder = holder_of(decider, entry->identity);

                if (holder == 0)
                        continue;
                placement->answers[holder - 1] = answer_of(entry->willing, entry->total_pages, entry->free_pages);
                if (answer->pick == i + 1 && decider->options.decided == DECIDED_ARBITRATOR)
                        placement->pick = holder;
        }
}

static bool is_complete(const struct decider *decider, const struct placement *placement) {
        for (size_t i = 0; i < placement->n_answers; i++)
                if (decider->identities[i] != 0 && !placement->answers[i].known)
                        return false;
        return true;
}

static void send_ask(struct decider *decider, struct discovery_message *ask, uint64_t held_pages, unsigned holder) {
        *ask = (struct discovery_message) { .kind = DISCOVERY_ASK, .name = decider->options.pager->name,
                                            .held_pages = held_pages };
        for (size_t i = 0; i < decider->options.pager->n_servers; i++)
                if (decider->identities[i] != 0)
                        ask->entries[ask->n_entries++].identity = decider->identities[i];
        ask->holder = holder > 0 ? decider->identities[holder - 1] : 0;
        if (discovery_random(ask->nonce, sizeof(ask->nonce)) == 0)
                discovery_send(&decider->socket, ask, &decider->address);
}

/* Whether an answer came: the arbitrator's, or those of all servers that are known, or of some of them in time. */
static bool discover(struct decider *decider, uint64_t held_pages, unsigned holder, struct placement *placement) {
        struct pollfd polls = { .fd = decider->socket.fd, .events = POLLIN };
        usec_t until = clock_usec(CLOCK_BOOTTIME) + ANSWERS_USEC, now;
        struct discovery_message ask, answer;
        struct discovery_address from;
        bool answered = false;

        send_ask(decider, &ask, held_pages, holder);
        while ((now = clock_usec(CLOCK_BOOTTIME)) < until) {
                if (poll(&polls, 1, (int) ((until - now) / USEC_PER_MSEC) + 1) <= 0)
                        continue;
                while (discovery_receive(&decider->socket, &answer, &from)) {
                        if (answer.kind != DISCOVERY_ANSWER ||
                            memcmp(answer.nonce, ask.nonce, sizeof(ask.nonce)) != 0)
                                continue;
                        take_answer(decider, &answer, placement);
                        answered = true;
                }
                if (answered && (decider->options.decided == DECIDED_ARBITRATOR || is_complete(decider, placement)))
                        break;
        }
        return answered;
}

/* A server whose identity is not known, or that did not answer under it: it may have another one since. */
static void identify(struct decider *decider, const struct placement *placement) {
        for (size_t i = 0; i < placement->n_answers; i++) {
                struct placement_answer ignored;

                if (!placement->answers[i].known)
                        ask_server(decider, i, &ignored);
        }
}

void decider_ask(struct decider *decider, uint64_t held_pages, unsigned holder, struct placement *ret) {
        struct placement placement = { .n_answers = decider->options.pager->n_servers };
        bool discovers = decider->socket.fd >= 0;

        for (size_t i = 0; i < placement.n_answers && discovers; i++)
                if (decider->identities[i] == 0)
                        ask_server(decider, i, &(struct placement_answer) { 0 });
        if (discovers && discover(decider, held_pages, holder, &placement))
                identify(decider, &placement);
        else if (!discovers || decider->options.decided == DECIDED_ARBITRATOR)
                for (size_t i = 0; i < placement.n_answers; i++)
                        ask_server(decider, i, &placement.answers[i]);
        else
                identify(decider, &placement);
        *ret = placement;
}
