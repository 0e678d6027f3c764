/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/standby-disks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/children/standby-file.h"

#define FROZEN_MAX 4
#define CHECKPOINTS_KEPT 2 /* the newest, and the one that is being taken */
#define SOURCE_BYTES 512   /* of what is kept of one, but for paths */

static const struct field frozen_rows[] = {
        BYTES_FIELD(struct standby_frozen, saved_usec),
        ARRAY_FIELD(struct standby_frozen, disks, &context_disk_fields, CONTEXT_DISKS_MAX, struct context_disk, 1),
};
static const struct fields frozen_fields = { frozen_rows, ELEMENTSOF(frozen_rows), FIELD_BIT(0) | FIELD_BIT(1) };

static const struct field disks_rows[] = {
        ARRAY_FIELD(struct standby_disks, frozen, &frozen_fields, FROZEN_MAX, struct standby_frozen, 1),
};
static const struct fields disks_fields = { disks_rows, ELEMENTSOF(disks_rows), FIELD_BIT(0) };

static void frozen_deinit(struct standby_frozen *frozen) {
        context_disks_free(frozen->disks, frozen->n_disks);
        *frozen = (struct standby_frozen) { 0 };
}

void standby_disks_deinit(struct standby_disks *disks) {
        for (size_t i = 0; i < disks->n_frozen; i++)
                frozen_deinit(&disks->frozen[i]);
        free(disks->frozen);
        *disks = (struct standby_disks) { 0 };
}

int standby_disks_load(const char *dir, struct standby_disks *ret, struct error *error) {
        struct standby_disks disks = { 0 };
        int r = standby_file_read(dir, STANDBY_DISKS_FILE, &disks_fields, &disks, error);

        if (r < 0)
                standby_disks_deinit(&disks);
        if (r == -ENOENT && error)
                error_deinit(error);
        *ret = disks;
        return r == -ENOENT ? 0 : r;
}

int standby_disks_keep(const char *dir, const struct standby_disks *disks, struct error *error) {
        return standby_file_write(dir, STANDBY_DISKS_FILE, &disks_fields, disks, false, error);
}

/* A path may be there three times, of a source, its overlay, and what it is merged into, with each byte as two. */
int standby_disks_fit(const struct context_disk *disks, size_t n, struct error *error) {
        size_t bytes = 0;

        for (size_t i = 0; i < n; i++)
                bytes += SOURCE_BYTES + 6 * (disks[i].path ? strlen(disks[i].path) : 0);
        if (bytes > STANDBY_FILE_MAX / CHECKPOINTS_KEPT)
                return error_set(error, -E2BIG, "the VM has %zu files behind its disks, and that is more than could be "
                                 "kept account of; give it fewer, or shorter chains", n);
        return 0;
}

static struct standby_frozen *find(const struct standby_disks *disks, uint64_t saved_usec) {
        for (size_t i = 0; i < disks->n_frozen; i++)
                if (disks->frozen[i].saved_usec == saved_usec)
                        return &disks->frozen[i];
        return NULL;
}

const struct standby_frozen *standby_disks_find(const struct standby_disks *disks, uint64_t saved_usec) {
        return find(disks, saved_usec);
}

static void remove_at(struct standby_disks *disks, size_t i) {
        frozen_deinit(&disks->frozen[i]);
        disks->n_frozen--;
        memmove(&disks->frozen[i], &disks->frozen[i + 1], (disks->n_frozen - i) * sizeof(disks->frozen[0]));
}

void standby_disks_forget(struct standby_disks *disks, uint64_t saved_usec) {
        for (size_t i = disks->n_frozen; i-- > 0;)
                if (saved_usec == 0 || disks->frozen[i].saved_usec != saved_usec)
                        remove_at(disks, i);
}

int standby_disks_add(struct standby_disks *disks, const struct context_manifest *manifest) {
        struct standby_frozen *grown, added = { .saved_usec = manifest->saved_usec };
        bool overlaid = false;

        for (size_t i = 0; i < manifest->n_disks; i++)
                overlaid = overlaid || manifest->disks[i].overlay;
        if (!overlaid)
                return 0;
        if (context_disks_copy(manifest->disks, manifest->n_disks, &added.disks) < 0)
                return -ENOMEM;
        added.n_disks = manifest->n_disks;
        while (disks->n_frozen >= FROZEN_MAX) /* those before have not counted for long */
                remove_at(disks, 0);
        grown = reallocarray(disks->frozen, disks->n_frozen + 1, sizeof(*grown));
        if (!grown) {
                frozen_deinit(&added);
                return -ENOMEM;
        }
        disks->frozen = grown;
        disks->frozen[disks->n_frozen++] = added;
        return 0;
}

