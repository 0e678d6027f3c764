/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Out of memory anywhere in the two rights: the caller is told, and nothing has changed. */

#include <errno.h>

#include "daemon/core/choice.h"
#include "daemon/core/early-release.h"
#include "tests/unit/faulty-heap.h"
#include "tests/unit/rights-text.h"
#include "tests/unit/test.h"

#define EXTENT (2 * MIB)

static void shrink(struct rights *rights) {
        rights->ranges = realloc(rights->ranges, rights->n_ranges * sizeof(*rights->ranges));
        rights->n_allocated = rights->n_ranges;
        REQUIRE(rights->ranges != NULL);
}

/* A space without room for another range: seven extents of two VMs by turns, and the rest. */
static void make_full(struct rights *rights) {
        REQUIRE(rights_init(rights, EXTENT, 64 * EXTENT) == 0);
        for (uint64_t i = 0; i < 7; i++)
                CHECK(rights_assign(rights, SPAN(i * EXTENT, (i + 1) * EXTENT), i % 2 ? OS1 : OS2, 1) == 0);
        CHECK(rights->n_ranges == 8);
        shrink(rights);
}

enum change { ASSIGN, TOUCH, DECLARE, TAKE_BACK, PAGED_OUT, REPORTED_FREE, RESTORE, RESIZE, RESERVE, CHANGE_MAX };

static int change(struct rights *rights, enum change what) {
        const struct span span = SPAN(10 * EXTENT, 20 * EXTENT), own = SPAN(0, EXTENT);
        const struct rights_range range = { .span = span, .manager = OS1, .user = OS1 };

        switch (what) {
        case ASSIGN:
                return rights_assign(rights, span, OS3, 2);
        case TOUCH:
                return rights_touch(rights, OS3, span, 2, NULL);
        case DECLARE:
                return rights_declare_release(rights, OS2, own, RELEASE_USER_KEEPS, 2);
        case TAKE_BACK:
                return rights_take_back(rights, span);
        case PAGED_OUT:
                return rights_paged_out(rights, OS1, span, 2);
        case REPORTED_FREE:
                return rights_reported_free(rights, OS1, span, 2);
        case RESTORE:
                return rights_restore(rights, &range);
        case RESIZE:
                return rights_resize(rights, 65 * EXTENT);
        default:
                return rights_reserve(rights, 1);
        }
}

static enum change looked_at;

static void change_once(void) {
        char before[RIGHTS_TEXT_LEN];
        struct rights rights;
        int r;

        make_full(&rights);
        if (looked_at == RESIZE) { /* it needs a range of its own where the last one is managed */
                CHECK(rights_assign(&rights, SPAN(7 * EXTENT, 64 * EXTENT), OS1, 1) == 0);
                shrink(&rights);
        }
        strcpy(before, rights_text(&rights));
        heap_begin(false);
        r = change(&rights, looked_at);
        CHECK(heap_end() ? r == -ENOMEM : r == 0);
        if (r == -ENOMEM) {
                CHECK_TEXT(rights_text(&rights), before);
                CHECK(rights.size_bytes == 64 * EXTENT);
                rights_check(&rights);
                CHECK(change(&rights, looked_at) == 0); /* and it can be done again */
        }
        rights_deinit(&rights);
}

static void every_change_that_fails_has_changed_nothing(void) {
        for (looked_at = 0; looked_at < CHANGE_MAX; looked_at++)
                CHECK(heap_fail_each(change_once, HEAP_LACK_LARGE) == 1);
}

static void init_once(void) {
        struct early_release early = { .n_granules = 42 };
        struct rights rights = { .n_ranges = 42 };
        int r;

        heap_begin(false);
        r = rights_init(&rights, EXTENT, 64 * EXTENT);
        if (r < 0) {
                CHECK(heap_end() && r == -ENOMEM && rights.n_ranges == 42);
                return;
        }
        r = early_release_init(&early, &rights);
        CHECK(heap_end() ? r == -ENOMEM && early.n_granules == 42 : r == 0);
        if (r == 0)
                early_release_deinit(&early);
        rights_deinit(&rights);
}

static void nothing_is_left_of_what_could_not_be_made(void) {
        CHECK(heap_fail_each(init_once, HEAP_LACK_LARGE) == 3);
}

static void choose_once(void) {
        const struct choice choice = { .from = CHOICE_UNUSED_FIRST, .rules = { CHOICE_NEAREST }, .n_rules = 1 };
        struct chosen chosen = { .n_spans = 42 };
        struct rights rights;
        int r;

        make_full(&rights);
        heap_begin(false);
        r = choice_make(&choice, &rights, OS1, 5 * EXTENT, &chosen);
        CHECK(heap_end() ? r == -ENOMEM && chosen.n_spans == 42 : r == 0 && chosen.bytes == 5 * EXTENT);
        if (r == 0)
                chosen_deinit(&chosen);
        rights_deinit(&rights);
}

static void nothing_is_chosen_where_there_is_no_memory_to_choose(void) {
        CHECK(heap_fail_each(choose_once, HEAP_LACK_LARGE) == 2);
}

/* Room for all changes is made first; none of them fails then. */
static void grant_once(void) {
        struct rights rights;
        int r;

        make_full(&rights);
        heap_begin(false);
        r = rights_reserve(&rights, 8);
        for (uint64_t i = 0; r == 0 && i < 8; i++)
                CHECK(rights_assign(&rights, SPAN((10 + 3 * i) * EXTENT, (11 + 3 * i) * EXTENT), OS3, 2) == 0);
        CHECK(heap_end() ? r == -ENOMEM && rights.n_ranges == 8 : r == 0 && rights.n_ranges == 24);
        rights_deinit(&rights);
}

static void changes_that_were_reserved_do_not_fail(void) {
        CHECK(heap_fail_each(grant_once, HEAP_LACK_LARGE) == 1);
}

TEST_MAIN("heap-rights",
          TEST(every_change_that_fails_has_changed_nothing),
          TEST(nothing_is_left_of_what_could_not_be_made),
          TEST(nothing_is_chosen_where_there_is_no_memory_to_choose),
          TEST(changes_that_were_reserved_do_not_fail))
