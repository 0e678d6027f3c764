/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How many of the helper's children may be at work, with children that hold what they have as if the kernel did. */

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/helper/slots.h"
#include "tests/unit/test.h"

#define CHILDREN 16

struct child {
        pid_t pid;
        int result;
};

/* A child that has a slot, or not, and then does nothing more. */
static struct child take(int fd, enum helper_op op) {
        struct child child = { .result = 1 };
        int told[2];

        REQUIRE(pipe(told) == 0);
        child.pid = fork();
        REQUIRE(child.pid >= 0);
        if (child.pid == 0) {
                int r = slots_take(fd, op);

                if (write(told[1], &r, sizeof(r)) == (ssize_t) sizeof(r))
                        pause();
                _exit(1);
        }
        CHECK(read(told[0], &child.result, sizeof(child.result)) == (ssize_t) sizeof(child.result));
        close(told[0]);
        close(told[1]);
        return child;
}

static void end(struct child *child) {
        CHECK(kill(child->pid, SIGKILL) == 0 && waitpid(child->pid, NULL, 0) == child->pid);
}

static unsigned n_at_once(int fd, enum helper_op op) {
        struct child children[CHILDREN];
        unsigned n = 0;

        for (unsigned i = 0; i < CHILDREN; i++) {
                children[i] = take(fd, op);
                CHECK(children[i].result == 0 || children[i].result == -EAGAIN);
                n += children[i].result == 0;
        }
        for (unsigned i = 0; i < CHILDREN; i++)
                end(&children[i]);
        return n;
}

static void work_on_memory_never_uses_up_the_children_that_fence(void) {
        _cleanup_close_ int fd = slots_open();
        unsigned n = 0;

        REQUIRE(fd >= 0);
        CHECK(n_at_once(fd, HELPER_SHARE) == 1);
        CHECK(n_at_once(fd, HELPER_GIVE_BACK) == 1);
        CHECK(n_at_once(fd, HELPER_PAGE_OUT) == 2);
        for (enum helper_op op = 0; op < HELPER_OP_MAX; op++)
                if (op == HELPER_OPEN || op == HELPER_KILL || op == HELPER_STOP || op == HELPER_CONT) {
                        CHECK(n_at_once(fd, op) == CHILDREN);
                } else if (op != HELPER_GIVE_BACK && op != HELPER_LIMIT) /* the slot of a share */
                        n += n_at_once(fd, op);
        CHECK(n == SLOTS_MAX && SLOTS_MAX <= CHILDREN / 2);
}

static void a_share_and_its_return_exclude_each_other_and_nothing_else(void) {
        _cleanup_close_ int fd = slots_open();
        struct child sharing, giving, paging, again;

        REQUIRE(fd >= 0);
        sharing = take(fd, HELPER_SHARE);
        giving = take(fd, HELPER_GIVE_BACK);
        paging = take(fd, HELPER_PAGE_OUT);
        CHECK(sharing.result == 0 && giving.result == -EAGAIN && paging.result == 0);
        end(&sharing); /* killed: nothing was put in order */
        again = take(fd, HELPER_GIVE_BACK);
        CHECK(again.result == 0);
        end(&giving);
        end(&paging);
        end(&again);
}

int main(void) {
        static const struct test tests[] = {
                TEST(work_on_memory_never_uses_up_the_children_that_fence),
                TEST(a_share_and_its_return_exclude_each_other_and_nothing_else),
        };

        return test_run("helper-slots", tests, ELEMENTSOF(tests));
}
