/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Several saves in one message: what a primary sends its mirror while many saves wait for it, so that they share one
 * round trip. A bundle is written to a place of its own behind the pages (label.h).
 *
 * Pure; all that is read of a bundle is checked here, but for whether the saves lie within the space.
 */

#include <stddef.h>
#include <stdint.h>

#include "daemon/base/units.h"

#define BUNDLE_BYTES (256 * KIB) /* a whole one, at most */
#define BUNDLE_SAVES_MAX 64
#define BUNDLE_HEAD_MAX 2048
#define BUNDLE_DATA_MAX (BUNDLE_BYTES - BUNDLE_HEAD_MAX) /* of all its saves */

struct bundle_save {
        const void *data; /* borrowed */
        uint64_t length, offset;
};

/* At most BUNDLE_SAVES_MAX saves of BUNDLE_DATA_MAX together. Returns how long the bundle is. */
size_t bundle_encode(const struct bundle_save *saves, size_t n, unsigned char ret[static BUNDLE_BYTES]);
/* How many saves it has, whose data is in it. -EBADMSG for anything but a bundle of this version. */
int bundle_decode(const unsigned char *bundle, size_t length, struct bundle_save ret[static BUNDLE_SAVES_MAX]);
