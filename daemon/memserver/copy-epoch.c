/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/copy-internal.h"

#define RUN_PAGES 256 /* sent at once */

/* Begins the epoch there, has a part of it put on disk, or has it applied. Said twice, over a connection that was
 * replaced, it does no harm. */
static int send_turn(struct copy *copy, enum label_state state, uint64_t number) {
        struct label label;
        unsigned char page[LABEL_BYTES];

        space_make_label(copy->space, state, &label);
        label.number = number;
        label_encode(&label, page);
        return copy_request(copy, PEER_WRITE, page, LABEL_BYTES, space_turn_offset(copy->space));
}

static int send_staged(struct copy *copy, struct epoch *epoch) {
        _cleanup_free_ char *buffer = malloc(RUN_PAGES * PAGE_BYTES);
        uint64_t page = 0, n = 0;
        int r = buffer ? 0 : -ENOMEM;

        for (; r == 0 && epoch_run(epoch, &page, RUN_PAGES, &n); page += n) {
                r = epoch_read(epoch, buffer, n * PAGE_BYTES, page * PAGE_BYTES);
                if (r == 0)
                        r = copy_request(copy, PEER_WRITE, buffer, n * PAGE_BYTES,
                                         space_staging_offset(copy->space) + page * PAGE_BYTES);
        }
        return r;
}

/* All but the last part. A mirror answers no sign of life while it waits for its disk, so not for long at once. */
static int have_put(struct copy *copy, const struct epoch *epoch, uint64_t number) {
        int r = 0;

        for (uint64_t at = EPOCH_PART_BYTES; r == 0 && at < epoch_bytes(epoch); at += EPOCH_PART_BYTES)
                r = send_turn(copy, LABEL_NONE, number);
        return r;
}

int copy_send_epoch(struct copy *copy, struct epoch *epoch, uint64_t number) {
        int r = 0;

        if (!copy->begun)
                return 0;
        /* What was acknowledged before the mirror had it comes before the epoch. */
        if (copy->options.relaxed)
                r = copy_flush(copy);
        if (r == 0)
                r = send_turn(copy, LABEL_FILLING, number);
        if (r == 0)
                r = send_staged(copy, epoch);
        if (r == 0)
                r = have_put(copy, epoch, number);
        return r == 0 ? send_turn(copy, LABEL_COMPLETE, number) : r;
}
