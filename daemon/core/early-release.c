/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/early-release.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static const char *const early_limit_table[] = { [EARLY_FIXED] = "fixed", [EARLY_ADAPTIVE] = "adaptive" };
DEFINE_ENUM_TABLE(early_limit, early_limit_table)

/* Sums and products that stay at the top of their range. */
static uint64_t add(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t multiply(uint64_t a, uint64_t b) {
        uint64_t product;

        return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* `a` * `b` / `c`; exact as long as the product fits. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c) {
        return b > 0 && a > UINT64_MAX / b ? multiply(a / c, b) : a * b / c;
}

int early_release_init(struct early_release *early, const struct rights *rights) {
        uint64_t n_extents = rights->size_bytes / rights->extent_bytes;
        uint64_t each = (n_extents + EARLY_RELEASE_GRANULES_MAX - 1) / EARLY_RELEASE_GRANULES_MAX;
        struct early_release made = { .granule_bytes = each * rights->extent_bytes,
                                      .n_granules = (n_extents + each - 1) / each,
                                      .allowed_usec = USEC_INFINITY };

        made.granules = calloc(made.n_granules, sizeof(*made.granules));
        made.means = calloc(made.n_granules, sizeof(*made.means));
        if (!made.granules || !made.means) {
                early_release_deinit(&made);
                return -ENOMEM;
        }
        for (size_t i = 0; i < made.n_granules; i++)
                made.granules[i] = (struct granule) { .user = HOLDER_NONE, .lost_usec = USEC_INFINITY };
        *early = made;
        return 0;
}

void early_release_deinit(struct early_release *early) {
        free(early->granules);
        free(early->means);
        *early = (struct early_release) { 0 };
}

static struct span granule_span(const struct early_release *early, const struct rights *rights, size_t i) {
        uint64_t start = i * early->granule_bytes, end = start + early->granule_bytes;

        return (struct span) { start, end < rights->size_bytes ? end : rights->size_bytes };
}

static bool is_lost(const struct rights_range *range) {
        return range->unmanaged_usec != USEC_INFINITY;
}

/* The range that a granule counts for: the first that is used without being managed, else the first that is used,
 * else any. */
static const struct rights_range *range_of(const struct rights *rights, struct span span) {
        const struct rights_range *range = rights_find(rights, span.start), *best = range;

        for (; range < rights->ranges + rights->n_ranges && range->span.start < span.end; range++) {
                if (is_lost(range))
                        return range;
                if (!holder_is_vm(best->user))
                        best = range;
        }
        return best;
}

/* Follows what has become of the rights since the granule was looked at. */
static struct granule *follow(struct early_release *early, const struct rights *rights, size_t i, usec_t now_usec) {
        const struct rights_range *range = range_of(rights, granule_span(early, rights, i));
        struct granule *g = &early->granules[i];

        if (!holder_equal(g->user, range->user))
                *g = (struct granule) { .user = range->user,
                                        .lost_usec = range->unmanaged_usec,
                                        .watched_usec = now_usec };
        else if (g->lost_usec != range->unmanaged_usec) {
                g->lost_usec = range->unmanaged_usec;
                g->accesses_at_loss = g->accesses;
                g->bytes_at_loss = g->bytes;
        }
        return g;
}

void early_release_sample(struct early_release *early, const struct rights *rights, struct span span,
                          uint64_t accesses, uint64_t bytes, usec_t now_usec) {
        uint64_t n = span_bytes(span) / rights->extent_bytes;
        uint64_t rest_accesses = accesses % n, rest_bytes = bytes % n;

        assert(rights_has_span(rights, span));
        for (size_t i = span.start / early->granule_bytes; i * early->granule_bytes < span.end; i++) {
                struct span whole = granule_span(early, rights, i);
                struct granule *g = follow(early, rights, i, now_usec);
                uint64_t start = whole.start > span.start ? whole.start : span.start;
                uint64_t end = whole.end < span.end ? whole.end : span.end;
                uint64_t n_here = (end - start) / rights->extent_bytes;

                g->accesses = add(g->accesses, accesses / n * n_here + rest_accesses);
                g->bytes = add(g->bytes, bytes / n * n_here + rest_bytes);
                rest_accesses = rest_bytes = 0;
        }
}

/* False where the granule does not have the measure: nobody uses it, or it was not lost. */
static bool measure(const struct granule *g, const struct early_release_policy *policy, usec_t now_usec,
                    uint64_t *ret) {
        bool lost = g->lost_usec != USEC_INFINITY;
        uint64_t accesses = g->accesses, bytes = g->bytes;
        usec_t from_usec = g->watched_usec;

        if (!holder_is_vm(g->user) || ((policy->since_lost || policy->measure == EARLY_TIME) && !lost))
                return false;
        if (policy->since_lost) {
                accesses -= g->accesses_at_loss;
                bytes -= g->bytes_at_loss;
                from_usec = g->lost_usec > from_usec ? g->lost_usec : from_usec;
        }
        switch (policy->measure) {
        case EARLY_NUMBER:
                *ret = accesses;
                return true;
        case EARLY_RATE:
                *ret = scale(accesses, 1000 * USEC_PER_SEC, now_usec > from_usec ? now_usec - from_usec : 1);
                return true;
        case EARLY_VOLUME:
                *ret = bytes;
                return true;
        case EARLY_TIME:
                *ret = now_usec > g->lost_usec ? now_usec - g->lost_usec : 0;
                return true;
        default:
                assert(false);
                return false;
        }
}

static struct early_mean *find_mean(const struct early_release *early, struct holder user) {
        for (size_t i = 0; i < early->n_means; i++)
                if (holder_equal(early->means[i].user, user))
                        return &early->means[i];
        return NULL;
}

static void find_means(struct early_release *early, const struct early_release_policy *policy, usec_t now_usec) {
        early->n_means = 0;
        for (size_t i = 0; i < early->n_granules; i++) {
                const struct granule *g = &early->granules[i];
                struct early_mean *mean;
                uint64_t value;

                if (!measure(g, policy, now_usec, &value))
                        continue;
                mean = find_mean(early, g->user);
                if (!mean) {
                        mean = &early->means[early->n_means++];
                        *mean = (struct early_mean) { .user = g->user };
                }
                mean->sum = add(mean->sum, value);
                mean->n++;
        }
}

/* Does the policy's condition hold? */
static bool is_due(const struct early_release *early, const struct granule *g,
                   const struct early_release_policy *policy, usec_t now_usec) {
        uint64_t value, limit = policy->limit;
        usec_t judged_usec;

        if (g->lost_usec == USEC_INFINITY || !measure(g, policy, now_usec, &value))
                return false;
        judged_usec = g->lost_usec > g->watched_usec ? g->lost_usec : g->watched_usec;
        if (now_usec < judged_usec || now_usec - judged_usec < policy->watch_usec)
                return false;
        if (policy->limit_kind == EARLY_ADAPTIVE) {
                const struct early_mean *mean = find_mean(early, g->user);

                if (!mean)
                        return false;
                limit = scale(mean->sum, policy->limit_percent, 100 * mean->n);
        }
        return policy->at_least ? value >= limit : value <= limit;
}

/* What the rate allows grows with time, to what it allows in a second, or to an extent. */
static void allow(struct early_release *early, const struct rights *rights, const struct early_release_policy *policy,
                  usec_t now_usec) {
        uint64_t most = policy->bytes_per_sec > rights->extent_bytes ? policy->bytes_per_sec : rights->extent_bytes;

        if (early->allowed_usec == USEC_INFINITY)
                early->allowed_bytes = most;
        else if (now_usec > early->allowed_usec) {
                uint64_t more = scale(policy->bytes_per_sec, now_usec - early->allowed_usec, USEC_PER_SEC);

                early->allowed_bytes = add(early->allowed_bytes, more);
        }
        if (early->allowed_bytes > most)
                early->allowed_bytes = most;
        early->allowed_usec = now_usec;
}

static bool may_take(const struct rights_range *range, struct holder user) {
        return is_lost(range) && !range->releasing && holder_equal(range->user, user);
}

/* Adds what the rate allows of a granule's stretches to `ret`. False once no more fits, into the rate or `ret`. */
static bool take_granule(struct early_release *early, const struct rights *rights, size_t i, struct span *ret,
                         size_t max, size_t *n) {
        struct span whole = granule_span(early, rights, i);
        const struct rights_range *range = rights_find(rights, whole.start);

        for (; range < rights->ranges + rights->n_ranges && range->span.start < whole.end; range++) {
                uint64_t most = early->allowed_bytes - early->allowed_bytes % rights->extent_bytes;
                struct span span = { range->span.start > whole.start ? range->span.start : whole.start,
                                     range->span.end < whole.end ? range->span.end : whole.end };
                bool partly = span_bytes(span) > most, joins = *n > 0 && ret[*n - 1].end == span.start;

                if (!may_take(range, early->granules[i].user))
                        continue;
                if (most == 0 || (!joins && *n == max))
                        return false;
                if (partly)
                        span.end = span.start + most;
                if (joins)
                        ret[*n - 1].end = span.end;
                else
                        ret[(*n)++] = span;
                early->allowed_bytes -= span_bytes(span);
                if (partly)
                        return false;
        }
        return true;
}

size_t early_release_look(struct early_release *early, const struct rights *rights,
                          const struct early_release_policy *policy, usec_t now_usec, struct span *ret, size_t max) {
        size_t n = 0;

        for (size_t i = 0; i < early->n_granules; i++)
                follow(early, rights, i, now_usec);
        find_means(early, policy, now_usec);
        allow(early, rights, policy, now_usec);
        for (size_t k = 0; policy->in_background && k < early->n_granules; k++) {
                if (is_due(early, &early->granules[early->cursor], policy, now_usec) &&
                    !take_granule(early, rights, early->cursor, ret, max, &n))
                        break;
                early->cursor = (early->cursor + 1) % early->n_granules;
        }
        return n;
}

bool early_release_at_access(struct early_release *early, const struct rights *rights,
                             const struct early_release_policy *policy, uint64_t offset, usec_t now_usec,
                             struct span *ret) {
        const struct rights_range *range = rights_find(rights, offset);
        const struct granule *g;

        assert(range);
        g = follow(early, rights, offset / early->granule_bytes, now_usec);
        if (!policy->at_access || !may_take(range, g->user) || !is_due(early, g, policy, now_usec))
                return false;
        allow(early, rights, policy, now_usec);
        if (early->allowed_bytes < rights->extent_bytes)
                return false;
        early->allowed_bytes -= rights->extent_bytes;
        offset -= offset % rights->extent_bytes;
        *ret = (struct span) { offset, offset + rights->extent_bytes };
        return true;
}
