/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which VM gets its share when, and what is given back: against a helper that only answers, as slowly and as badly as
 * is wanted. That a share does what it says is seen by tests/e2e/test_cgroups.py.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/units.h"
#include "daemon/helper/protocol.h"
#include "daemon/host/memory/page-out.h"
#include "daemon/host/memory/reclaim.h"
#include "tests/unit/test.h"

#define WAIT_USEC (20 * USEC_PER_SEC)
#define REQUESTS_MAX 64

struct helper {
        char dir[64], path[96], mountinfo[96], lock_path[96];
        int listen_fd;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool held;                  /* nothing is answered */
        int give_backs_that_fail;
        uint64_t swapped_bytes, swap_left_bytes; /* of the pool's group */
        struct helper_request requests[REQUESTS_MAX];
        unsigned n;
};

static void put(const char *path, const char *text) {
        FILE *f = fopen(path, "we");

        REQUIRE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void *serve(void *userdata) {
        struct helper *helper = userdata;
        int fd;

        while ((fd = accept(helper->listen_fd, NULL, NULL)) >= 0) {
                struct helper_reply reply = { .magic = HELPER_MAGIC };
                struct helper_request request;

                if (recv(fd, &request, sizeof(request), 0) == (ssize_t) sizeof(request)) {
                        pthread_mutex_lock(&helper->lock);
                        if (helper->n < REQUESTS_MAX)
                                helper->requests[helper->n++] = request;
                        pthread_cond_broadcast(&helper->changed);
                        while (helper->held)
                                pthread_cond_wait(&helper->changed, &helper->lock);
                        if (request.op == HELPER_GIVE_BACK && helper->give_backs_that_fail > 0) {
                                helper->give_backs_that_fail--;
                                reply.result = -EBUSY;
                        }
                        reply.pool.swapped_bytes = helper->swapped_bytes;
                        reply.pool.swap_left_bytes = helper->swap_left_bytes;
                        pthread_mutex_unlock(&helper->lock);
                        reply.finding.low_bytes = request.share.low_bytes;
                        reply.finding.high_bytes = request.share.high_bytes;
                        reply.pool.max_bytes = request.bytes;
                        strcpy(reply.pool.group, "/no/such/group");
                        (void) send(fd, &reply, sizeof(reply), MSG_NOSIGNAL);
                }
                close(fd);
        }
        return NULL;
}

static void helper_init(struct helper *helper) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char text[256];

        *helper = (struct helper) { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
                                   .swap_left_bytes = CGROUP_NO_LIMIT };
        snprintf(helper->dir, sizeof(helper->dir), "%s/test-shares-XXXXXX", P_tmpdir);
        REQUIRE(mkdtemp(helper->dir) != NULL);
        snprintf(helper->path, sizeof(helper->path), "%s/socket", helper->dir);
        snprintf(helper->mountinfo, sizeof(helper->mountinfo), "%s/cgroup.controllers", helper->dir);
        put(helper->mountinfo, "memory\n");
        snprintf(helper->mountinfo, sizeof(helper->mountinfo), "%s/mountinfo", helper->dir);
        snprintf(text, sizeof(text), "31 23 0:27 / %s rw - cgroup2 cgroup2 rw\n", helper->dir);
        put(helper->mountinfo, text);
        helper->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        strcpy(address.sun_path, helper->path);
        REQUIRE(helper->listen_fd >= 0 &&
                bind(helper->listen_fd, (struct sockaddr *) &address, sizeof(address)) == 0 &&
                listen(helper->listen_fd, 4) == 0);
        REQUIRE(pthread_create(&helper->thread, NULL, serve, helper) == 0);
}

static void helper_hold(struct helper *helper, bool held) {
        pthread_mutex_lock(&helper->lock);
        helper->held = held;
        pthread_cond_broadcast(&helper->changed);
        pthread_mutex_unlock(&helper->lock);
}

static void helper_deinit(struct helper *helper) {
        char command[128];

        helper_hold(helper, false);
        shutdown(helper->listen_fd, SHUT_RDWR);
        pthread_join(helper->thread, NULL);
        close(helper->listen_fd);
        snprintf(command, sizeof(command), "rm -rf '%s'", helper->dir);
        CHECK(system(command) == 0);
}

