/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A name at failoverd's name server. It is this process's as long as the connection lasts on which it was registered;
 * where failoverd is restarted, it is registered anew, by a thread, as soon as that is possible.
 */

#include "agents/region/names-client.h"

struct names_lease;

/* Registers at `socket` as `request` says, both of which are copied, within the time. Errors as names_ask(). */
int names_lease_new(const char *socket, const struct names_message *request, usec_t timeout_usec,
                    struct names_lease **ret, struct error *error);
/* Takes NULL; returns NULL. The name is free then. */
struct names_lease *names_lease_free(struct names_lease *lease);

/* 0 while the name leads to its owner. -EPERM where it is refused now, as where another program has got it meanwhile,
 * -ENOTCONN where the name server does not answer: it is tried again, and others that have found the owner go on. */
int names_lease_check(struct names_lease *lease, struct error *error);
