/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Disks of a checkpoint. When it is taken, each disk file that the VM can write is frozen, in the same instant as its
 * memory, and the VM goes on writing into an overlay beside it. The frozen file goes with the checkpoint for good: a
 * resume puts an empty overlay in the place of the one that the lost VM wrote, and sets that aside.
 */

#include "daemon/pages/context-format.h"

/* Names the overlay of each disk that the VM can write: its own file's name, a dot and `name`. -ENOTSUP with the reason
 * where one is no file. */
int context_overlays_name(struct context_disk *disks, size_t n, const char *name, struct error *error);
/* -EEXIST where there is one of that name already. */
int context_overlays_check(const struct context_disk *disks, size_t n, struct error *error);

/* The XML to resume it with, with the overlays in it: its own, or `instead`, which may be NULL. The caller frees
 * `*ret`, which is NULL where the VM is to be as it was saved. */
int context_overlays_xml(const struct context_manifest *manifest, const char *instead, char **ret,
                         struct error *error);

/* Whether they are what context_overlays_name() makes of disks that the manifest's XML has: -EPERM. Nothing else that a
 * server says is followed. */
int context_overlays_trust(const struct context_manifest *manifest, struct error *error);

/* What has been put in place of overlays, to be taken back. */
struct context_overlays {
        char **aside; /* owned, each too: where the old overlay of each disk is now; NULL: there was none */
        size_t n;     /* disks begun with */
};

/* Empty overlays in place of those that the lost VM wrote. Where this fails, all is as before. */
int context_overlays_put(const struct context_manifest *manifest, struct context_overlays *ret, struct error *error);
/* They have not been used: the old ones are put back. */
void context_overlays_take_back(const struct context_manifest *manifest, struct context_overlays *overlays);
void context_overlays_deinit(struct context_overlays *overlays);
