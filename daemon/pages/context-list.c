/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/fields.h"
#include "daemon/base/cleanup.h"
#include "daemon/memserver/control-ask.h"
#include "daemon/memserver/copy.h"
#include "daemon/memserver/label.h"
#include "daemon/pages/context-internal.h"

DEFINE_CLEANUP(struct json_object *, json_object_put)

struct control_ask context_ask(const struct context_servers *servers, size_t i, const struct space_name *name) {
        return (struct control_ask) { servers->at[i].control, name, CONTEXT_ASK_USEC, servers->cancel_fd };
}

const char *context_entry_name(const struct context_entry *entry) {
        return strchr(entry->name.space, ':') + 1;
}

int context_entry_primary(const struct context_entry *entry) {
        int found = -1;

        for (int i = 0; i < CONTEXT_SERVERS_MAX; i++) {
                const struct space_status *status = &entry->at[i].status;
                if (entry->at[i].there && status->role == SPACE_PRIMARY && status->mirror != COPY_REPLACED &&
                    (found < 0 || status->token > entry->at[found].status.token))
                        found = i;
        }
        return found;
}

uint64_t context_entry_token(const struct context_entry *entry) {
        uint64_t token = 0;

        for (int i = 0; i < CONTEXT_SERVERS_MAX; i++)
                if (entry->at[i].there && entry->at[i].status.token > token)
                        token = entry->at[i].status.token;
        return token;
}

bool context_entry_unfinished(const struct context_entry *entry) {
        return context_entry_primary(entry) >= 0 && context_entry_token(entry) == CONTEXT_TOKEN_OPEN;
}

uint64_t context_entry_connections(const struct context_entry *entry) {
        int primary = context_entry_primary(entry);

        return primary < 0 ? 0 : entry->at[primary].status.connections;
}

/* Each grant adds one to the time of saving, and two contexts of one name are further apart than there are grants. */
static bool is_of(const struct space_status *status, uint64_t saved_usec) {
        return saved_usec == 0 ? status->token != CONTEXT_TOKEN_OPEN
                               : status->token >= saved_usec && status->token < saved_usec + USEC_PER_SEC;
}

static bool is_complete_mirror(const struct space_status *status) {
        return status->role == SPACE_MIRROR && status->copy == LABEL_COMPLETE;
}

bool context_entry_has_copy(const struct context_entry *entry, size_t server) {
        const struct space_status *status = &entry->at[server].status;

        return entry->at[server].there && (is_complete_mirror(status) || (status->role == SPACE_PRIMARY &&
                                                                          status->token != CONTEXT_TOKEN_OPEN));
}

unsigned context_entry_copies(const struct context_entry *entry, uint64_t saved_usec) {
        const int primary = context_entry_primary(entry);
        unsigned mirrors = 0;

        for (size_t i = 0; i < CONTEXT_SERVERS_MAX; i++)
                mirrors += entry->at[i].there && is_complete_mirror(&entry->at[i].status);
        if (primary < 0)
                return mirrors;
        if (!is_of(&entry->at[primary].status, saved_usec))
                return 0;
        return entry->at[primary].status.mirror == COPY_COMPLETE && mirrors > 0 ? 2 : 1;
}

static struct context_entry *entry_of(struct context_list *list, const struct space_name *name) {
        struct context_entry *grown;

        for (size_t i = 0; i < list->n; i++)
                if (space_name_equal(&list->entries[i].name, name))
                        return &list->entries[i];
        grown = reallocarray(list->entries, list->n + 1, sizeof(*grown));
        if (!grown)
                return NULL;
        list->entries = grown;
        grown[list->n] = (struct context_entry) { .name = *name };
        return &grown[list->n++];
}

static bool is_of_kind(const char *space, const char *kind) {
        size_t n = strlen(kind);

        return strncmp(space, kind, n) == 0 && space[n] == ':';
}

static int take_item(struct context_list *list, const char *kind, size_t server, struct json_object *item) {
        struct space_status status = { 0 };
        struct context_entry *entry;
        struct space_name name;

        if (fields_decode(item, &space_status_fields, space_status_fields.required, UINT64_MAX, &status, NULL) < 0)
                return -EBADMSG;
        if (!is_of_kind(status.space, kind))
                return 0;
        memcpy(name.node, status.node, sizeof(name.node));
        memcpy(name.owner, status.owner, sizeof(name.owner));
        memcpy(name.space, status.space, sizeof(name.space));
        entry = entry_of(list, &name);
        if (!entry)
                return -ENOMEM;
        entry->at[server].there = true;
        entry->at[server].status = status;
        return 0;
}

