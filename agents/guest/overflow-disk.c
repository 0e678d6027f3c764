/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/overflow-disk.h"

#include <stdio.h>
#include <string.h>

#define CALM_USEC (5 * USEC_PER_SEC)   /* memory has to suffice for so long before pages come home */
#define AGAIN_USEC (30 * USEC_PER_SEC) /* after a step that failed */
#define LEAVE_USEC (10 * USEC_PER_SEC) /* the host wants a disk back for so long after it last said so */

/* What is left to the guest beside the pages that come home. */
static uint64_t margin(uint64_t total_bytes) {
        return total_bytes / 8 + 8 * MIB;
}

static uint64_t bytes_on(const struct overflow_disk *disk) {
        uint64_t bytes = 0;

        for (unsigned i = 0; i < disk->n_slices; i++)
                bytes += disk->slices[i].on ? disk->slices[i].size_bytes : 0;
        return bytes;
}

static uint64_t bytes_used(const struct overflow_disk *disk) {
        uint64_t bytes = 0;

        for (unsigned i = 0; i < disk->n_slices; i++)
                bytes += disk->slices[i].on ? disk->slices[i].used_bytes : 0;
        return bytes;
}

/* What has just failed with one slice keeps none of the others waiting. */
static bool rests(const struct overflow_slice *slice, usec_t now_usec) {
        return slice->failed_usec > 0 && now_usec < slice->failed_usec + AGAIN_USEC;
}

/* The slice that is on and holds least, the last of these; n_slices: none that may be touched is on. */
static unsigned emptiest(const struct overflow_disk *disk, usec_t now_usec) {
        unsigned found = disk->n_slices;

        for (unsigned i = 0; i < disk->n_slices; i++)
                if (disk->slices[i].on && !rests(&disk->slices[i], now_usec) &&
                    (found == disk->n_slices || disk->slices[i].used_bytes <= disk->slices[found].used_bytes))
                        found = i;
        return found;
}

bool overflow_is_on(const struct overflow_disk *disk) {
        bool on = false;

        for (unsigned i = 0; i < disk->n_slices; i++)
                on |= disk->slices[i].on;
        return on;
}

static bool suffices(const struct overflow_sight *sight, uint64_t bytes) {
        return bytes == 0 || sight->available_bytes >= bytes + margin(sight->total_bytes);
}

static enum overflow_step take_off(const struct overflow_disk *disk, const struct overflow_sight *sight,
                                   enum overflow_step step, usec_t now_usec, unsigned *ret_slice) {
        unsigned slice = emptiest(disk, now_usec);

        if (slice == disk->n_slices || !suffices(sight, disk->slices[slice].used_bytes))
                return OVERFLOW_NOTHING;
        *ret_slice = slice;
        return step;
}

/* One that is not divided is there as a whole: it is left to the servers to refuse what they cannot hold. */
static bool fits(const struct overflow_disk *disk, uint64_t bytes) {
        return disk->n_slices == 1 || disk->room_bytes >= bytes_on(disk) + bytes;
}

/* A slice that is off and can be on. What was withdrawn has room to spare first, lest it goes on and off. */
static enum overflow_step put_on(struct overflow_disk *disk, usec_t now_usec, unsigned *ret_slice) {
        bool roomy = false;

        for (unsigned i = 0; i < disk->n_slices; i++) {
                struct overflow_slice *slice = &disk->slices[i];

                if (slice->on || rests(slice, now_usec) ||
                    !fits(disk, slice->size_bytes + (slice->withdrawn ? slice->size_bytes / 4 : 0)))
                        continue;
                if (slice->withdrawn && disk->roomy_usec == 0)
                        disk->roomy_usec = now_usec;
                roomy |= slice->withdrawn;
                if (slice->withdrawn && now_usec < disk->roomy_usec + CALM_USEC)
                        continue;
                *ret_slice = i;
                return OVERFLOW_ON;
        }
        if (!roomy)
                disk->roomy_usec = 0;
        return OVERFLOW_NOTHING;
}

