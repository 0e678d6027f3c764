/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/keeper.h"
#include "tests/unit/test.h"

#define MSEC USEC_PER_MSEC
#define DEADLINE (1000 * MSEC)

static struct label make_label(uint64_t number, uint64_t answered, enum label_state state) {
        return (struct label) {
                .name = { "n1", "vm1", "swap" }, .size_bytes = 1 << 20, .token = 3, .session = 77, .link = 1,
                .number = number, .answered = answered, .deadline_usec = DEADLINE, .state = state,
        };
}

static int hear(struct keeper *keeper, uint64_t number, uint64_t answered, enum label_state state, usec_t now) {
        struct label label = make_label(number, answered, state);

        return keeper_hear(keeper, &label, now);
}

static void a_label_survives_its_page_and_nothing_else_is_one(void) {
        static unsigned char page[LABEL_BYTES], again[LABEL_BYTES];
        struct label label = make_label(UINT64_MAX, UINT64_MAX - 1, LABEL_COMPLETE), back;

        label_encode(&label, page);
        REQUIRE(label_decode(page, &back) == 0);
        CHECK(space_name_equal(&label.name, &back.name) && label.state == back.state && label.number == back.number);
        label_encode(&back, again);
        CHECK(memcmp(page, again, sizeof(page)) == 0);
        for (size_t i = 0; i < 16; i++) {
                page[i] ^= 1;
                CHECK(label_decode(page, &back) == -EBADMSG);
                page[i] ^= 1;
        }
        label.state = LABEL_STATE_MAX;
        label_encode(&label, page);
        CHECK(label_decode(page, &back) == -EBADMSG);
        label.state = LABEL_FILLING;
        memset(label.name.owner, 'x', NAME_LEN); /* ends nowhere */
        label_encode(&label, page);
        CHECK(label_decode(page, &back) == -EBADMSG);
        memset(page, 0, sizeof(page));
        CHECK(label_decode(page, &back) == -EBADMSG);
        for (int i = 0; i < LABEL_STATE_MAX; i++)
                CHECK((int) label_state_from_string(label_state_to_string((enum label_state) i)) == i);
}

static void a_copy_begins_with_filling_and_sessions_and_links_follow_each_other(void) {
        struct keeper keeper = { 0 };
        struct label label = make_label(1, 0, LABEL_COMPLETE);

        CHECK(keeper_hear(&keeper, &label, 1) == -ENOLINK);
        CHECK(hear(&keeper, 1, 0, LABEL_FILLING, 1) == KEEPER_NEW_SESSION);
        CHECK(hear(&keeper, 2, 1, LABEL_COMPLETE, 2) == KEEPER_GOES_ON);
        CHECK(hear(&keeper, 2, 1, LABEL_COMPLETE, 3) == -EINVAL);
        label = make_label(3, 2, LABEL_COMPLETE);
        label.link = 2;
        CHECK(keeper_hear(&keeper, &label, 4) == KEEPER_NEW_LINK);
        CHECK(hear(&keeper, 4, 3, LABEL_COMPLETE, 5) == -EPERM); /* over the first one, late */
        label.session = 78;
        label.number = 9;
        CHECK(keeper_hear(&keeper, &label, 6) == -ENOLINK);
        label.state = LABEL_FILLING;
        CHECK(keeper_hear(&keeper, &label, 7) == KEEPER_NEW_SESSION);
        CHECK(keeper.sure_usec == 0);
}

static void a_copy_is_whole_once_the_answer_to_a_whole_label_is_confirmed(void) {
        struct keeper keeper = { 0 };
        struct error error = ERROR_INIT;

        CHECK(keeper_judge(&keeper, 0, 5, &error) == -ESTALE && strstr(error_text(&error), "never") != NULL);
        CHECK(hear(&keeper, 1, 0, LABEL_FILLING, 100) == KEEPER_NEW_SESSION);
        CHECK(hear(&keeper, 2, 1, LABEL_FILLING, 200) == 0 && keeper_judge(&keeper, 0, 200, NULL) == -ESTALE);
        CHECK(hear(&keeper, 3, 2, LABEL_COMPLETE, 300) == 0 && keeper_judge(&keeper, 0, 300, NULL) == -ESTALE);
        CHECK(hear(&keeper, 4, 3, LABEL_COMPLETE, 400) == 0 && keeper_judge(&keeper, 0, 400, NULL) == 0);
        /* From the confirmed one, 300, on. */
        CHECK(keeper_judge(&keeper, 0, 300 + DEADLINE, NULL) == 0);
        CHECK(keeper_judge(&keeper, 0, 301 + DEADLINE, NULL) == -ESTALE);
        CHECK(keeper_judge(&keeper, 5000, 5300 + DEADLINE, NULL) == 0);
        CHECK(keeper_judge(&keeper, 5000, 5301 + DEADLINE, NULL) == -ESTALE);
        CHECK(hear(&keeper, 5, 4, LABEL_GONE, 500) == 0 && keeper_judge(&keeper, 0, 500, NULL) == -ESTALE);
        error_deinit(&error);
}

/*
 * The primary's side of the rule, on virtual time: it sends a label each quarter of the deadline, one at a time, goes
 * alone no earlier than the deadline after the last answer, and says nothing more then. What is on its way may be held
 * up for any time, arrive after the connection was given up, or be lost with its answer.
 */