static int ask_server(const struct context_servers *servers, size_t i, struct context_list *list) {
        const struct control_ask ask = context_ask(servers, i, NULL);
        _cleanup_(json_object_putp) struct json_object *items = NULL;
        int r = control_ask_items(&ask, CONTROL_SPACES, 0, &items, &list->why[i]);

        if (r < 0)
                return r == -ENOMEM || r == -ECANCELED ? r : 0;
        list->answered[i] = true;
        for (size_t k = 0; k < json_object_array_length(items) && r == 0; k++)
                r = take_item(list, context_kind(servers), i, json_object_array_get_idx(items, k));
        if (r == -EBADMSG) {
                list->answered[i] = false;
                (void) error_set(&list->why[i], r, "%s: the answer is malformed", ask.path);
                r = 0;
        }
        return r;
}

static int compare(const void *a, const void *b) {
        const struct context_entry *one = a, *other = b;
        int r = strcmp(one->name.space, other->name.space);

        if (r == 0)
                r = strcmp(one->name.owner, other->name.owner);
        return r != 0 ? r : strcmp(one->name.node, other->name.node);
}

int context_list(const struct context_servers *servers, struct context_list *ret, struct error *error) {
        struct context_list list = { 0 };

        for (size_t i = 0; i < servers->n; i++) {
                int r = ask_server(servers, i, &list);
                if (r < 0) {
                        context_list_deinit(&list);
                        return error_set(error, r, "%s", r == -ECANCELED ? "it was given up" : strerror(-r));
                }
        }
        if (list.n > 0)
                qsort(list.entries, list.n, sizeof(*list.entries), compare);
        *ret = list;
        return 0;
}

void context_list_deinit(struct context_list *list) {
        for (size_t i = 0; i < CONTEXT_SERVERS_MAX; i++)
                error_deinit(&list->why[i]);
        free(list->entries);
        *list = (struct context_list) { 0 };
}

static int find(const struct context_servers *servers, const struct context_list *list, const char *name,
                const struct context_entry **ret, struct error *error) {
        const struct context_entry *found = NULL;
        const char *silent = NULL, *kind = context_kind(servers);

        for (size_t i = 0; i < servers->n; i++)
                if (!list->answered[i])
                        silent = error_text(&list->why[i]);
        for (size_t i = 0; i < list->n; i++) {
                if (strcmp(context_entry_name(&list->entries[i]), name) != 0)
                        continue;
                if (found)
                        return error_set(error, -ENOTUNIQ, "%s %s: there is one of %s on %s and one of %s on %s; "
                                         "name one server alone that has the one meant", kind, name, found->name.owner,
                                         found->name.node, list->entries[i].name.owner, list->entries[i].name.node);
                found = &list->entries[i];
        }
        if (!found && silent) /* which may have it */
                return error_set(error, -ENOTCONN, "%s %s: no memory server that answers has it; one did not "
                                 "answer: %s", kind, name, silent);
        if (!found)
                return error_set(error, -ENOENT, "%s %s: no memory server has it", kind, name);
        *ret = found;
        return 0;
}

int context_find(const struct context_servers *servers, const char *name, struct context_list *ret_list,
                 const struct context_entry **ret_entry, struct error *error) {
        struct context_list list;
        int r = context_list(servers, &list, error);

        if (r < 0)
                return r;
        r = find(servers, &list, name, ret_entry, error);
        if (r < 0)
                context_list_deinit(&list);
        else
                *ret_list = list;
        return r;
}

int context_check_free(const struct context_servers *servers, const char *name, struct error *error) {
        const struct context_entry *entry;
        struct context_list list;
        int r = context_find(servers, name, &list, &entry, error);

        if (r == -ENOENT) {
                if (error)
                        error_deinit(error);
                return 0;
        }
        if (r < 0)
                return r;
        r = error_set(error, -EEXIST, "%s %s is there already, of %s%s; drop it, or take another name",
                      context_kind(servers), name, entry->name.owner,
                      context_entry_unfinished(entry) ? " and not finished" : "");
        context_list_deinit(&list);
        return r;
}

int context_entry_idle(const struct context_servers *servers, const struct context_entry *entry, bool force,
                       struct error *error) {
        if (force || context_entry_connections(entry) == 0)
                return 0;
        return error_set(error, -EBUSY, servers->kind ? "%s %s is being put, or runs"
                                                      : "%s %s is being saved, resumed or looked at by somebody else",
                         context_kind(servers), context_entry_name(entry));
}

int context_drop_named(const struct context_servers *servers, const char *name, bool force, struct error *error) {
        const struct context_entry *entry;
        struct context_list list;
        int r = context_find(servers, name, &list, &entry, error);

        if (r < 0)
                return r;
        r = context_entry_idle(servers, entry, force, error);
        if (r == 0)
                r = context_drop(servers, entry, error);
        for (size_t i = 0; i < servers->n && r == 0; i++)
                if (!list.answered[i])
                        r = error_set(error, -ENOTCONN, "%s %s is dropped where it was found, but one server did "
                                      "not answer, and may have a copy: %s", context_kind(servers), name,
                                      error_text(&list.why[i]));
        context_list_deinit(&list);
        return r;
}
