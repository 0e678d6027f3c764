/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "agents/pager/leftover.h"
#include "agents/pager/placement.h"
#include "tests/random.h"
#include "tests/unit/test.h"

#define AT(page) ((page) * PAGE_BYTES)

static struct placement_answer answer(uint64_t total, uint64_t free_pages) {
        return (struct placement_answer) { .known = true, .willing = true, .total_pages = total,
                                           .free_pages = free_pages };
}

static void every_enum_table_round_trips(void) {
        for (int i = 0; i < PLACEMENT_SAVE_MAX; i++)
                CHECK((int) placement_save_from_string(placement_save_to_string((enum placement_save) i)) == i);
        for (int i = 0; i < PLACEMENT_RETURN_MAX; i++)
                CHECK((int) placement_return_from_string(placement_return_to_string((enum placement_return) i)) == i);
        for (int i = 0; i < PLACEMENT_DECIDER_MAX; i++)
                CHECK((int) placement_decider_from_string(placement_decider_to_string((enum placement_decider) i)) ==
                      i);
        CHECK(placement_save_from_string("") == PLACEMENT_SAVE_INVALID &&
              placement_return_from_string("") == PLACEMENT_RETURN_INVALID &&
              placement_decider_from_string("") == PLACEMENT_DECIDER_INVALID);
}

static void a_new_page_goes_where_the_greatest_part_is_free(void) {
        struct placement p = { .n_answers = 3, .answers = { answer(100, 50), answer(1000, 400), answer(10, 6) } };

        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 3);
        CHECK(placement_save(&p, PAGE_NOBODY, 7, 0) == 1); /* there is no room for seven */
        CHECK(placement_save(&p, PAGE_NOBODY, 51, 0) == 2);
        CHECK(placement_save(&p, PAGE_NOBODY, 401, 0) == 0);
        CHECK(placement_save(&p, PAGE_NOBODY, 1, HOLDER_BIT(3)) == 1);
        CHECK(placement_save(&p, PAGE_NOBODY, 1, HOLDER_BIT(3) | HOLDER_BIT(2) | HOLDER_BIT(1)) == 0);
        CHECK(placement_open(&p, 0) == 3 && placement_open(&p, HOLDER_BIT(3)) == 1);
}

static void saves_between_two_answers_go_to_several(void) {
        struct placement p = { .n_answers = 2, .answers = { answer(1000, 1000), answer(1000, 1000) } };
        unsigned n[3] = { 0 };

        for (int i = 0; i < 1000; i++) {
                unsigned holder = placement_save(&p, PAGE_NOBODY, 1, 0);

                n[holder]++;
                placement_note_saved(&p, holder, 1);
        }
        CHECK(n[1] >= 499 && n[2] >= 499);
        for (int i = 0; i < 1000; i++)
                placement_note_saved(&p, placement_save(&p, PAGE_NOBODY, 1, 0), 1);
        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 0 && placement_room(&p.answers[0]) == 0);
}

static void a_page_stays_unless_another_one_is_far_emptier(void) {
        struct placement p = { .n_answers = 2, .answers = { answer(1024, 512), answer(1024, 600) } };

        CHECK(placement_save(&p, 1, 1, 0) == 1);
        p.answers[1].free_pages = 640;
        CHECK(placement_save(&p, 1, 1, 0) == 2);
        CHECK(placement_save(&p, 2, 1, 0) == 2);
        CHECK(placement_save(&p, 1, 1, HOLDER_BIT(2)) == 1);
        p.answers[1] = answer(1024, 0);
        p.answers[0].free_pages = 0;
        CHECK(placement_save(&p, 1, 1, 0) == 1); /* written anew where it is, it takes no room */
}

static void who_is_full_or_silent_or_unwilling_gets_nothing_while_another_one_takes_it(void) {
        struct placement p = { .n_answers = 3, .answers = { answer(100, 90), answer(100, 50) } };

        placement_note_full(&p, 1);
        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 2);
        CHECK(placement_save(&p, 1, 1, 0) == 2);
        p.answers[1].willing = false;
        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 3); /* nothing is known of it: better than to refuse the save */
        placement_note_full(&p, 3);
        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 0);
        CHECK(placement_save(&p, 2, 1, 0) == 2); /* where it is already */
        CHECK(placement_open(&p, 0) == 1 && placement_open(&p, HOLDER_BIT(1)) == 2);
}

