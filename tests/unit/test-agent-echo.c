/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "agents/guest/tty-echo.h"
#include "tests/unit/test.h"

#define PATIENCE_MSEC 5000

/* Does the kernel send back what is written? */
static bool echoes(int master) {
        struct pollfd poll_fd = { .fd = master, .events = POLLIN };
        char byte = 0;

        CHECK(write(master, "x", 1) == 1);
        return poll(&poll_fd, 1, PATIENCE_MSEC) == 1 && (poll_fd.revents & POLLIN) && read(master, &byte, 1) == 1 &&
               byte == 'x';
}

static void terminal_echoes_when_the_agent_is_gone_and_its_holder_ends_with_it(void) {
        char directory[] = "/tmp/test-agent-echo-XXXXXX", path[64];
        struct tty_echo echo;
        struct loop *loop;
        int master, lock;

        REQUIRE(mkdtemp(directory) != NULL);
        snprintf(path, sizeof(path), "%s/echo.lock", directory);
        master = posix_openpt(O_RDWR | O_NOCTTY);
        REQUIRE(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        REQUIRE(loop_new(&loop) == 0);
        REQUIRE(tty_echo_init(&echo, loop, ptsname(master)) == 0);
        CHECK(echoes(master));
        REQUIRE(tty_echo_hold(&echo, directory) == 0);
        lock = open(path, O_RDWR);
        REQUIRE(lock >= 0);
        CHECK(flock(lock, LOCK_EX | LOCK_NB) < 0);
        CHECK(tty_echo_hold(&echo, directory) == 0); /* one is enough: this one ends at once */
        tty_echo_deinit(&echo);
        loop_free(loop);
        CHECK(echoes(master));
        close(master); /* hangs the terminal up */
        CHECK(flock(lock, LOCK_EX) == 0);
        close(lock);
        unlink(path);
        rmdir(directory);
}

TEST_MAIN("agent-echo", TEST(terminal_echoes_when_the_agent_is_gone_and_its_holder_ends_with_it))
