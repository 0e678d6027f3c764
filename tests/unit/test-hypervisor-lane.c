/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lanes, with calls that block on a pipe. */

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-lane.h"
#include "tests/unit/test.h"

#define WAIT_USEC (20 * USEC_PER_SEC) /* for what has to happen */
#define SHORT_USEC (100 * USEC_PER_MSEC)
#define URI "test:///default"

/* What became of one call; outlives it. */
struct outcome {
        unsigned n_done, n_late;
        atomic_uint n_released;
        int result;
        char text[EVENT_TEXT_LEN];
};

struct test_call {
        struct lane_call lane; /* first */
        struct outcome *outcome;
        int wait_fd;           /* reads a byte from it; -1: returns at once */
        atomic_int *n_inside;  /* how many of these run now; NULL: not counted */
        virConnectPtr *used;   /* the connection it ran on; NULL: not asked */
};

static int test_call_run(struct lane_call *lane_call, virConnectPtr connection) {
        struct test_call *call = (struct test_call *) lane_call;
        char byte;

        if (call->used)
                *call->used = connection;
        if (call->n_inside && atomic_fetch_add(call->n_inside, 1) != 0)
                return -EDEADLK; /* another one is inside */
        if (call->wait_fd >= 0 && read(call->wait_fd, &byte, 1) != 1)
                return -EPIPE;
        if (call->n_inside)
                atomic_fetch_sub(call->n_inside, 1);
        strcpy(lane_call->text, "ran");
        return 0;
}

static void test_call_done(struct lane_call *lane_call, int result, const char *text) {
        struct outcome *outcome = ((struct test_call *) lane_call)->outcome;

        outcome->n_done++;
        outcome->result = result;
        snprintf(outcome->text, sizeof(outcome->text), "%s", text);
}

static void test_call_late(struct lane_call *lane_call) {
        ((struct test_call *) lane_call)->outcome->n_late++;
}

static void test_call_release(struct lane_call *lane_call) {
        atomic_fetch_add(&((struct test_call *) lane_call)->outcome->n_released, 1);
        free(lane_call);
}

static struct test_call *test_call_new(const char *domain, usec_t timeout_usec, int wait_fd, struct outcome *outcome) {
        struct test_call *call = calloc(1, sizeof(*call));

        REQUIRE(call != NULL);
        snprintf(call->lane.domain, sizeof(call->lane.domain), "%s", domain);
        call->lane.timeout_usec = timeout_usec;
        call->lane.run = test_call_run;
        call->lane.done = test_call_done;
        call->lane.late = test_call_late;
        call->lane.release = test_call_release;
        call->outcome = outcome;
        call->wait_fd = wait_fd;
        return call;
}

static void submit(struct lane *lane, const char *domain, usec_t timeout_usec, int wait_fd, struct outcome *outcome) {
        REQUIRE(lane_submit(lane, &test_call_new(domain, timeout_usec, wait_fd, outcome)->lane) == 0);
}

/* Refused at once, and the call left to its owner. */
static int submit_refused(struct lane *lane, const char *domain) {
        struct outcome outcome = { 0 };
        struct test_call *call = test_call_new(domain, WAIT_USEC, -1, &outcome);
        int r = lane_submit(lane, &call->lane);

        CHECK(outcome.n_done == 0 && outcome.n_released == 0);
        free(call);
        return r;
}

/* Runs the loop until a counter gets there. False when it does not. */
static bool run_until(sd_event *loop, const unsigned *count, unsigned wanted) {
        usec_t end = lane_now() + WAIT_USEC;

        while (*count < wanted)
                if (lane_now() >= end || sd_event_run(loop, end - lane_now()) < 0)
                        return false;
        return true;
}

static void let_go(int fd) {
        REQUIRE(write(fd, "", 1) == 1);
}

struct lane_test {
        sd_event *loop;
        struct lane *lane;
        int pipe[2];
};

static void lane_test_init(struct lane_test *t, const char *uri, unsigned max_workers) {
        REQUIRE(sd_event_new(&t->loop) >= 0);
        REQUIRE(lane_new(t->loop, uri, max_workers, &t->lane) == 0);
        REQUIRE(pipe2(t->pipe, O_CLOEXEC) == 0);
}

static void lane_test_deinit(struct lane_test *t) {
        lane_free(t->lane);
        sd_event_unref(t->loop);
        close(t->pipe[0]);
        close(t->pipe[1]);
}