static void the_arbitrators_pick_comes_first_while_it_has_room(void) {
        struct placement p = { .n_answers = 2, .answers = { answer(100, 90), answer(100, 10) }, .pick = 2 };

        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 2 && placement_open(&p, 0) == 2);
        CHECK(placement_save(&p, PAGE_NOBODY, 11, 0) == 1);
        CHECK(placement_save(&p, PAGE_NOBODY, 1, HOLDER_BIT(2)) == 1);
        p.pick = 9; /* nobody here */
        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 1);
}

static void answers_that_make_no_sense_do_no_harm(void) {
        struct placement p = { .n_answers = 3, .answers = { answer(0, 0), answer(UINT64_MAX, UINT64_MAX),
                                                            answer(10, UINT64_MAX) } };

        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) > 1);
        placement_note_saved(&p, 2, UINT64_MAX);
        CHECK(placement_save(&p, PAGE_NOBODY, 1, 0) == 3);
        CHECK(placement_balance(&p, 1, UINT64_MAX, 0, true) == 0);
        CHECK(placement_balance(&p, 0, 1, 0, true) == 0 && placement_balance(&p, 4, 1, 0, true) == 0);
}

static void a_space_moves_from_the_full_to_the_empty_and_not_back(void) {
        struct placement p = { .n_answers = 2, .answers = { answer(1000, 100), answer(1000, 900) } };

        CHECK(placement_balance(&p, 1, 300, 0, true) == 2);
        CHECK(placement_balance(&p, 1, 300, 0, false) == 0); /* the last move may not show yet */
        CHECK(placement_balance(&p, 1, 0, 0, true) == 0);
        CHECK(placement_balance(&p, 1, 300, HOLDER_BIT(2), true) == 0);
        CHECK(placement_balance(&p, 1, 850, 0, true) == 0); /* the other one would be the full one */
        CHECK(placement_balance(&p, 2, 100, 0, true) == 0);
        p.answers[1].willing = false;
        CHECK(placement_balance(&p, 1, 300, 0, true) == 0);
        p.answers[1] = answer(1000, 400);
        p.answers[0] = answer(1000, 300);
        CHECK(placement_balance(&p, 1, 100, 0, true) == 0); /* not worth it */
        p.answers[0].willing = false; /* it is being drained */
        CHECK(placement_balance(&p, 1, 100, 0, true) == 2);
}

static void balancing_comes_to_rest_in_every_world(void) {
        for (uint64_t seed = 1; seed <= 2000; seed++) {
                uint64_t random = seed, held[12];
                unsigned at[12], n_servers = 2 + random_below(&random, 5), n_moves = 0;
                struct placement p = { .n_answers = n_servers };
                bool moved = true;

                for (unsigned i = 0; i < n_servers; i++) {
                        uint64_t total = 100 + random_below(&random, 100000);
                        p.answers[i] = answer(total, total);
                }
                for (unsigned i = 0; i < 12; i++) {
                        struct placement_answer *a;

                        at[i] = 1 + random_below(&random, n_servers);
                        a = &p.answers[at[i] - 1];
                        held[i] = random_below(&random, (unsigned) a->free_pages + 1);
                        a->free_pages -= held[i];
                }
                while (moved && n_moves < 200) {
                        moved = false;
                        for (unsigned i = 0; i < 12; i++) {
                                unsigned to = placement_balance(&p, at[i], held[i], 0, true);

                                if (to == 0)
                                        continue;
                                REQUIRE(to != at[i] && p.answers[to - 1].free_pages >= held[i]);
                                p.answers[to - 1].free_pages -= held[i];
                                p.answers[at[i] - 1].free_pages += held[i];
                                at[i] = to;
                                moved = true;
                                n_moves++;
                        }
                }
                if (moved) {
                        printf("seed %" PRIu64 " ", seed);
                        CU_FAIL("spaces go to and fro");
                        return;
                }
        }
}

