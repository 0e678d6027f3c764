/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The name server: a unix stream socket on failoverd's loop, at which programs register the regions that they share and
 * ask for those of others (agents/protocol/names.h, name-table.h). It never waits for anybody: who does not read its
 * answer, or says too long a line, is let go, and who says much is heard later, after everything else that failoverd
 * has to do. Nothing that a client says is logged.
 */

#include <systemd/sd-event.h>

#include "daemon/pages/name-table.h"

#define NAME_SERVER_CLIENTS_MAX 256
#define NAME_SERVER_USER_CLIENTS_MAX 64 /* of a user other than root and failoverd's */
#define NAME_SERVER_USERS_CLIENTS_MAX 128 /* of all such users */
#define NAME_SERVER_LINES_MAX 100       /* heard of one client in a second */

struct name_server;

/* Listens at `path`; a socket that nobody listens at any more is replaced. -EADDRINUSE, -EINVAL for a path that is too
 * long for a socket, ... */
int name_server_new(sd_event *loop, const char *path, const struct name_table_rules *rules, struct name_server **ret,
                    struct error *error);
/* All leases end. Takes NULL; returns NULL. */
struct name_server *name_server_free(struct name_server *server);

/* NULL too. */
const struct name_table *name_server_names(const struct name_server *server);
