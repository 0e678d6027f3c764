/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The lanes alone, with calls that block on a pipe; then the whole object over libvirt's built-in test driver. */

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/hypervisor-call.h"
#include "daemon/host/hypervisor-lane.h"
#include "daemon/host/hypervisor.h"
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
        struct outcome stuck = { 0 }, waiting = { 0 };
        usec_t begin = lane_now();
        struct lane_test t;

        lane_test_init(&t, URI, LANE_WORKERS_MAX);
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

/* The whole object. */

#define EVENTS_MAX 256

struct host_test {
        sd_event *loop;
        struct hypervisor *hypervisor;
        virConnectPtr control; /* an operator's */
        char run_dir[64];
        struct event events[EVENTS_MAX];
        struct preflight preflight; /* of the last EVENT_PREFLIGHT */
        unsigned n_events;
        unsigned looked_at[EVENT_KIND_MAX]; /* wait_for() goes on from here */
        bool inside;          /* a function of the hypervisor's is being called */
        char channel[256];    /* when `running` was told */
        uint64_t next_id;
};

static void on_event(void *userdata, const struct event *event) {
        struct host_test *t = userdata;
        const char *channel;

        CHECK(!t->inside);
        REQUIRE(t->n_events < EVENTS_MAX);
        t->events[t->n_events++] = *event;
        if (event->kind == EVENT_PREFLIGHT)
                t->preflight = *event->preflight;
        if (event->kind == EVENT_DOMAIN && event->domain == DOMAIN_RUNNING) {
                channel = hypervisor_channel(t->hypervisor, event->pair, event->side);
                snprintf(t->channel, sizeof(t->channel), "%s", channel ? channel : "");
        }
}

/* The domain of a test: the real one's XML, for the test driver. */
static void define_domain(struct host_test *t, const char *name, const char *piece, const char *other) {
        char path[512], *text = calloc(1, 65536), *at, *changed = NULL, *renamed = NULL;
        _cleanup_fclose_ FILE *f = NULL;
        virDomainPtr domain;

        snprintf(path, sizeof(path), "%s/tests/unit/domain-xml/persistent.xml", getenv("TEST_SOURCE_DIR"));
        f = fopen(path, "re");
        REQUIRE(f && text && fread(text, 1, 65535, f) > 0);
        at = strstr(text, piece);
        REQUIRE(at != NULL);
        REQUIRE(asprintf(&changed, "%.*s%s%s", (int) (at - text), text, other, at + strlen(piece)) > 0);
        at = strstr(changed, "<devices>");
        REQUIRE(at != NULL);
        REQUIRE(asprintf(&renamed,
                         "<domain type='test'><name>%s</name><uuid>7e81fefd-5daa-5bcd-befd-e19e15d90282</uuid>%.*s%s",
                         name, (int) (at - strstr(changed, "<maxMemory")), strstr(changed, "<maxMemory"), at) > 0);
        domain = virDomainDefineXML(t->control, renamed);
        REQUIRE(domain != NULL);
        virDomainFree(domain);
        free(text);
        free(changed);
        free(renamed);
}

static void host_test_init(struct host_test *t) {
        struct sink sink = { .event = on_event, .userdata = t };
        struct hypervisor_settings settings = { .uri = URI, .run_dir = t->run_dir };

        memset(t, 0, sizeof(*t));
        t->preflight = (struct preflight){ 0 };
        strcpy(t->run_dir, "/tmp/test-hypervisor-XXXXXX");
        REQUIRE(mkdtemp(t->run_dir) != NULL);
        REQUIRE(sd_event_new(&t->loop) >= 0);
        REQUIRE(hypervisor_new(t->loop, &settings, &sink, &t->hypervisor, NULL) == 0);
        t->control = virConnectOpen(URI);
        REQUIRE(t->control != NULL);
}

static void host_test_deinit(struct host_test *t) {
        t->hypervisor = hypervisor_free(t->hypervisor);
        virConnectClose(t->control);
        sd_event_unref(t->loop);
        rmdir(t->run_dir);
}

