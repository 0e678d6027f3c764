/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/issued.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAITING_MAX 4096

/* Messages that an agent answers with a result. */
static const bool is_answered[MESSAGE_TYPE_MAX] = {
        [MESSAGE_ATTACH] = true, [MESSAGE_DETACH] = true, [MESSAGE_START] = true, [MESSAGE_STOP] = true,
        [MESSAGE_RESTART] = true, [MESSAGE_CHECK] = true, [MESSAGE_TOUCH] = true, [MESSAGE_CANARY] = true,
        [MESSAGE_FAULT] = true,
};

bool issued_key(const struct action *action, char key[static ISSUED_KEY_LEN], uint64_t *ret_id) {
        const char *what = action_kind_to_string(action->kind), *of = "";
        const char *side = action->side == SIDE_A ? "a" : action->side == SIDE_B ? "b" : "";

        *ret_id = action->id;
        if (action->kind == ACTION_SEND && is_answered[action->message->type]) {
                *ret_id = action->message->id;
                of = message_type_to_string(action->message->type);
        } else if (action->kind == ACTION_PERSIST)
                of = persist_level_to_string(action->level);
        if (*ret_id == 0)
                return false;
        snprintf(key, ISSUED_KEY_LEN, "%s%s%s %d%s %s", what, of[0] ? "-" : "", of, action->pair, side,
                 action->app_name[0] ? action->app_name : "-");
        return true;
}

void issued_map_deinit(struct issued_map *map) {
        free(map->recorded.items);
        free(map->now.items);
        free(map->pairs);
        *map = (struct issued_map) { 0 };
}

static int list_add(struct issued_list *list, const char *key, uint64_t id) {
        if (list->n == WAITING_MAX) /* what has waited so long has no partner */
                memmove(list->items, list->items + 1, --list->n * sizeof(*list->items));
        if (list->n == list->n_allocated) {
                size_t n = list->n_allocated ? list->n_allocated * 2 : 16;
                struct issued *grown = realloc(list->items, n * sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                list->items = grown;
                list->n_allocated = n;
        }
        list->items[list->n].id = id;
        snprintf(list->items[list->n++].key, ISSUED_KEY_LEN, "%s", key);
        return 0;
}

/* Takes the oldest one of that key out. */
static bool list_take(struct issued_list *list, const char *key, uint64_t *ret_id) {
        for (size_t i = 0; i < list->n; i++) {
                if (strcmp(list->items[i].key, key) != 0)
                        continue;
                *ret_id = list->items[i].id;
                list->n--;
                memmove(&list->items[i], &list->items[i + 1], (list->n - i) * sizeof(*list->items));
                return true;
        }
        return false;
}

static int add_pair(struct issued_map *map, uint64_t recorded_id, uint64_t id) {
        if (map->n_pairs == map->n_pairs_allocated) {
                size_t n = map->n_pairs_allocated ? map->n_pairs_allocated * 2 : 64;
                void *grown = realloc(map->pairs, n * sizeof(*map->pairs));

                if (!grown)
                        return -ENOMEM;
                map->pairs = grown;
                map->n_pairs_allocated = n;
        }
        map->pairs[map->n_pairs][0] = recorded_id;
        map->pairs[map->n_pairs++][1] = id;
        return 0;
}

int issued_map_recorded(struct issued_map *map, const char *key, uint64_t id) {
        uint64_t now_id;

        return list_take(&map->now, key, &now_id) ? add_pair(map, id, now_id) : list_add(&map->recorded, key, id);
}

int issued_map_now(struct issued_map *map, const char *key, uint64_t id) {
        uint64_t recorded_id;

        return list_take(&map->recorded, key, &recorded_id) ? add_pair(map, recorded_id, id)
                                                            : list_add(&map->now, key, id);
}

uint64_t issued_map_find(const struct issued_map *map, uint64_t recorded_id) {
        for (size_t i = map->n_pairs; i-- > 0;)
                if (map->pairs[i][0] == recorded_id)
                        return map->pairs[i][1];
        for (size_t i = 0; i < map->recorded.n; i++)
                if (map->recorded.items[i].id == recorded_id)
                        return UINT64_MAX;
        return recorded_id;
}