static void leftovers_are_kept_by_holder_and_counted(void) {
        struct leftovers l;
        uint64_t first, n;

        REQUIRE(leftovers_init(&l, 16) == 0);
        CHECK(!leftovers_next(&l, 1, 0, 16, &first, &n) && leftovers_at(&l, 0, 16) == 0);
        leftovers_add(&l, 1, 3, 4);
        leftovers_add(&l, 1, 5, 4);
        leftovers_add(&l, 6, 15, 1);
        CHECK(l.n_left[1] == 6 && leftovers_at(&l, 0, 3) == 0 && leftovers_at(&l, 8, 8) == (HOLDER_BIT(1) |
                                                                                             HOLDER_BIT(6)));
        CHECK(leftovers_next(&l, 1, 0, 4, &first, &n) && first == 3 && n == 4);
        CHECK(leftovers_next(&l, 1, 7, 4, &first, &n) && first == 7 && n == 2);
        CHECK(!leftovers_next(&l, 1, 9, 4, &first, &n));
        CHECK(leftovers_next(&l, 6, 0, 4, &first, &n) && first == 15 && n == 1);
        leftovers_clear(&l, 1, 0, 16);
        CHECK(l.n_left[1] == 0 && leftovers_at(&l, 0, 15) == 0);
        leftovers_deinit(&l);
}

static void how_long_pages_are_somewhere_or_nowhere(void) {
        struct page_request request = { .access = PAGE_WRITE, .offset = AT(2), .length = AT(1) }, second = request;
        struct page_map map;
        uint64_t length;

        REQUIRE(page_map_init(&map, AT(8)) == 0);
        REQUIRE(page_map_begin(&map, &request) == PAGE_GO);
        page_map_end(&map, &request, true, 1);
        second.offset = AT(3);
        REQUIRE(page_map_begin(&map, &second) == PAGE_GO);
        page_map_end(&map, &second, true, 2);
        CHECK(!page_map_extent(&map, AT(8), 0, &length) && length == AT(2));
        CHECK(page_map_extent(&map, AT(6), AT(2), &length) && length == AT(2)); /* of two holders */
        CHECK(page_map_extent(&map, 10, AT(3), &length) && length == 10);
        page_map_deinit(&map);
}

/*
 * The table of pages saved each anew, among holders that fill up, stall, refuse and fail half-way, with trims of what
 * is left over that are carried out late, against a checker that knows what was acknowledged and looks at every copy.
 * In every second world pages are asked for: nothing is acknowledged before old copies are gone, and now and then
 * whoever has the table begins anew and asks the holders.
 */
#define PAGES 8
#define HOLDERS 4
#define ROOM 6
#define STEPS 4000
#define SEEDS 300

struct holder {
        bool stalled;
        uint64_t page[PAGES]; /* version; 0: zeroes */
};

struct world {
        uint64_t random, version;
        struct holder holders[HOLDERS];
        struct page_map map;
        struct leftovers leftovers;
        struct placement placement;
        uint64_t acknowledged[PAGES], maybe[PAGES]; /* what a failed save may have left, or the same */
        struct { /* a trim of a leftover that is on its way */
                unsigned holder;
                uint64_t page;
        } sweeping;
        bool asked;
        unsigned n_moved, n_swept, n_refused, n_restarts;
};

static uint64_t pages_at(const struct holder *holder) {
        uint64_t n = 0;

        for (unsigned i = 0; i < PAGES; i++)
                n += holder->page[i] != 0;
        return n;
}

static void ask(struct world *w) {
        for (unsigned i = 0; i < HOLDERS; i++) {
                struct placement_answer *a = &w->placement.answers[i];

                *a = answer(ROOM, ROOM - pages_at(&w->holders[i]));
                a->known = !w->holders[i].stalled;
                a->willing = random_below(&w->random, 8) != 0;
        }
        w->placement.pick = random_below(&w->random, HOLDERS + 1);
}

/* 0, or why the holder did not take it; where it does not answer, it may have. */
static int save_at(struct world *w, unsigned holder, unsigned page, uint64_t version) {
        struct holder *h = &w->holders[holder - 1];

        if (h->stalled) {
                if (random_below(&w->random, 2) == 0)
                        h->page[page] = version;
                return -EIO;
        }
        if (h->page[page] == 0 && version != 0 && pages_at(h) >= ROOM)
                return -ENOSPC;
        h->page[page] = version;
        return 0;
}

static unsigned holder_of(const struct world *w, unsigned page) {
        uint64_t end;

        return page_map_run(&w->map, AT((uint64_t) page), AT((uint64_t) page + 1), &end);
}