/* The next event of a kind, of those not looked at yet; fails the test when none comes. */
static const struct event *wait_for(struct host_test *t, enum event_kind kind) {
        usec_t end = lane_now() + WAIT_USEC;

        for (;;) {
                while (t->looked_at[kind] < t->n_events) {
                        const struct event *event = &t->events[t->looked_at[kind]++];

                        if (event->kind == kind)
                                return event;
                }
                REQUIRE(lane_now() < end);
                REQUIRE(sd_event_run(t->loop, end - lane_now()) >= 0);
        }
}

static void wait_for_domain(struct host_test *t, enum domain_state state, enum domain_reason reason) {
        const struct event *event;

        do
                event = wait_for(t, EVENT_DOMAIN);
        while (event->domain != state);
        CHECK(event->reason == reason);
}

static void watch(struct host_test *t, int pair, const char *domain) {
        static const char *const apps[] = { NULL, "db", "web" };

        t->inside = true;
        REQUIRE(hypervisor_watch(t->hypervisor, pair, SIDE_A, domain, apps, ELEMENTSOF(apps)) == 0);
        t->inside = false;
}

static uint64_t act(struct host_test *t, struct action action) {
        action.id = ++t->next_id;
        t->inside = true;
        REQUIRE(hypervisor_act(t->hypervisor, &action) == 0);
        t->inside = false;
        return action.id;
}

/* Acts and waits for the answer, which has to be the action's. */
static int act_on(struct host_test *t, enum action_kind kind, const char *text) {
        struct action action = { .kind = kind, .pair = 0, .side = SIDE_A, .app = 1, .count = 1, .bytes = 2 * MIB,
                                 .deadline_usec = WAIT_USEC };
        const struct event *event;
        uint64_t id;

        strcpy(action.app_name, "db");
        strcpy(action.text, text);
        id = act(t, action);
        event = wait_for(t, EVENT_DONE);
        CHECK(event->action == (int) kind && event->action_id == id);
        CHECK(event->pair == 0 && event->side == SIDE_A && event->app == 1);
        return event->result;
}

static unsigned count_events(const struct host_test *t, enum event_kind kind) {
        unsigned n = 0;

        for (unsigned i = 0; i < t->n_events; i++)
                n += t->events[i].kind == kind;
        return n;
}

/* Another process's domain of that name. */
static virDomainPtr control_domain(struct host_test *t, const char *name) {
        virDomainPtr domain = virDomainLookupByName(t->control, name);

        REQUIRE(domain != NULL);
        return domain;
}

static void connecting_is_told_and_watched_domains_inspected(void) {
        static struct host_test t;

        host_test_init(&t);
        CHECK(!hypervisor_up(t.hypervisor));
        watch(&t, 0, "test");
        watch(&t, 1, "nobody");
        CHECK(wait_for(&t, EVENT_HYPERVISOR)->up);
        CHECK(hypervisor_up(t.hypervisor));
        for (bool running = false, undefined = false; !running || !undefined;) {
                const struct event *event = wait_for(&t, EVENT_DOMAIN);

                running |= event->pair == 0 && event->domain == DOMAIN_RUNNING;
                undefined |= event->pair == 1 && event->domain == DOMAIN_UNDEFINED;
        }
        /* libvirt says so, and no process is there */
        CHECK(!wait_for(&t, EVENT_PROCESS)->up);
        CHECK(hypervisor_pid(t.hypervisor, 0, SIDE_A) == 0);
        host_test_deinit(&t);
}

