/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/name-table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"

/* What the kernel tells in place of a user that a namespace does not map (/proc/sys/kernel/overflowuid). */
#define UID_NOT_MAPPED 65534

struct entry {
        struct entry *next;
        const struct name_owner *owner;
        uid_t scope;
        char *uri; /* owned; secret */
        struct name_status status;
};

struct name_table {
        struct name_table_rules rules;
        struct entry *entries; /* the latest first */
        size_t n_entries;
};

static struct entry *entry_free(struct entry *entry) {
        if (entry->uri)
                explicit_bzero(entry->uri, strlen(entry->uri));
        free(entry->uri);
        free(entry);
        return NULL;
}

int name_table_new(const struct name_table_rules *rules, struct name_table **ret) {
        struct name_table *table = calloc(1, sizeof(*table));

        if (!table)
                return -ENOMEM;
        table->rules = *rules;
        *ret = table;
        return 0;
}

struct name_table *name_table_free(struct name_table *table) {
        if (!table)
                return NULL;
        while (table->entries) {
                struct entry *entry = table->entries;

                table->entries = entry->next;
                entry_free(entry);
        }
        free(table);
        return NULL;
}

int name_table_scope(const struct name_table *table, uid_t uid, uid_t *ret) {
        if (uid != 0 && uid != table->rules.own_uid && uid == UID_NOT_MAPPED)
                return -EPERM;
        *ret = uid == table->rules.own_uid ? 0 : uid;
        return 0;
}

static void refuse(struct names_message *ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void refuse(struct names_message *ret, const char *format, ...) {
        va_list ap;

        *ret = (struct names_message) { .type = NAMES_REFUSED };
        va_start(ap, format);
        vsnprintf(ret->reason, sizeof(ret->reason), format, ap);
        va_end(ap);
}

static struct entry *find(struct name_table *table, uid_t scope, const char *name) {
        struct entry *entry = table->entries;

        while (entry && (entry->scope != scope || strcmp(entry->status.name, name) != 0))
                entry = entry->next;
        return entry;
}

/* Others leave room for root and failoverd's own user. */
static bool is_full(const struct name_table *table, uid_t scope) {
        size_t n_scope = 0, n_others = 0;

        for (const struct entry *entry = table->entries; entry; entry = entry->next) {
                n_scope += entry->scope == scope;
                n_others += entry->scope != 0;
        }
        return table->n_entries >= NAME_TABLE_MAX ||
               (scope != 0 && (n_scope >= NAME_TABLE_USER_MAX || n_others >= NAME_TABLE_USERS_MAX));
}

/* A place for one more name of that connection; NULL with the refusal made. */
static struct entry *add(struct name_table *table, struct name_owner *owner, uid_t scope, const char *name,
                         struct names_message *ret) {
        struct entry *entry;

        if (owner->n_names >= NAME_TABLE_OWNER_MAX) {
                refuse(ret, "%d names are the most of one connection", NAME_TABLE_OWNER_MAX);
                return NULL;
        }
        if (is_full(table, scope)) {
                refuse(ret, "too many names are registered; one has to end first");
                return NULL;
        }
        entry = calloc(1, sizeof(*entry));
        if (!entry) {
                refuse(ret, "out of memory");
                return NULL;
        }
        entry->owner = owner;
        entry->scope = scope;
        entry->status = (struct name_status) { .uid = owner->uid, .pid = owner->pid };
        strcpy(entry->status.name, name);
        entry->next = table->entries;
        table->entries = entry;
        table->n_entries++;
        owner->n_names++;
        return entry;
}

static void do_register(struct name_table *table, struct name_owner *owner, uid_t scope,
                        struct names_message *request, usec_t now_usec, struct names_message *ret) {
        struct entry *entry = find(table, scope, request->name);

        if (entry && entry->owner != owner) {
                refuse(ret, "%s is held by process %d of user %u", request->name, (int) entry->status.pid,
                       (unsigned) entry->status.uid);
                return;
        }
        if (!entry)
                entry = add(table, owner, scope, request->name, ret);
        if (!entry)
                return;
        if (entry->uri)
                explicit_bzero(entry->uri, strlen(entry->uri));
        free(entry->uri);
        entry->uri = steal_ptr(request->uri);
        entry->status.size_bytes = request->size_bytes;
        entry->status.kinds = request->kinds;
        entry->status.since_usec = now_usec;
        *ret = (struct names_message) { .type = NAMES_REGISTERED };
        strcpy(ret->name, request->name);
}

static void do_resolve(struct name_table *table, uid_t scope, const struct names_message *request,
                       struct names_message *ret) {
        struct entry *entry = find(table, scope, request->name);
        char *uri;

        if (!entry) {
                refuse(ret, "nobody has registered %s here%s", request->name,
                       scope == 0 ? "" : " as your user, whose names alone you are told");
                return;
        }
        if (!(entry->status.kinds & (1U << request->kind))) {
                refuse(ret, "process %d does not serve %s as kind %d", (int) entry->status.pid, request->name,
                       request->kind);
                return;
        }
        uri = strdup(entry->uri);
        if (!uri) {
                refuse(ret, "out of memory");
                return;
        }
        entry->status.resolved++;
        *ret = (struct names_message) { .type = NAMES_FOUND, .uri = uri, .size_bytes = entry->status.size_bytes };
        strcpy(ret->name, request->name);
}

void name_table_answer(struct name_table *table, struct name_owner *owner, struct names_message *request,
                       usec_t now_usec, struct names_message *ret) {
        uid_t scope;

        if (request->type != NAMES_REGISTER && request->type != NAMES_RESOLVE)
                refuse(ret, "is an answer, and no request");
        else if (name_table_scope(table, owner->uid, &scope) < 0)
                refuse(ret, "failoverd cannot tell which user you are");
        else if (table->rules.reserved(table->rules.userdata, request->name))
                refuse(ret, "%s is a region of the policy: the agent hands it to its application at the start, and "
                       "nobody else", request->name);
        else if (request->type == NAMES_REGISTER)
                do_register(table, owner, scope, request, now_usec, ret);
        else
                do_resolve(table, scope, request, ret);
}

void name_table_leave(struct name_table *table, struct name_owner *owner) {
        for (struct entry **at = &table->entries; *at;) {
                struct entry *entry = *at;

                if (entry->owner != owner) {
                        at = &entry->next;
                        continue;
                }
                *at = entry->next;
                entry_free(entry);
                table->n_entries--;
        }
        owner->n_names = 0;
}

size_t name_table_count(const struct name_table *table) {
        return table->n_entries;
}

size_t name_table_list(const struct name_table *table, struct name_status *ret, size_t n) {
        size_t used = 0;

        for (const struct entry *entry = table->entries; entry && used < n; entry = entry->next)
                ret[used++] = entry->status;
        return used;
}
