/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A memory server's end of the discovery protocol: answers those who ask by broadcast, and announces itself to an
 * arbitrator once a second. A thread of its own, which knows of the server only what it is told by one function.
 */

#include "daemon/pages/discovery-socket.h"

struct responder;

struct responder_options {
        const char *listen;     /* ADDRESS:PORT for broadcasts; NULL: none */
        const char *arbitrator; /* ADDRESS:PORT; NULL: none */
        const char *key_file;
        bool silent; /* while it is not willing, it says nothing instead of saying so */
        /* How it is now; called by the thread. */
        void (*look)(void *userdata, struct discovery_entry *ret);
        void (*tell)(void *userdata, enum guard_refusal refusal, const char *from);
        void *userdata;
};

/* The strings are not needed any more afterwards. */
int responder_new(const struct responder_options *options, struct responder **ret, struct error *error);
struct responder *responder_free(struct responder *responder);
