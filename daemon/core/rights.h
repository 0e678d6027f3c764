/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The two rights (N). Each extent of memory has at most one manager and at most one user. The *usage right*: this VM
 * may access the extent now. The *management right* is stronger: its holder can take the usage right at any time,
 * merely by accessing the extent. So memory is given away at once by moving the management right alone; usage follows
 * extent by extent as the new manager touches it.
 *
 * One `struct rights` is the map of one space: a region's device, whose offsets are the same in both VMs of its pair,
 * or any other space that has places, such as a whole pool. An extent is a place in it. What is kept are not extents
 * but ranges, each as long as all its extents are equal, so that moving 64 GiB costs what moving 128 MiB does. Their
 * number is bounded by the number of extents, and grows only where usage is really scattered.
 *
 * Releasing takes time (what is in use has to be paged out), so a user that has to release stays the user until
 * rights_paged_out() or rights_reported_free() says that it has; the range remembers who comes next.
 *
 * Every change keeps what rights_check() states, and asserts it of the ranges that it has changed. No function here
 * has an effect outside of the map: what is to be paged out stands in the ranges, and is the caller's to do.
 */

#include "daemon/core/table.h"

/* Nobody has the right: the monitor keeps the extent. */
#define HOLDER_NONE HOLDER_MONITOR

static inline bool holder_is_vm(struct holder holder) {
        return holder.pair >= 0;
}

/* Most extents of a space: 2 TiB in extents of 2 MiB. */
#define RIGHTS_EXTENTS_MAX (UINT64_C(1) << 20)

/* N: the access decision. */
enum access {
        ACCESS_GOES_ON,      /* it is the user */
        ACCESS_BECOMES_USER, /* nobody was; who manages does not matter */
        ACCESS_TAKES,        /* it manages, or is next: the user has to release, then it becomes user */
        ACCESS_RETRY,        /* it is the user and has to release: what it finds then is paged out */
        ACCESS_ERROR,        /* another VM is the user, and it does not manage */
        ACCESS_MAX,
        ACCESS_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(access); /* "goes-on", "becomes-user", "takes", "retry", "error" */

/* N, variants 1 and 2: a VM gives up an extent that it manages and that another VM still uses. */
enum release_variant {
        RELEASE_USER_KEEPS,     /* 1: the user goes on; the declaring VM is cut off, nothing is paged out */
        RELEASE_STRONGER_KEEPS, /* 2: the user releases, and the declaring VM, which was meant to have it, uses it */
        RELEASE_VARIANT_MAX,
        RELEASE_VARIANT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(release_variant); /* "user-keeps", "stronger-keeps" */

/* A stretch of a space, from `start` up to but not including `end`. */
struct span {
        uint64_t start, end;
};

static inline uint64_t span_bytes(struct span span) {
        return span.end - span.start;
}

/* Neighbouring extents of which all is equal. */
struct rights_range {
        struct span span;
        struct holder manager, user; /* or HOLDER_NONE */
        bool releasing;      /* the user, which does not manage, is being made to release */
        struct holder next;  /* then becomes the user; HOLDER_NONE: nobody does */
        usec_t unmanaged_usec; /* since when the user has used it without managing it; USEC_INFINITY: not so */
};

struct rights {
        uint64_t extent_bytes, size_bytes;
        struct rights_range *ranges; /* owned; sorted, without gap or overlap, no two neighbours equal */
        size_t n_ranges, n_allocated;
};

/* What one VM has of a space. */
struct rights_sum {
        uint64_t managed_bytes;
        uint64_t used_bytes;
        uint64_t lent_bytes;     /* managed by it, used by another */
        uint64_t borrowed_bytes; /* used by it, managed by another VM or by nobody */
        uint64_t leaving_bytes;  /* of what is borrowed: being released */
};

/* A space that nobody manages or uses. -EINVAL unless the size is a multiple, at least one, of the extent; -E2BIG
 * past RIGHTS_EXTENTS_MAX; -ENOMEM. */
int rights_init(struct rights *rights, uint64_t extent_bytes, uint64_t size_bytes);
void rights_deinit(struct rights *rights);

/* Aborts unless the ranges are sorted, cover the space once, and none could be merged with its neighbour; and
 * unless none is being released by a user that manages it. */
void rights_check(const struct rights *rights);

/* The range that an offset is in; NULL outside of the space. Valid until the next change. */
const struct rights_range *rights_find(const struct rights *rights, uint64_t offset);
/* Is this a stretch of whole extents of the space? Everything below that takes a span refuses any other with -EINVAL,
 * and answers -ENOMEM where there is no memory to divide ranges; in both cases nothing has changed. */
bool rights_has_span(const struct rights *rights, struct span span);
/* With HOLDER_NONE: what nobody manages, and what nobody uses. */
struct rights_sum rights_sum(const struct rights *rights, struct holder holder);

/* The space becomes larger, or smaller: -EBUSY where what would go is managed or used. Otherwise as rights_init(). */
int rights_resize(struct rights *rights, uint64_t size_bytes);
/* Makes room for `n` changes of one span each: none of the next `n` answers -ENOMEM. -ENOMEM. */
int rights_reserve(struct rights *rights, size_t n);
/* Puts one range back as it was recorded: manager, user and since when. A release under way is not put back: who
 * manages it and needs it asks again. */
int rights_restore(struct rights *rights, const struct rights_range *range);

/* The access decision for one extent, as rights_touch() would make it; nothing changes. */
enum access rights_decide(const struct rights *rights, struct holder vm, uint64_t offset);
/* A VM accesses these extents: each is decided for itself and carried out. Where it takes, the range is `releasing`
 * from here on, with the VM as `next`; accessing again while that lasts changes nothing. `ret_bytes` (may be NULL)
 * says how much met which decision. (N: access decision) */
int rights_touch(struct rights *rights, struct holder vm, struct span span, usec_t now_usec,
                 uint64_t ret_bytes[ACCESS_MAX]);

/* Moves the management right, to a VM or to nobody; who uses the extents does not change. A user that comes to manage
 * has to release no more. (N: reassigning moves the management right only) */
int rights_assign(struct rights *rights, struct span span, struct holder manager, usec_t now_usec);
/* A VM gives up the management right of extents all of which it manages (-EPERM otherwise). What it uses itself, it
 * uses on until it is needed or reported free; for what another VM uses, the variant decides. (N: declaring release) */
int rights_declare_release(struct rights *rights, struct holder vm, struct span span, enum release_variant variant,
                           usec_t now_usec);

/* Users that do not manage are made to release, before the manager needs it. (N: variant 3, early release) */
int rights_take_back(struct rights *rights, struct span span);
/* What a VM was made to release is paged out: who comes next is the user. Where it need release no more, or never had
 * to, nothing changes: it may use it again by now. */
int rights_paged_out(struct rights *rights, struct holder vm, struct span span, usec_t now_usec);
/* A VM has let go of extents by itself: pages reported free, or unplugged. Extents that it does not use are passed
 * over. */
int rights_reported_free(struct rights *rights, struct holder vm, struct span span, usec_t now_usec);

/* A fenced VM acts no more: all that it used is free at once, or its next user's; it manages on. */
void rights_fence(struct rights *rights, struct holder vm, usec_t now_usec);
/* A VM is no more: it loses both rights to everything. */
void rights_leave(struct rights *rights, struct holder vm, usec_t now_usec);
