/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The right to write an application's regions, as its holders answer for it: what they say is not believed blindly, and
 * no answer is waited for without end. */

#include "daemon/core/pair-internal.h"
#include "daemon/core/readiness.h"
#include "tests/unit/core-world.h"

static void with_region(struct policy *policy) {
        struct application *app = policy->pairs[0].applications;

        app->n_regions = 1;
        strcpy(app->regions[0].name, "orders");
        strcpy(app->regions[0].holder, "depot");
        app->regions[0].size_bytes = 64 * MIB;
        app->regions[0].kind = 1;
}

/* What the holder was asked in the last step; id 0: it was not. */
static struct action grant_now(const struct world *w) {
        const struct action *action = find(w, ACTION_GRANT_STATE, -1);

        return action ? *action : (struct action) { .id = 0 };
}

/* Writes come back until the holder is asked. */
static struct action grant_asked(struct world *w) {
        while (!grant_now(w).id && w->engine->pairs[0]->persist[PERSIST_OWNER].id)
                write_next(w);
        return grant_now(w);
}

/* Time passes, and both guests answer, until the holder is asked or ten minutes are over. */
static struct action grant_awaited(struct world *w) {
        struct pair *pair = w->engine->pairs[0];
        usec_t until = w->now + 10 * 60 * USEC_PER_SEC;
        struct action asked = { .id = 0 };

        while (asked.id == 0 && w->now < until && pair->wake_usec != USEC_INFINITY) {
                w->now = pair->wake_usec > w->now ? pair->wake_usec : w->now;
                feed(w, (struct event){ .kind = EVENT_WAKE, .pair = 0, .due_usec = pair->wake_usec });
                asked = grant_now(w);
                for (enum side side = 0; side < SIDE_MAX && asked.id == 0; side++) {
                        tell_message(w, side, (struct message){ .type = MESSAGE_PONG,
                                                                .nonce = pair->members[side].detector.nonce });
                        asked = grant_now(w);
                }
                if (asked.id == 0)
                        asked = grant_asked(w);
        }
        return asked;
}

static void tell(struct world *w, struct action asked, int result, uint64_t token) {
        REQUIRE(asked.id != 0);
        feed(w, (struct event){ .kind = EVENT_DONE, .pair = 0, .side = asked.side, .app = 0,
                                .action = ACTION_GRANT_STATE, .action_id = asked.id, .result = result,
                                .bytes = token });
}

static const struct action *said(const struct world *w, const char *text) {
        for (size_t i = 0; i < w->update.n_actions; i++)
                if (w->update.actions[i].kind == ACTION_RECORD && strstr(w->update.actions[i].text, text))
                        return &w->update.actions[i];
        return NULL;
}

static void a_token_that_nobody_can_have_given_is_refused_aloud(void) {
        struct world w;
        const struct record_app *app;

        begin_up_with(&w, with_region);
        app = &w.engine->pairs[0]->record.apps[0];
        tell(&w, grant_asked(&w), -ESTALE, (UINT64_C(1) << 62) + 1);
        CHECK(app->token == 1 && said(&w, "token 4611686018427387905"));
        CHECK(grant_asked(&w).id == 0);
        tell(&w, grant_awaited(&w), -ESTALE, UINT64_MAX);
        CHECK(app->token == 1);
        end(&w);
}

static void a_higher_token_of_another_time_is_gone_beyond(void) {
        struct world w;
        struct action asked;

        begin_up_with(&w, with_region);
        tell(&w, grant_asked(&w), -ESTALE, 1800000000);
        asked = grant_asked(&w);
        CHECK(asked.bytes == 1800000001);
        tell(&w, asked, 0, asked.bytes);
        CHECK(w.engine->pairs[0]->apps[0].state_token == 1800000001);
        end(&w);
}

static void a_holder_that_always_knows_the_token_is_asked_ever_more_slowly(void) {
        struct world w;
        struct action asked;
        unsigned at_once = 0;

        begin_up_with(&w, with_region);
        while ((asked = grant_asked(&w)).id && at_once < 100) {
                at_once++;
                tell(&w, asked, -ESTALE, asked.bytes);
        }
        CHECK(at_once == 4);
        CHECK(w.engine->pairs[0]->apps[0].state_failure[0] != 0);
        end(&w);
}