static void trim_leftover(struct world *w, unsigned holder, uint64_t page) {
        w->holders[holder - 1].page[page] = 0;
        leftovers_clear(&w->leftovers, holder, page, 1);
        w->n_swept++;
}

/* Before a client hears of it. Holders that stall are waited for. */
static void await_sweep(struct world *w, unsigned page) {
        for (unsigned h = 1; h <= HOLDERS && w->asked; h++)
                if (leftovers_at(&w->leftovers, page, 1) & HOLDER_BIT(h)) {
                        w->holders[h - 1].stalled = false;
                        trim_leftover(w, h, page);
                }
}

/* Which copy is the page, is what was found first. */
static void restart(struct world *w) {
        leftovers_deinit(&w->leftovers);
        page_map_deinit(&w->map);
        REQUIRE(page_map_init(&w->map, AT(PAGES)) == 0 && leftovers_init(&w->leftovers, PAGES) == 0);
        w->sweeping.holder = 0;
        for (unsigned page = 0; page < PAGES; page++)
                for (unsigned h = 1; h <= HOLDERS; h++) {
                        w->holders[h - 1].stalled = false; /* else it would not begin */
                        if (w->holders[h - 1].page[page] == 0)
                                continue;
                        if (holder_of(w, page) == PAGE_NOBODY)
                                page_map_note(&w->map, AT((uint64_t) page), AT(1), h);
                        else
                                leftovers_add(&w->leftovers, h, page, 1);
                }
        w->n_restarts++;
}

static void write_page(struct world *w, unsigned page) {
        struct page_request request = { .access = PAGE_WRITE, .offset = AT((uint64_t) page), .length = AT(1) };
        unsigned present = holder_of(w, page), tried = 0, holder;
        uint64_t version = ++w->version;

        REQUIRE(page_map_begin(&w->map, &request) == PAGE_GO);
        while ((holder = placement_save(&w->placement, present, 1, tried | leftovers_at(&w->leftovers, page, 1))) > 0) {
                int r = save_at(w, holder, page, version);

                if (r == 0) {
                        placement_note_saved(&w->placement, holder, present != holder);
                        if (present != holder && present != PAGE_NOBODY) {
                                leftovers_add(&w->leftovers, present, page, 1);
                                w->n_moved++;
                        }
                        page_map_end(&w->map, &request, true, holder);
                        w->acknowledged[page] = w->maybe[page] = version;
                        return;
                }
                tried |= HOLDER_BIT(holder);
                if (holder != present)
                        leftovers_add(&w->leftovers, holder, page, 1);
                if (r == -ENOSPC)
                        placement_note_full(&w->placement, holder);
        }
        page_map_end(&w->map, &request, false, present != PAGE_NOBODY && tried & HOLDER_BIT(present) ? present : 0);
        if (present != PAGE_NOBODY && tried & HOLDER_BIT(present))
                w->maybe[page] = w->maybe[page] == w->acknowledged[page] ? version : UINT64_MAX;
        w->n_refused++;
}

static void trim_page(struct world *w, unsigned page) {
        struct page_request request = { .access = PAGE_TRIM, .offset = AT((uint64_t) page), .length = AT(1) };
        unsigned present = holder_of(w, page);
        int r = 0;

        REQUIRE(page_map_begin(&w->map, &request) == PAGE_GO);
        if (present != PAGE_NOBODY)
                r = save_at(w, present, page, 0);
        page_map_end(&w->map, &request, r == 0, present);
        if (r == 0)
                w->acknowledged[page] = w->maybe[page] = 0;
        else
                w->maybe[page] = w->maybe[page] == w->acknowledged[page] ? 0 : UINT64_MAX;
}

/* One truth about a page: what its holder has. What was acknowledged is that, or the one save that failed since. */
static void check_page(struct world *w, unsigned page) {
        unsigned holder = holder_of(w, page);
        uint64_t found = holder == PAGE_NOBODY ? 0 : w->holders[holder - 1].page[page];

        CHECK(found == w->acknowledged[page] || found == w->maybe[page] || w->maybe[page] == UINT64_MAX);
        w->acknowledged[page] = w->maybe[page] = found;
        for (unsigned h = 1; h <= HOLDERS; h++) /* and every other copy is known to be one too many */
                CHECK(h == holder || w->holders[h - 1].page[page] == 0 ||
                      leftovers_at(&w->leftovers, page, 1) & HOLDER_BIT(h));
        CHECK(holder == PAGE_NOBODY || !(leftovers_at(&w->leftovers, page, 1) & HOLDER_BIT(holder)));
}

