/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Random operations on a space, compared after each with a model that knows no ranges: an array with one entry an
 * extent, in which the rules of the document are written down a second time, extent by extent. The seed stands before
 * the test's name; TEST_SEED repeats one.
 */

#include <errno.h>
#include <inttypes.h>

#include "tests/random.h"
#include "tests/unit/rights-text.h"
#include "tests/unit/test.h"

#define EXTENT (2 * MIB)
#define EXTENTS_MAX 96
#define SEEDS 500
#define OPERATIONS 300
#define N_VMS 4

struct extent {
        int manager, user, next; /* number of the VM, -1: nobody */
        bool leaving;
        usec_t since; /* its use without management; USEC_INFINITY where there is none */
};

struct model {
        struct extent extents[EXTENTS_MAX];
        unsigned n;
};

static struct holder holder_of(int vm) {
        return vm < 0 ? HOLDER_NONE : (struct holder) { .pair = vm / 2, .side = vm % 2 ? SIDE_B : SIDE_A };
}

static bool borrows(const struct extent *e) {
        return e->user >= 0 && e->user != e->manager;
}

static void becomes_user(struct extent *e, int vm, usec_t now) {
        e->user = vm;
        e->leaving = false;
        e->next = -1;
        e->since = borrows(e) ? now : USEC_INFINITY;
}

static void is_managed_by(struct extent *e, int vm, usec_t now) {
        bool before = borrows(e);

        e->manager = vm;
        if (!borrows(e)) {
                e->leaving = false;
                e->next = -1;
                e->since = USEC_INFINITY;
        } else if (!before)
                e->since = now;
}

static enum access model_touch(struct extent *e, int vm, usec_t now) {
        if (e->user == vm)
                return e->leaving ? ACCESS_RETRY : ACCESS_GOES_ON;
        if (e->user < 0) {
                becomes_user(e, vm, now);
                return ACCESS_BECOMES_USER;
        }
        if (e->manager != vm && e->next != vm)
                return ACCESS_ERROR;
        e->leaving = true;
        e->next = vm;
        return ACCESS_TAKES;
}

static void model_give_up(struct extent *e, int vm, enum release_variant variant, usec_t now) {
        bool lent = borrows(e);

        if (lent && variant == RELEASE_STRONGER_KEEPS) {
                e->leaving = true;
                e->next = vm;
        } else if (lent && e->next == vm) {
                e->leaving = false;
                e->next = -1;
        }
        is_managed_by(e, -1, now);
}

static void model_let_go(struct extent *e, int vm, bool only_asked, usec_t now) {
        if (e->user == vm && (e->leaving || !only_asked))
                becomes_user(e, e->leaving ? e->next : -1, now);
}

static void model_fence(struct extent *e, int vm, usec_t now) {
        if (e->next == vm)
                e->next = -1;
        model_let_go(e, vm, false, now);
}

static bool extent_is(const struct extent *e, const struct rights_range *range) {
        return holder_equal(holder_of(e->manager), range->manager) && holder_equal(holder_of(e->user), range->user) &&
               holder_equal(holder_of(e->next), range->next) && e->leaving == range->releasing &&
               e->since == range->unmanaged_usec;
}

/* The ranges say of each extent what the model says, none could be one with its neighbour, and the sums of all add up
 * to the space. */
static bool same(const struct model *model, const struct rights *rights) {
        uint64_t managed = 0, used = 0, lent = 0, borrowed = 0;
        unsigned at = 0, n = 1;

        rights_check(rights);
        if (rights->size_bytes != model->n * EXTENT)
                return false;
        for (size_t i = 0; i < rights->n_ranges; i++) {
                struct span span = rights->ranges[i].span;

                for (uint64_t offset = span.start; offset < span.end; offset += EXTENT)
                        if (offset != at * EXTENT || !extent_is(&model->extents[at++], &rights->ranges[i]))
                                return false;
        }
        for (unsigned i = 1; i < model->n; i++)
                n += memcmp(&model->extents[i], &model->extents[i - 1], sizeof(struct extent)) != 0;
        for (int vm = -1; vm < N_VMS; vm++) {
                struct rights_sum sum = rights_sum(rights, holder_of(vm));

                managed += sum.managed_bytes;
                used += sum.used_bytes;
                lent += sum.lent_bytes;
                borrowed += sum.borrowed_bytes;
        }
        return at == model->n && n == rights->n_ranges && managed == rights->size_bytes &&
               used == rights->size_bytes && lent == borrowed;
}

struct drawn {
        int vm;
        enum release_variant variant;
        usec_t now;
        unsigned first, last; /* extents [first, last) */
        struct span span;
};

static bool touch_agrees(struct model *model, struct rights *rights, const struct drawn *d) {
        uint64_t expected[ACCESS_MAX] = { 0 }, bytes[ACCESS_MAX];

        if (rights_decide(rights, holder_of(d->vm), d->span.start) !=
            model_touch(&(struct extent) { model->extents[d->first].manager, model->extents[d->first].user,
                                           model->extents[d->first].next, model->extents[d->first].leaving,
                                           model->extents[d->first].since }, d->vm, d->now))
                return false;
        for (unsigned i = d->first; i < d->last; i++)
                expected[model_touch(&model->extents[i], d->vm, d->now)] += EXTENT;
        return rights_touch(rights, holder_of(d->vm), d->span, d->now, bytes) == 0 &&
               memcmp(bytes, expected, sizeof(bytes)) == 0;
}