static void a_stuck_call_delays_no_other_domain(void) {
        struct outcome first = { 0 }, stuck = { 0 }, others[40] = { 0 };
        struct lane_test t;
        char name[NAME_LEN];

        lane_test_init(&t, NULL, LANE_WORKERS_MAX);
        submit(t.lane, "first", WAIT_USEC, -1, &first); /* leaves one idle worker behind */
        CHECK(run_until(t.loop, &first.n_done, 1));
        submit(t.lane, "a", WAIT_USEC, t.pipe[0], &stuck);
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                snprintf(name, sizeof(name), "other-%zu", i);
                submit(t.lane, name, WAIT_USEC, -1, &others[i]);
                if (i == 0) /* alone beside the stuck one, with one idle worker for both */
                        CHECK(run_until(t.loop, &others[i].n_done, 1));
        }
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                CHECK(run_until(t.loop, &others[i].n_done, 1) && others[i].result == 0);
        CHECK(stuck.n_done == 0);
        let_go(t.pipe[1]);
        CHECK(run_until(t.loop, &stuck.n_done, 1));
        CHECK(stuck.result == 0);
        CHECK_TEXT(stuck.text, "ran");
        lane_test_deinit(&t);
}

static void past_its_deadline_a_call_is_answered_once_and_its_late_answer_dropped(void) {
        struct outcome stuck = { 0 }, waiting = { 0 }, other = { 0 }, again = { 0 };
        struct lane_test t;

        lane_test_init(&t, NULL, LANE_WORKERS_MAX);
        submit(t.lane, "a", SHORT_USEC, t.pipe[0], &stuck);
        submit(t.lane, "a", WAIT_USEC, -1, &waiting);
        CHECK(!lane_stuck(t.lane, "a"));
        CHECK(run_until(t.loop, &stuck.n_done, 1));
        CHECK(stuck.result == -ETIMEDOUT);

        /* what waited, and what comes now, is refused */
        CHECK(waiting.n_done == 1 && waiting.result == -EBUSY && waiting.n_released == 1);
        CHECK(lane_stuck(t.lane, "a"));
        CHECK(submit_refused(t.lane, "a") == -EBUSY);
        submit(t.lane, "b", WAIT_USEC, -1, &other);
        CHECK(run_until(t.loop, &other.n_done, 1) && other.result == 0);

        CHECK(stuck.n_late == 0 && stuck.n_released == 0);
        let_go(t.pipe[1]);
        CHECK(run_until(t.loop, &stuck.n_late, 1));
        CHECK(stuck.n_done == 1 && stuck.result == -ETIMEDOUT && stuck.n_released == 1);
        CHECK(!lane_stuck(t.lane, "a"));
        submit(t.lane, "a", WAIT_USEC, -1, &again);
        CHECK(run_until(t.loop, &again.n_done, 1) && again.result == 0);
        lane_test_deinit(&t);
}

