/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Following and taking back a region on real memory. This program, run with a QEMU's arguments, is the process that
 * has the region: it maps what its command line names, touches what it is told to on its standard input, and answers.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/core/update.h"
#include "daemon/host/memory/page-out.h"
#include "daemon/host/memory/qemu-memory.h"
#include "daemon/host/memory/reclaim.h"
#include "daemon/host/memory/usage-reader.h"
#include "tests/unit/test.h"

#define REGION_BYTES (16 * MIB)
#define PAGES_OF_EXTENT (2 * MIB / USAGE_PAGE_BYTES)
#define WAIT_USEC (20 * USEC_PER_SEC)
#define OBJECT "{\"qom-type\":\"memory-backend-ram\",\"id\":\"memua-db\",\"size\":16777216}"

static char self[4096];

/* ---- the process that has the region --------------------------------------------------------------------- */

static int hold(void) {
        char *memory = mmap(NULL, REGION_BYTES + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char line[64];
        unsigned mib;

        if (memory == MAP_FAILED || mprotect(memory + REGION_BYTES, 4096, PROT_NONE) < 0 ||
            madvise(memory, REGION_BYTES, MADV_NOHUGEPAGE) < 0 || write(STDOUT_FILENO, ".", 1) != 1)
                return EXIT_FAILURE;
        while (fgets(line, sizeof(line), stdin)) {
                if (sscanf(line, "touch %u", &mib) == 1)
                        for (size_t i = 0; i < MIB; i += 4096)
                                memory[mib * MIB + i] = (char) (mib + 1);
                else if (sscanf(line, "check %u", &mib) == 1) {
                        for (size_t i = 0; i < MIB; i += 4096)
                                if (memory[mib * MIB + i] != (char) (mib + 1))
                                        return EXIT_FAILURE;
                } else
                        return EXIT_FAILURE;
                if (write(STDOUT_FILENO, ".", 1) != 1)
                        return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

struct holder_process {
        pid_t pid;
        int in, out;
};

static void answered(const struct holder_process *process) {
        char byte;

        REQUIRE(read(process->out, &byte, 1) == 1);
}

static struct holder_process hold_start(void) {
        struct holder_process process;
        int in[2], out[2];

        REQUIRE(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
        process = (struct holder_process) { fork(), in[1], out[0] };
        REQUIRE(process.pid >= 0);
        if (process.pid == 0) {
                dup2(in[0], STDIN_FILENO);
                dup2(out[1], STDOUT_FILENO);
                execl(self, "qemu-system-x86_64", "-name", "guest=a", "-object", OBJECT, NULL);
                _exit(127);
        }
        close(in[0]);
        close(out[1]);
        answered(&process);
        return process;
}

static void tell(const struct holder_process *process, const char *what, unsigned mib) {
        REQUIRE(dprintf(process->in, "%s %u\n", what, mib) > 0);
        answered(process);
}

static void hold_end(struct holder_process *process) {
        int status;

        close(process->in);
        REQUIRE(waitpid(process->pid, &status, 0) == process->pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        close(process->out);
}

/* ---- what was told ---------------------------------------------------------------------------------------- */

struct told {
        sd_event *loop;
        struct reclaim *reclaim;
        unsigned n_usages, n_done, n_abilities;
        struct usage usage;
        struct event last;
        bool able;
};

static void on_event(void *userdata, const struct event *event) {
        struct told *told = userdata;

        told->last = *event;
        if (event->kind == EVENT_USAGE) {
                told->usage = *event->usage;
                told->n_usages++;
        } else if (event->kind == EVENT_DONE)
                told->n_done++;
        else {
                CHECK(event->kind == EVENT_RECLAIM && event->text[0]);
                told->able = event->up;
                told->n_abilities++;
        }
}

static void told_init(struct told *told) {
        const struct reclaim_options options = { NULL, P_tmpdir "/test-reclaim.lock", "/proc/self/mountinfo" };
        const struct sink sink = { on_event, told };

        *told = (struct told) { 0 };
        REQUIRE(sd_event_new(&told->loop) >= 0);
        REQUIRE(reclaim_new(told->loop, &options, &sink, &told->reclaim) >= 0);
}

static void told_deinit(struct told *told) {
        reclaim_free(told->reclaim);
        sd_event_unref(told->loop);
}

/* Runs the loop until it is so. */
#define WAIT_FOR(told, condition)                                                                       \
        do {                                                                                            \
                usec_t until_usec = clock_usec(CLOCK_MONOTONIC) + WAIT_USEC;                            \
                                                                                                        \
                while (!(condition) && clock_usec(CLOCK_MONOTONIC) < until_usec)                        \
                        (void) sd_event_run((told)->loop, 10 * USEC_PER_MSEC);                          \
                CHECK(condition);                                                                       \
        } while (0)

static struct reclaim_region region_of(int old_user, int new_user) {
        return (struct reclaim_region) {
                .pair = 3, .app = 1, .from = SIDE_A, .app_name = "db", .domains = { "a", "b" },
                .pids = { old_user, new_user }, .bytes = REGION_BYTES,
        };
}

/* ---- tests ------------------------------------------------------------------------------------------------ */

static void pages_are_counted_by_extent(void) {
        struct holder_process process = hold_start();
        struct qemu_memory *memory = malloc(sizeof(*memory));
        struct usage usage = { .extent_bytes = 2 * MIB, .n_extents = 8 };
        struct memory_block block;
        char path[48];
        int fd;

        REQUIRE(memory != NULL);
        snprintf(path, sizeof(path), "/proc/%d", process.pid);
        REQUIRE(qemu_memory_read(path, false, memory) == 0);
        CHECK(qemu_memory_find(memory, "web", &block) == -ENOENT);
        REQUIRE(qemu_memory_find(memory, "db", &block) == 0);
        CHECK(block.end - block.start == REGION_BYTES && block.inode == 0);
        strcat(path, "/pagemap");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        REQUIRE(fd >= 0);
        tell(&process, "touch", 0);
        tell(&process, "touch", 1);
        tell(&process, "touch", 5);
        CHECK(usage_read(fd, block.start, REGION_BYTES, SIDE_B, false, &usage) == 1);
        CHECK(usage.known[SIDE_B] && !usage.known[SIDE_A]);
        for (unsigned i = 0; i < usage.n_extents; i++)
                CHECK(usage.pages[SIDE_B][i] == (i == 0 ? PAGES_OF_EXTENT : i == 2 ? PAGES_OF_EXTENT / 2 : 0));
        CHECK(usage_read(fd, block.start, REGION_BYTES, SIDE_B, false, &usage) == 0);
        tell(&process, "touch", 4);
        CHECK(usage_read(fd, block.start, REGION_BYTES, SIDE_B, true, &usage) == 0); /* that extent had pages */
        CHECK(usage_read(fd, block.start, REGION_BYTES, SIDE_B, false, &usage) == 1);
        CHECK(usage.pages[SIDE_B][2] == PAGES_OF_EXTENT);
        hold_end(&process);
        CHECK(usage_read(fd, block.start, REGION_BYTES, SIDE_B, false, &usage) < 0);
        CHECK(!usage.known[SIDE_B]);
        close(fd);
        free(memory);
}

static void a_region_is_followed_in_both_processes(void) {
        struct holder_process old_user = hold_start(), new_user = hold_start();
        struct reclaim_region region = region_of(old_user.pid, new_user.pid);
        struct told told;
        unsigned seen;

        told_init(&told);
        tell(&old_user, "touch", 7);
        REQUIRE(reclaim_follow(told.reclaim, &region) == 0);
        WAIT_FOR(&told, told.usage.known[SIDE_A] && told.usage.known[SIDE_B]);
        CHECK(told.last.pair == 3 || told.last.kind != EVENT_USAGE);
        CHECK(told.usage.n_extents == 8 && told.usage.pages[SIDE_A][3] == PAGES_OF_EXTENT / 2);
        CHECK(told.usage.pages[SIDE_B][0] == 0);
        tell(&new_user, "touch", 0);
        WAIT_FOR(&told, told.usage.pages[SIDE_B][0] == PAGES_OF_EXTENT / 2);
        seen = told.n_usages;
        WAIT_FOR(&told, told.n_usages > seen + 1); /* also where nothing moves: it has an age */
        hold_end(&new_user);
        WAIT_FOR(&told, !told.usage.known[SIDE_B]);
        reclaim_forget(told.reclaim, 3, 1);
        hold_end(&old_user);
        told_deinit(&told);
}

static void every_page_out_is_answered(void) {
        struct holder_process old_user = hold_start();
        struct reclaim_region region = region_of(old_user.pid, 0);
        struct action action = { .kind = ACTION_PAGE_OUT, .pair = 3, .app = 1, .side = SIDE_A, .id = 99,
                                 .offset = 2 * MIB, .bytes = 2 * MIB };
        struct told told;

        told_init(&told);
        tell(&old_user, "touch", 2);
        CHECK(reclaim_page_out(told.reclaim, &action) == -ENOENT); /* nobody follows it */
        REQUIRE(reclaim_follow(told.reclaim, &region) == 0);
        REQUIRE(reclaim_page_out(told.reclaim, &action) == 0);
        WAIT_FOR(&told, told.n_done == 1);
        action.offset = REGION_BYTES;
        REQUIRE(reclaim_page_out(told.reclaim, &action) == 0);
        WAIT_FOR(&told, told.n_done == 2);
        CHECK(told.last.kind != EVENT_DONE || (told.last.result == -ERANGE && told.last.action_id == 99));
        tell(&old_user, "check", 2); /* whatever became of it, its contents are there */
        hold_end(&old_user);
        REQUIRE(reclaim_page_out(told.reclaim, &action) == 0);
        WAIT_FOR(&told, told.n_done == 3);
        WAIT_FOR(&told, told.n_abilities == 1);
        CHECK(told.able == (page_out_possible(page_out_swap_bytes()) == 0));
        told_deinit(&told);
}

static void without_swap_nothing_can_be_taken_back(void) {
        int enough = page_out_possible(1 * GIB);

        CHECK(page_out_possible(0) < 0 && page_out_possible(1 * MIB) < 0);
        CHECK(enough == 0 || enough == -EPERM);
        CHECK(enough != 0 || page_out_possible(1 * MIB) == -ENOSPC);
        CHECK(geteuid() != 0 || enough == 0);
}

static void ending_while_it_looks_does_no_harm(void) {
        struct holder_process process = hold_start();

        for (unsigned i = 0; i < 20; i++) {
                struct reclaim_region region = region_of(process.pid, process.pid);
                struct told told;

                told_init(&told);
                REQUIRE(reclaim_follow(told.reclaim, &region) == 0);
                REQUIRE(reclaim_follow(told.reclaim, &region) == 0); /* as often as it is wanted */
                if (i % 2)
                        WAIT_FOR(&told, told.n_usages > 0);
                told_deinit(&told);
        }
        hold_end(&process);
}

int main(int argc, char *argv[]) {
        static const struct test tests[] = {
                TEST(pages_are_counted_by_extent),
                TEST(a_region_is_followed_in_both_processes),
                TEST(every_page_out_is_answered),
                TEST(without_swap_nothing_can_be_taken_back),
                TEST(ending_while_it_looks_does_no_harm),
        };

        if (argc > 1 && strcmp(argv[1], "-name") == 0)
                return hold();
        if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
                return EXIT_FAILURE;
        return test_run("reclaim", tests, ELEMENTSOF(tests));
}