/* Waits for the request with this number, which is then `ret`. */
static bool nth(struct helper *helper, unsigned n, struct helper_request *ret) {
        usec_t until = clock_usec(CLOCK_REALTIME) + WAIT_USEC;
        const struct timespec time = { .tv_sec = (time_t) (until / USEC_PER_SEC) };
        int r = 0;

        pthread_mutex_lock(&helper->lock);
        while (helper->n <= n && r == 0)
                r = pthread_cond_timedwait(&helper->changed, &helper->lock, &time);
        if (helper->n > n)
                *ret = helper->requests[n];
        pthread_mutex_unlock(&helper->lock);
        return r == 0;
}

/* Waits for the next request of a domain from number `*at` on; `*at` is then the one after it. */
static struct helper_request next_of(struct helper *helper, unsigned *at, const char *domain) {
        struct helper_request request = { .op = HELPER_OP_MAX };

        while (nth(helper, (*at)++, &request))
                if (request.op == HELPER_SHARE && strcmp(request.domain, domain) == 0)
                        return request;
        CHECK(false);
        return request;
}

static struct reclaim_region region_of(int pair, const char *old_user, const char *new_user) {
        struct reclaim_region region = { .pair = pair, .app = 0, .from = SIDE_A, .pids = { 1, 1 }, .bytes = 256 * MIB };

        snprintf(region.domains[SIDE_A], sizeof(region.domains[SIDE_A]), "%s", old_user);
        snprintf(region.domains[SIDE_B], sizeof(region.domains[SIDE_B]), "%s", new_user);
        return region;
}

static void tell(struct shares *shares, const struct reclaim_region *region, enum side side, int pid, unsigned mib) {
        struct shares_vm vm = { .pair = region->pair, .side = side, .pid = pid, .system_bytes = 64 * MIB,
                                .managed_bytes = mib * MIB };

        memcpy(vm.domain, region->domains[side], sizeof(vm.domain));
        CHECK(shares_set_vm(shares, &vm) == 0);
}

static void keep(struct shares *shares, const struct reclaim_region *region) {
        tell(shares, region, SIDE_A, 1, 64);
        tell(shares, region, SIDE_B, 1, 320);
        CHECK(shares_keep(shares, region, 0, true) == 0);
}

static struct shares *start(struct helper *helper, unsigned *at) {
        struct helper_request request;
        struct shares *shares;

        helper_init(helper);
        REQUIRE(shares_new(helper->path, helper->lock_path, helper->mountinfo, &shares) == 0);
        CHECK(nth(helper, *at, &request) && request.op == HELPER_GIVE_BACK); /* what a crash may have left */
        (*at)++;
        return shares;
}

/* ---- tests ------------------------------------------------------------------------------------------------ */

static void who_is_only_protected_never_waits_for_a_bound(void) {
        struct reclaim_region first = region_of(0, "a0", "b0"), second = region_of(1, "a1", "b1");
        struct helper_request request;
        struct helper helper;
        unsigned at = 0;
        struct shares *shares = start(&helper, &at);

        helper_hold(&helper, true);
        keep(shares, &first);
        keep(shares, &second);
        CHECK(nth(&helper, at, &request));
        helper_hold(&helper, false);
        for (unsigned i = 0; i < 4; i++) { /* each has its protection before one is bounded */
                REQUIRE(nth(&helper, at + i, &request));
                CHECK(request.op == HELPER_SHARE && request.share.low_bytes >= 64 * MIB);
                CHECK(request.share.high_bytes == CGROUP_NO_LIMIT);
        }
        at += 4;
        CHECK(next_of(&helper, &at, "a0").share.high_bytes == 64 * MIB + 16 * MIB + 256 * MIB);
        shares_free(shares);
        helper_deinit(&helper);
}

