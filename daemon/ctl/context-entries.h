/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What `context` and `program` print alike. */

#include "daemon/ctl/context-options.h"

/* How each calls things. */
struct context_words {
        const char *document, *key; /* of JSON */
        const char *owner;          /* key of whose it is; in capitals the column's head */
        const char *when;           /* the same, of the time; with _ms as a key */
        const char *filling, *used, *idle; /* states */
};

/* Those on the servers, as a table or with --json. Returns an exit code; servers that do not answer are told. */
int context_entries_print(struct ctl *ctl, struct context_command *command, const struct context_words *words);

/* A document with version and kind; NULL when out of memory. */
struct json_object *context_document(const char *kind);

/* Tells why, ends the line of progress, and gives the error back. */
int context_command_failed(struct context_command *command, struct error *error);
