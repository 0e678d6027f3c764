/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a context looks like in its space (failover-context(5)): a head of one page, the image (what libvirt saved) in
 * chunks, and a manifest that says what it is an image of. The head is written last, when all else is there to stay:
 * without a head there is no context.
 *
 * Whoever reads it trusts nothing: head, manifest and each chunk have sums of their own, and the manifest has one of
 * the whole image.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agents/protocol/fields.h"
#include "daemon/base/enum-table.h"
#include "daemon/base/error.h"
#include "daemon/base/units.h"
#include "daemon/memserver/page-store.h"
#include "policy/policy.h"

#define CONTEXT_VERSION 1
#define CONTEXT_SUM_BYTES 32 /* SHA-256 */
#define CONTEXT_SUM_LEN (2 * CONTEXT_SUM_BYTES + 1)
#define CONTEXT_CHUNK_BYTES MIB /* of the image, before it is compressed */
#define CONTEXT_IMAGE_MAX (UINT64_C(64) << 40)
#define CONTEXT_XML_MAX (4 * MIB) /* DOMAIN_XML_MAX of daemon/host */
#define CONTEXT_MANIFEST_MAX (16 * MIB)
#define CONTEXT_HOLDER_LEN 256
#define CONTEXT_DISKS_MAX 1024
#define CONTEXT_UUID_LEN 37

enum context_state {
        CONTEXT_SAVED,
        CONTEXT_CLAIMED, /* its VM may be there: not ended yet, or about to be started. There must not be two of them */
        CONTEXT_STATE_MAX,
        CONTEXT_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(context_state); /* "saved", "claimed" */

struct context_head {
        enum context_state state;
        uint64_t manifest_offset, manifest_bytes;
        unsigned char manifest_sum[CONTEXT_SUM_BYTES];
        char holder[CONTEXT_HOLDER_LEN]; /* CONTEXT_CLAIMED: by whom, where and when, for people */
        unsigned char seal[CONTEXT_SUM_BYTES]; /* context-key.h; zeroes: none */
};

enum context_disk_kind {
        CONTEXT_DISK_FILE,
        CONTEXT_DISK_BLOCK,
        CONTEXT_DISK_OTHER, /* on a network, say: nobody here can look at it */
        CONTEXT_DISK_KIND_MAX,
        CONTEXT_DISK_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(context_disk_kind); /* "file", "block", "other" */

/* A source of a disk, as it was when the context was saved. */
struct context_disk {
        char target[NAME_LEN];
        char *path; /* owned; NULL: CONTEXT_DISK_OTHER */
        char *format;  /* of what is in it, as libvirt calls it; owned; NULL: not known */
        char *overlay; /* of a checkpoint: where the VM went on writing; owned; NULL: nowhere */
        char *merging; /* of a checkpoint that a standby keeps: the file that this one is, or was, being merged into,
                        * which is not among the sources then; owned; NULL: none */
        int kind;   /* enum context_disk_kind */
        bool writable;
        uint64_t size_bytes, modified_nsec; /* of a block device only the size is known */
};

struct context_manifest {
        int version;
        char name[NAME_LEN], vm[NAME_LEN], host[NAME_LEN];
        char uuid[CONTEXT_UUID_LEN];
        char *uri; /* of the libvirt that it was saved from; owned */
        uint64_t saved_usec; /* since 1970 */
        bool paused;         /* the VM was paused when it was saved, and shall be when it is resumed */
        bool checkpoint;     /* the VM went on after it */
        uint64_t image_bytes, stored_bytes, n_chunks;
        char sum[CONTEXT_SUM_LEN]; /* of the image */
        struct context_disk *disks; /* owned */
        size_t n_disks;
        char *xml; /* of the image: what it can be started with; owned */
};

extern const struct fields context_disk_fields; /* of struct context_disk */
void context_disks_free(struct context_disk *disks, size_t n);
/* `*ret` is the caller's. -ENOMEM. */
int context_disks_copy(const struct context_disk *disks, size_t n, struct context_disk **ret);
struct context_manifest *context_manifest_free(struct context_manifest *manifest);

/* The bytes of a sum in hexadecimal. */
void context_sum_text(const unsigned char sum[static CONTEXT_SUM_BYTES], char ret[static CONTEXT_SUM_LEN]);

void context_head_encode(const struct context_head *head, unsigned char ret[static PAGE_BYTES]);
/* -ENODATA for a page of zeroes: nothing was ever finished here. -EPROTONOSUPPORT for another version, -EBADMSG for
 * anything that is no head, or was one. */
int context_head_decode(const unsigned char page[static PAGE_BYTES], struct context_head *ret, struct error *error);

/* The manifest as text; the caller frees it. -E2BIG past CONTEXT_MANIFEST_MAX, -ENOMEM. */
int context_manifest_encode(const struct context_manifest *manifest, char **ret, size_t *ret_length);
/* -EBADMSG with the reason for anything that is no manifest, -EPROTONOSUPPORT for another version, -ENOMEM. */
int context_manifest_decode(const char *text, size_t length, struct context_manifest **ret, struct error *error);

/* Before the bytes of each chunk. */
#define CONTEXT_CHUNK_HEAD_BYTES 64

struct context_chunk {
        uint64_t number;
        uint32_t image_bytes, stored_bytes; /* before and after it was compressed */
        unsigned char sum[CONTEXT_SUM_BYTES]; /* of the numbers above and what is stored */
};

/* Fills in the sum. -ENOMEM. */
int context_chunk_encode(struct context_chunk *chunk, const void *stored,
                         unsigned char ret[static CONTEXT_CHUNK_HEAD_BYTES]);
/* -EBADMSG where this is not the head of chunk `number`, or its numbers cannot be. */
int context_chunk_decode(const unsigned char head[static CONTEXT_CHUNK_HEAD_BYTES], uint64_t number,
                         struct context_chunk *ret);
/* -EBADMSG where these are not the bytes that were stored. */
int context_chunk_check(const struct context_chunk *chunk, const void *stored);

/* To whole pages. */
static inline uint64_t context_round_up(uint64_t n) {
        return (n + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

/* Most that a chunk takes in the space. */
uint64_t context_chunk_room(void);
/* Size of a space that an image of so many bytes fits, whatever is in it, with two manifests: one can be put in place
 * of another. What is not used costs nothing. */
uint64_t context_space_bytes(uint64_t image_bytes);