/* Others go on meanwhile: theirs is not taken away for that. */
static void a_vm_gives_back_what_it_has_when_its_last_region_is_there(void) {
        struct reclaim_region first = region_of(0, "a0", "b0"), second = region_of(1, "a1", "b1");
        struct helper_request request;
        struct helper helper;
        unsigned at = 0, before;
        struct shares *shares = start(&helper, &at);

        keep(shares, &first);
        keep(shares, &second);
        next_of(&helper, &(unsigned){ at }, "b0");
        next_of(&helper, &at, "b1");
        shares_forget(shares, 0, 0);
        before = at;
        do {
                request = next_of(&helper, &at, "b0");
        } while (request.share.low_bytes != 0 && at < REQUESTS_MAX);
        CHECK(request.share.min_bytes == 0 && request.share.high_bytes == CGROUP_NO_LIMIT);
        for (; before < at; before++) {
                CHECK(nth(&helper, before, &request) && request.op == HELPER_SHARE);
        }
        shares_forget(shares, 1, 0);
        do {
                CHECK(nth(&helper, at, &request));
        } while (request.op != HELPER_GIVE_BACK && ++at < REQUESTS_MAX);
        CHECK(request.op == HELPER_GIVE_BACK);
        shares_free(shares);
        helper_deinit(&helper);
}

/* The table goes on while a region is on its way: another region comes or goes, a VM starts anew. */
static void a_share_is_what_the_table_says_now(void) {
        struct reclaim_region region = region_of(0, "a0", "b0");
        struct helper_request request;
        struct helper helper;
        unsigned at = 0;
        struct shares *shares = start(&helper, &at);

        tell(shares, &region, SIDE_A, 1, 64);
        tell(shares, &region, SIDE_B, 0, 320); /* not known yet */
        CHECK(shares_keep(shares, &region, 0, true) == 0);
        while ((request = next_of(&helper, &at, "a0")).share.high_bytes == CGROUP_NO_LIMIT && at < REQUESTS_MAX)
                ;
        CHECK(request.share.low_bytes == 64 * MIB && request.share.high_bytes == (64 + 16 + 256) * MIB);
        tell(shares, &region, SIDE_A, 1, 192);
        tell(shares, &region, SIDE_B, 7, 320);
        CHECK(shares_keep(shares, &region, 0, true) == 0); /* a look, that knows nothing of it */
        while ((request = next_of(&helper, &at, "a0")).share.low_bytes == 64 * MIB && at < REQUESTS_MAX)
                ;
        CHECK(request.share.low_bytes == 192 * MIB && request.share.high_bytes == (192 + 16 + 256) * MIB);
        at = 0;
        CHECK(next_of(&helper, &at, "b0").share.low_bytes == 320 * MIB);
        shares_free(shares);
        helper_deinit(&helper);
}

static void what_could_not_be_given_back_is_tried_again(void) {
        struct helper_request request;
        struct helper helper;
        struct shares *shares;

        helper_init(&helper);
        pthread_mutex_lock(&helper.lock);
        helper.give_backs_that_fail = 1;
        pthread_mutex_unlock(&helper.lock);
        REQUIRE(shares_new(helper.path, helper.lock_path, helper.mountinfo, &shares) == 0);
        CHECK(nth(&helper, 0, &request) && request.op == HELPER_GIVE_BACK);
        CHECK(nth(&helper, 1, &request) && request.op == HELPER_GIVE_BACK);
        shares_free(shares);
        helper_deinit(&helper);
}

/* Waits for the next request that is not for a share. */
static struct helper_request next_other(struct helper *helper, unsigned *at) {
        struct helper_request request = { .op = HELPER_SHARE };

        while (request.op == HELPER_SHARE && nth(helper, (*at)++, &request))
                ;
        return request;
}

static void a_pool_s_limit_outlives_regions_and_goes_with_the_policy(void) {
        struct reclaim_region region = region_of(0, "a0", "b0");
        struct helper_request request;
        char text[POOL_LIMIT_TEXT_LEN];
        struct helper helper;
        unsigned at = 0;
        struct shares *shares = start(&helper, &at);

        CHECK(nth(&helper, 0, &request) && request.bytes != 0); /* what a crash has left: all of it */
        CHECK(shares_pool(shares, text, NULL) == 0 && text[0] == '\0');
        tell(shares, &region, SIDE_A, getpid(), 64);
        shares_set_pool(shares, "pool.slice", 512 * MIB);
        if (page_out_swap_bytes() >= 2 * PAGE_OUT_SWAP_LEAST_BYTES) {
                request = next_other(&helper, &at);
                CHECK(request.op == HELPER_LIMIT && request.bytes == 512 * MIB);
        } else { /* the kernel would kill */
                request = next_other(&helper, &at);
                CHECK(request.op == HELPER_LIMIT && request.bytes == CGROUP_NO_LIMIT);
        }
        CHECK_TEXT(request.app, "pool.slice");
        CHECK_TEXT(request.domain, "a0");
        shares_set_pool(shares, "pool.slice", 512 * MIB); /* again: nothing new */
        keep(shares, &region);
        next_of(&helper, &(unsigned){ at }, "b0");
        shares_forget(shares, 0, 0);
        do
                request = next_other(&helper, &at);
        while (request.op == HELPER_LIMIT);
        CHECK(request.op == HELPER_GIVE_BACK && request.bytes == 0);
        shares_set_pool(shares, "", 512 * MIB);
        do
                request = next_other(&helper, &at);
        while (request.op == HELPER_LIMIT);
        CHECK(request.op == HELPER_GIVE_BACK && request.bytes != 0);
        CHECK(shares_pool(shares, text, NULL) == 0 && text[0] == '\0');
        shares_free(shares);
        helper_deinit(&helper);
}