static void what_a_guest_tells_of_tokens_is_not_believed_beyond_reason(void) {
        struct message hello = { .type = MESSAGE_HELLO, .version = PROTOCOL_VERSION, .boot = "boot-0", .n_apps = 1 };
        struct world w;

        begin_with(&w, with_region);
        feed(&w, (struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        write_all(&w);
        feed(&w, (struct event){ .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .up = true });
        bring_up(&w, SIDE_A);
        REQUIRE(w.engine->pairs[0]->unsettled);
        strcpy(hello.apps[0].app, "db");
        hello.apps[0].token = UINT64_MAX;
        tell_message(&w, SIDE_A, hello);
        CHECK(w.engine->pairs[0]->record.apps[0].token == 1);
        hello.apps[0].token = 7;
        tell_message(&w, SIDE_A, hello);
        CHECK(w.engine->pairs[0]->record.apps[0].token == 7);
        end(&w);
}

static void a_grant_that_nobody_answers_is_asked_for_again(void) {
        struct world w;
        struct action first, again;
        usec_t begun;

        begin_up_with(&w, with_region);
        first = grant_asked(&w);
        write_all(&w);
        begun = w.now;
        again = grant_awaited(&w);
        CHECK(again.id != first.id && again.side == SIDE_A && again.bytes == 1);
        CHECK(w.now < begun + 60 * USEC_PER_SEC);
        tell(&w, first, 0, 1); /* too late: it does not count */
        CHECK(w.engine->pairs[0]->apps[0].state_token == 0);
        tell(&w, again, 0, 1);
        CHECK(w.engine->pairs[0]->apps[0].state_token == 1);
        end(&w);
}

/* A pair whose application's region was granted, and the application as the policy has it. */
static struct pair *begin_granted(struct world *w, struct application *ret_old) {
        begin_up_with(w, with_region);
        tell(w, grant_asked(w), 0, 1);
        *ret_old = w->engine->pairs[0]->policy->applications[0];
        return w->engine->pairs[0];
}

/* A start without a region is under a token that its holder never gave. */
static void a_region_that_is_to_be_held_from_now_on_is_not_missed_for_a_start_without_it(void) {
        struct application old;
        struct world w;
        struct pair *pair = begin_granted(&w, &old);
        struct record_app *app = &pair->record.apps[0];

        CHECK(app->state_granted == 1);
        app_state_renew(pair, 0, &old);
        CHECK(app->state_granted == 1);
        old.regions[0].on_lost = HOLDER_LOST_START;
        strcpy(old.regions[0].mirror, "annex"); /* which may have the latest, and is in the policy no more */
        app_state_renew(pair, 0, &old);
        CHECK(app->state_granted == 1);
        old.regions[0].mirror[0] = 0;
        app_state_renew(pair, 0, &old);
        CHECK(app->state_granted == STATE_GRANTED_UNKNOWN);
        end(&w);
}

static void a_region_that_goes_on_at_its_old_mirror_is_where_it_was(void) {
        struct application old;
        struct world w;
        struct pair *pair = begin_granted(&w, &old);
        struct record_app *app = &pair->record.apps[0];

        REQUIRE(app->state_kept == 1);
        strcpy(old.regions[0].mirror, old.regions[0].holder);
        strcpy(old.regions[0].holder, "gone");
        app_state_renew(pair, 0, &old);
        CHECK(app->state_kept == 1);
        strcpy(old.regions[0].mirror, "annex");
        app_state_renew(pair, 0, &old);
        CHECK(app->state_kept == 0);
        end(&w);
}

/* There and back, it may find what it left: whoever asks for it has to know. */
static void a_region_that_has_moved_is_asked_for_as_such_until_it_is_granted(void) {
        struct application old;
        struct world w;
        struct pair *pair = begin_granted(&w, &old);
        struct record_app *app = &pair->record.apps[0];
        struct action asked;

        CHECK(app->state_moved == 0);
        strcpy(old.regions[0].holder, "annex");
        app_state_renew(pair, 0, &old);
        CHECK(app->state_kept == 0 && app->state_moved == 1);
        app_state_renew(pair, 0, &old); /* and back, with no grant in between */
        CHECK(app->state_kept == 0 && app->state_moved == 1);
        app->token++;
        asked = grant_asked(&w);
        REQUIRE(asked.id != 0);
        CHECK(asked.count == 1 && asked.moved == 1);
        tell(&w, asked, 0, asked.bytes);
        CHECK(app->state_kept == 1 && app->state_moved == 0);
        strcpy(old.regions[0].name, "another");
        app_state_renew(pair, 0, &old);
        CHECK(app->state_kept == 0 && app->state_moved == 0);
        end(&w);
}

/* The owner is another meanwhile, or the same under a new token. */
static void a_grant_that_is_handed_to_nobody_is_not_called_anyones(void) {
        struct world w;
        struct action asked;

        begin_up_with(&w, with_region);
        asked = grant_asked(&w);
        REQUIRE(asked.id != 0);
        w.engine->pairs[0]->record.apps[0].token++;
        tell(&w, asked, 0, asked.bytes);
        CHECK(!said(&w, "alone to write") && !said(&w, "comes late"));
        asked = grant_asked(&w);
        REQUIRE(asked.id != 0);
        w.engine->pairs[0]->record.apps[0].token++;
        feed(&w, (struct event){ .kind = EVENT_DONE, .pair = 0, .side = asked.side, .app = 0,
                                 .action = ACTION_GRANT_STATE, .action_id = asked.id, .bytes = asked.bytes,
                                 .text = "orders had been lost and begins empty" });
        CHECK(!said(&w, "alone to write"));
        CHECK(said(&w, "given to nobody; orders had been lost and begins empty") != NULL);
        asked = grant_asked(&w);
        tell(&w, asked, 0, asked.bytes);
        CHECK(said(&w, "alone to write") != NULL);
        end(&w);
}

static bool is_reason(const struct world *w, const char *text) {
        for (unsigned i = 0; i < w->engine->pairs[0]->n_reasons; i++)
                if (strstr(w->engine->pairs[0]->reasons[i], text))
                        return true;
        return false;
}

static void say_hello(struct world *w, enum side side, unsigned version) {
        struct message hello = { .type = MESSAGE_HELLO, .version = version };

        snprintf(hello.boot, sizeof(hello.boot), "boot-%d", side);
        tell_message(w, side, hello);
}

static void an_agent_that_knows_no_regions_starts_nothing_that_has_some(void) {
        struct world w;

        begin_up_with(&w, with_region);
        say_hello(&w, SIDE_A, PROTOCOL_VERSION_REMOTE - 1);
        CHECK(grant_asked(&w).id == 0);
        CHECK(find_message(&w, MESSAGE_START, SIDE_A) == 0);
        CHECK(is_reason(&w, "vm-a: its agent is too old for the shared regions of db"));
        say_hello(&w, SIDE_A, PROTOCOL_VERSION_REMOTE);
        CHECK(grant_asked(&w).id != 0);
        CHECK(!is_reason(&w, "too old"));
        end(&w);
}

static void nothing_that_has_regions_moves_to_an_agent_that_knows_none(void) {
        struct readiness ready;
        struct world w;

        begin_up_with(&w, with_region);
        CHECK(flow_blocker(w.engine, w.engine->pairs[0], SIDE_B) == FLOW_FREE);
        say_hello(&w, SIDE_B, PROTOCOL_VERSION_REMOTE - 1);
        CHECK(flow_blocker(w.engine, w.engine->pairs[0], SIDE_B) == FLOW_BLOCKED_BY_AGENT);
        CHECK(is_reason(&w, "vm-b: its agent is too old for the shared regions of db"));
        readiness_list(w.engine, w.engine->pairs[0], &ready);
        CHECK(ready.level == READINESS_UNCOVERED && strcmp(ready.cases[0].mend, "update failover-agent in vm-b") == 0);
        end(&w);
}

static void with_overflow(struct policy *policy) {
        policy->pairs[0].members[SIDE_B].overflow.n_servers = 1;
}

static void check_says_that_an_agent_is_too_old_for_overflow(void) {
        struct readiness ready;
        struct world w;

        begin_up_with(&w, with_overflow);
        readiness_list(w.engine, w.engine->pairs[0], &ready);
        CHECK(ready.n_notes == 0);
        say_hello(&w, SIDE_A, PROTOCOL_VERSION_REMOTE - 1);
        say_hello(&w, SIDE_B, PROTOCOL_VERSION_REMOTE - 1);
        readiness_list(w.engine, w.engine->pairs[0], &ready);
        CHECK(ready.n_notes == 1 && strstr(ready.notes[0], "vm-b: its agent is too old for overflow (protocol 3"));
        end(&w);
}

TEST_MAIN("core-state", TEST(an_agent_that_knows_no_regions_starts_nothing_that_has_some),
          TEST(nothing_that_has_regions_moves_to_an_agent_that_knows_none),
          TEST(check_says_that_an_agent_is_too_old_for_overflow),
          TEST(a_token_that_nobody_can_have_given_is_refused_aloud),
          TEST(a_higher_token_of_another_time_is_gone_beyond),
          TEST(a_holder_that_always_knows_the_token_is_asked_ever_more_slowly),
          TEST(what_a_guest_tells_of_tokens_is_not_believed_beyond_reason),
          TEST(a_grant_that_nobody_answers_is_asked_for_again),
          TEST(a_region_that_goes_on_at_its_old_mirror_is_where_it_was),
          TEST(a_region_that_has_moved_is_asked_for_as_such_until_it_is_granted),
          TEST(a_grant_that_is_handed_to_nobody_is_not_called_anyones),
          TEST(a_region_that_is_to_be_held_from_now_on_is_not_missed_for_a_start_without_it))
