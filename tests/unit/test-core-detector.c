/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/detector.h"
#include "tests/unit/test.h"

#define MSEC(n) ((n) * USEC_PER_MSEC)
#define START MSEC(100000)

/* A guest: whether its agent answers, its echo port echoes, its balloon is renewed. */
struct guest {
        struct detector detector;
        usec_t now, void_usec, alive_usec;
        bool agent, echo, balloon, kernel;
};

static void begin(struct guest *g) {
        struct pair_policy policy;

        pair_policy_init(&policy);
        *g = (struct guest) { .now = START, .agent = true, .echo = true, .balloon = true, .kernel = true };
        detector_init(&g->detector, &policy); /* 500 ms, 3 missed, 500 ms */
        detector_start(&g->detector, g->now);
}

/* Looks every 10 ms until a verdict or for so long; answers come at once. Returns the time that it took. */
static usec_t run(struct guest *g, usec_t span, enum verdict until) {
        usec_t from = g->now;

        while (g->now - from < span) {
                struct detector_wants wants;

                if (g->kernel)
                        g->alive_usec = g->now / USEC_PER_SEC * USEC_PER_SEC; /* statistics tell whole seconds */
                if (detector_look(&g->detector, g->now, g->void_usec, &wants) == until)
                        return g->now - from;
                if (wants.ping && g->agent)
                        detector_pong(&g->detector, g->now, g->detector.nonce);
                if (wants.probe && g->kernel && g->echo)
                        detector_path(&g->detector, g->now, PATH_ECHO, 0);
                if (wants.probe && g->balloon)
                        detector_path(&g->detector, g->now, PATH_BALLOON, g->now - g->alive_usec);
                g->now += MSEC(10);
        }
        return USEC_INFINITY;
}

static void healthy_guest_is_never_suspected(void) {
        struct guest g;

        begin(&g);
        CHECK(run(&g, MSEC(60000), VERDICT_SUSPECTED) == USEC_INFINITY);
        CHECK(g.detector.verdict == VERDICT_ALIVE);
}

static void hang_is_decided_within_two_seconds_with_an_echo_port(void) {
        struct guest g;
        usec_t took;

        begin(&g);
        run(&g, MSEC(5000), VERDICT_HUNG);
        g.agent = g.kernel = false;
        took = run(&g, MSEC(10000), VERDICT_HUNG);
        CHECK(took >= MSEC(1500) && took <= MSEC(2100));
}

/* Looked at as the engine does, when asked for, a millisecond late each time, on a host where its QEMU has to wait a
 * little: the time of a tick is not on top. */
static void hang_is_decided_as_soon_as_its_silence_has_lasted(void) {
        struct detector_wants wants = { 0 };
        usec_t waited = 0, died;
        struct guest g;

        begin(&g);
        run(&g, MSEC(4000), VERDICT_HUNG);
        died = g.detector.last_pong_usec;
        for (int looks = 0; g.detector.verdict != VERDICT_HUNG && looks < 100; looks++) {
                detector_look(&g.detector, g.now, 0, &wants);
                if (wants.probe && g.detector.verdict == VERDICT_SUSPECTED) {
                        waited += g.detector.waited_begun ? MSEC(3) : 0;
                        detector_waited(&g.detector, MSEC(3));
                        detector_look(&g.detector, g.now, 0, &wants); /* which is an event too */
                }
                if (g.detector.verdict != VERDICT_HUNG)
                        g.now = wants.wake_usec + MSEC(1);
        }
        CHECK(g.detector.verdict == VERDICT_HUNG);
        CHECK(waited > 0);
        CHECK(g.now - died >= MSEC(2000) + waited);
        CHECK(g.now - died <= MSEC(2000) + waited + MSEC(5));
}

/* How long it takes until a guest that answers nobody is called hung, where its QEMU waits for so much of each ten
 * milliseconds. */
static usec_t hang_beside(usec_t waits_usec) {
        struct guest g;
        usec_t from;

        begin(&g);
        run(&g, MSEC(4000), VERDICT_HUNG);
        g.agent = g.kernel = false;
        from = g.now;
        while (g.now - from < MSEC(60000) && run(&g, MSEC(10), VERDICT_HUNG) == USEC_INFINITY)
                detector_waited(&g.detector, waits_usec);
        return g.now - from;
}

static void a_guest_that_gets_little_of_a_processor_is_given_longer(void) {
        usec_t alone = hang_beside(0), some = hang_beside(MSEC(4)), most = hang_beside(MSEC(8));

        CHECK(alone <= MSEC(2000));
        /* six tenths of the time count as silence, of which 500 ms are needed */
        CHECK(some - alone >= MSEC(500 * 10 / 6 - 500 - 50) && some - alone <= MSEC(500 * 10 / 6 - 500 + 50));
        /* two tenths do, and four times as much is needed; but it comes to an end */
        CHECK(most - alone >= MSEC(4 * 500 * 10 / 2 - 500 - 50) && most - alone <= MSEC(4 * 500 * 10 / 2 - 500 + 50));
}

static void hang_takes_longer_where_the_balloon_is_the_only_path(void) {
        struct guest g;
        usec_t took;

        begin(&g);
        g.echo = false;
        run(&g, MSEC(15500), VERDICT_HUNG);
        g.agent = g.kernel = false;
        took = run(&g, MSEC(10000), VERDICT_HUNG);
        CHECK(took >= MSEC(2000) && took <= MSEC(4200));
}

