/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Taking memory back early (N: variant 3). A VM that lost the management of an extent may use it until the manager
 * needs it; the manager then waits for the page-out. What the VM hardly uses any more is better taken back before: in
 * the background, or when the VM accesses it. What "hardly" is, a policy says: a number, rate or volume of accesses, or
 * the time since management was lost, held against a limit.
 *
 * Accesses are not seen one by one but sampled, by whoever can (early_release_sample()), so all here is a rule over
 * numbers. They are kept for granules of equal size, of one extent where the space is not too large; a granule that is
 * used by several VMs counts for one of them. A granule's numbers begin anew when its user changes.
 *
 * This decides and changes no right: the caller tells rights_take_back(), after which its user is told to retry
 * (ACCESS_RETRY) until the memory is paged out.
 */

#include "daemon/core/rights.h"

#define EARLY_RELEASE_GRANULES_MAX 4096

enum early_limit {
        EARLY_FIXED,
        EARLY_ADAPTIVE, /* a share of the mean of the same measure over all granules of that VM that have it */
        EARLY_LIMIT_MAX,
        EARLY_LIMIT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(early_limit); /* "fixed", "adaptive" */

struct early_release_policy {
        enum early_measure measure;
        bool since_lost;     /* counts from when management was lost, else all by this user. EARLY_TIME: always */
        bool at_least;       /* holds from the limit upwards (it has had its share), else up to it (it is quiet) */
        enum early_limit limit_kind;
        uint64_t limit;         /* EARLY_FIXED: in the measure's unit */
        unsigned limit_percent; /* EARLY_ADAPTIVE: of the mean */
        usec_t watch_usec;      /* an extent is judged no sooner after it was lost, and watched */
        bool at_access, in_background; /* when */
        uint64_t bytes_per_sec; /* taken back at most; within a second, or an extent, all at once */
};

/* What is known of one granule. */
struct granule {
        struct holder user;
        usec_t lost_usec;    /* since when the user does not manage; USEC_INFINITY: it does */
        usec_t watched_usec; /* since when its accesses are counted */
        uint64_t accesses, bytes;                 /* by this user */
        uint64_t accesses_at_loss, bytes_at_loss; /* of these, before it lost management */
};

struct early_release {
        uint64_t granule_bytes;
        struct granule *granules; /* owned */
        size_t n_granules;
        size_t cursor; /* granule at which the next look in the background begins */
        struct early_mean {
                struct holder user;
                uint64_t sum, n;
        } *means; /* owned; of each user, as of the last look */
        size_t n_means;
        uint64_t allowed_bytes; /* may be taken back now */
        usec_t allowed_usec;    /* as of when; USEC_INFINITY: nothing was yet */
};

/* For a space; another one is needed when its size changes. -ENOMEM. */
int early_release_init(struct early_release *early, const struct rights *rights);
void early_release_deinit(struct early_release *early);

/* `accesses` and `bytes` were accessed in `span`, whole extents of the space, since it was sampled last. They count
 * evenly over all of it. */
void early_release_sample(struct early_release *early, const struct rights *rights, struct span span,
                          uint64_t accesses, uint64_t bytes, usec_t now_usec);

/* A look in the background: up to `max` stretches to take back now. Those that do not fit into the rate, or `ret`, come
 * first the next time. Returns how many. */
size_t early_release_look(struct early_release *early, const struct rights *rights,
                          const struct early_release_policy *policy, usec_t now_usec, struct span *ret, size_t max);
/* The user accesses an extent: is it to be taken back now? `ret` is that extent. Means are those of the last look. */
bool early_release_at_access(struct early_release *early, const struct rights *rights,
                             const struct early_release_policy *policy, uint64_t offset, usec_t now_usec,
                             struct span *ret);