static void a_domain_is_started_and_frozen(void) {
        static struct host_test t;
        virDomainPtr domain;

        host_test_init(&t);
        define_domain(&t, "vm-a", "", "");
        watch(&t, 0, "vm-a");
        wait_for_domain(&t, DOMAIN_SHUTOFF, REASON_UNKNOWN);
        CHECK(hypervisor_channel(t.hypervisor, 0, SIDE_A) == NULL);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_BOOTED);
        CHECK_TEXT(t.channel, "/run/guests/vm-a.agent");
        CHECK(act_on(&t, ACTION_FREEZE, "") == 0);
        wait_for_domain(&t, DOMAIN_PAUSED, REASON_USER);
        CHECK(act_on(&t, ACTION_FREEZE, "") == 0); /* as it was */

        domain = control_domain(&t, "vm-a");
        CHECK(virDomainDestroy(domain) == 0);
        wait_for_domain(&t, DOMAIN_SHUTOFF, REASON_DESTROYED);
        CHECK(hypervisor_channel(t.hypervisor, 0, SIDE_A) == NULL);
        CHECK(act_on(&t, ACTION_FREEZE, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_RESIZE, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_VCPUS, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_DETACH_DISK, "vdb") == -ESRCH);
        CHECK(virDomainUndefine(domain) == 0);
        wait_for_domain(&t, DOMAIN_UNDEFINED, REASON_UNKNOWN);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == -ENOENT);
        virDomainFree(domain);
        host_test_deinit(&t);
}

static void a_domain_that_would_not_come_up_empty_is_not_started(void) {
        static struct host_test t;
        virDomainPtr domain;

        host_test_init(&t);
        define_domain(&t, "vm-a", "<requested unit='KiB'>0", "<requested unit='KiB'>2048");
        watch(&t, 0, "vm-a");
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == -EINVAL);
        define_domain(&t, "vm-a", "", "");
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        domain = control_domain(&t, "vm-a");
        REQUIRE(virDomainManagedSave(domain, 0) == 0);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == -EBUSY);
        CHECK(strstr(t.events[t.looked_at[EVENT_DONE] - 1].text, "managed-save") != NULL);
        REQUIRE(virDomainManagedSaveRemove(domain, 0) == 0);
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        virDomainDestroy(domain);
        virDomainUndefine(domain);
        virDomainFree(domain);
        host_test_deinit(&t);
}

static void preflight_tells_what_the_persistent_xml_says(void) {
        static struct host_test t;
        virDomainPtr domain;

        host_test_init(&t);
        define_domain(&t, "vm-a", "<on_crash>preserve", "<on_crash>destroy");
        watch(&t, 0, "vm-a");
        CHECK(act_on(&t, ACTION_PREFLIGHT, "") == 0);
        CHECK(count_events(&t, EVENT_PREFLIGHT) == 1);
        CHECK(t.preflight.defined && t.preflight.persistent && !t.preflight.autostart);
        CHECK(t.preflight.channel && !t.preflight.crash_preserved && t.preflight.requested_zero);
        CHECK(!t.preflight.apps[0].present && t.preflight.apps[1].present && t.preflight.apps[2].present);
        CHECK(t.preflight.apps[1].size_bytes == GIB);
        CHECK_TEXT(t.preflight.text, "");

        domain = control_domain(&t, "vm-a");
        REQUIRE(virDomainSetAutostart(domain, 1) == 0);
        CHECK(act_on(&t, ACTION_PREFLIGHT, "") == 0);
        CHECK(t.preflight.autostart);
        virDomainUndefine(domain);
        virDomainFree(domain);
        CHECK(act_on(&t, ACTION_PREFLIGHT, "") == 0);
        CHECK(!t.preflight.defined && !t.preflight.channel);
        host_test_deinit(&t);
}

static void what_cannot_be_done_is_answered_too(void) {
        static struct host_test t;

        host_test_init(&t);
        CHECK(act_on(&t, ACTION_FREEZE, "") == -ENOENT);
        act(&t, (struct action){ .kind = ACTION_PROBE, .pair = 0, .side = SIDE_B });
        watch(&t, 0, "test");
        CHECK(act_on(&t, ACTION_KILL, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_STOP_PROCESS, "") == -ESRCH);
        CHECK(act_on(&t, ACTION_PERSIST, "") == -EOPNOTSUPP);
        CHECK(act_on(&t, ACTION_RESIZE, "") == -ENOENT);
        CHECK(act_on(&t, ACTION_ATTACH_DISK, "vdz") == -ENOENT);
        CHECK(act_on(&t, ACTION_DETACH_DISK, "vdz") == 0); /* it is not there */
        CHECK(act_on(&t, ACTION_INSPECT, "") == 0);
        CHECK(hypervisor_watch(t.hypervisor, -1, SIDE_A, "test", NULL, 0) == -EINVAL);
        CHECK(hypervisor_watch(t.hypervisor, POLICY_PAIRS_MAX, SIDE_A, "test", NULL, 0) == -EINVAL);
        host_test_deinit(&t);
}

