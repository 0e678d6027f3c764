/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/context-entries.h"

#include <ctype.h>
#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/ctl/render-table.h"

#define DOCUMENT_VERSION 1

int context_command_failed(struct context_command *command, struct error *error) {
        int r;

        context_command_done(command);
        r = ctl_fail(CTL_FAILED, "%s", error_text(error));
        error_deinit(error);
        return r;
}

struct json_object *context_document(const char *kind) {
        _cleanup_json_ struct json_object *root = json_object_new_object();

        if (!root || json_add(root, "version", json_object_new_int(DOCUMENT_VERSION)) < 0 ||
            json_add(root, "kind", json_object_new_string(kind)) < 0)
                return NULL;
        return steal_ptr(root);
}

static const char *entry_state(const struct context_entry *entry, const struct context_words *words) {
        bool busy = context_entry_connections(entry) > 0;

        if (context_entry_unfinished(entry))
                return busy ? words->filling : "unfinished";
        if (context_entry_token(entry) == CONTEXT_TOKEN_OPEN)
                return "unknown"; /* its mirror does not know */
        return busy ? words->used : words->idle;
}

/* What there is besides the server that serves it. */
static const char *entry_copy(const struct context_entry *entry) {
        int primary = context_entry_primary(entry);

        if (primary < 0)
                return "primary lost";
        return copy_state_to_string((enum copy_state) entry->at[primary].status.mirror);
}

static const struct space_status *entry_status(const struct context_entry *entry) {
        int at = context_entry_primary(entry);

        for (int i = 0; i < CONTEXT_SERVERS_MAX && at < 0; i++)
                at = entry->at[i].there ? i : -1;
        return &entry->at[at].status;
}

/* When it was saved; -1: it was not. */
static int64_t entry_saved_ms(const struct context_entry *entry) {
        uint64_t token = context_entry_token(entry);

        return token == CONTEXT_TOKEN_OPEN ? -1 : (int64_t) (token / USEC_PER_MSEC);
}

static const char *capitals(char buffer[FORMAT_MAX], const char *word) {
        size_t n = 0;

        for (; word[n] && n + 1 < FORMAT_MAX; n++)
                buffer[n] = (char) toupper((unsigned char) word[n]);
        buffer[n] = 0;
        return buffer;
}

static int print_table(const struct context_list *list, const struct context_words *words) {
        char owner[FORMAT_MAX], when[FORMAT_MAX], text[FORMAT_MAX];
        struct render_table table = {
                .heads = { "NAME", capitals(owner, words->owner), "HOST", capitals(when, words->when), "HELD", "COPY",
                           "STATE" },
                .right = { [4] = true },
                .n_columns = 7,
        };

        for (size_t i = 0; i < list->n; i++) {
                const struct context_entry *entry = &list->entries[i];

                render_cell(&table, context_entry_name(entry));
                render_cell(&table, entry->name.owner);
                render_cell(&table, entry->name.node);
                render_cell(&table, format_time(text, entry_saved_ms(entry)));
                render_cell(&table, format_mib(text, (int64_t) entry_status(entry)->held_bytes));
                render_cell(&table, entry_copy(entry));
                render_cell(&table, entry_state(entry, words));
        }
        return list->n > 0 && render_print(&table, stdout) < 0 ? ctl_fail(CTL_FAILED, "out of memory") : CTL_OK;
}

static int add_servers(struct json_object *object, const struct context_servers *servers,
                       const struct context_entry *entry) {
        struct json_object *array = json_object_new_array();
        int r = json_add(object, "servers", array);

        for (size_t i = 0; i < servers->n && r == 0; i++)
                if (entry->at[i].there)
                        r = json_append(array, json_object_new_string(servers->at[i].control));
        return r;
}

static int add_entry(struct json_object *array, const struct context_servers *servers,
                     const struct context_entry *entry, const struct context_words *words) {
        struct json_object *object = json_object_new_object();
        int64_t saved_ms = entry_saved_ms(entry);
        char when[FORMAT_MAX];
        int r = json_append(array, object);

        snprintf(when, sizeof(when), "%s_ms", words->when);
        if (r == 0)
                r = json_add(object, "name", json_object_new_string(context_entry_name(entry)));
        if (r == 0)
                r = json_add(object, words->owner, json_object_new_string(entry->name.owner));
        if (r == 0)
                r = json_add(object, "host", json_object_new_string(entry->name.node));
        if (r == 0 && saved_ms >= 0)
                r = json_add(object, when, json_object_new_int64(saved_ms));
        else if (r == 0 && json_object_object_add(object, when, NULL) < 0)
                r = -ENOMEM;
        if (r == 0)
                r = json_add(object, "held_bytes", json_object_new_uint64(entry_status(entry)->held_bytes));
        if (r == 0)
                r = json_add(object, "persistent", json_object_new_boolean(entry_status(entry)->persist));
        if (r == 0)
                r = json_add(object, "copy", json_object_new_string(entry_copy(entry)));
        if (r == 0)
                r = json_add(object, "state", json_object_new_string(entry_state(entry, words)));
        return r < 0 ? r : add_servers(object, servers, entry);
}

static int print_json(const struct context_servers *servers, const struct context_list *list,
                      const struct context_words *words) {
        _cleanup_json_ struct json_object *root = context_document(words->document);
        struct json_object *entries = json_object_new_array(), *silent = json_object_new_array();
        int r = root ? json_add(root, words->key, entries) : -ENOMEM;

        if (r == 0)
                r = json_add(root, "silent", silent);
        for (size_t i = 0; i < list->n && r == 0; i++)
                r = add_entry(entries, servers, &list->entries[i], words);
        for (size_t i = 0; i < servers->n && r == 0; i++)
                if (!list->answered[i])
                        r = json_append(silent, json_object_new_string(error_text(&list->why[i])));
        return r < 0 ? ctl_fail(CTL_FAILED, "out of memory") : ctl_print_json(root);
}

int context_entries_print(struct ctl *ctl, struct context_command *command, const struct context_words *words) {
        struct error error = ERROR_INIT;
        struct context_list found;
        int r;

        if (context_list(&command->servers, &found, &error) < 0)
                return context_command_failed(command, &error);
        r = ctl->json ? print_json(&command->servers, &found, words) : print_table(&found, words);
        for (size_t i = 0; i < command->servers.n; i++)
                if (!found.answered[i])
                        r = ctl_fail(CTL_FAILED, "%s", error_text(&found.why[i]));
        context_list_deinit(&found);
        return r;
}
