/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ends of a rehearsal that guests of the simulator do not bring about. */

#include <errno.h>
#include <string.h>

#include "tests/unit/core-world.h"

/* A rehearsal that has come to its canary, whose number is returned. */
static uint64_t rehearse(struct world *w) {
        struct operator_command command = { .verb = COMMAND_DRILL, .level = DRILL_LEVEL_REHEARSE, .id = 77 };
        struct message done = { .type = MESSAGE_RESULT, .app = "db", .bytes = 512 * MIB };
        const struct app_state *app;

        make_armed(w);
        app = &w->engine->pairs[0]->apps[0];
        feed(w, (struct event){
                        .kind = EVENT_COMMAND, .pair = 0, .side = SIDE_INVALID, .app = NO_APP, .command = &command });
        write_all(w);
        feed(w, (struct event){ .kind = EVENT_DEVICE_SIZE, .pair = 0, .side = SIDE_B, .app = 0, .bytes = 512 * MIB });
        done.id = app->attach[SIDE_B].id;
        tell_message(w, SIDE_B, done);
        done.id = app->touch.id;
        tell_message(w, SIDE_B, done);
        REQUIRE(app->canary.id != 0);
        return app->canary.id;
}

static void canary_that_cannot_be_run_says_why(void) {
        struct message failed = { .type = MESSAGE_RESULT, .app = "db", .result = -EACCES };
        struct world w;

        failed.id = rehearse(&w);
        tell_message(&w, SIDE_B, failed);
        CHECK_TEXT(w.engine->pairs[0]->rehearsal.result.text, "the canary of db on vm-b failed: Permission denied");
        end(&w);
}

static void canary_that_is_never_answered_for_is_not_waited_for(void) {
        struct world w;

        (void) rehearse(&w);
        w.now += 3600 * USEC_PER_SEC;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        CHECK_TEXT(w.engine->pairs[0]->rehearsal.result.text, "vm-b has not answered for its canary in time: db");
        end(&w);
}

static void rehearsal_ends_when_its_pair_is_held_or_its_standby_is_taken(void) {
        for (int held = 0; held < 2; held++) {
                struct world w;

                (void) rehearse(&w);
                if (held)
                        w.engine->pairs[0]->record.held = true;
                else
                        w.engine->pairs[0]->members[SIDE_B].operator_hold = true;
                feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
                CHECK_TEXT(w.engine->pairs[0]->rehearsal.result.text,
                           held ? "given up: the pair is held"
                                : "given up: the standby was suspended or ended by an operator");
                end(&w);
        }
}

TEST_MAIN("core-rehearsal", TEST(canary_that_cannot_be_run_says_why),
          TEST(canary_that_is_never_answered_for_is_not_waited_for),
          TEST(rehearsal_ends_when_its_pair_is_held_or_its_standby_is_taken))