static void a_forgotten_domain_is_told_no_more(void) {
        static struct host_test t;
        virDomainPtr domain;
        unsigned n;

        host_test_init(&t);
        define_domain(&t, "vm-a", "", "");
        watch(&t, 0, "test");
        watch(&t, 1, "vm-a");
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_UNKNOWN);
        hypervisor_forget(t.hypervisor, 0, SIDE_A);
        hypervisor_forget(t.hypervisor, 0, SIDE_A);
        domain = control_domain(&t, "test");
        CHECK(virDomainSuspend(domain) == 0);
        CHECK(virDomainResume(domain) == 0);
        virDomainFree(domain);
        /* an event of the other one's comes after those that are not to come */
        n = t.n_events;
        domain = control_domain(&t, "vm-a");
        CHECK(virDomainCreate(domain) == 0);
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_BOOTED);
        for (; n < t.n_events; n++)
                CHECK(t.events[n].pair != 0);
        virDomainDestroy(domain);
        virDomainUndefine(domain);
        virDomainFree(domain);
        host_test_deinit(&t);
}

static void its_process_is_found_killed_and_seen_to_be_gone(void) {
        static struct host_test t;
        char qemu[128], pid_file[160], name[NAME_LEN], argument[NAME_LEN + 32], byte;
        const struct event *event;
        int in[2], ready[2];
        FILE *f;
        pid_t pid;

        host_test_init(&t);
        snprintf(name, sizeof(name), "test-%d", (int) getpid());
        snprintf(qemu, sizeof(qemu), "%s/qemu-system-x86_64", t.run_dir);
        snprintf(pid_file, sizeof(pid_file), "%s/%s.pid", t.run_dir, name);
        snprintf(argument, sizeof(argument), "guest=%s,debug-threads=on", name);
        REQUIRE(symlink("/bin/sh", qemu) == 0);
        REQUIRE(pipe2(in, O_CLOEXEC) == 0 && pipe2(ready, O_CLOEXEC) == 0);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                dup2(in[0], STDIN_FILENO);
                dup2(ready[1], STDOUT_FILENO);
                execl(qemu, "qemu-system-x86_64", "-c", "echo; read line", "-name", argument, NULL);
                _exit(127);
        }
        REQUIRE(read(ready[0], &byte, 1) == 1);
        f = fopen(pid_file, "we");
        REQUIRE(f && fprintf(f, "%d", (int) pid) > 0 && fclose(f) == 0);

        watch(&t, 0, name);
        event = wait_for(&t, EVENT_PROCESS);
        CHECK(event->up && event->pid == pid);
        CHECK(hypervisor_pid(t.hypervisor, 0, SIDE_A) == pid);
        CHECK(act_on(&t, ACTION_STOP_PROCESS, "") == 0);
        CHECK(waitpid(pid, NULL, WUNTRACED) == pid);
        CHECK(act_on(&t, ACTION_KILL, "") == 0);
        event = wait_for(&t, EVENT_PROCESS);
        CHECK(!event->up && event->pid == pid);
        CHECK(hypervisor_pid(t.hypervisor, 0, SIDE_A) == 0);
        CHECK(act_on(&t, ACTION_KILL, "") == -ESRCH);
        CHECK(waitpid(pid, NULL, 0) == pid);
        unlink(qemu);
        unlink(pid_file);
        for (size_t i = 0; i < 2; i++) {
                close(in[i]);
                close(ready[i]);
        }
        host_test_deinit(&t);
}

