/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The asking end of a memory server's control socket (failover-memserver-protocol(7)): one conversation a call, with a
 * deadline. -ENOTCONN where the server did not answer, whatever the reason, -ECANCELED where `cancel_fd` became
 * readable, and else what the server answered. Messages never hold a capability. */

#include "daemon/base/error.h"
#include "daemon/base/units.h"
#include "daemon/memserver/control-message.h"

struct control_ask {
        const char *path;
        const struct space_name *name; /* of the space that is asked about; NULL: all */
        usec_t deadline_usec;          /* for the whole answer */
        int cancel_fd;                 /* -1: none */
};

/* The items of CONTROL_SPACES, CONTROL_CLIENTS (whose counts are of the last `since_usec`, 0: all) or CONTROL_LOAD, as
 * the server has sent them: an array of objects, which the caller puts. */
int control_ask_items(const struct control_ask *ask, enum control_call call, usec_t since_usec,
                      struct json_object **ret, struct error *error);
/* 1 and the space, 0 where the server has none of that name. */
int control_ask_space(const struct control_ask *ask, struct space_status *ret, struct error *error);
int control_ask_open(const struct control_ask *ask, enum space_role role, uint64_t size_bytes, uint64_t token,
                     char ret_capability[static CAPABILITY_LEN], struct error *error);
/* The same, on disk too: -EOPNOTSUPP and the like where the server has no directory for it. */
int control_ask_open_persistent(const struct control_ask *ask, enum space_role role, uint64_t size_bytes,
                                uint64_t token, char ret_capability[static CAPABILITY_LEN], struct error *error);
int control_ask_grant(const struct control_ask *ask, uint64_t token, char ret_capability[static CAPABILITY_LEN],
                      struct error *error);
/* For reading alone, beside the present grant. */
int control_ask_look(const struct control_ask *ask, enum space_role role, char ret_capability[static CAPABILITY_LEN],
                     struct error *error);
int control_ask_promote(const struct control_ask *ask, uint64_t token, usec_t lost_usec,
                        char ret_capability[static CAPABILITY_LEN], struct error *error);
/* The same, though the mirror may lack what was acknowledged. */
int control_ask_promote_forced(const struct control_ask *ask, uint64_t token,
                               char ret_capability[static CAPABILITY_LEN], struct error *error);
int control_ask_drop(const struct control_ask *ask, uint64_t token, struct error *error);
/* CONTROL_MIRROR or CONTROL_HAND_OVER. `uri` has the capability. */
int control_ask_copy(const struct control_ask *ask, enum control_call call, const char *uri, usec_t deadline_usec,
                     uint64_t rate_bytes, struct error *error);
/* CONTROL_MIRROR for who has the space under `token`: -ESTALE where it was granted under a higher one since. */
int control_ask_mirror(const struct control_ask *ask, uint64_t token, const char *uri, usec_t deadline_usec,
                       uint64_t rate_bytes, struct error *error);
/* `token` as above; 0: whatever the grant. */
int control_ask_unmirror(const struct control_ask *ask, uint64_t token, struct error *error);
int control_ask_stay(const struct control_ask *ask, struct error *error);
