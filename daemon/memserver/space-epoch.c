/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Epochs of a space: of a primary, what its writer stages; of a mirror, what its primary sends of that. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/copy.h"
#include "daemon/memserver/persist.h"
#include "daemon/memserver/space.h"

#define RUN_PAGES 256 /* written to disk at once */

uint64_t space_staging_offset(const struct space *space) {
        return page_space_size(space->pages) + LABEL_BYTES;
}

uint64_t space_turn_offset(const struct space *space) {
        return space_staging_offset(space) + page_space_size(space->pages);
}

/* With the lock held: an empty one. */
static int begin(struct space *space) {
        struct space_epochs *epochs = &space->epochs;

        if (!epochs->staged)
                return epoch_new(space->pages, &epochs->staged);
        epoch_clear(epochs->staged);
        return 0;
}

/* Is it, and makes it, the writer where there is none. */
static bool claim(struct space_epochs *epochs, const void *writer, const char *name) {
        bool free;

        pthread_mutex_lock(&epochs->writer_lock);
        free = !epochs->writer;
        if (free) {
                epochs->writer = writer;
                snprintf(epochs->writer_name, sizeof(epochs->writer_name), "%s", name);
        }
        pthread_mutex_unlock(&epochs->writer_lock);
        return free;
}

static void disclaim(struct space_epochs *epochs) {
        pthread_mutex_lock(&epochs->writer_lock);
        epochs->writer = NULL;
        pthread_mutex_unlock(&epochs->writer_lock);
}

bool space_epoch_writer(struct space *space, char ret_name[static EPOCH_WRITER_LEN]) {
        struct space_epochs *epochs = &space->epochs;
        bool any;

        pthread_mutex_lock(&epochs->writer_lock);
        any = epochs->writer != NULL;
        if (any)
                memcpy(ret_name, epochs->writer_name, EPOCH_WRITER_LEN);
        pthread_mutex_unlock(&epochs->writer_lock);
        return any;
}

static void forget(struct space_epochs *epochs) {
        if (epochs->staged)
                epochs->staged = epoch_free(epochs->staged);
        epochs->receiving = 0;
        epochs->staged_bytes = 0;
        disclaim(epochs);
}

int space_epoch_begin(struct space *space, const void *writer, const char *name) {
        struct space_epochs *epochs = &space->epochs;
        int r;

        if (space->role != SPACE_PRIMARY)
                return -EPERM;
        if (space->move)
                return -EBUSY;
        if (!claim(epochs, writer, name))
                return -EBUSY;
        pthread_mutex_lock(&epochs->lock);
        r = begin(space);
        pthread_mutex_unlock(&epochs->lock);
        if (r < 0)
                disclaim(epochs);
        return r;
}

void space_epoch_end(struct space *space, const void *writer) {
        struct space_epochs *epochs = &space->epochs;
        bool own;

        gate_enter(&space->gate);
        pthread_mutex_lock(&epochs->lock);
        pthread_mutex_lock(&epochs->writer_lock);
        own = epochs->writer == writer;
        pthread_mutex_unlock(&epochs->writer_lock);
        if (own)
                forget(epochs);
        pthread_mutex_unlock(&epochs->lock);
        gate_leave(&space->gate);
}

void space_epoch_forget(struct space *space) {
        forget(&space->epochs);
}

/* With the lock held. A mirror stages what its primary has begun. */
static bool may_stage(const struct space *space) {
        return space->epochs.staged && (space->role == SPACE_PRIMARY || space->epochs.receiving > 0);
}

static int staged(struct space_epochs *epochs, int r) {
        if (epochs->staged)
                epochs->staged_bytes = epoch_bytes(epochs->staged);
        pthread_mutex_unlock(&epochs->lock);
        return r;
}

int space_epoch_write(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        int r;

        pthread_mutex_lock(&space->epochs.lock);
        r = may_stage(space) ? epoch_write(space->epochs.staged, buffer, length, offset) : -EINVAL;
        return staged(&space->epochs, r);
}