/* Begins a trim of a leftover, or carries the one out that has begun: other things have happened in between. */
static void sweep(struct world *w) {
        unsigned holder = 1 + random_below(&w->random, HOLDERS);
        struct holder *h;
        uint64_t n;

        if (w->sweeping.holder == 0) {
                if (leftovers_next(&w->leftovers, holder, 0, 1, &w->sweeping.page, &n))
                        w->sweeping.holder = holder;
                return;
        }
        h = &w->holders[w->sweeping.holder - 1];
        if (!h->stalled && leftovers_at(&w->leftovers, w->sweeping.page, 1) & HOLDER_BIT(w->sweeping.holder))
                trim_leftover(w, w->sweeping.holder, w->sweeping.page);
        w->sweeping.holder = 0;
}

static void run_world(uint64_t seed, struct world *w) {
        w->random = seed;
        w->asked = seed % 2 == 0;
        w->placement.n_answers = HOLDERS;
        REQUIRE(page_map_init(&w->map, AT(PAGES)) == 0 && leftovers_init(&w->leftovers, PAGES) == 0);
        for (int step = 0; step < STEPS; step++) {
                unsigned page = random_below(&w->random, PAGES), what = random_below(&w->random, 32);

                if (what < 12)
                        write_page(w, page);
                else if (what < 14)
                        trim_page(w, page);
                if (what < 14)
                        await_sweep(w, page);
                else if (what == 14 && w->asked)
                        restart(w);
                else if (what < 22)
                        check_page(w, page);
                else if (what < 28)
                        sweep(w);
                else if (what < 30)
                        ask(w);
                else
                        w->holders[random_below(&w->random, HOLDERS)].stalled = what == 30;
        }
        for (unsigned i = 0; i < HOLDERS; i++)
                w->holders[i].stalled = false;
        for (int i = 0; i < 2000; i++)
                sweep(w);
        for (unsigned page = 0; page < PAGES; page++)
                check_page(w, page);
        for (unsigned h = 1; h <= HOLDERS; h++) /* in the end nothing is left over */
                CHECK(w->leftovers.n_left[h] == 0);
        page_map_deinit(&w->map);
        leftovers_deinit(&w->leftovers);
}

static void a_page_has_one_truth_wherever_it_is_saved(void) {
        const char *only = getenv("TEST_SEED");
        uint64_t first = only ? strtoull(only, NULL, 10) : 1, n = only ? 1 : SEEDS;
        unsigned n_moved = 0, n_swept = 0, n_refused = 0, n_restarts = 0;

        for (uint64_t seed = first; seed < first + n; seed++) {
                unsigned failed = CU_get_number_of_failures();
                struct world w = { 0 };

                run_world(seed, &w);
                n_moved += w.n_moved;
                n_swept += w.n_swept;
                n_refused += w.n_refused;
                n_restarts += w.n_restarts;
                if (CU_get_number_of_failures() > failed) {
                        printf("seed %" PRIu64 " ", seed);
                        break;
                }
        }
        printf("%u moved, %u swept, %u refused, %u restarts ", n_moved, n_swept, n_refused, n_restarts);
        CHECK(only || (n_moved > 10 * n && n_swept > 10 * n && n_refused > n && n_restarts > 10 * n));
}

TEST_MAIN("placement", TEST(every_enum_table_round_trips), TEST(a_new_page_goes_where_the_greatest_part_is_free),
          TEST(saves_between_two_answers_go_to_several), TEST(a_page_stays_unless_another_one_is_far_emptier),
          TEST(who_is_full_or_silent_or_unwilling_gets_nothing_while_another_one_takes_it),
          TEST(the_arbitrators_pick_comes_first_while_it_has_room), TEST(answers_that_make_no_sense_do_no_harm),
          TEST(a_space_moves_from_the_full_to_the_empty_and_not_back), TEST(balancing_comes_to_rest_in_every_world),
          TEST(leftovers_are_kept_by_holder_and_counted), TEST(how_long_pages_are_somewhere_or_nowhere),
          TEST(a_page_has_one_truth_wherever_it_is_saved))
