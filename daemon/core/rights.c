/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/rights.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const access_table[] = {
        [ACCESS_GOES_ON] = "goes-on", [ACCESS_BECOMES_USER] = "becomes-user", [ACCESS_TAKES] = "takes",
        [ACCESS_RETRY] = "retry",     [ACCESS_ERROR] = "error",
};
DEFINE_ENUM_TABLE(access, access_table)

static const char *const release_variant_table[] = {
        [RELEASE_USER_KEEPS] = "user-keeps",
        [RELEASE_STRONGER_KEEPS] = "stronger-keeps",
};
DEFINE_ENUM_TABLE(release_variant, release_variant_table)

/* Does it use the range without managing it? */
static bool is_borrowed(const struct rights_range *range) {
        return holder_is_vm(range->user) && !holder_equal(range->user, range->manager);
}

static bool can_merge(const struct rights_range *a, const struct rights_range *b) {
        return holder_equal(a->manager, b->manager) && holder_equal(a->user, b->user) &&
               a->releasing == b->releasing && holder_equal(a->next, b->next) &&
               a->unmanaged_usec == b->unmanaged_usec;
}

/* A user that manages, and nobody, have nothing to release. A user that has just come to be without management is so
 * from now on. */
static void settle_range(struct rights_range *range, usec_t now_usec) {
        if (!is_borrowed(range)) {
                range->releasing = false;
                range->unmanaged_usec = USEC_INFINITY;
        } else if (range->unmanaged_usec == USEC_INFINITY)
                range->unmanaged_usec = now_usec;
        if (!range->releasing)
                range->next = HOLDER_NONE;
}

static void set_user(struct rights_range *range, struct holder user) {
        range->user = user;
        range->releasing = false;
        range->unmanaged_usec = USEC_INFINITY;
}

/* What rights_check() states, of the ranges [first, last) and their places beside each other. A change looks at what it
 * has changed, so that it costs the same in a space of many ranges. */
static void check_ranges(const struct rights *rights, size_t first, size_t last) {
        for (size_t i = first; i < last; i++) {
                const struct rights_range *range = &rights->ranges[i];

                assert(range->span.start < range->span.end && range->span.end % rights->extent_bytes == 0);
                assert(i == first || range->span.start == range[-1].span.end);
                assert(i == first || !can_merge(range, &range[-1]));
                assert(is_borrowed(range) == (range->unmanaged_usec != USEC_INFINITY));
                assert(is_borrowed(range) || !range->releasing);
                assert(range->releasing || !holder_is_vm(range->next));
                assert(!holder_is_vm(range->next) || !holder_equal(range->next, range->user));
        }
}

/* Brings the ranges [first, last) into order after a change, and merges them and their neighbours. */
static void settle(struct rights *rights, size_t first, size_t last, usec_t now_usec) {
        size_t before = first > 0 ? first - 1 : 0, kept = before;

        for (size_t i = first; i < last; i++)
                settle_range(&rights->ranges[i], now_usec);
        if (last < rights->n_ranges)
                last++;
        for (size_t i = kept + 1; i < last; i++) {
                if (can_merge(&rights->ranges[kept], &rights->ranges[i]))
                        rights->ranges[kept].span.end = rights->ranges[i].span.end;
                else
                        rights->ranges[++kept] = rights->ranges[i];
        }
        memmove(&rights->ranges[kept + 1], &rights->ranges[last], (rights->n_ranges - last) * sizeof(*rights->ranges));
        rights->n_ranges -= last - (kept + 1);
        check_ranges(rights, before, kept + 1 < rights->n_ranges ? kept + 2 : kept + 1);
}

