/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The page table of a shared region: each rule of its own, then random worlds against a model that is plain. */

#include <errno.h>

#include "agents/region/region-table.h"
#include "daemon/base/cleanup.h"
#include "tests/random.h"
#include "tests/unit/test.h"

#define A UINT64_C(0x7f0012345680)
#define B UINT64_C(0x7f0012345700)
#define PAGE REGION_PAGE_BYTES

static struct region_table make(uint64_t n_pages) {
        struct region_table table;

        REQUIRE(region_table_init(&table, n_pages * PAGE) == 0);
        return table;
}

static void a_last_page_may_be_there_in_part(void) {
        struct region_table table;

        CHECK(region_table_init(&table, 0) == -EINVAL);
        REQUIRE(region_table_init(&table, 1) == 0);
        CHECK(table.n_pages == 1);
        region_table_deinit(&table);
        REQUIRE(region_table_init(&table, 3 * PAGE + 1) == 0);
        CHECK(table.n_pages == 4);
        region_table_deinit(&table);
}

static void nowhere_is_an_access_error(void) {
        struct region_table table = make(2);
        uint64_t field = 7;

        CHECK(region_table_fault(&table, 0, &field) == REGION_ACCESS_ERROR);
        region_table_set_remote(&table, 0, 2, A);
        CHECK(region_table_fault(&table, 2, &field) == REGION_ACCESS_ERROR);
        CHECK(region_table_fault(&table, UINT64_MAX, &field) == REGION_ACCESS_ERROR);
        CHECK(field == 7);
        region_table_set_error(&table, 1);
        CHECK(region_table_fault(&table, 1, &field) == REGION_ACCESS_ERROR);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH && field == A);
        region_table_deinit(&table);
}

static void the_channel_is_read_from_the_entry(void) {
        struct region_table table = make(4);
        uint64_t field;

        region_table_set_remote(&table, 0, 2, A);
        region_table_set_remote(&table, 2, 2, B);
        CHECK(region_table_fault(&table, 1, &field) == REGION_FETCH && field == A);
        CHECK(region_table_fault(&table, 2, &field) == REGION_FETCH && field == B);
        region_table_deinit(&table);
}

static void the_largest_address_fits(void) {
        struct region_table table = make(1);
        uint64_t most = (UINT64_C(1) << 56) - 64, field;

        region_table_set_remote(&table, 0, 1, most);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH && field == most);
        region_table_deinit(&table);
}

static void a_page_is_fetched_once(void) {
        struct region_table table = make(1);
        uint64_t field;

        region_table_set_remote(&table, 0, 1, A);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH);
        CHECK(table.entries[0] & REGION_PRESENT && table.entries[0] & REGION_IN_PROGRESS);
        CHECK(!region_table_present(&table, 0) && region_table_in_progress(&table, 0) && table.n_present == 0);
        for (int i = 0; i < 3; i++)
                CHECK(region_table_fault(&table, 0, &field) == REGION_WAIT);
        CHECK(region_table_take_along(&table, 0, 1, A) == 0);
        region_table_filled(&table, 0, 1, 5);
        CHECK(region_table_present(&table, 0) && !region_table_in_progress(&table, 0) && table.n_present == 1);
        CHECK(table.entries[0] == (REGION_PRESENT | 5));
        CHECK(region_table_fault(&table, 0, &field) == REGION_THERE);
        region_table_deinit(&table);
}

static void a_fetch_that_failed_can_be_tried_again(void) {
        struct region_table table = make(1);
        uint64_t field;

        region_table_set_remote(&table, 0, 1, A);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH);
        region_table_failed(&table, 0, 1, B);
        CHECK(!region_table_present(&table, 0) && table.n_present == 0);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH && field == B);
        region_table_deinit(&table);
}

