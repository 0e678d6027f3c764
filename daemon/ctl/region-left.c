/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/region-left.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "agents/protocol/json-text.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/render-table.h"
#include "daemon/memserver/control-ask.h"

struct json_object *region_of_policy(struct json_object *root, const char *pair, const char *region) {
        for (size_t i = 0; i < get_count(root, "regions"); i++) {
                struct json_object *item = get_item(root, "regions", i);

                if (strcmp(get_text(item, "pair", ""), pair) == 0 && strcmp(get_text(item, "region", ""), region) == 0)
                        return item;
        }
        return NULL;
}

/* One socket has many paths: a slash more, /var/run for /run, a link. */
static bool same_socket(const char *a, const char *b) {
        struct stat is, other;

        return strcmp(a, b) == 0 || (stat(a, &is) == 0 && stat(b, &other) == 0 && is.st_dev == other.st_dev &&
                                     is.st_ino == other.st_ino);
}

bool region_is_at(struct json_object *region, const char *control) {
        return same_socket(get_text(region, "control", ""), control) ||
               same_socket(get_text(region, "mirror_control", ""), control);
}

static bool is_among(struct json_object *root, const char *key, const char *name) {
        for (size_t i = 0; i < get_count(root, key); i++)
                if (strcmp(json_object_get_string(get_item(root, key, i)) ?: "", name) == 0)
                        return true;
        return false;
}

bool region_pair_is_known(struct json_object *root, const char *pair) {
        return is_among(root, "pairs", pair);
}

/* VMs have their overflow there under their own names. Contexts, programs and parts of a pager's space have names that
 * no region of a policy can have. */
static bool is_left(struct json_object *root, const char *control, const struct space_status *status) {
        struct json_object *region = region_of_policy(root, status->owner, status->space);

        return strcmp(status->node, get_text(root, "node", "")) == 0 && text_is_name(status->owner) &&
               text_is_name(status->space) && !is_among(root, "vms", status->owner) &&
               !(region && region_is_at(region, control));
}

static int add(struct json_object *root, struct json_object *server, const struct space_status *status) {
        struct json_object *object = json_object_new_object();
        const struct {
                const char *key, *value;
        } texts[] = {
                { "pair", status->owner },
                { "region", status->space },
                { "at", get_text(server, "server", "?") },
                { "control", get_text(server, "control", "?") },
                { "role", status->role == SPACE_PRIMARY ? "primary" : "mirror" },
        };
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "size_bytes", status->size_bytes },
                { "held_bytes", status->held_bytes },
                { "connections", status->connections },
                { "token", status->token },
        };
        int r = json_append(get_object(root, "left"), object);

        for (size_t i = 0; r == 0 && i < ELEMENTSOF(texts); i++)
                r = json_add(object, texts[i].key, json_object_new_string(texts[i].value));
        if (r == 0)
                r = json_add(object, "pair_known", json_object_new_boolean(region_pair_is_known(root, status->owner)));
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(numbers); i++)
                r = json_add(object, numbers[i].key, json_object_new_uint64(numbers[i].value));
        return r;
}

static int add_unknown(struct json_object *root, struct json_object *server, const char *why) {
        struct json_object *object = json_object_new_object();
        int r = json_append(get_object(root, "left_unknown"), object);

        if (r == 0)
                r = json_add(object, "at", json_object_new_string(get_text(server, "server", "?")));
        return r == 0 ? json_add(object, "text", json_object_new_string(why)) : r;
}

static int ask_server(struct json_object *root, struct json_object *server, usec_t timeout_usec) {
        const char *control = get_text(server, "control", "");
        const struct control_ask ask = { control, NULL, timeout_usec, -1 };
        _cleanup_json_ struct json_object *items = NULL;
        struct error error = ERROR_INIT;
        int r = control_ask_items(&ask, CONTROL_SPACES, 0, &items, &error), added = 0;

        for (size_t i = 0; r == 0 && i < json_object_array_length(items); i++) {
                struct space_status status = { 0 };

                r = fields_decode(json_object_array_get_idx(items, i), &space_status_fields,
                                  space_status_fields.required, UINT64_MAX, &status, &error);
                if (r == 0 && is_left(root, control, &status))
                        added = add(root, server, &status);
                r = added < 0 ? added : r;
        }
        if (r < 0 && added == 0)
                r = add_unknown(root, server, error_text(&error));
        error_deinit(&error);
        return r;
}

int region_left_ask(struct json_object *root, usec_t timeout_usec) {
        int r = json_add(root, "left", json_object_new_array());

        if (r == 0)
                r = json_add(root, "left_unknown", json_object_new_array());
        for (size_t i = 0; r == 0 && i < get_count(root, "servers"); i++)
                r = ask_server(root, get_item(root, "servers", i), timeout_usec);
        return r;
}

int region_left_print(struct json_object *root) {
        struct render_table table = {
                .heads = { "LEFT BEHIND", "OF PAIR", "SERVER", "AS", "SIZE", "STORED", "CHANNELS" },
                .right = { [4] = true, [5] = true, [6] = true },
                .n_columns = 7,
        };
        char text[FORMAT_MAX];
        bool all_known = true;
        int r = 0;

        for (size_t i = 0; i < get_count(root, "left"); i++) {
                struct json_object *left = get_item(root, "left", i);

                all_known = all_known && region_pair_is_known(root, get_text(left, "pair", ""));
                render_cell(&table, get_text(left, "region", "?"));
                render_cell(&table, get_text(left, "pair", "?"));
                render_cell(&table, get_text(left, "at", "?"));
                render_cell(&table, get_text(left, "role", "?"));
                render_cell(&table, format_mib(text, get_number(left, "size_bytes")));
                render_cell(&table, format_mib(text, get_number(left, "held_bytes")));
                snprintf(text, sizeof(text), "%lld", (long long) get_number(left, "connections"));
                render_cell(&table, text);
        }
        if (get_count(root, "left") > 0) {
                if (get_count(root, "regions") + get_count(root, "names") > 0)
                        putchar('\n');
                r = render_print(&table, stdout);
                puts("The policy does not have them there. They are kept until they are dropped: "
                     "failoverctl regions drop PAIR REGION");
        }
        if (!all_known)
                puts("What is there of a name that is no pair of the policy may also be the memory of a VM that pages "
                     "there: only --force drops it.");
        for (size_t i = 0; i < get_count(root, "left_unknown"); i++)
                printf("%s: what may be left there is not known: %s\n",
                       get_text(get_item(root, "left_unknown", i), "at", "?"),
                       get_text(get_item(root, "left_unknown", i), "text", "?"));
        return r;
}