/* Where the sources of that disk begin, and how many there are. */
static struct context_disk *sources_of(const struct standby_frozen *frozen, const char *target, size_t *ret_n) {
        size_t i = 0;

        while (i < frozen->n_disks && strcmp(frozen->disks[i].target, target) != 0)
                i++;
        *ret_n = context_chain_length(frozen->disks + i, frozen->n_disks - i);
        return *ret_n > 0 ? frozen->disks + i : NULL;
}

const char *standby_disks_frozen_path(const struct standby_frozen *frozen, const char *target) {
        size_t n;
        const struct context_disk *disk = sources_of(frozen, target, &n);

        return disk ? disk->path : NULL;
}

/* Puts other sources in the place of `n` at `at`. */
static int replace(struct standby_frozen *frozen, const struct context_disk *at, size_t n,
                   const struct context_disk *with, size_t n_with) {
        const size_t before = (size_t) (at - frozen->disks), after = frozen->n_disks - before - n;
        struct context_disk *copy, *old = frozen->disks, *disks = calloc(before + n_with + after + 1, sizeof(*disks));

        if (!disks || context_disks_copy(with, n_with, &copy) < 0) {
                free(disks);
                return -ENOMEM;
        }
        memcpy(disks, old, before * sizeof(*disks));
        memcpy(disks + before, copy, n_with * sizeof(*disks));
        memcpy(disks + before + n_with, old + before + n, after * sizeof(*disks));
        frozen->disks = disks;
        frozen->n_disks = before + n_with + after;
        free(copy); /* what it points to is in `disks` now */
        memmove(old, old + before, n * sizeof(*old));
        context_disks_free(old, n);
        return 0;
}

/* Nothing is being merged any more: the file behind is asked for again, and has to be like that. */
static bool put_back(struct standby_frozen *frozen, struct context_disk *disk, const struct context_disk *base) {
        const size_t at = (size_t) (disk - frozen->disks);

        if (replace(frozen, disk + 1, 0, base, 1) < 0)
                return false;
        disk = &frozen->disks[at];
        free(disk->merging);
        disk->merging = NULL;
        return true;
}

/* As no file is: whoever asks finds that it has changed. */
static bool spoil(struct standby_frozen *frozen, struct context_disk *disk) {
        struct context_disk changed = { .path = disk->merging, .kind = CONTEXT_DISK_FILE };

        memcpy(changed.target, disk->target, sizeof(changed.target));
        return put_back(frozen, disk, &changed);
}

bool standby_disks_merged(struct standby_frozen *frozen, const struct context_disk *chain, size_t n) {
        size_t n_sources;
        struct context_disk *disk = sources_of(frozen, chain->target, &n_sources);
        const struct context_disk *base;
        size_t at;

        if (!disk || !disk->merging || context_chain_find(chain, n, disk->path))
                return false;
        base = context_chain_find(chain, n, disk->merging);
        at = base ? (size_t) (base - chain) : 0;
        if (!context_chain_is_overlay(chain[at > 0 ? at - 1 : 0].path))
                return spoil(frozen, disk); /* what was written since the checkpoint is in it too */
        if (!base || replace(frozen, disk, n_sources, base, n - at) < 0)
                return false;
        sources_of(frozen, chain->target, &n_sources)->writable = true;
        return true;
}

bool standby_disks_unmerged(struct standby_frozen *frozen, const struct context_disk *chain, size_t n) {
        size_t n_sources;
        struct context_disk *disk = sources_of(frozen, chain->target, &n_sources);
        const struct context_disk *base;

        if (!disk || !disk->merging || !context_chain_find(chain, n, disk->path))
                return false;
        base = context_chain_find(chain, n, disk->merging);
        return base && put_back(frozen, disk, base);
}

int standby_disks_merging(struct standby_frozen *frozen, const struct context_merge *merge) {
        size_t n;
        struct context_disk *disk = sources_of(frozen, merge->top->target, &n);
        char *base;

        if (!disk || !disk->path || strcmp(disk->path, merge->top->path) != 0)
                return 0; /* it is of what was written since */
        base = strdup(merge->base->path);
        if (!base)
                return -ENOMEM;
        free(disk->merging);
        disk->merging = base;
        for (size_t i = 1; i < n; i++)
                if (disk[i].path && strcmp(disk[i].path, base) == 0)
                        return replace(frozen, &disk[i], 1, NULL, 0);
        return 0;
}