static enum overflow_step bring_home(struct overflow_disk *disk, const struct overflow_sight *sight, usec_t now_usec,
                                     unsigned *ret_slice) {
        uint64_t used = bytes_used(disk);

        if (used == 0 || !suffices(sight, used))
                disk->enough_usec = disk->n_home = 0;
        else if (disk->enough_usec == 0)
                disk->enough_usec = now_usec;
        if (disk->enough_usec == 0 || now_usec < disk->enough_usec + CALM_USEC)
                return OVERFLOW_NOTHING;
        for (; disk->n_home < disk->n_slices; disk->n_home++)
                if (disk->slices[disk->n_home].on && disk->slices[disk->n_home].used_bytes > 0 &&
                    !rests(&disk->slices[disk->n_home], now_usec)) {
                        *ret_slice = disk->n_home++;
                        return OVERFLOW_HOME;
                }
        disk->enough_usec = disk->n_home = 0; /* what has gone there since waits anew */
        return OVERFLOW_NOTHING;
}

enum overflow_step overflow_decide(struct overflow_disk *disk, const struct overflow_sight *sight, usec_t now_usec,
                                   unsigned *ret_slice) {
        bool leave = disk->leave_usec > 0 && now_usec < disk->leave_usec + LEAVE_USEC;
        enum overflow_step step;

        if (sight->coming_home)
                return sight->available_bytes < margin(sight->total_bytes) / 2 ? OVERFLOW_STOP : OVERFLOW_NOTHING;
        if (disk->failed_usec > 0 && now_usec < disk->failed_usec + AGAIN_USEC)
                return OVERFLOW_NOTHING;
        if (leave && !overflow_is_on(disk))
                return disk->left ? OVERFLOW_NOTHING : OVERFLOW_LEAVE;
        if (leave)
                return take_off(disk, sight, OVERFLOW_OFF, now_usec, ret_slice);
        disk->left = false;
        if (!fits(disk, 0))
                return take_off(disk, sight, OVERFLOW_WITHDRAW, now_usec, ret_slice);
        step = put_on(disk, now_usec, ret_slice);
        return step == OVERFLOW_NOTHING ? bring_home(disk, sight, now_usec, ret_slice) : step;
}

/* ---- its slices ------------------------------------------------------------------------------------------ */

/* As the kernel names partitions. */
static void name_slice(const struct overflow_disk *disk, unsigned char number, char ret[OVERFLOW_SLICE_NAME_LEN]) {
        char whole[OVERFLOW_NAME_LEN];
        size_t length;

        memcpy(whole, disk->name, sizeof(whole));
        length = strnlen(whole, sizeof(whole) - 1);
        snprintf(ret, OVERFLOW_SLICE_NAME_LEN, "%.31s%s%u", whole,
                 length > 0 && strchr("0123456789", whole[length - 1]) ? "p" : "", number);
}

void overflow_divide(struct overflow_disk *disk, uint64_t size_bytes, bool whole) {
        uint64_t slice_bytes = size_bytes / OVERFLOW_SLICES_MAX / MIB * MIB;

        memset(disk->slices, 0, sizeof(disk->slices));
        disk->size_bytes = size_bytes;
        disk->n_slices = whole || slice_bytes < OVERFLOW_SLICE_MIN ? 1 : OVERFLOW_SLICES_MAX;
        if (disk->n_slices == 1) {
                disk->slices[0].size_bytes = size_bytes;
                strcpy(disk->slices[0].name, disk->name);
                return;
        }
        for (unsigned i = 0; i < disk->n_slices; i++) {
                disk->slices[i].size_bytes = i + 1 < disk->n_slices ? slice_bytes : size_bytes - i * slice_bytes;
                name_slice(disk, (unsigned char) (i + 1), disk->slices[i].name);
        }
}
