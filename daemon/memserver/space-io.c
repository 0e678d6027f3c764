/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a client's requests do: here, at the mirror, and where the space is being handed over to.
 *
 * While it is handed over, a page is either here or there. Those here are saved and read here, and move on later; all
 * others are saved and read there. New ones come into being there.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/copy.h"
#include "daemon/memserver/persist.h"
#include "daemon/memserver/space.h"

uint64_t space_size(const struct space *space) {
        return space->role == SPACE_MIRROR ? mirror_size(page_space_size(space->pages))
                                           : page_space_size(space->pages);
}

static bool moving(const struct space *space) {
        return space->move && copy_begun(space->move);
}

/* Saves reach more than the page store, and everything in one order. */
bool space_is_in_order(const struct space *space) {
        return space->mirror || space->move || space->file;
}

/* Here and nowhere else. NULL for the bytes: a trim. */
static int save_here(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        int r;

        (void) pthread_rwlock_rdlock(&space->epochs.seen);
        r = buffer ? page_space_write(space->pages, buffer, length, offset)
                   : page_space_trim(space->pages, length, offset);
        (void) pthread_rwlock_unlock(&space->epochs.seen);
        return r;
}

/* One stretch of a request, all of it here, or nothing of it. */
typedef int (*stretch_function)(struct space *space, bool here, char *bytes, uint64_t length, uint64_t offset);

static int each_stretch(struct space *space, stretch_function function, char *bytes, uint64_t length, uint64_t offset) {
        int r = 0;

        for (uint64_t n; length > 0 && r >= 0; offset += n, length -= n) {
                r = page_space_extent(space->pages, length, offset, &n);
                if (r >= 0)
                        r = function(space, r == 1, bytes, n, offset);
                if (bytes && r >= 0)
                        bytes += n;
        }
        return r;
}

/* With the range held. */
static int read_stretch(struct space *space, bool here, char *bytes, uint64_t length, uint64_t offset) {
        if (!here && moving(space))
                return copy_return(space->move, bytes, length, offset);
        return space->mirror ? space_read_mended(space, bytes, length, offset)
                             : page_space_read(space->pages, bytes, length, offset);
}

static int zero_there(struct space *space, bool here, char *bytes, uint64_t length, uint64_t offset) {
        return here ? 0 : copy_save(space->move, NULL, length, offset);
}

/* Pages of a stretch that was here, and that are gone from here because they have become zero, are zero there too: a
 * hand-over that was interrupted may have left them on both sides. */
