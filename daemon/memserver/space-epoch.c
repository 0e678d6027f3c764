/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Epochs of a space: of a primary, what its writer stages; of a mirror, what its primary sends of that. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/copy.h"
#include "daemon/memserver/space.h"

uint64_t space_staging_offset(const struct space *space) {
        return page_space_size(space->pages) + LABEL_BYTES;
}

uint64_t space_turn_offset(const struct space *space) {
        return space_staging_offset(space) + page_space_size(space->pages);
}

/* With the lock held: an empty one. */
static int begin(struct space *space) {
        struct space_epochs *epochs = &space->epochs;

        epochs->on_its_way = false;
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
        epochs->on_its_way = false;
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
        return space_saved(space, staged(&space->epochs, r));
}

int space_epoch_trim(struct space *space, uint64_t length, uint64_t offset) {
        int r;

        pthread_mutex_lock(&space->epochs.lock);
        r = may_stage(space) ? epoch_trim(space->epochs.staged, length, offset) : -EINVAL;
        return space_saved(space, staged(&space->epochs, r));
}

/* With the staged range held: everywhere, or nowhere. On disk first, then at the mirror, which applies it, and only
 * then is it seen here. */
static int put_everywhere(struct space *space, uint64_t number, uint64_t offset, uint64_t length) {
        struct epoch *epoch = space->epochs.staged;
        int r = epoch_complete(epoch);

        if (r == 0)
                r = space_disk_put(space, offset, length);
        if (r == 0 && space->mirror) {
                r = copy_send_epoch(space->mirror, epoch, number);
                if (r < 0)
                        space_disk_undo(space, offset, length);
        }
        return r;
}

/* Nobody sees a part of it. */
static void apply(struct space *space, uint64_t number, uint64_t offset) {
        struct space_epochs *epochs = &space->epochs;
        usec_t now = clock_usec(CLOCK_BOOTTIME);

        if (space->role == SPACE_PRIMARY) {
                space->saved_bytes += epoch_bytes(epochs->staged);
                meter_saved(&space->client->meter, epoch_bytes(epochs->staged), offset, now);
        }
        epoch_apply(epochs->staged);
        epochs->number = number;
        epochs->applied_usec = now;
}

/* With the lock held. No other save of these pages comes in between: those that take no range wait as readers do. */
static int commit(struct space *space, uint64_t number) {
        struct space_epochs *epochs = &space->epochs;
        bool in_order = space_is_in_order(space);
        uint64_t offset, length, begin, n_bytes;
        struct range range;
        int r;

        if (!epoch_span(epochs->staged, &offset, &length))
                return 0;
        begin = offset;
        n_bytes = length;
        space_disk_span(space, &begin, &n_bytes);
        range_take(&space->ranges, &range, n_bytes, begin);
        if (!in_order)
                (void) pthread_rwlock_wrlock(&epochs->seen);
        r = put_everywhere(space, number, offset, length);
        if (in_order)
                (void) pthread_rwlock_wrlock(&epochs->seen);
        if (r == 0)
                apply(space, number, offset);
        (void) pthread_rwlock_unlock(&epochs->seen);
        range_give(&space->ranges, &range);
        return r;
}

int space_epoch_flush(struct space *space) {
        int r;

        pthread_mutex_lock(&space->epochs.lock);
        r = staged(&space->epochs, space->epochs.staged ? commit(space, space->epochs.number + 1) : -EPERM);
        return r == 0 ? space_flush(space) : r;
}

/* With the lock held. What takes long is done before, so that the primary is answered in between. */
static int put_part(struct space *space) {
        uint64_t offset, length, begin, n_bytes;
        struct range range;
        int r;

        if (!space->file || !epoch_span(space->epochs.staged, &offset, &length))
                return 0;
        begin = offset;
        n_bytes = length;
        space_disk_span(space, &begin, &n_bytes);
        range_take(&space->ranges, &range, n_bytes, begin);
        r = space_disk_put_part(space, offset, length);
        range_give(&space->ranges, &range);
        return r;
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
        if (label->state == LABEL_NONE)
                return label->number == epochs->receiving ? put_part(space) : -EINVAL;
        if (label->state == LABEL_COMPLETE && label->number == epochs->receiving) {
                r = commit(space, label->number);
                epochs->receiving = 0;
                return r;
        }
        return label->state == LABEL_COMPLETE && label->number == epochs->number ? 0 : -EINVAL;
}

int space_hear_turn(struct space *space, const void *buffer) {
        struct label label;

        if (label_decode(buffer, &label) < 0 || !space_name_equal(&label.name, &space->name) ||
            label.size_bytes != page_space_size(space->pages) || label.number == 0)
                return -EINVAL;
        pthread_mutex_lock(&space->epochs.lock);
        return space_saved(space, staged(&space->epochs, turn(space, &label)));
}