static void the_balloon_answers_a_probe(void) {
        static struct host_test t;
        const struct event *event;

        host_test_init(&t);
        define_domain(&t, "vm-a", "", "");
        watch(&t, 0, "vm-a");
        CHECK(act_on(&t, ACTION_START_DOMAIN, "") == 0);
        wait_for_domain(&t, DOMAIN_RUNNING, REASON_BOOTED);
        act(&t, (struct action){ .kind = ACTION_PROBE, .pair = 0, .side = SIDE_A });
        event = wait_for(&t, EVENT_SECOND_PATH);
        CHECK(event->path == PATH_BALLOON);
        CHECK(count_events(&t, EVENT_SECOND_PATH) == 1);
        virDomainPtr domain = control_domain(&t, "vm-a");
        virDomainDestroy(domain);
        virDomainUndefine(domain);
        virDomainFree(domain);
        host_test_deinit(&t);
}

static void libvirt_s_words_are_understood(void) {
        static const struct {
                int event, detail;
                enum domain_state state;
                enum domain_reason reason;
        } events[] = {
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, DOMAIN_SHUTOFF, REASON_SHUTDOWN },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_CRASHED, DOMAIN_SHUTOFF, REASON_CRASHED },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED, DOMAIN_SHUTOFF, REASON_FAILED },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, DOMAIN_SHUTOFF, REASON_MIGRATED },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SAVED, DOMAIN_SHUTOFF, REASON_SAVED },
                { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR, DOMAIN_PAUSED, REASON_IO_ERROR },
                { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG, DOMAIN_PAUSED, REASON_WATCHDOG },
                { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR, DOMAIN_PAUSED, REASON_UNKNOWN },
                { VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_PANICKED, DOMAIN_CRASHED, REASON_PANICKED },
                { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED, DOMAIN_RUNNING, REASON_UNKNOWN },
                { VIR_DOMAIN_EVENT_UNDEFINED, 0, DOMAIN_STATE_INVALID, REASON_UNKNOWN },
        };
        static const struct {
                int libvirt_state, libvirt_reason;
                enum domain_state state;
                enum domain_reason reason;
        } states[] = {
                { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED, DOMAIN_RUNNING, REASON_BOOTED },
                { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, DOMAIN_PAUSED, REASON_USER },
                { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR, DOMAIN_PAUSED, REASON_IO_ERROR },
                { VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED, DOMAIN_CRASHED, REASON_PANICKED },
                { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED, DOMAIN_SHUTOFF, REASON_DESTROYED },
                { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED, DOMAIN_SHUTOFF, REASON_CRASHED },
                { VIR_DOMAIN_SHUTDOWN, 0, DOMAIN_PAUSED, REASON_UNKNOWN },
                { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP, DOMAIN_RUNNING, REASON_BOOTED },
                { VIR_DOMAIN_NOSTATE, 0, DOMAIN_UNKNOWN, REASON_UNKNOWN },
        };
        enum domain_reason reason;

        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                CHECK(domain_state_from_event(events[i].event, events[i].detail, &reason) == events[i].state);
                CHECK(reason == events[i].reason);
        }
        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                CHECK(domain_state_from_libvirt(states[i].libvirt_state, states[i].libvirt_reason, &reason) ==
                      states[i].state);
                CHECK(reason == states[i].reason);
        }
}

TEST_MAIN("hypervisor",
          TEST(a_stuck_call_delays_no_other_domain),
          TEST(past_its_deadline_a_call_is_answered_once_and_its_late_answer_dropped),
          TEST(calls_for_one_domain_run_one_after_the_other),
          TEST(too_many_calls_for_one_domain_are_refused),
          TEST(workers_are_limited_and_what_finds_none_times_out),
          TEST(a_connection_carries_one_call),
          TEST(without_libvirt_calls_fail_at_once),
          TEST(a_lane_can_be_left_while_a_call_is_stuck),
          TEST(connecting_is_told_and_watched_domains_inspected),
          TEST(a_domain_is_started_and_frozen),
          TEST(a_domain_that_would_not_come_up_empty_is_not_started),
          TEST(preflight_tells_what_the_persistent_xml_says),
          TEST(what_cannot_be_done_is_answered_too),
          TEST(a_forgotten_domain_is_told_no_more),
          TEST(its_process_is_found_killed_and_seen_to_be_gone),
          TEST(the_balloon_answers_a_probe),
          TEST(libvirt_s_words_are_understood))