static void calls_for_one_domain_run_one_after_the_other(void) {
        struct outcome outcomes[20] = { 0 };
        atomic_int n_inside = 0;
        struct lane_test t;

        lane_test_init(&t, NULL, LANE_WORKERS_MAX);
        for (size_t i = 0; i < ELEMENTSOF(outcomes); i++) {
                struct test_call *call = test_call_new("a", WAIT_USEC, t.pipe[0], &outcomes[i]);

                call->n_inside = &n_inside;
                REQUIRE(lane_submit(t.lane, &call->lane) == 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(outcomes); i++) {
                let_go(t.pipe[1]);
                CHECK(run_until(t.loop, &outcomes[i].n_done, 1) && outcomes[i].result == 0);
        }
        lane_test_deinit(&t);
}

static void too_many_calls_for_one_domain_are_refused(void) {
        struct outcome outcomes[LANE_DOMAIN_CALLS_MAX + 1] = { 0 };
        struct lane_test t;
        unsigned n = 0;
        int r = 0;

        lane_test_init(&t, NULL, 2);
        for (; n < ELEMENTSOF(outcomes); n++) {
                struct test_call *call = test_call_new("a", WAIT_USEC, t.pipe[0], &outcomes[n]);

                r = lane_submit(t.lane, &call->lane);
                if (r < 0) {
                        free(call);
                        break;
                }
        }
        /* one runs, or does not yet */
        CHECK(n >= LANE_DOMAIN_CALLS_MAX);
        CHECK(n == ELEMENTSOF(outcomes) ? submit_refused(t.lane, "a") == -EBUSY : r == -EBUSY);
        for (unsigned i = 0; i < n; i++)
                let_go(t.pipe[1]);
        CHECK(run_until(t.loop, &outcomes[n - 1].n_done, 1));
        lane_test_deinit(&t);
}

static void workers_are_limited_and_what_finds_none_times_out(void) {
        struct outcome first = { 0 }, second = { 0 }, third = { 0 };
        struct lane_test t;

        lane_test_init(&t, NULL, 2);
        submit(t.lane, "a", SHORT_USEC, t.pipe[0], &first);
        submit(t.lane, "b", SHORT_USEC, t.pipe[0], &second);
        CHECK(run_until(t.loop, &first.n_done, 1) && run_until(t.loop, &second.n_done, 1));
        submit(t.lane, "c", SHORT_USEC, -1, &third);
        CHECK(run_until(t.loop, &third.n_done, 1));
        CHECK(third.result == -ETIMEDOUT && third.n_released == 1);
        CHECK(strstr(third.text, "not begun") != NULL);
        CHECK(!lane_stuck(t.lane, "c"));
        let_go(t.pipe[1]);
        let_go(t.pipe[1]);
        CHECK(run_until(t.loop, &first.n_late, 1) && run_until(t.loop, &second.n_late, 1));
        lane_test_deinit(&t);
}

static void a_connection_carries_one_call(void) {
        virConnectPtr stuck_on = NULL, other_on = NULL, after_on = NULL;
        struct outcome stuck = { 0 }, other = { 0 }, after = { 0 };
        struct test_call *call;
        struct lane_test t;

        lane_test_init(&t, URI, LANE_WORKERS_MAX);
        call = test_call_new("a", USEC_PER_SEC, t.pipe[0], &stuck);
        call->used = &stuck_on;
        REQUIRE(lane_submit(t.lane, &call->lane) == 0);
        call = test_call_new("b", WAIT_USEC, -1, &other);
        call->used = &other_on;
        REQUIRE(lane_submit(t.lane, &call->lane) == 0);
        CHECK(run_until(t.loop, &other.n_done, 1) && other.result == 0);
        CHECK(run_until(t.loop, &stuck.n_done, 1) && stuck.result == -ETIMEDOUT);

        call = test_call_new("b", WAIT_USEC, -1, &after);
        call->used = &after_on;
        REQUIRE(lane_submit(t.lane, &call->lane) == 0);
        CHECK(run_until(t.loop, &after.n_done, 1) && after.result == 0);
        let_go(t.pipe[1]);
        CHECK(run_until(t.loop, &stuck.n_late, 1));
        CHECK(stuck_on != NULL && other_on != NULL && other_on != stuck_on);
        CHECK(after_on != NULL && after_on != stuck_on);
        lane_test_deinit(&t);
}

static void without_libvirt_calls_fail_at_once(void) {
        struct outcome outcomes[3] = { 0 };
        struct lane_test t;

        lane_test_init(&t, "test:///no/such/file", LANE_WORKERS_MAX);
        for (size_t i = 0; i < ELEMENTSOF(outcomes); i++) {
                submit(t.lane, "a", WAIT_USEC * 2, -1, &outcomes[i]);
                CHECK(run_until(t.loop, &outcomes[i].n_done, 1));
                CHECK(outcomes[i].result == -ENOTCONN);
                CHECK(strstr(outcomes[i].text, "cannot be reached") != NULL);
        }
        lane_test_deinit(&t);
}

static void a_lane_can_be_left_while_a_call_is_stuck(void) {
        struct outcome first = { 0 }, stuck = { 0 }, waiting = { 0 };
        struct lane_test t;
        usec_t begin;

        lane_test_init(&t, URI, LANE_WORKERS_MAX);
        submit(t.lane, "a", WAIT_USEC, -1, &first); /* a worker and its connection are there for the next */
        CHECK(run_until(t.loop, &first.n_done, 1));
        begin = lane_now();
        submit(t.lane, "a", SHORT_USEC, t.pipe[0], &stuck);
        CHECK(run_until(t.loop, &stuck.n_done, 1));
        submit(t.lane, "b", WAIT_USEC, t.pipe[0], &waiting);
        t.lane = lane_free(t.lane);
        CHECK(lane_now() - begin < WAIT_USEC / 2);
        CHECK(stuck.n_released == 0);
        let_go(t.pipe[1]);
        let_go(t.pipe[1]);
        for (usec_t end = lane_now() + WAIT_USEC; stuck.n_released + waiting.n_released < 2 && lane_now() < end;)
                sched_yield();
        CHECK(stuck.n_released == 1 && waiting.n_released == 1);
        CHECK(stuck.n_late == 0 && waiting.n_done == 0);
        lane_test_deinit(&t);
}

TEST_MAIN("hypervisor-lane",
          TEST(a_stuck_call_delays_no_other_domain),
          TEST(past_its_deadline_a_call_is_answered_once_and_its_late_answer_dropped),
          TEST(calls_for_one_domain_run_one_after_the_other),
          TEST(too_many_calls_for_one_domain_are_refused),
          TEST(workers_are_limited_and_what_finds_none_times_out),
          TEST(a_connection_carries_one_call),
          TEST(without_libvirt_calls_fail_at_once),
          TEST(a_lane_can_be_left_while_a_call_is_stuck))
