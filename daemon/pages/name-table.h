/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Names of shared regions, and where they are served (R: names). Each name is one connection's and ends with it.
 *
 * Who may: root and failoverd's own user share one space of names. Any other user has one of its own, so that nobody
 * can take a name in front of somebody else, or answer a question that was another user's. A user who cannot be told
 * from others, since failoverd's user namespace does not map it, gets nothing. Names of the policy's regions (`state:`)
 * are nobody's here: those are handed over by the agent, with the right to write them.
 */

#include <sys/types.h>

#include "agents/protocol/names.h"
#include "daemon/base/units.h"

#define NAME_TABLE_MAX 1024     /* names */
#define NAME_TABLE_OWNER_MAX 64 /* of one connection */
#define NAME_TABLE_USER_MAX 256 /* of a user other than root and failoverd's */
#define NAME_TABLE_USERS_MAX 512 /* of all such users */

struct name_table;

/* A connection. Embedded by whoever has it; its address is what holds names. */
struct name_owner {
        uid_t uid;
        pid_t pid;
        unsigned n_names;
};

/* One name as it may be shown: without its URI. */
struct name_status {
        char name[NAME_LEN];
        uid_t uid;
        pid_t pid;
        uint64_t size_bytes;
        unsigned kinds;    /* bit K: kind K is served */
        usec_t since_usec; /* CLOCK_BOOTTIME */
        uint64_t resolved; /* how often somebody was told where it is */
};

struct name_table_rules {
        uid_t own_uid; /* failoverd's */
        /* Is that the name of a region of the policy? */
        bool (*reserved)(void *userdata, const char *name);
        void *userdata;
};

/* -ENOMEM. */
int name_table_new(const struct name_table_rules *rules, struct name_table **ret);
/* Takes NULL; returns NULL. */
struct name_table *name_table_free(struct name_table *table);

/* Those whose names are one space have the same answer: 0 for root and failoverd's own user. -EPERM for a user who gets
 * nothing. */
int name_table_scope(const struct name_table *table, uid_t uid, uid_t *ret);

/* Does what a connection asks for, and makes the answer, which is the caller's (names_deinit()). A URI that is kept is
 * taken out of the request. */
void name_table_answer(struct name_table *table, struct name_owner *owner, struct names_message *request,
                       usec_t now_usec, struct names_message *ret);
/* The connection is gone, and its names with it. */
void name_table_leave(struct name_table *table, struct name_owner *owner);

size_t name_table_count(const struct name_table *table);
/* At most `n` of them, the latest first; returns how many. */
size_t name_table_list(const struct name_table *table, struct name_status *ret, size_t n);