static void the_name_server_is_asked_first(void) {
        struct region_table table = make(3);
        uint64_t field = 7;

        region_table_set_remote(&table, 0, 3, REGION_NAME_SERVER);
        for (int i = 0; i < 2; i++)
                CHECK(region_table_fault(&table, 1, &field) == REGION_ASK_NAME && field == 7);
        CHECK(table.n_present == 0 && !region_table_in_progress(&table, 1));
        region_table_set_remote(&table, 0, 3, A);
        CHECK(region_table_fault(&table, 1, &field) == REGION_FETCH && field == A);
        region_table_deinit(&table);
}

static void a_channel_does_not_replace_what_is_here_or_coming(void) {
        struct region_table table = make(3);
        uint64_t field;

        region_table_set_remote(&table, 0, 3, A);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH);
        region_table_filled(&table, 0, 1, 0);
        CHECK(region_table_fault(&table, 1, &field) == REGION_FETCH);
        region_table_set_remote(&table, 0, 3, B);
        region_table_set_error(&table, 0);
        region_table_set_error(&table, 1);
        CHECK(region_table_present(&table, 0) && region_table_in_progress(&table, 1));
        CHECK(region_table_fault(&table, 2, &field) == REGION_FETCH && field == B);
        region_table_deinit(&table);
}

static void a_disk_gives_sectors(void) {
        struct region_table table = make(4);
        uint64_t field;

        region_table_set_disk(&table, 1, 3, 100);
        CHECK(region_table_fault(&table, 2, &field) == REGION_READ_DISK && field == 101);
        CHECK(region_table_fault(&table, 2, &field) == REGION_WAIT);
        region_table_filled(&table, 2, 1, 2);
        CHECK(region_table_fault(&table, 2, &field) == REGION_THERE);
        CHECK(region_table_take_along(&table, 3, 1, A) == 0);
        region_table_deinit(&table);
}

static void a_fetch_takes_along_what_is_as_absent_as_its_page(void) {
        struct region_table table = make(8);
        uint64_t field;

        region_table_set_remote(&table, 0, 6, A);
        region_table_set_remote(&table, 6, 2, B);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH);
        CHECK(region_table_fault(&table, 3, &field) == REGION_FETCH);
        CHECK(region_table_take_along(&table, 1, 100, A) == 2);  /* up to page 3 */
        CHECK(region_table_take_along(&table, 4, 100, A) == 2);  /* up to another channel */
        CHECK(region_table_take_along(&table, 6, 1, B) == 1);    /* as many as asked for */
        CHECK(region_table_take_along(&table, 7, 100, B) == 1);  /* up to the end */
        CHECK(region_table_take_along(&table, 8, 100, B) == 0);
        region_table_filled(&table, 0, 8, 0);
        CHECK(table.n_present == 8);
        region_table_deinit(&table);
}

static void what_is_to_be_written_does_not_go(void) {
        struct region_table table = make(1);
        uint64_t field, first, n;

        region_table_set_remote(&table, 0, 1, A);
        CHECK(!region_table_evict(&table, 0, A));
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH && !region_table_evict(&table, 0, A));
        region_table_filled(&table, 0, 1, 0);
        region_table_touch(&table, 0);
        CHECK(!region_table_evict(&table, 0, A));
        REQUIRE(region_table_take_dirty(&table, 0, 1, &first, &n));
        CHECK(!region_table_evict(&table, 0, A));
        region_table_written(&table, true);
        CHECK(region_table_evict(&table, 0, A) && table.n_present == 0);
        CHECK(region_table_fault(&table, 0, &field) == REGION_FETCH && field == A);
        region_table_deinit(&table);
}