/* Its VMs may all be gone by then, and their group is still there. */
static void a_pool_s_limit_goes_when_failoverd_ends(void) {
        struct helper_request request;
        struct helper helper;
        unsigned at = 0;
        struct shares *shares = start(&helper, &at);

        shares_set_pool(shares, "pool.slice", 512 * MIB);
        shares_end(shares);
        request = next_other(&helper, &at);
        CHECK(request.op == HELPER_GIVE_BACK && request.bytes != 0);
        shares_free(shares);
        helper_deinit(&helper);
}

/* The helper does one work on control groups at a time. */
static void a_helper_that_is_busy_at_the_end_is_asked_again(void) {
        struct helper_request request;
        struct helper helper;
        unsigned at = 0;
        struct shares *shares = start(&helper, &at);

        shares_set_pool(shares, "pool.slice", 512 * MIB);
        pthread_mutex_lock(&helper.lock);
        helper.give_backs_that_fail = 1;
        pthread_mutex_unlock(&helper.lock);
        shares_end(shares);
        for (int i = 0; i < 2; i++) {
                request = next_other(&helper, &at);
                CHECK(request.op == HELPER_GIVE_BACK && request.bytes != 0);
        }
        shares_free(shares);
        helper_deinit(&helper);
}

static void a_pool_s_limit_says_what_it_is_and_why_not(void) {
        struct pool_limit limit = { .group = "pool.slice", .bytes = 512 * MIB };
        char text[POOL_LIMIT_TEXT_LEN];

        pool_limit_describe(&limit, text);
        CHECK(!pool_limit_holds(&limit) && strstr(text, "no VM is in pool.slice yet"));
        limit.known = true;
        limit.result = -ENOSPC;
        pool_limit_describe(&limit, text);
        CHECK(!pool_limit_holds(&limit) && strstr(text, "does not take what leans on it"));
        limit.result = 0;
        limit.found = (struct cgroup_pool) { .group = "/pool.slice", .max_bytes = 600 * MIB };
        pool_limit_describe(&limit, text);
        CHECK(!pool_limit_holds(&limit) && strstr(text, "600 MiB in pool.slice for now"));
        limit.found.max_bytes = 512 * MIB;
        pool_limit_describe(&limit, text);
        CHECK(pool_limit_holds(&limit));
        CHECK_TEXT(text, "512 MiB in /pool.slice");
        limit.found = (struct cgroup_pool) { "/pool.slice", 400 * MIB, "/above", 0, 0 };
        pool_limit_describe(&limit, text);
        CHECK(pool_limit_holds(&limit));
        CHECK_TEXT(text, "400 MiB in /above, which is less than the pool's 512 MiB");
        strcpy(limit.outside, "b0");
        pool_limit_describe(&limit, text);
        CHECK(!pool_limit_holds(&limit) && strstr(text, "does not hold for b0"));
        limit.group[0] = '\0';
        pool_limit_describe(&limit, text);
        CHECK(!pool_limit_holds(&limit) && text[0] == '\0');
}

