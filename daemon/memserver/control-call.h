/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/memserver/control-message.h"

/* Where the lines of an answer go. -EPIPE and the like: nobody reads them any more. */
struct control_out {
        int (*line)(void *userdata, const char *line);
        int (*over)(void *userdata); /* non-zero: a call that goes on by itself is to end */
        void *userdata;
        struct gate_asker asker; /* non-zero: nobody would read the answer, so that it is not waited for */
};

/* Carries a request out and answers it. What `out` said where it failed. */
int control_call(struct server *server, const struct control_request *request, const struct control_out *out);
