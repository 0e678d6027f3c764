/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/memserver/peer.h"

int peer_new(const struct peer_options *options, struct peer **ret, struct error *error) {
        return error_set(error, -EOPNOTSUPP, "this server was built without libnbd: it has no mirrors and hands "
                         "nothing over");
}

struct peer *peer_free(struct peer *peer) {
        return NULL;
}

uint64_t peer_size(struct peer *peer) {
        return 0;
}

bool peer_read_only(struct peer *peer) {
        return true;
}

int peer_call(struct peer *peer, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset) {
        return -ENOTCONN;
}

void peer_submit(struct peer *peer, struct peer_call *call, enum peer_kind kind, void *buffer, uint64_t length,
                 uint64_t offset) {
        call->result = -ENOTCONN;
        call->done(call);
}

void peer_break(struct peer *peer) {
}

bool peer_broken(struct peer *peer) {
        return true;
}