static bool declare_agrees(struct model *model, struct rights *rights, const struct drawn *d) {
        bool all = true;
        int r = rights_declare_release(rights, holder_of(d->vm), d->span, d->variant, d->now);

        for (unsigned i = d->first; i < d->last; i++)
                all = all && model->extents[i].manager == d->vm;
        for (unsigned i = d->first; all && i < d->last; i++)
                model_give_up(&model->extents[i], d->vm, d->variant, d->now);
        return r == (all ? 0 : -EPERM);
}

static bool resize_agrees(struct model *model, struct rights *rights, unsigned n) {
        bool fits = true;
        int r = rights_resize(rights, n * EXTENT);

        for (unsigned i = n; i < model->n; i++)
                fits = fits && model->extents[i].manager < 0 && model->extents[i].user < 0;
        for (unsigned i = model->n; fits && i < n; i++) {
                memset(&model->extents[i], 0, sizeof(struct extent));
                model->extents[i].manager = model->extents[i].user = model->extents[i].next = -1;
                model->extents[i].since = USEC_INFINITY;
        }
        if (fits)
                model->n = n;
        return r == (fits ? 0 : -EBUSY);
}

/* One operation that changes every extent of a stretch in the same way. */
static bool stretch_agrees(unsigned operation, struct model *model, struct rights *rights, const struct drawn *d) {
        struct holder vm = holder_of(d->vm);
        int to = operation == 1 ? -1 : d->vm, r;

        switch (operation) {
        case 0 ... 1:
                r = rights_assign(rights, d->span, holder_of(to), d->now);
                break;
        case 2:
                r = rights_take_back(rights, d->span);
                break;
        case 3:
                r = rights_paged_out(rights, vm, d->span, d->now);
                break;
        default:
                r = rights_reported_free(rights, vm, d->span, d->now);
        }
        for (unsigned i = d->first; i < d->last; i++) {
                struct extent *e = &model->extents[i];

                if (operation <= 1)
                        is_managed_by(e, to, d->now);
                else if (operation == 2)
                        e->leaving = e->leaving || borrows(e);
                else
                        model_let_go(e, d->vm, operation == 3, d->now);
        }
        return r == 0;
}

static bool vm_agrees(bool leaves, struct model *model, struct rights *rights, const struct drawn *d) {
        if (leaves)
                rights_leave(rights, holder_of(d->vm), d->now);
        else
                rights_fence(rights, holder_of(d->vm), d->now);
        for (unsigned i = 0; i < model->n; i++) {
                model_fence(&model->extents[i], d->vm, d->now);
                if (leaves && model->extents[i].manager == d->vm)
                        is_managed_by(&model->extents[i], -1, d->now);
        }
        return true;
}

static bool operation_agrees(struct model *model, struct rights *rights, uint64_t *random, usec_t now) {
        struct drawn d = { .vm = (int) random_below(random, N_VMS),
                           .variant = random_below(random, RELEASE_VARIANT_MAX),
                           .now = now,
                           .first = random_below(random, model->n) };
        unsigned operation = random_below(random, 40);

        d.last = d.first + 1 + random_below(random, random_below(random, 2) ? 4 : model->n);
        d.last = d.last > model->n ? model->n : d.last;
        d.span = SPAN(d.first * EXTENT, d.last * EXTENT);
        if (operation < 14)
                return touch_agrees(model, rights, &d);
        if (operation < 20)
                return declare_agrees(model, rights, &d);
        if (operation < 38)
                return stretch_agrees(operation % 5, model, rights, &d);
        if (operation == 38)
                return vm_agrees(random_below(random, 2) == 0, model, rights, &d);
        return resize_agrees(model, rights, 1 + random_below(random, EXTENTS_MAX));
}

static void run_seed(uint64_t seed) {
        struct model model = { .n = 0 };
        uint64_t random = seed;
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, EXTENT) == 0);
        REQUIRE(resize_agrees(&model, &rights, 1 + random_below(&random, EXTENTS_MAX)));
        for (unsigned i = 0; i < OPERATIONS; i++) {
                bool agrees = operation_agrees(&model, &rights, &random, i) && same(&model, &rights);

                if (!agrees)
                        printf("\nseed %" PRIu64 " differs after operation %u: %s\n", seed, i, rights_text(&rights));
                CHECK(agrees);
                if (!agrees)
                        break;
        }
        rights_deinit(&rights);
}

static void ranges_say_of_every_extent_what_the_rules_say(void) {
        const char *only = getenv("TEST_SEED");
        uint64_t first = only ? strtoull(only, NULL, 10) : 1, n = only ? 1 : SEEDS;

        printf("seeds %" PRIu64 " to %" PRIu64 " ", first, first + n - 1);
        for (uint64_t seed = first; seed < first + n; seed++)
                run_seed(seed);
}

TEST_MAIN("core-rights-random", TEST(ranges_say_of_every_extent_what_the_rules_say))
