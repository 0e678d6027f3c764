/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the server of a space says to the one that keeps a copy of it: whose copy this is, and whether it is whole. It
 * goes over NBD as a page of its own behind the end of the copy, which is written again and again as a sign of life.
 *
 * What a copy is worth when its primary is lost is decided by this. A primary that cannot reach its mirror goes on
 * alone, but not before `deadline_usec` have passed since it last heard the mirror answer a label. So whoever keeps the
 * copy knows: a write that this copy does not have was acknowledged, if at all, later than that after the last label of
 * which the primary has confirmed the answer.
 */

#include "daemon/base/enum-table.h"
#include "daemon/memserver/bundle.h"
#include "daemon/memserver/page-store.h"
#include "daemon/memserver/space-name.h"

#define LABEL_BYTES PAGE_BYTES

/* A mirror as its primary sees it: the pages, the label, then, where epochs are staged (epoch.h), as many pages again,
 * and a label that begins one (LABEL_FILLING), has a further part of it put on disk (LABEL_NONE) or has it applied
 * (LABEL_COMPLETE), by its number; and at last room for a bundle of saves (bundle.h). */
static inline uint64_t mirror_bundle_offset(uint64_t size_bytes) {
        return 2 * (size_bytes + LABEL_BYTES);
}

static inline uint64_t mirror_size(uint64_t size_bytes) {
        return mirror_bundle_offset(size_bytes) + BUNDLE_BYTES;
}

enum label_state {
        LABEL_NONE,     /* nothing was said yet; a primary sends it of epochs alone */
        LABEL_FILLING,  /* pages are missing */
        LABEL_COMPLETE, /* it has all pages, and gets each save before it is acknowledged */
        LABEL_GONE,     /* the primary has given this copy up */
        LABEL_STATE_MAX,
        LABEL_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(label_state); /* "none", "filling", "complete", "gone" */

struct label {
        struct space_name name; /* of the space; never of another one */
        uint64_t size_bytes;
        uint64_t token;         /* of the primary's grant */
        uint64_t session;       /* random; a new one begins with an empty copy */
        uint64_t link;          /* rises with each connection of a session */
        uint64_t number;        /* rises with each label of a session */
        uint64_t answered;      /* number of a label whose answer has come; 0: none */
        usec_t deadline_usec;
        enum label_state state;
};

void label_encode(const struct label *label, unsigned char ret[static LABEL_BYTES]);
/* -EBADMSG for anything but a label of this version. */
int label_decode(const unsigned char page[static LABEL_BYTES], struct label *ret);