struct world {
        uint64_t random;
        usec_t now;
        struct keeper keeper;
        uint64_t number, answered, link;
        usec_t answered_usec, sent_usec;
        usec_t alone_usec; /* 0: not yet */
        struct flight {
                struct label label;
                usec_t arrives_usec;
                bool answer; /* the label is there, and its answer on the way back */
                bool cut;    /* over a connection that was given up: the answer is lost */
        } flights[8];
        size_t n_flights;
};

static uint64_t any(struct world *w, uint64_t below) {
        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        return w->random % below;
}

static usec_t delay(struct world *w, bool calm) {
        if (calm || any(w, 20) > 0)
                return any(w, 20 * MSEC) + 1;
        return any(w, 3 * DEADLINE);
}

static void send_label(struct world *w, bool calm) {
        struct label label = make_label(++w->number, w->answered, LABEL_COMPLETE);

        REQUIRE(w->n_flights < ELEMENTSOF(w->flights));
        label.link = w->link;
        w->sent_usec = w->now;
        w->flights[w->n_flights++] = (struct flight) { .label = label, .arrives_usec = w->now + delay(w, calm) };
}

static void arrive(struct world *w, size_t i, bool calm) {
        struct flight *f = &w->flights[i];

        if (!f->answer) {
                (void) keeper_hear(&w->keeper, &f->label, w->now);
                f->answer = true;
                f->arrives_usec = w->now + delay(w, calm);
                if (!f->cut)
                        return;
        } else if (w->alone_usec == 0) {
                w->answered = f->label.number;
                w->answered_usec = w->now;
        }
        w->flights[i] = w->flights[--w->n_flights];
}

/* The connection is given up, and another one is made. */
static void cut(struct world *w, bool calm) {
        size_t kept = 0;

        for (size_t i = 0; i < w->n_flights; i++)
                if (!w->flights[i].answer && any(w, 2) == 0) {
                        w->flights[kept] = w->flights[i];
                        w->flights[kept++].cut = true; /* it lies in a socket of the mirror's */
                }
        w->n_flights = kept > 4 ? 4 : kept;
        w->link++;
        send_label(w, calm);
}

static bool outstanding(const struct world *w) {
        for (size_t i = 0; i < w->n_flights; i++)
                if (!w->flights[i].cut)
                        return true;
        return false;
}

static void step(struct world *w, bool calm) {
        w->now += any(w, DEADLINE / 40) + 1;
        for (size_t i = w->n_flights; i-- > 0;)
                if (w->flights[i].arrives_usec <= w->now)
                        arrive(w, i, calm);
        if (w->alone_usec > 0)
                return;
        if (outstanding(w) && w->now >= w->answered_usec + DEADLINE)
                w->alone_usec = w->now;
        else if (outstanding(w) && !calm && any(w, 100) == 0)
                cut(w, calm);
        else if (!outstanding(w) && w->now >= w->sent_usec + DEADLINE / 4)
                send_label(w, calm);
}

static void begin(struct world *w, uint64_t seed) {
        *w = (struct world) { .random = seed * 2654435761 + 1, .now = 10 * DEADLINE, .link = 1, .number = 2 };
        REQUIRE(hear(&w->keeper, 1, 0, LABEL_FILLING, w->now) == KEEPER_NEW_SESSION);
        REQUIRE(hear(&w->keeper, 2, 1, LABEL_COMPLETE, w->now) == KEEPER_GOES_ON);
        w->answered = 2;
        w->answered_usec = w->sent_usec = w->now;
        send_label(w, true);
}

static void a_copy_that_was_gone_on_without_never_stands_in_for_what_came_later(void) {
        static struct world w;
        int alone = 0, refused = 0;

        for (uint64_t seed = 1; seed <= 20000; seed++) {
                usec_t died, last_answer;

                begin(&w, seed);
                for (uint64_t n = any(&w, 400); n > 0; n--)
                        step(&w, false);
                died = w.now;
                last_answer = died - any(&w, DEADLINE / 10);
                for (uint64_t n = any(&w, 100); n > 0; n--) { /* what is under way still comes, and nothing else */
                        w.now += any(&w, DEADLINE / 20) + 1;
                        for (size_t i = w.n_flights; i-- > 0;)
                                if (w.flights[i].arrives_usec <= w.now && !w.flights[i].answer)
                                        arrive(&w, i, false);
                }
                if (w.alone_usec == 0 || last_answer < w.alone_usec)
                        continue;
                alone++;
                if (keeper_judge(&w.keeper, w.now - last_answer, w.now, NULL) < 0)
                        refused++;
                else
                        printf("seed %llu ", (unsigned long long) seed);
        }
        CHECK(alone > 1000 && refused == alone);
}

static void a_copy_of_a_primary_that_was_heard_stands_in(void) {
        static struct world w;

        for (uint64_t seed = 1; seed <= 2000; seed++) {
                usec_t died;

                begin(&w, seed);
                for (uint64_t n = 40 + any(&w, 200); n > 0; n--)
                        step(&w, true);
                REQUIRE(w.alone_usec == 0);
                died = w.now;
                w.now += any(&w, 100 * DEADLINE);
                CHECK(keeper_judge(&w.keeper, w.now - died, w.now, NULL) == 0);
        }
}

TEST_MAIN("keeper",
          TEST(a_label_survives_its_page_and_nothing_else_is_one),
          TEST(a_copy_begins_with_filling_and_sessions_and_links_follow_each_other),
          TEST(a_copy_is_whole_once_the_answer_to_a_whole_label_is_confirmed),
          TEST(a_copy_that_was_gone_on_without_never_stands_in_for_what_came_later),
          TEST(a_copy_of_a_primary_that_was_heard_stands_in))
