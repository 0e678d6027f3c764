/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The application of the demo and the tests: it fills a region and keeps looking whether its memory is intact.
 *
 *   fill run NAME MIB [NODE]  map MIB mebibytes, write every page, then check one page after the other and count; the
 *                         memory is NUMA node NODE's
 *   fill check NAME       exit 0 while that makes progress: the health check
 *   fill spin NAME        go through 4 MiB of node 0 without end and count the rounds: for measuring
 *   fill touch MIB [NODE]  write MIB mebibytes once, print "touched in N us" and give them back: for measuring
 *   fill words MIB [SEED]  write every word of MIB mebibytes, say "filled", check every one and print their sum; other
 *                         words for another SEED
 *   fill wait NODE MIB    until NUMA node NODE has that much memory, then say so: for measuring
 *
 * /run/NAME.pid holds its process id, /run/NAME.count the counter (0 until all is written) and the time
 * (CLOCK_BOOTTIME, ms) of its last step. It exits with 3 when a page does not hold what was written. SIGUSR1 makes it
 * stop counting without ending: a hung application. Where the guest has a virtio port org.failover1.witness, it says
 * "NAME RUN COUNT" there all the time, RUN being another one at each start.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define STEP_MSEC 50
#define TELL_PAGES 1024
#define STALE_MSEC 2000
#define EXIT_LOST 3

static volatile sig_atomic_t hung;

static void hang(int signal_number) {
        hung = 1;
}

static uint64_t now_msec(void) {
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static int fail(const char *what) {
        fprintf(stderr, "fill: %s: %s\n", what, strerror(errno));
        return EXIT_FAILURE;
}

static int open_file(const char *name, const char *suffix, int flags) {
        char path[128];

        snprintf(path, sizeof(path), "/run/%.64s.%s", name, suffix);
        return open(path, flags | O_CLOEXEC, 0644);
}

static int write_pid(const char *name) {
        int fd = open_file(name, "pid", O_WRONLY | O_CREAT | O_TRUNC);

        if (fd < 0 || dprintf(fd, "%d\n", (int) getpid()) < 0)
                return -1;
        return close(fd);
}

/* What says outside of this guest that it runs. Whether somebody listens is of no account. */
static struct {
        int fd;
        const char *name;
        unsigned long long run;
} witness = { .fd = -1 };

static void open_witness(const char *name) {
        witness.fd = open("/dev/virtio-ports/org.failover1.witness", O_WRONLY | O_CLOEXEC | O_NONBLOCK);
        witness.name = name;
        witness.run = (unsigned long long) now_msec() * 100000 + (unsigned long long) getpid();
}

static void tell_witness(uint64_t count) {
        char line[128];
        int n = snprintf(line, sizeof(line), "%.64s %llu %llu\n", witness.name, witness.run,
                         (unsigned long long) count);

        if (write(witness.fd, line, (size_t) n) < 0)
                return;
}

/* Fixed width and in place, so that a reader never meets half a line. */
static int tell(int fd, uint64_t count) {
        char line[64];
        int n = snprintf(line, sizeof(line), "%012llu %012llu\n", (unsigned long long) count,
                         (unsigned long long) now_msec());

        if (witness.fd >= 0)
                tell_witness(count);
        return pwrite(fd, line, (size_t) n, 0) == n ? 0 : -1;
}

/* From here on this process's memory comes from one node alone. */
static int stay_on(long node) {
        unsigned long nodes = 1UL << node;

        return (int) syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, sizeof(nodes) * 8 + 1);
}