/* What the last limit was that a helper was asked for when it was given with such a swap. */
static uint64_t limit_with(struct helper *helper, struct pool_limit *limit, uint64_t free_bytes, uint64_t leant_bytes) {
        const struct pool_limit_vm vm = { .pid = getpid(), .domain = "a0" };
        const struct pool_swap swap = { free_bytes, leant_bytes };
        uint64_t bytes;

        pool_limit_give(limit, helper->path, helper->lock_path, helper->mountinfo, &vm, 1, &swap);
        CHECK((limit->result == -ENOSPC) == (limit->found.max_bytes == CGROUP_NO_LIMIT));
        pthread_mutex_lock(&helper->lock);
        bytes = helper->requests[helper->n - 1].bytes;
        pthread_mutex_unlock(&helper->lock);
        return bytes;
}

/* At a limit that a group cannot get below the kernel ends the VM that has most, which is the one that took over. */
static void a_pool_s_limit_goes_before_the_swap_does(void) {
        struct pool_limit limit = { .group = "pool.slice", .bytes = 512 * MIB };
        struct helper helper;

        helper_init(&helper);
        CHECK(limit_with(&helper, &limit, 127 * MIB, 0) == CGROUP_NO_LIMIT);
        CHECK(limit_with(&helper, &limit, 128 * MIB, 0) == 512 * MIB);
        CHECK(limit_with(&helper, &limit, 64 * MIB, 0) == 512 * MIB); /* it is in force, and does not come and go */
        CHECK(limit_with(&helper, &limit, 63 * MIB, 0) == CGROUP_NO_LIMIT);
        CHECK(!pool_limit_holds(&limit));
        CHECK(limit_with(&helper, &limit, 64 * MIB, 0) == CGROUP_NO_LIMIT);

        /* What leans has to fit in, too, but for what is there already. */
        CHECK(limit_with(&helper, &limit, 1024 * MIB, 1024 * MIB) == CGROUP_NO_LIMIT);
        CHECK(limit_with(&helper, &limit, 1152 * MIB, 1024 * MIB) == 512 * MIB);
        helper.swapped_bytes = 900 * MIB;
        CHECK(limit_with(&helper, &limit, 188 * MIB, 1024 * MIB) == 512 * MIB);
        CHECK(limit_with(&helper, &limit, 187 * MIB, 1024 * MIB) == CGROUP_NO_LIMIT);

        /* A limit of the group's for the swap counts like its end. */
        CHECK(limit_with(&helper, &limit, GIB, 0) == 512 * MIB);
        helper.swap_left_bytes = 63 * MIB;
        CHECK(limit_with(&helper, &limit, GIB, 0) == CGROUP_NO_LIMIT);
        CHECK(pool_limit_swap_bytes(&limit, GIB) == 63 * MIB);
        helper_deinit(&helper);
}

static void what_the_swap_takes_is_what_is_there_and_what_is_free(void) {
        struct pool_limit limit = { .group = "pool.slice", .bytes = 512 * MIB, .known = true };

        CHECK(pool_limit_swap_bytes(&limit, 700 * MIB) == 700 * MIB); /* nobody has looked yet */
        limit.found = (struct cgroup_pool) { "/pool.slice", 512 * MIB, "", 300 * MIB, CGROUP_NO_LIMIT };
        CHECK(pool_limit_holds(&limit) && pool_limit_swap_bytes(&limit, 700 * MIB) == GIB - 24 * MIB);
        limit.found.swap_left_bytes = 100 * MIB;
        CHECK(pool_limit_swap_bytes(&limit, 700 * MIB) == 400 * MIB);
        strcpy(limit.outside, "b0"); /* what it has there is not counted */
        CHECK(pool_limit_swap_bytes(&limit, 700 * MIB) == 100 * MIB);
}

int main(void) {
        static const struct test tests[] = {
                TEST(who_is_only_protected_never_waits_for_a_bound),
                TEST(a_vm_gives_back_what_it_has_when_its_last_region_is_there),
                TEST(a_share_is_what_the_table_says_now),
                TEST(what_could_not_be_given_back_is_tried_again),
                TEST(a_pool_s_limit_outlives_regions_and_goes_with_the_policy),
                TEST(a_pool_s_limit_goes_when_failoverd_ends),
                TEST(a_helper_that_is_busy_at_the_end_is_asked_again),
                TEST(a_pool_s_limit_says_what_it_is_and_why_not),
                TEST(a_pool_s_limit_goes_before_the_swap_does),
                TEST(what_the_swap_takes_is_what_is_there_and_what_is_free),
        };

        return test_run("shares", tests, ELEMENTSOF(tests));
}