static void a_store_while_it_is_written_is_not_lost(void) {
        struct region_table table = make(1);
        uint64_t first, n;

        region_table_touch(&table, 0);
        region_table_touch(&table, 0);
        CHECK(table.n_dirty == 1);
        REQUIRE(region_table_take_dirty(&table, 0, 9, &first, &n) && first == 0 && n == 1);
        CHECK(!region_table_dirty(&table, 0));
        region_table_touch(&table, 0);
        CHECK(!region_table_take_dirty(&table, 0, 9, &first, &n)); /* two writes of a page could overtake each other */
        region_table_written(&table, true);
        CHECK(region_table_dirty(&table, 0));
        REQUIRE(region_table_take_dirty(&table, 0, 9, &first, &n));
        region_table_written(&table, false);
        CHECK(region_table_dirty(&table, 0) && table.n_dirty == 1 && table.n_writing == 0);
        region_table_deinit(&table);
}

static void runs_of_dirty_pages_are_found_across_words(void) {
        struct region_table table = make(200);
        uint64_t first, n;

        for (uint64_t i = 60; i < 135; i++)
                region_table_touch(&table, i);
        region_table_touch(&table, 199);
        REQUIRE(region_table_take_dirty(&table, 0, 64, &first, &n));
        CHECK(first == 60 && n == 64);
        REQUIRE(region_table_take_dirty(&table, first + n, 64, &first, &n));
        CHECK(first == 124 && n == 11);
        REQUIRE(region_table_take_dirty(&table, first + n, 64, &first, &n));
        CHECK(first == 199 && n == 1);
        CHECK(!region_table_take_dirty(&table, 0, 64, &first, &n) && table.n_writing == 76);
        region_table_written(&table, true);
        CHECK(table.n_writing == 0 && table.n_dirty == 0);
        region_table_deinit(&table);
}

/* The model: what each page is, in words. */
#define MODEL_PAGES 150
struct model {
        enum { NOWHERE, NAMED, REMOTE, COMING, HERE } state[MODEL_PAGES];
        uint64_t channel[MODEL_PAGES];
        bool dirty[MODEL_PAGES], writing[MODEL_PAGES];
};

static void check_model(const struct region_table *table, const struct model *model) {
        uint64_t n_present = 0, n_dirty = 0, n_writing = 0;

        for (uint64_t i = 0; i < MODEL_PAGES; i++) {
                REQUIRE(region_table_present(table, i) == (model->state[i] == HERE));
                REQUIRE(region_table_in_progress(table, i) == (model->state[i] == COMING));
                REQUIRE(region_table_dirty(table, i) == model->dirty[i]);
                n_present += model->state[i] == HERE;
                n_dirty += model->dirty[i];
                n_writing += model->writing[i];
        }
        REQUIRE(table->n_present == n_present && table->n_dirty == n_dirty && table->n_writing == n_writing);
}

static void fault_at(struct region_table *table, struct model *model, uint64_t i) {
        static const enum region_verdict expected[] = { REGION_ACCESS_ERROR, REGION_ASK_NAME, REGION_FETCH, REGION_WAIT,
                                                        REGION_THERE };
        uint64_t field = 0;

        REQUIRE(region_table_fault(table, i, &field) == expected[model->state[i]]);
        if (model->state[i] == REMOTE) {
                REQUIRE(field == model->channel[i]);
                model->state[i] = COMING;
        }
}

static void take_along(struct region_table *table, struct model *model, uint64_t i, uint64_t most) {
        uint64_t n = region_table_take_along(table, i, most, A), expected = 0;

        while (expected < most && i + expected < MODEL_PAGES && model->state[i + expected] == REMOTE &&
               model->channel[i + expected] == A)
                model->state[i + expected++] = COMING;
        REQUIRE(n == expected);
}

static void take_dirty(struct region_table *table, struct model *model, uint64_t from, uint64_t most) {
        uint64_t first, n, expected = from;
        bool any = region_table_take_dirty(table, from, most, &first, &n);

        while (expected < MODEL_PAGES && (!model->dirty[expected] || model->writing[expected]))
                expected++;
        REQUIRE(any == (expected < MODEL_PAGES));
        if (!any)
                return;
        REQUIRE(first == expected && n >= 1 && n <= most);
        for (uint64_t i = first; i < first + n; i++) {
                REQUIRE(model->dirty[i] && !model->writing[i]);
                model->dirty[i] = false;
                model->writing[i] = true;
        }
        REQUIRE(n == most || first + n == MODEL_PAGES || !model->dirty[first + n] || model->writing[first + n]);
}

