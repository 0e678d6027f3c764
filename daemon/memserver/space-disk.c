/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Epochs of a space on disk. A file cannot be changed in one step: as long as it is neither the old nor the new, its
 * label says that pages are missing. Where it could not become the new, it is made the old again out of what is here;
 * where that fails too, that stretch is torn, and the label stays, until it was written again.
 */

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/persist.h"
#include "daemon/memserver/space.h"

#define RUN_PAGES 256 /* written at once */

static int relabel(struct space *space, enum label_state state) {
        struct label label;

        space_make_label(space, state, &label);
        return persist_relabel(space->file, &label);
}

static enum label_state whole(const struct space *space) {
        return space->role == SPACE_MIRROR ? space->keeper.last.state : LABEL_COMPLETE;
}

/* So much of what has not been written yet. */
static int write_staged(struct space *space, uint64_t most_bytes) {
        struct space_epochs *epochs = &space->epochs;
        _cleanup_free_ char *buffer = malloc(RUN_PAGES * PAGE_BYTES);
        uint64_t n, written = 0;
        int r = buffer ? 0 : -ENOMEM;

        while (r == 0 && written < most_bytes && epoch_run(epochs->staged, &epochs->put_page, RUN_PAGES, &n)) {
                r = epoch_read(epochs->staged, buffer, n * PAGE_BYTES, epochs->put_page * PAGE_BYTES);
                if (r == 0)
                        r = persist_write(space->file, buffer, n * PAGE_BYTES, epochs->put_page * PAGE_BYTES);
                epochs->put_page += n;
                written += n * PAGE_BYTES;
        }
        return r;
}

/* The torn stretch as it is here. Holes stay holes: what a failed epoch took of the disk is given back. */
static int write_torn(struct space *space) {
        _cleanup_free_ char *buffer = malloc(RUN_PAGES * PAGE_BYTES);
        uint64_t at = space->torn_begin, n;
        int r = buffer ? 0 : -ENOMEM;

        for (; r == 0 && at < space->torn_end; at += n) {
                int held = page_space_extent(space->pages, space->torn_end - at, at, &n);

                if (held == 1 && n > RUN_PAGES * PAGE_BYTES)
                        n = RUN_PAGES * PAGE_BYTES;
                if (held == 1)
                        r = page_space_read(space->pages, buffer, n, at);
                else
                        r = held < 0 ? held : persist_trim(space->file, n, at);
                if (held == 1 && r == 0)
                        r = persist_write(space->file, buffer, n, at);
        }
        return r;
}

/* All is written: it is on disk before it is called so. */
static int settle(struct space *space) {
        int r = persist_flush(space->file);

        if (r == 0)
                r = relabel(space, whole(space));
        if (r == 0)
                space->torn_begin = space->torn_end = 0;
        return r;
}

/* What was torn is as it is here again, and so is what was put there of an epoch that is not whole yet. */
static int restore(struct space *space) {
        int r;

        space->epochs.on_its_way = false;
        r = write_torn(space);
        return r == 0 ? settle(space) : r;
}

void space_disk_span(const struct space *space, uint64_t *offset, uint64_t *length) {
        uint64_t begin = *offset, end = *offset + *length;

        if (space->torn_end > 0) {
                begin = space->torn_begin < begin ? space->torn_begin : begin;
                end = space->torn_end > end ? space->torn_end : end;
        }
        *offset = begin;
        *length = end - begin;
}

static void tear(struct space *space, uint64_t offset, uint64_t length) {
        space_disk_span(space, &offset, &length);
        space->torn_begin = offset;
        space->torn_end = offset + length;
}

/* From now on the file is neither the old nor the new. */
static int begin(struct space *space, uint64_t offset, uint64_t length) {
        int r;

        if (space->epochs.on_its_way)
                return 0;
        r = relabel(space, LABEL_FILLING);
        if (r == 0)
                r = write_torn(space);
        if (r < 0)
                return r;
        tear(space, offset, length);
        space->epochs.on_its_way = true;
        space->epochs.put_page = 0;
        return 0;
}

static int put(struct space *space, uint64_t offset, uint64_t length, bool all) {
        int r;

        if (!space->file)
                return 0;
        r = begin(space, offset, length);
        if (r < 0)
                return r;
        r = write_staged(space, all ? UINT64_MAX : EPOCH_PART_BYTES);
        if (r == 0)
                r = all ? settle(space) : persist_flush(space->file);
        if (r < 0 || all)
                space->epochs.on_its_way = false;
        if (r < 0)
                (void) restore(space);
        return r;
}

int space_disk_put(struct space *space, uint64_t offset, uint64_t length) {
        return put(space, offset, length, true);
}

int space_disk_put_part(struct space *space, uint64_t offset, uint64_t length) {
        return put(space, offset, length, false);
}

void space_disk_undo(struct space *space, uint64_t offset, uint64_t length) {
        if (!space->file)
                return;
        tear(space, offset, length);
        if (relabel(space, LABEL_FILLING) == 0)
                (void) restore(space);
}

/* Whoever flushes is told that it is on disk, so nothing there may be torn. */
static int mend(struct space *space) {
        uint64_t offset, length;
        struct range range;
        int r = 0;

        pthread_mutex_lock(&space->epochs.lock);
        if (space->torn_end > 0) {
                offset = space->torn_begin;
                length = space->torn_end - offset;
                range_take(&space->ranges, &range, length, offset);
                r = relabel(space, LABEL_FILLING);
                if (r == 0)
                        r = restore(space);
                range_give(&space->ranges, &range);
        }
        pthread_mutex_unlock(&space->epochs.lock);
        return r;
}

int space_disk_flush(struct space *space) {
        int r = space->file && space->torn_end > 0 ? mend(space) : 0;

        return r == 0 && space->file ? persist_flush(space->file) : r;
}