int space_epoch_trim(struct space *space, uint64_t length, uint64_t offset) {
        int r;

        pthread_mutex_lock(&space->epochs.lock);
        r = may_stage(space) ? epoch_trim(space->epochs.staged, length, offset) : -EINVAL;
        return staged(&space->epochs, r);
}

static int write_staged(struct space *space) {
        struct epoch *epoch = space->epochs.staged;
        _cleanup_free_ char *buffer = malloc(RUN_PAGES * PAGE_BYTES);
        uint64_t page = 0, n = 0;
        int r = buffer ? 0 : -ENOMEM;

        for (; r == 0 && epoch_run(epoch, &page, RUN_PAGES, &n); page += n) {
                r = epoch_read(epoch, buffer, n * PAGE_BYTES, page * PAGE_BYTES);
                if (r == 0)
                        r = persist_write(space->file, buffer, n * PAGE_BYTES, page * PAGE_BYTES);
        }
        return r == 0 ? persist_flush(space->file) : r;
}

static int relabel(struct space *space, enum label_state state) {
        struct label label;

        space_make_label(space, state, &label);
        return persist_relabel(space->file, &label);
}

/* A file cannot be changed in one step: as long as it is neither the old nor the new, its label says that pages are
 * missing. */
static int put_on_disk(struct space *space) {
        enum label_state whole = space->role == SPACE_MIRROR ? space->keeper.last.state : LABEL_COMPLETE;
        int r;

        if (!space->file)
                return 0;
        r = relabel(space, LABEL_FILLING);
        if (r == 0)
                r = write_staged(space);
        return r == 0 ? relabel(space, whole) : r;
}

/* With the lock and the staged range held. */
static int apply(struct space *space, uint64_t number) {
        int r = put_on_disk(space);

        if (r < 0)
                return r;
        epoch_apply(space->epochs.staged);
        space->epochs.number = number;
        space->epochs.applied_usec = clock_usec(CLOCK_BOOTTIME);
        return 0;
}

/* The mirror first, so that nobody sees here what might still be refused there. */
static int flush(struct space *space) {
        struct epoch *epoch = space->epochs.staged;
        uint64_t offset, length, number = space->epochs.number + 1;
        struct range range;
        int r = 0;

        if (!epoch_span(epoch, &offset, &length))
                return 0;
        range_take(&space->ranges, &range, length, offset);
        if (space->mirror)
                r = copy_send_epoch(space->mirror, epoch, number);
        if (r == 0) {
                meter_saved(&space->client->meter, epoch_bytes(epoch), offset, clock_usec(CLOCK_BOOTTIME));
                r = apply(space, number);
        }
        range_give(&space->ranges, &range);
        return r;
}

int space_epoch_flush(struct space *space) {
        int r;

        pthread_mutex_lock(&space->epochs.lock);
        r = staged(&space->epochs, space->epochs.staged ? flush(space) : -EPERM);
        return r == 0 ? space_flush(space) : r;
}

/* With the lock held. */
static int turn(struct space *space, const struct label *label) {
        struct space_epochs *epochs = &space->epochs;
        int r;

        if (label->state == LABEL_FILLING) {
                r = begin(space);
                epochs->receiving = r == 0 ? label->number : 0;
                return r;
        }
        if (label->state == LABEL_COMPLETE && label->number == epochs->receiving) {
                r = apply(space, label->number);
                epochs->receiving = 0;
                return r;
        }
        return label->state == LABEL_COMPLETE && label->number == epochs->number ? 0 : -EINVAL;
}

int space_hear_turn(struct space *space, const void *buffer) {
        struct label label;
        int r;

        if (label_decode(buffer, &label) < 0 || !space_name_equal(&label.name, &space->name) ||
            label.size_bytes != page_space_size(space->pages) || label.number == 0)
                return -EINVAL;
        pthread_mutex_lock(&space->epochs.lock);
        r = staged(&space->epochs, turn(space, &label));
        if (r < 0)
                space->spoilt = true;
        return r;
}