static void set_channel(struct region_table *table, struct model *model, uint64_t first, uint64_t n, uint64_t channel) {
        region_table_set_remote(table, first, n, channel);
        for (uint64_t i = first; i < first + n; i++) {
                if (model->state[i] >= COMING)
                        continue;
                model->state[i] = channel == REGION_NAME_SERVER ? NAMED : REMOTE;
                model->channel[i] = channel;
        }
}

static void end_fetch(struct region_table *table, struct model *model, uint64_t i, bool done) {
        if (model->state[i] != COMING)
                return;
        if (done)
                region_table_filled(table, i, 1, i);
        else
                region_table_failed(table, i, 1, B);
        model->state[i] = done ? HERE : REMOTE;
        model->channel[i] = B;
}

static void evict(struct region_table *table, struct model *model, uint64_t i) {
        bool may = model->state[i] == HERE && !model->dirty[i] && !model->writing[i];

        REQUIRE(region_table_evict(table, i, A) == may);
        if (may) {
                model->state[i] = REMOTE;
                model->channel[i] = A;
        }
}

static void step(struct region_table *table, struct model *model, uint64_t *random) {
        static const uint64_t channels[] = { A, B, REGION_NAME_SERVER };
        uint64_t i = random_below(random, MODEL_PAGES), n = random_below(random, (unsigned) (MODEL_PAGES - i + 1));

        switch (random_below(random, 9)) {
        case 0:
                set_channel(table, model, i, n < 20 ? n : 20, channels[random_below(random, 3)]);
                break;
        case 1:
        case 2:
                fault_at(table, model, i);
                break;
        case 3:
                take_along(table, model, i, n);
                break;
        case 4:
                for (uint64_t at = i; at < i + n; at++)
                        end_fetch(table, model, at, random_below(random, 4) > 0);
                break;
        case 5:
                evict(table, model, i);
                break;
        case 6:
                region_table_touch(table, i);
                model->dirty[i] = true;
                break;
        case 7:
                take_dirty(table, model, i, 1 + random_below(random, 70));
                break;
        case 8: {
                bool done = random_below(random, 2);

                region_table_written(table, done);
                for (uint64_t at = 0; at < MODEL_PAGES; at++) {
                        model->dirty[at] |= model->writing[at] && !done;
                        model->writing[at] = false;
                }
                break;
        }
        }
}

static void random_worlds_are_as_the_model_says(void) {
        for (uint64_t seed = 1; seed <= 200; seed++) {
                struct region_table table = make(MODEL_PAGES);
                uint64_t random = seed;
                struct model model = { 0 };

                for (int i = 0; i < 400; i++) {
                        step(&table, &model, &random);
                        check_model(&table, &model);
                }
                region_table_deinit(&table);
        }
}

TEST_MAIN("region-table", TEST(a_last_page_may_be_there_in_part), TEST(nowhere_is_an_access_error),
          TEST(the_channel_is_read_from_the_entry), TEST(the_largest_address_fits), TEST(a_page_is_fetched_once),
          TEST(a_fetch_that_failed_can_be_tried_again), TEST(the_name_server_is_asked_first),
          TEST(a_channel_does_not_replace_what_is_here_or_coming), TEST(a_disk_gives_sectors),
          TEST(a_fetch_takes_along_what_is_as_absent_as_its_page), TEST(what_is_to_be_written_does_not_go),
          TEST(a_store_while_it_is_written_is_not_lost), TEST(runs_of_dirty_pages_are_found_across_words),
          TEST(random_worlds_are_as_the_model_says))
