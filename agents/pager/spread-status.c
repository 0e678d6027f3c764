/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-c/json.h>

#include "agents/pager/spread-internal.h"
#include "agents/pager/status-file.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/copy.h"

DEFINE_CLEANUP(struct json_object *, json_object_put)

static void add_number(struct json_object *json, const char *key, uint64_t number) {
        (void) json_add(json, key, json_object_new_uint64(number));
}

static void add_word(struct json_object *json, const char *key, const char *word) {
        (void) json_object_object_add(json, key, word ? json_object_new_string(word) : NULL);
}

static const char *control_of(const struct share *share, unsigned server) {
        return server == 0 ? NULL : share->spread->options.pager.servers[spread_server_of(share, server) - 1].control;
}

static uint64_t room_at(struct spread *spread, unsigned holder) {
        uint64_t pages;

        pthread_mutex_lock(&spread->lock);
        pages = placement_room(&spread->placement.answers[holder - 1]);
        pthread_mutex_unlock(&spread->lock);
        return pages * PAGE_BYTES;
}

static void add_share(struct spread *spread, const struct share *share, const struct pager_view *view,
                      struct json_object *shares) {
        struct json_object *json = json_object_new_object();

        if (json_append(shares, json) < 0)
                return;
        add_word(json, "state", pager_state_to_string(view->state));
        add_word(json, "primary", control_of(share, view->primary));
        add_word(json, "mirror", control_of(share, view->mirror));
        add_word(json, "mirror_state", copy_state_to_string((enum copy_state) view->mirror_state));
        add_word(json, "moving_to", control_of(share, view->moving_to));
        add_number(json, "held_bytes", view->held_bytes);
        add_number(json, "lost_bytes", view->lost_bytes);
        add_number(json, "room_bytes", room_at(spread, share->holder));
}

static void add_view(struct pager_view *sum, const struct pager_view *view) {
        if (view->state > sum->state)
                sum->state = view->state; /* the worst of them */
        sum->n_takeovers += view->n_takeovers;
        sum->n_moves += view->n_moves;
        sum->unclean_bytes += view->unclean_bytes;
        sum->lost_bytes += view->lost_bytes;
        sum->saved_bytes += view->saved_bytes;
        sum->returned_bytes += view->returned_bytes;
}

/* What only the spread knows. */
static void add_own(struct spread *spread, struct json_object *json) {
        uint64_t n_held = 0, n_left = 0;

        pthread_mutex_lock(&spread->lock);
        for (unsigned h = 1; h <= PAGE_HOLDERS_MAX; h++) {
                n_held += spread->map.n_held[h];
                n_left += spread->leftovers.n_left[h];
        }
        add_number(json, "held_bytes", n_held * PAGE_BYTES);
        add_number(json, "leftover_bytes", n_left * PAGE_BYTES);
        add_number(json, "moved_bytes", spread->n_moved * PAGE_BYTES);
        pthread_mutex_unlock(&spread->lock);
}

static void describe(struct spread *spread, struct json_object *json) {
        const struct spread_options *options = &spread->options;
        struct json_object *shares = json_object_new_array();
        struct pager_view sum = { 0 };

        for (size_t i = 0; i < spread->n_shares; i++) {
                struct pager_view view;

                pager_look(spread->shares[i].pager, &view);
                add_view(&sum, &view);
                add_share(spread, &spread->shares[i], &view, shares);
        }
        add_number(json, "version", 1);
        add_number(json, "time_usec", clock_usec(CLOCK_REALTIME));
        add_word(json, "node", options->pager.name.node);
        add_word(json, "owner", options->pager.name.owner);
        add_word(json, "space", options->pager.name.space);
        add_word(json, "state", pager_state_to_string(sum.state));
        add_word(json, "save", placement_save_to_string(options->save));
        add_word(json, "return", placement_return_to_string(options->returned));
        add_word(json, "decided", placement_decider_to_string(options->decided));
        add_number(json, "takeovers", sum.n_takeovers);
        add_number(json, "moves", sum.n_moves);
        add_number(json, "size_bytes", options->pager.size_bytes);
        add_own(spread, json);
        add_number(json, "unclean_bytes", sum.unclean_bytes);
        add_number(json, "lost_bytes", sum.lost_bytes);
        add_number(json, "saved_bytes", sum.saved_bytes);
        add_number(json, "returned_bytes", sum.returned_bytes);
        (void) json_object_object_add(json, "shares", shares);
}

void spread_tell(struct spread *spread) {
        const char *path = spread->options.pager.status_path, *text;
        _cleanup_(json_object_putp) struct json_object *json = path ? json_object_new_object() : NULL;

        if (!json)
                return;
        describe(spread, json);
        text = json_text_print(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, NULL);
        if (text)
                (void) status_file_replace(path, text);
}