static int run(const char *name, size_t mib) {
        const struct timespec step = { .tv_nsec = STEP_MSEC * 1000000L };
        size_t n_pages = mib * 1024 * 1024 / PAGE;
        unsigned char *memory;
        int fd;

        signal(SIGUSR1, hang);
        open_witness(name);
        fd = open_file(name, "count", O_WRONLY | O_CREAT | O_TRUNC);
        if (fd < 0 || write_pid(name) < 0)
                return fail("/run");
        memory = mmap(NULL, n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return fail("mmap");
        for (size_t i = 0; i < n_pages; i++) {
                memcpy(memory + i * PAGE, &i, sizeof(i));
                if (i % TELL_PAGES == 0 && tell(fd, 0) < 0)
                        return fail("/run");
        }
        for (uint64_t count = 1;; count++) {
                size_t page = (size_t) (count % n_pages);

                if (memcmp(memory + page * PAGE, &page, sizeof(page)) != 0)
                        return EXIT_LOST;
                if (tell(fd, count) < 0)
                        return fail("/run");
                do
                        nanosleep(&step, NULL);
                while (hung);
        }
}

static int spin(const char *name) {
        size_t size = 4 * 1024 * 1024;
        unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int fd = open_file(name, "count", O_WRONLY | O_CREAT | O_TRUNC);

        if (memory == MAP_FAILED || fd < 0 || write_pid(name) < 0)
                return fail(name);
        for (uint64_t count = 0;; count++) {
                for (size_t i = 0; i < size; i += 64)
                        memory[i]++;
                if (tell(fd, count) < 0)
                        return fail("/run");
        }
}

static int touch(size_t mib) {
        size_t size = mib * 1024 * 1024;
        struct timespec begin, end;
        unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                return fail("mmap");
        clock_gettime(CLOCK_BOOTTIME, &begin);
        for (size_t i = 0; i < size; i += PAGE)
                memory[i] = 1;
        clock_gettime(CLOCK_BOOTTIME, &end);
        printf("touched in %lld us\n",
               (long long) (end.tv_sec - begin.tv_sec) * 1000000 + (end.tv_nsec - begin.tv_nsec) / 1000);
        return EXIT_SUCCESS;
}

/* No two words are the same. */
static uint64_t word(uint64_t i, uint64_t seed) {
        return (i + (seed << 32)) * UINT64_C(0x9e3779b97f4a7c15);
}

static int words(size_t mib, uint64_t seed) {
        size_t size = mib * 1024 * 1024, n = size / sizeof(uint64_t);
        uint64_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), sum = 0;

        if (memory == MAP_FAILED)
                return fail("mmap");
        for (uint64_t i = 0; i < n; i++)
                memory[i] = word(i, seed);
        puts("filled");
        fflush(stdout);
        for (uint64_t i = 0; i < n; i++) {
                if (memory[i] != word(i, seed)) {
                        printf("word %llu is lost\n", (unsigned long long) i);
                        return EXIT_LOST;
                }
                sum += memory[i];
        }
        printf("sum %llu\n", (unsigned long long) sum);
        return EXIT_SUCCESS;
}

static int check(const char *name) {
        unsigned long long count, when;
        char line[64] = "";
        int fd = open_file(name, "count", O_RDONLY);

        if (fd < 0)
                return fail(name);
        if (read(fd, line, sizeof(line) - 1) <= 0 || sscanf(line, "%llu %llu", &count, &when) != 2) {
                fprintf(stderr, "fill: %s has not begun yet\n", name);
                return EXIT_FAILURE;
        }
        if (now_msec() - when > STALE_MSEC) {
                fprintf(stderr, "fill: %s stands still at %llu\n", name, count);
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

static int wait_for_node(const char *node, long mib) {
        const struct timespec step = { .tv_nsec = 500 * 1000L };
        char path[128], text[256];
        long kib = 0;

        snprintf(path, sizeof(path), "/sys/devices/system/node/node%.8s/meminfo", node);
        for (;;) {
                int fd = open(path, O_RDONLY | O_CLOEXEC);
                ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

                if (n < 0)
                        return fail(path);
                close(fd);
                text[n] = 0;
                if (sscanf(text, "Node %*d MemTotal: %ld", &kib) == 1 && kib >= mib * 1024)
                        break;
                nanosleep(&step, NULL);
        }
        puts("fill: the memory is there");
        return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
        long mib = argc >= 4 ? strtol(argv[3], NULL, 10) : 0, node = argc == 5 ? strtol(argv[4], NULL, 10) : -1;

        if ((argc == 3 || argc == 4) && strcmp(argv[1], "words") == 0 && strtol(argv[2], NULL, 10) > 0)
                return words((size_t) strtol(argv[2], NULL, 10), argc == 4 ? strtoull(argv[3], NULL, 10) : 0);
        if (argc == 5 && (node < 0 || node >= 64 || stay_on(node) < 0))
                return fail("NODE");
        if ((argc == 4 || argc == 5) && strcmp(argv[1], "run") == 0 && mib > 0)
                return run(argv[2], (size_t) mib);
        if ((argc == 3 || argc == 4) && strcmp(argv[1], "touch") == 0 && strtol(argv[2], NULL, 10) > 0) {
                if (argc == 4 && stay_on(strtol(argv[3], NULL, 10)) < 0)
                        return fail("NODE");
                return touch((size_t) strtol(argv[2], NULL, 10));
        }
        if (argc == 3 && strcmp(argv[1], "spin") == 0)
                return stay_on(0) < 0 ? fail("node 0") : spin(argv[2]);
        if (argc == 3 && strcmp(argv[1], "check") == 0)
                return check(argv[2]);
        if (argc == 4 && strcmp(argv[1], "wait") == 0 && mib > 0)
                return wait_for_node(argv[2], mib);
        fprintf(stderr, "usage: fill run NAME MIB [NODE] | fill touch MIB [NODE] | fill spin NAME | fill check NAME "
                        "|\n       fill words MIB [SEED] | fill wait NODE MIB\n");
        return 2;
}