static size_t index_of(const struct rights *rights, uint64_t offset) {
        size_t low = 0, high = rights->n_ranges;

        while (high - low > 1) {
                size_t middle = low + (high - low) / 2;

                if (rights->ranges[middle].span.start <= offset)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

/* Divides the range that `offset` is inside of, for which there is room. Returns the index of the range that begins
 * there. */
static size_t divide(struct rights *rights, uint64_t offset) {
        size_t i = index_of(rights, offset);
        struct rights_range *range = &rights->ranges[i];

        if (offset == rights->size_bytes)
                return rights->n_ranges;
        if (range->span.start == offset)
                return i;
        memmove(range + 1, range, (rights->n_ranges - i) * sizeof(*range));
        range[0].span.end = range[1].span.start = offset;
        rights->n_ranges++;
        return i + 1;
}

static int reserve(struct rights *rights, size_t n) {
        size_t allocated = rights->n_allocated ? rights->n_allocated : 8;
        struct rights_range *grown;

        if (n <= rights->n_allocated)
                return 0;
        while (allocated < n)
                allocated *= 2;
        grown = realloc(rights->ranges, allocated * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        rights->ranges = grown;
        rights->n_allocated = allocated;
        return 0;
}

/* Divides ranges so that those of [*ret_first, *ret_last) are what `span` is. From here on the caller cannot fail, and
 * ends with settle(). */
static int carve(struct rights *rights, struct span span, size_t *ret_first, size_t *ret_last) {
        int r;

        if (!rights_has_span(rights, span))
                return -EINVAL;
        r = reserve(rights, rights->n_ranges + 2);
        if (r < 0)
                return r;
        *ret_first = divide(rights, span.start);
        *ret_last = divide(rights, span.end);
        return 0;
}

static int check_size(uint64_t extent_bytes, uint64_t size_bytes) {
        if (extent_bytes == 0 || size_bytes == 0 || size_bytes % extent_bytes != 0)
                return -EINVAL;
        return size_bytes / extent_bytes > RIGHTS_EXTENTS_MAX ? -E2BIG : 0;
}

static struct rights_range free_range(uint64_t start, uint64_t end) {
        return (struct rights_range) { .span = { start, end }, .manager = HOLDER_NONE, .user = HOLDER_NONE,
                                       .next = HOLDER_NONE, .unmanaged_usec = USEC_INFINITY };
}

int rights_init(struct rights *rights, uint64_t extent_bytes, uint64_t size_bytes) {
        struct rights made = { .extent_bytes = extent_bytes, .size_bytes = size_bytes };
        int r = check_size(extent_bytes, size_bytes);

        if (r == 0)
                r = reserve(&made, 1);
        if (r < 0)
                return r;
        made.ranges[made.n_ranges++] = free_range(0, size_bytes);
        *rights = made;
        return 0;
}

void rights_deinit(struct rights *rights) {
        free(rights->ranges);
        *rights = (struct rights) { 0 };
}

void rights_check(const struct rights *rights) {
        assert(rights->ranges[0].span.start == 0);
        assert(rights->ranges[rights->n_ranges - 1].span.end == rights->size_bytes);
        check_ranges(rights, 0, rights->n_ranges);
}

const struct rights_range *rights_find(const struct rights *rights, uint64_t offset) {
        return offset < rights->size_bytes ? &rights->ranges[index_of(rights, offset)] : NULL;
}

bool rights_has_span(const struct rights *rights, struct span span) {
        return span.start < span.end && span.end <= rights->size_bytes && span.start % rights->extent_bytes == 0 &&
               span.end % rights->extent_bytes == 0;
}

struct rights_sum rights_sum(const struct rights *rights, struct holder holder) {
        struct rights_sum sum = { 0 };

        for (size_t i = 0; i < rights->n_ranges; i++) {
                const struct rights_range *range = &rights->ranges[i];
                uint64_t bytes = span_bytes(range->span);
                bool manages = holder_equal(range->manager, holder), uses = holder_equal(range->user, holder);

                sum.managed_bytes += manages ? bytes : 0;
                sum.used_bytes += uses ? bytes : 0;
                sum.lent_bytes += manages && is_borrowed(range) ? bytes : 0;
                sum.borrowed_bytes += uses && is_borrowed(range) ? bytes : 0;
                sum.leaving_bytes += uses && range->releasing ? bytes : 0;
        }
        return sum;
}

int rights_resize(struct rights *rights, uint64_t size_bytes) {
        struct rights_range *last = &rights->ranges[rights->n_ranges - 1];
        bool is_free = !holder_is_vm(last->manager) && !holder_is_vm(last->user);
        int r = check_size(rights->extent_bytes, size_bytes);

        if (r < 0)
                return r;
        if (size_bytes > rights->size_bytes && !is_free) {
                r = reserve(rights, rights->n_ranges + 1);
                if (r < 0)
                        return r;
                rights->ranges[rights->n_ranges++] = free_range(rights->size_bytes, size_bytes);
        } else if (size_bytes > rights->size_bytes)
                last->span.end = size_bytes;
        else if (size_bytes < rights->size_bytes) {
                if (!is_free || last->span.start > size_bytes)
                        return -EBUSY;
                last->span.end = size_bytes;
                if (last->span.start == size_bytes)
                        rights->n_ranges--;
        }
        rights->size_bytes = size_bytes;
        rights_check(rights);
        return 0;
}

int rights_reserve(struct rights *rights, size_t n) {
        return reserve(rights, rights->n_ranges + 2 * n);
}

int rights_restore(struct rights *rights, const struct rights_range *range) {
        size_t first, last;
        int r = carve(rights, range->span, &first, &last);

        if (r < 0)
                return r;
        for (size_t i = first; i < last; i++) {
                set_user(&rights->ranges[i], range->user);
                rights->ranges[i].manager = range->manager;
                rights->ranges[i].unmanaged_usec = range->unmanaged_usec;
        }
        settle(rights, first, last, 0);
        return 0;
}

static enum access decide(const struct rights_range *range, struct holder vm) {
        if (holder_equal(range->user, vm))
                return range->releasing ? ACCESS_RETRY : ACCESS_GOES_ON;
        if (!holder_is_vm(range->user))
                return ACCESS_BECOMES_USER;
        if (holder_equal(range->manager, vm) || (range->releasing && holder_equal(range->next, vm)))
                return ACCESS_TAKES;
        return ACCESS_ERROR;
}

enum access rights_decide(const struct rights *rights, struct holder vm, uint64_t offset) {
        const struct rights_range *range = rights_find(rights, offset);

        assert(holder_is_vm(vm));
        return range ? decide(range, vm) : ACCESS_ERROR;
}

int rights_touch(struct rights *rights, struct holder vm, struct span span, usec_t now_usec,
                 uint64_t ret_bytes[ACCESS_MAX]) {
        uint64_t bytes[ACCESS_MAX] = { 0 };
        size_t first, last;
        int r;

        assert(holder_is_vm(vm));
        r = carve(rights, span, &first, &last);
        if (r < 0)
                return r;
        for (size_t i = first; i < last; i++) {
                struct rights_range *range = &rights->ranges[i];
                enum access access = decide(range, vm);

                bytes[access] += span_bytes(range->span);
                if (access == ACCESS_BECOMES_USER)
                        set_user(range, vm);
                else if (access == ACCESS_TAKES) {
                        range->releasing = true;
                        range->next = vm;
                }
        }
        settle(rights, first, last, now_usec);
        if (ret_bytes)
                memcpy(ret_bytes, bytes, sizeof(bytes));
        return 0;
}

int rights_assign(struct rights *rights, struct span span, struct holder manager, usec_t now_usec) {
        size_t first, last;
        int r = carve(rights, span, &first, &last);

        if (r < 0)
                return r;
        for (size_t i = first; i < last; i++)
                rights->ranges[i].manager = manager;
        settle(rights, first, last, now_usec);
        return 0;
}

static bool manages_all(const struct rights *rights, struct holder vm, struct span span) {
        for (size_t i = index_of(rights, span.start); i < rights->n_ranges; i++) {
                if (rights->ranges[i].span.start >= span.end)
                        break;
                if (!holder_equal(rights->ranges[i].manager, vm))
                        return false;
        }
        return true;
}

/* `vm` gives up the management of a range. */
static void give_up(struct rights_range *range, struct holder vm, enum release_variant variant) {
        bool lent = is_borrowed(range);

        range->manager = HOLDER_NONE;
        if (lent && variant == RELEASE_STRONGER_KEEPS) {
                range->releasing = true;
                range->next = vm;
        } else if (lent && holder_equal(range->next, vm))
                range->releasing = false;
}

int rights_declare_release(struct rights *rights, struct holder vm, struct span span, enum release_variant variant,
                           usec_t now_usec) {
        size_t first, last;
        int r;

        assert(holder_is_vm(vm));
        if (!rights_has_span(rights, span))
                return -EINVAL;
        if (!manages_all(rights, vm, span))
                return -EPERM;
        r = carve(rights, span, &first, &last);
        if (r < 0)
                return r;
        for (size_t i = first; i < last; i++)
                give_up(&rights->ranges[i], vm, variant);
        settle(rights, first, last, now_usec);
        return 0;
}

int rights_take_back(struct rights *rights, struct span span) {
        size_t first, last;
        int r = carve(rights, span, &first, &last);

        if (r < 0)
                return r;
        for (size_t i = first; i < last; i++)
                if (is_borrowed(&rights->ranges[i]))
                        rights->ranges[i].releasing = true;
        settle(rights, first, last, 0);
        return 0;
}

/* The range's user lets go of it, to whom it has to release or to nobody. */
static void hand_on(struct rights_range *range) {
        set_user(range, range->next);
}

/* What `vm` uses of the span is used no more; with `only_asked`, only what it was made to release. */
static int let_go(struct rights *rights, struct holder vm, struct span span, bool only_asked, usec_t now_usec) {
        size_t first, last;
        int r;

        assert(holder_is_vm(vm));
        r = carve(rights, span, &first, &last);
        if (r < 0)
                return r;
        for (size_t i = first; i < last; i++)
                if (holder_equal(rights->ranges[i].user, vm) && (rights->ranges[i].releasing || !only_asked))
                        hand_on(&rights->ranges[i]);
        settle(rights, first, last, now_usec);
        return 0;
}

int rights_paged_out(struct rights *rights, struct holder vm, struct span span, usec_t now_usec) {
        return let_go(rights, vm, span, true, now_usec);
}

int rights_reported_free(struct rights *rights, struct holder vm, struct span span, usec_t now_usec) {
        return let_go(rights, vm, span, false, now_usec);
}

static void stop_using(struct rights *rights, struct holder vm) {
        for (size_t i = 0; i < rights->n_ranges; i++) {
                struct rights_range *range = &rights->ranges[i];

                if (holder_equal(range->next, vm))
                        range->next = HOLDER_NONE;
                if (holder_equal(range->user, vm))
                        hand_on(range);
        }
}

void rights_fence(struct rights *rights, struct holder vm, usec_t now_usec) {
        assert(holder_is_vm(vm));
        stop_using(rights, vm);
        settle(rights, 0, rights->n_ranges, now_usec);
}

void rights_leave(struct rights *rights, struct holder vm, usec_t now_usec) {
        assert(holder_is_vm(vm));
        stop_using(rights, vm);
        for (size_t i = 0; i < rights->n_ranges; i++)
                if (holder_equal(rights->ranges[i].manager, vm))
                        rights->ranges[i].manager = HOLDER_NONE;
        settle(rights, 0, rights->n_ranges, now_usec);
}
