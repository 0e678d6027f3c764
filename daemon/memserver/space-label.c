/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The side of the one who keeps a copy: its label page. */

#include <errno.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/label.h"
#include "daemon/memserver/persist.h"
#include "daemon/memserver/space.h"

void space_make_label(const struct space *space, enum label_state state, struct label *ret) {
        *ret = (struct label) { .name = space->name,
                                .size_bytes = page_space_size(space->pages),
                                .token = space->token,
                                .state = state };
}

void space_read_label(struct space *space, void *buffer) {
        struct label label;

        space_make_label(space, LABEL_NONE, &label);
        label_encode(&label, buffer);
}

/* The file begins anew, or its label changes. With the gate shut. */
static int keep_on_disk(struct space *space, const struct label *label, int turn, enum label_state before) {
        int r = 0;

        if (!space->file)
                return 0;
        if (turn == KEEPER_NEW_SESSION)
                r = persist_trim(space->file, label->size_bytes, 0);
        if (turn == KEEPER_NEW_SESSION && r == 0)
                space->torn_begin = space->torn_end = 0;
        /* It is whole on disk before it is called so. */
        if (r == 0 && label->state != before)
                r = persist_flush(space->file);
        if (r == 0 && (label->state != before || turn == KEEPER_NEW_SESSION))
                r = persist_relabel(space->file, label);
        return r;
}

/* With the gate shut. */
static int hear(struct space *space, _Atomic uint64_t *grant, const struct label *label) {
        enum label_state before = space->keeper.last.state;
        int turn, r;

        if (space->dropped)
                return -ESHUTDOWN;
        if (*grant != space->grants || space->role != SPACE_MIRROR)
                return -EPERM;
        if (!space_name_equal(&label->name, &space->name) || label->size_bytes != page_space_size(space->pages))
                return -EINVAL;
        pthread_mutex_lock(&space->told);
        turn = keeper_hear(&space->keeper, label, clock_usec(CLOCK_BOOTTIME));
        pthread_mutex_unlock(&space->told);
        if (turn < 0)
                return turn == -EPERM ? turn : -EINVAL;
        if (turn != KEEPER_GOES_ON)
                *grant = ++space->grants;
        if (turn == KEEPER_NEW_SESSION) {
                (void) page_space_trim(space->pages, page_space_size(space->pages), 0);
                space_epoch_forget(space);
                space->spoilt = space->restored = false;
        }
        if (label->token > space->token)
                space->token = label->token;
        r = keep_on_disk(space, label, turn, before);
        if (r < 0)
                space->spoilt = true;
        return r;
}

int space_hear_label(struct space *space, _Atomic uint64_t *grant, const void *buffer) {
        struct label label;
        int r = label_decode(buffer, &label);

        if (r < 0)
                return -EINVAL;
        gate_shut(&space->gate);
        r = hear(space, grant, &label);
        gate_reopen(&space->gate);
        return r;
}
