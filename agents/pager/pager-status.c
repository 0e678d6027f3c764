/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agents/pager/pager-internal.h"
#include "agents/pager/status-file.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

#define LOST_RUNS_MAX 64 /* that are told one by one */

DEFINE_CLEANUP(struct json_object *, json_object_put)

static void add_bytes(struct json_object *json, const char *key, uint64_t bytes) {
        (void) json_add(json, key, json_object_new_uint64(bytes));
}

/* The pages that are lost, as runs of bytes. */
static struct json_object *lost_runs(const struct page_map *map) {
        struct json_object *runs = json_object_new_array();
        uint64_t begin, end = 0;

        for (int n = 0; map->n_held[PAGE_LOST] > 0 && n < LOST_RUNS_MAX &&
                        page_map_next_lost(map, end, &begin, &end); n++) {
                struct json_object *run = json_object_new_object();
                if (json_append(runs, run) < 0)
                        break;
                add_bytes(run, "offset", begin);
                add_bytes(run, "length", end - begin);
        }
        return runs;
}

static struct json_object *server_of(const struct pager *pager, unsigned server) {
        return server == 0 ? json_object_new_null()
                           : json_object_new_string(pager->options.servers[server - 1].control);
}

void pager_count_client(struct pager *pager, int change) {
        pthread_mutex_lock(&pager->lock);
        pager->n_clients += change;
        pthread_mutex_unlock(&pager->lock);
}

/* With the lock held. */
static void take_view(const struct pager *pager, struct pager_view *ret) {
        const struct page_map *map = &pager->map;
        uint64_t held = 0;

        for (unsigned i = 1; i <= PAGE_HOLDERS_MAX; i++)
                held += map->n_held[i];
        *ret = (struct pager_view) {
                .state = pager->state,
                .primary = pager->primary,
                .mirror = pager->mirror,
                .moving_to = pager->moving_to,
                .n_moves = pager->n_moves,
                .mirror_state = (int) pager->mirror_state,
                .n_takeovers = pager->n_takeovers,
                .held_bytes = held * PAGE_BYTES,
                .unclean_bytes = map->n_unclean * PAGE_BYTES,
                .lost_bytes = map->n_held[PAGE_LOST] * PAGE_BYTES,
                .saved_bytes = pager->saved_bytes,
                .returned_bytes = pager->returned_bytes,
        };
}

void pager_look(struct pager *pager, struct pager_view *ret) {
        pthread_mutex_lock(&pager->lock);
        take_view(pager, ret);
        pthread_mutex_unlock(&pager->lock);
}

bool pager_is_serving(struct pager *pager) {
        bool serving;

        pthread_mutex_lock(&pager->lock);
        serving = pager->state == PAGER_SERVING;
        pthread_mutex_unlock(&pager->lock);
        return serving;
}

/* With the lock held. */
static void describe(struct pager *pager, struct json_object *json) {
        const struct page_map *map = &pager->map;
        struct pager_view view;

        take_view(pager, &view);
        (void) json_add(json, "version", json_object_new_int(1));
        add_bytes(json, "time_usec", clock_usec(CLOCK_REALTIME));
        add_bytes(json, "boottime_usec", clock_usec(CLOCK_BOOTTIME));
        (void) json_add(json, "node", json_object_new_string(pager->options.name.node));
        (void) json_add(json, "owner", json_object_new_string(pager->options.name.owner));
        (void) json_add(json, "space", json_object_new_string(pager->options.name.space));
        (void) json_add(json, "state", json_object_new_string(pager_state_to_string(pager->state)));
        (void) json_object_object_add(json, "primary", server_of(pager, pager->primary));
        (void) json_object_object_add(json, "mirror", server_of(pager, pager->mirror));
        (void) json_add(json, "mirror_state", json_object_new_string(copy_state_to_string(pager->mirror_state)));
        (void) json_object_object_add(json, "moving_to", server_of(pager, pager->moving_to));
        add_bytes(json, "takeovers", pager->n_takeovers);
        add_bytes(json, "moves", pager->n_moves);
        add_bytes(json, "token", pager->told_token);
        add_bytes(json, "size_bytes", pager->options.size_bytes);
        add_bytes(json, "held_bytes", view.held_bytes);
        add_bytes(json, "capacity_bytes", pager->capacity_bytes);
        add_bytes(json, "unclean_bytes", view.unclean_bytes);
        add_bytes(json, "lost_bytes", view.lost_bytes);
        (void) json_add(json, "lost", lost_runs(map));
        add_bytes(json, "saved_bytes", pager->saved_bytes);
        add_bytes(json, "returned_bytes", pager->returned_bytes);
        (void) json_add(json, "clients", json_object_new_int(pager->n_clients));
        (void) json_add(json, "waiting", json_object_new_int(pager->n_waiting));
        (void) json_add(json, "text", json_object_new_string(pager->text));
}

uint64_t pager_earlier_token(const struct pager *pager) {
        const char *path = pager->options.status_path;
        _cleanup_(json_object_putp) struct json_object *json = path ? json_object_from_file(path) : NULL;
        struct json_object *token;

        return json_object_object_get_ex(json, "token", &token) ? json_object_get_uint64(token) : 0;
}

void pager_tell(struct pager *pager) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        const char *text;

        if (!pager->options.status_path)
                return;
        json = json_object_new_object();
        if (!json)
                return;
        pthread_mutex_lock(&pager->lock);
        describe(pager, json);
        pthread_mutex_unlock(&pager->lock);
        text = json_text_print(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, NULL);
        if (text)
                (void) status_file_replace(pager->options.status_path, text);
}

void pager_say(struct pager *pager, enum pager_event event, const char *format, ...) {
        char text[PAGER_TEXT_LEN];
        va_list arguments;

        if (!pager->options.tell)
                return;
        va_start(arguments, format);
        (void) vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        pager->options.tell(&pager->options.name, event, text);
}
