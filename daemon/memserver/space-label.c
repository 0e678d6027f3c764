/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The side of the one who keeps a copy: its label page. */

#include <errno.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/label.h"
#include "daemon/memserver/space.h"

void space_read_label(struct space *space, void *buffer) {
        struct label label = { .name = space->name,
                               .size_bytes = page_space_size(space->pages),
                               .token = space->token };

        label_encode(&label, buffer);
}

/* With the gate shut. */
static int hear(struct space *space, _Atomic uint64_t *grant, const struct label *label) {
        int turn;

        if (space->dropped)
                return -ESHUTDOWN;
        if (*grant != space->grants || space->role != SPACE_MIRROR)
                return -EPERM;
        if (!space_name_equal(&label->name, &space->name) || label->size_bytes != page_space_size(space->pages))
                return -EINVAL;
        turn = keeper_hear(&space->keeper, label, clock_usec(CLOCK_BOOTTIME));
        if (turn < 0)
                return turn == -EPERM ? turn : -EINVAL;
        if (turn != KEEPER_GOES_ON)
                *grant = ++space->grants;
        if (turn == KEEPER_NEW_SESSION) {
                (void) page_space_trim(space->pages, page_space_size(space->pages), 0);
                space->spoilt = false;
        }
        if (label->token > space->token)
                space->token = label->token;
        return 0;
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