static int settle_stretch(struct space *space, uint64_t length, uint64_t offset) {
        uint64_t begin = offset / PAGE_BYTES * PAGE_BYTES;
        uint64_t end = (offset + length + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;

        return each_stretch(space, zero_there, NULL, end - begin, begin);
}

static int write_stretch(struct space *space, bool here, char *bytes, uint64_t length, uint64_t offset) {
        int r;

        if (!here)
                return copy_save(space->move, bytes, length, offset);
        r = page_space_write(space->pages, bytes, length, offset);
        return r < 0 ? r : settle_stretch(space, length, offset);
}

static int trim_stretch(struct space *space, bool here, char *bytes, uint64_t length, uint64_t offset) {
        int r;

        if (!here)
                return copy_save(space->move, NULL, length, offset);
        r = page_space_trim(space->pages, length, offset);
        return r < 0 ? r : settle_stretch(space, length, offset);
}

static int check_range(const struct space *space, uint64_t length, uint64_t offset) {
        uint64_t size = page_space_size(space->pages);

        return offset > size || length > size - offset ? -EINVAL : 0;
}

static int read_here(struct space *space, void *buffer, uint64_t length, uint64_t offset) {
        int r;

        (void) pthread_rwlock_rdlock(&space->epochs.seen);
        r = page_space_read(space->pages, buffer, length, offset);
        (void) pthread_rwlock_unlock(&space->epochs.seen);
        return r;
}

/* What is at other servers too, while nobody changes it. */
static int read_in_order(struct space *space, void *buffer, uint64_t length, uint64_t offset) {
        struct range range;
        int r;

        range_take(&space->ranges, &range, length, offset);
        r = each_stretch(space, read_stretch, buffer, length, offset);
        range_give(&space->ranges, &range);
        return r;
}

int space_read(struct space *space, void *buffer, uint64_t length, uint64_t offset) {
        int r = check_range(space, length, offset);

        if (r < 0)
                return r;
        r = moving(space) ? read_in_order(space, buffer, length, offset) : read_here(space, buffer, length, offset);
        if (r == -EIO && space->mirror && !moving(space))
                r = read_in_order(space, buffer, length, offset);
        if (r == 0 && space->role == SPACE_PRIMARY) {
                space->returned_bytes += length;
                meter_returned(&space->client->meter, length, offset, clock_usec(CLOCK_BOOTTIME));
        }
        return r;
}

/* A save or trim that failed has left some pages new and others old. The mirror gets them as they are now. */
static void mirror_as_it_is(struct space *space, uint64_t length, uint64_t offset) {
        _cleanup_free_ char *bytes = malloc(length < MIB ? length : MIB);
        int r = bytes ? 0 : -ENOMEM;

        for (uint64_t n; length > 0 && r == 0; offset += n, length -= n) {
                n = length < MIB ? length : MIB;
                r = each_stretch(space, read_stretch, bytes, n, offset);
                if (r == 0)
                        r = copy_save(space->mirror, bytes, n, offset);
        }
        if (r < 0)
                copy_give_up(space->mirror, "a save failed here, and what is left cannot be read");
}

/* A mirror that is being filled is on disk as far as it is filled: no sign of life waits for all of it at its end. */
static int write_file(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        int r = persist_write(space->file, buffer, length, offset);

        if (r == 0 && space->role == SPACE_MIRROR && space->keeper.last.state == LABEL_FILLING)
                r = persist_bound(space->file, EPOCH_PART_BYTES);
        return r;
}

/* NULL for the bytes: a trim. Here, or where the pages move to. */
static int save_in_order(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        if (moving(space))
                return each_stretch(space, buffer ? write_stretch : trim_stretch, (char *) buffer, length, offset);
        return buffer ? page_space_write(space->pages, buffer, length, offset)
                      : page_space_trim(space->pages, length, offset);
}

/* The same; a part of a page that cannot be read here is saved once the page is here again. */
static int save_mended(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        int r = save_in_order(space, buffer, length, offset);

        if (r == -EIO && space->mirror && space_mend(space, length, offset) == 0)
                r = save_in_order(space, buffer, length, offset);
        return r;
}

static int write_copied(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        struct range range;
        int r;

        range_take(&space->ranges, &range, length, offset);
        r = save_mended(space, buffer, length, offset);
        if (r == 0 && space->file)
                r = write_file(space, buffer, length, offset);
        if (r == 0 && space->mirror)
                r = copy_save(space->mirror, buffer, length, offset);
        else if (r < 0 && space->mirror)
                mirror_as_it_is(space, length, offset);
        range_give(&space->ranges, &range);
        return r;
}

static bool is_staged(const struct space *space, uint64_t offset) {
        return space->role == SPACE_MIRROR && offset >= space_staging_offset(space);
}

int space_write(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        int r;

        if (is_staged(space, offset))
                return space_epoch_write(space, buffer, length, offset - space_staging_offset(space));
        r = check_range(space, length, offset);
        if (r < 0)
                return r;
        r = space_is_in_order(space) ? write_copied(space, buffer, length, offset)
                                     : save_here(space, buffer, length, offset);
        if (r == 0 && space->role == SPACE_PRIMARY) {
                space->saved_bytes += length;
                meter_saved(&space->client->meter, length, offset, clock_usec(CLOCK_BOOTTIME));
        }
        return space_saved(space, r);
}

int space_write_bundle(struct space *space, const void *bundle, uint64_t length) {
        struct bundle_save saves[BUNDLE_SAVES_MAX];
        int n = bundle_decode(bundle, length, saves), r = n < 0 ? n : 0;

        for (int i = 0; i < n && r == 0; i++)
                r = space_write(space, saves[i].data, saves[i].length, saves[i].offset);
        return space_saved(space, r);
}

static int trim_copied(struct space *space, uint64_t length, uint64_t offset) {
        struct range range;
        int r;

        range_take(&space->ranges, &range, length, offset);
        r = save_mended(space, NULL, length, offset);
        if (r == 0 && space->file)
                r = persist_trim(space->file, length, offset);
        if (r == 0 && space->mirror)
                r = copy_save(space->mirror, NULL, length, offset);
        else if (r < 0 && space->mirror)
                mirror_as_it_is(space, length, offset);
        range_give(&space->ranges, &range);
        return r;
}

int space_trim(struct space *space, uint64_t length, uint64_t offset) {
        int r;

        if (is_staged(space, offset))
                return space_epoch_trim(space, length, offset - space_staging_offset(space));
        r = check_range(space, length, offset);
        if (r < 0)
                return r;
        r = space_is_in_order(space) ? trim_copied(space, length, offset) : save_here(space, NULL, length, offset);
        return space_saved(space, r);
}

int space_flush(struct space *space) {
        int r = space_saved(space, space_disk_flush(space));

        return r == 0 && space->mirror ? copy_flush(space->mirror) : r;
}

/* The first stretch that the other server has. */
struct first_found {
        uint64_t begin, end; /* equal: none */
};

static void note_first(void *userdata, uint64_t offset, uint64_t length) {
        struct first_found *first = userdata;

        if (first->begin == first->end || offset < first->begin)
                *first = (struct first_found) { offset, offset + length };
}

/* What the other server says of a stretch that is not here. What it cannot be asked counts as stored. */
static int extent_there(struct space *space, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        struct first_found first = { 0 };
        struct peer_extents extents = { .found = note_first, .userdata = &first, .told_to = offset };
        int r = copy_list(space->move, &extents, length, offset);

        if (r == -EPERM)
                return r;
        *ret_length = length;
        if (r < 0 || extents.told_to == offset)
                return 1;
        if (first.begin == first.end)
                *ret_length = extents.told_to - offset;
        else
                *ret_length = first.begin > offset ? first.begin - offset : first.end - offset;
        if (*ret_length > length)
                *ret_length = length;
        return first.begin != first.end && first.begin == offset;
}

/* What is not here may be there. Nothing moves meanwhile. */
static int extent_of_both(struct space *space, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        struct range range;
        uint64_t n;
        int r;

        length = length < GIB ? length : GIB;
        range_take(&space->ranges, &range, length, offset);
        r = page_space_extent(space->pages, length, offset, &n);
        if (r == 0)
                r = extent_there(space, n, offset, &n);
        range_give(&space->ranges, &range);
        if (r >= 0)
                *ret_length = n;
        return r;
}

int space_extent(struct space *space, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        uint64_t size = page_space_size(space->pages);

        if (offset >= size) { /* what a mirror has behind its end */
                *ret_length = length;
                return 1;
        }
        if (length > size - offset)
                length = size - offset;
        return moving(space) ? extent_of_both(space, length, offset, ret_length)
                             : page_space_extent(space->pages, length, offset, ret_length);
}