/* What the balloon said before the suspicion may be ten seconds old: it has to be heard on it. */
static void slow_agent_is_no_hang_where_the_balloon_is_the_only_path(void) {
        struct guest g;

        begin(&g);
        g.echo = false;
        run(&g, MSEC(19000), VERDICT_HUNG);
        g.agent = false;
        CHECK(run(&g, MSEC(30000), VERDICT_HUNG) == USEC_INFINITY);
        CHECK(g.detector.verdict == VERDICT_SILENT);
}

static void silent_agent_with_a_living_kernel_is_no_hang(void) {
        struct guest g;

        begin(&g);
        run(&g, MSEC(5000), VERDICT_HUNG);
        g.agent = false;
        CHECK(run(&g, MSEC(120000), VERDICT_HUNG) == USEC_INFINITY);
        CHECK(g.detector.verdict == VERDICT_SILENT);
        g.kernel = false;
        CHECK(run(&g, MSEC(10000), VERDICT_HUNG) <= MSEC(3500)); /* the balloon's last second speaks for it first */
}

static void guest_without_a_second_path_is_never_hung(void) {
        struct guest g;

        begin(&g);
        g.echo = g.balloon = false;
        run(&g, MSEC(5000), VERDICT_HUNG);
        g.agent = g.kernel = false;
        CHECK(run(&g, MSEC(120000), VERDICT_HUNG) == USEC_INFINITY);
        CHECK(g.detector.verdict == VERDICT_SUSPECTED);
}

static void echo_port_that_was_closed_before_is_no_evidence(void) {
        struct guest g;

        begin(&g);
        run(&g, MSEC(5000), VERDICT_HUNG);
        g.echo = false;
        run(&g, MSEC(40000), VERDICT_HUNG);
        g.agent = false;
        CHECK(run(&g, MSEC(60000), VERDICT_HUNG) == USEC_INFINITY);
}

static void unanswered_question_to_the_balloon_is_no_evidence(void) {
        struct guest g;

        begin(&g);
        g.echo = false;
        run(&g, MSEC(5000), VERDICT_HUNG);
        g.agent = g.balloon = false; /* libvirt hangs */
        CHECK(run(&g, MSEC(60000), VERDICT_HUNG) == USEC_INFINITY);
}

static void silence_before_a_doubt_does_not_count(void) {
        struct guest g;

        begin(&g);
        run(&g, MSEC(5000), VERDICT_HUNG);
        g.agent = g.kernel = false;
        for (int i = 0; i < 10; i++) {
                CHECK(run(&g, MSEC(1400), VERDICT_HUNG) == USEC_INFINITY);
                g.void_usec = g.now;
        }
        CHECK(run(&g, MSEC(5000), VERDICT_HUNG) <= MSEC(2100));
}

static void one_unanswered_probe_is_no_hang_however_long_ago(void) {
        struct detector_wants wants;
        struct guest g;

        begin(&g);
        run(&g, MSEC(2000), VERDICT_MAX);
        g.agent = false;
        CHECK(run(&g, MSEC(10000), VERDICT_SILENT) < MSEC(10000));
        run(&g, MSEC(1000), VERDICT_MAX);
        /* Nobody looks for longer than its kernel may be silent: the answers, if any, are not read yet. */
        g.now += MSEC(900);
        CHECK(detector_look(&g.detector, g.now, 0, &wants) != VERDICT_HUNG);
        CHECK(wants.probe);
        g.kernel = g.balloon = false;
        CHECK(run(&g, MSEC(2000), VERDICT_HUNG) < MSEC(2000));
}

static void late_answer_shows_that_it_lived_when_it_was_asked(void) {
        struct detector_wants wants;
        struct guest g;

        begin(&g);
        run(&g, MSEC(2000), VERDICT_HUNG);
        g.agent = false;
        run(&g, MSEC(1000), VERDICT_HUNG);
        detector_pong(&g.detector, g.now, g.detector.nonce - 1);
        CHECK(g.detector.last_pong_usec <= g.now - MSEC(500));
        detector_pong(&g.detector, g.now, g.detector.nonce + 1); /* never asked */
        detector_pong(&g.detector, g.now, g.detector.nonce - 5000);
        CHECK(g.detector.last_pong_usec <= g.now - MSEC(500));
        CHECK(detector_look(&g.detector, g.now, 0, &wants) == VERDICT_ALIVE);
}

static void stopped_detector_knows_nothing_and_asks_nothing(void) {
        struct detector_wants wants;
        struct guest g;

        begin(&g);
        run(&g, MSEC(2000), VERDICT_HUNG);
        detector_stop(&g.detector);
        CHECK(detector_look(&g.detector, g.now + MSEC(60000), 0, &wants) == VERDICT_UNKNOWN);
        CHECK(!wants.ping && !wants.probe && wants.wake_usec == USEC_INFINITY);
}

TEST_MAIN("core-detector", TEST(healthy_guest_is_never_suspected),
          TEST(hang_is_decided_within_two_seconds_with_an_echo_port),
          TEST(hang_is_decided_as_soon_as_its_silence_has_lasted),
          TEST(a_guest_that_gets_little_of_a_processor_is_given_longer),
          TEST(hang_takes_longer_where_the_balloon_is_the_only_path),
          TEST(slow_agent_is_no_hang_where_the_balloon_is_the_only_path),
          TEST(silent_agent_with_a_living_kernel_is_no_hang), TEST(guest_without_a_second_path_is_never_hung),
          TEST(echo_port_that_was_closed_before_is_no_evidence),
          TEST(unanswered_question_to_the_balloon_is_no_evidence), TEST(silence_before_a_doubt_does_not_count),
          TEST(one_unanswered_probe_is_no_hang_however_long_ago),
          TEST(late_answer_shows_that_it_lived_when_it_was_asked),
          TEST(stopped_detector_knows_nothing_and_asks_nothing))
