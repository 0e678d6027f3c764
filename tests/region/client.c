/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A program that uses libfailover-region and does what it is told: a line in, a line out, which begins with "ok" or
 * "error NUMBER". An access that ends as SIGBUS or SIGSEGV is "error bus" or "error segv".
 */

#include <errno.h>
#include <failover-region.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORD_BYTES sizeof(uint64_t)
#define THREADS_MAX 64

static failover_region *region;
static failover_share *share;
static sigjmp_buf out;
static volatile sig_atomic_t caught;

static void on_signal(int number) {
        caught = number;
        siglongjmp(out, 1);
}

static volatile uint64_t *word(uint64_t offset) {
        char *data = region ? failover_region_data(region) : failover_share_data(share);

        return (volatile uint64_t *) (void *) (data + offset);
}

static uint64_t size(void) {
        return region ? failover_region_size(region) : failover_share_size(share);
}

static void say(int r, const char *format, uint64_t value) {
        if (r < 0) {
                printf("error %d %s\n", -r, failover_region_error());
                return;
        }
        printf("ok");
        if (format) {
                putchar(' ');
                printf("%llu", (unsigned long long) value);
        }
        putchar('\n');
}

/* A field of the options that a line can set. */
struct setting {
        const char *name;
        enum { TEXT, NUMBER, NUMBER32 } type;
        size_t offset;
};

#define SETTING(type, kind, member) { #member, kind, offsetof(type, member) }

static void set(void *options, const struct setting *setting, char *value) {
        void *at = (char *) options + setting->offset;

        if (setting->type == TEXT)
                *(char **) at = value;
        else if (setting->type == NUMBER)
                *(uint64_t *) at = strtoull(value, NULL, 10);
        else
                *(uint32_t *) at = (uint32_t) strtoul(value, NULL, 10);
}

/* The name, and the settings KEY=VALUE behind it. */
static char *take_options(char *arguments, void *options, const struct setting *settings, size_t n) {
        char *name = strtok(arguments, " ");

        for (char *key = strtok(NULL, " "); key; key = strtok(NULL, " ")) {
                char *value = strchr(key, '=');

                *value++ = 0;
                for (size_t i = 0; i < n; i++)
                        if (strcmp(settings[i].name, key) == 0)
                                set(options, &settings[i], value);
        }
        return name;
}

#define OPTIONS struct failover_region_options
static void do_open(char *arguments) {
        static const struct setting settings[] = {
                SETTING(OPTIONS, NUMBER32, kind), SETTING(OPTIONS, NUMBER32, flags), SETTING(OPTIONS, NUMBER, size),
                SETTING(OPTIONS, TEXT, uri), SETTING(OPTIONS, TEXT, names), SETTING(OPTIONS, TEXT, psk_file),
                SETTING(OPTIONS, NUMBER, bandwidth), SETTING(OPTIONS, NUMBER32, deadline),
                SETTING(OPTIONS, NUMBER32, write_back), SETTING(OPTIONS, NUMBER, resident),
                SETTING(OPTIONS, NUMBER32, buffers),
        };
        OPTIONS options = FAILOVER_REGION_OPTIONS_INIT;
        char *name = take_options(arguments, &options, settings, sizeof(settings) / sizeof(settings[0]));

        say(failover_region_open(name, &options, &region), NULL, 0);
}
#undef OPTIONS

#define OPTIONS struct failover_share_options
static void do_share(char *arguments) {
        static const struct setting settings[] = {
                SETTING(OPTIONS, NUMBER32, kind), SETTING(OPTIONS, NUMBER32, flags), SETTING(OPTIONS, NUMBER, size),
                SETTING(OPTIONS, TEXT, file), SETTING(OPTIONS, TEXT, socket), SETTING(OPTIONS, TEXT, port),
                SETTING(OPTIONS, TEXT, host), SETTING(OPTIONS, TEXT, psk_file), SETTING(OPTIONS, TEXT, names),
                SETTING(OPTIONS, NUMBER32, deadline), SETTING(OPTIONS, NUMBER32, buffers),
        };
        OPTIONS options = FAILOVER_SHARE_OPTIONS_INIT;
        char *name = take_options(arguments, &options, settings, sizeof(settings) / sizeof(settings[0]));
        int r = failover_region_share(name, &options, &share);

        if (r < 0)
                say(r, NULL, 0);
        else
                printf("ok %s\n", failover_share_uri(share));
}

/* Every word is its number and a seed. How many of the words differ. */
static void do_verify(uint64_t seed, uint64_t from, uint64_t bytes) {
        uint64_t wrong = 0, end = bytes ? from + bytes : size();

        for (uint64_t at = from; at + WORD_BYTES <= end; at += WORD_BYTES)
                wrong += *word(at) != at / WORD_BYTES + seed;
        say(0, "", wrong);
}

static void do_fill(uint64_t seed, uint64_t from, uint64_t bytes) {
        uint64_t end = bytes ? from + bytes : size();

        for (uint64_t at = from; at + WORD_BYTES <= end; at += WORD_BYTES)
                *word(at) = at / WORD_BYTES + seed;
        say(0, NULL, 0);
}

struct toucher {
        pthread_t thread;
        pthread_barrier_t *barrier;
        uint64_t from, step, n, sum;
};

static void *touch(void *userdata) {
        struct toucher *toucher = userdata;

        pthread_barrier_wait(toucher->barrier);
        for (uint64_t i = 0; i < toucher->n; i++)
                toucher->sum += *word(toucher->from + i * toucher->step);
        return NULL;
}

/* So many threads at once read N words each, from OFFSET and SPREAD bytes apart from each other. The time in
 * microseconds, and the sum of what was read. */
static void do_touch(uint64_t n_threads, uint64_t offset, uint64_t spread, uint64_t step, uint64_t n) {
        struct toucher touchers[THREADS_MAX];
        struct timespec before, after;
        pthread_barrier_t barrier;
        uint64_t sum = 0, usec;

        pthread_barrier_init(&barrier, NULL, (unsigned) n_threads + 1);
        for (uint64_t i = 0; i < n_threads; i++) {
                touchers[i] = (struct toucher) { .barrier = &barrier, .from = offset + i * spread, .step = step,
                                                 .n = n };
                pthread_create(&touchers[i].thread, NULL, touch, &touchers[i]);
        }
        clock_gettime(CLOCK_MONOTONIC, &before);
        pthread_barrier_wait(&barrier);
        for (uint64_t i = 0; i < n_threads; i++) {
                pthread_join(touchers[i].thread, NULL);
                sum += touchers[i].sum;
        }
        clock_gettime(CLOCK_MONOTONIC, &after);
        pthread_barrier_destroy(&barrier);
        usec = (uint64_t) ((after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000);
        printf("ok %llu %llu\n", (unsigned long long) usec, (unsigned long long) sum);
}

static void do_statistics(void) {
        struct failover_region_statistics s;

        failover_region_get_statistics(region, &s, sizeof(s));
        printf("ok faults=%llu joined=%llu fetches=%llu fetched=%llu stores_seen=%llu written=%llu flushes=%llu "
               "resident=%llu dirty=%llu errors=%llu channels=%llu blocks=%llu stalls=%llu atomic=%d\n",
               (unsigned long long) s.faults, (unsigned long long) s.joined, (unsigned long long) s.fetches,
               (unsigned long long) s.fetched, (unsigned long long) s.stores_seen, (unsigned long long) s.written,
               (unsigned long long) s.flushes, (unsigned long long) s.resident, (unsigned long long) s.dirty,
               (unsigned long long) s.errors, (unsigned long long) s.channels, (unsigned long long) s.blocks,
               (unsigned long long) s.stalls, failover_region_atomic(region));
}

/* Hands a page to a system call. */
static void do_pass(uint64_t offset) {
        int fds[2], r = pipe(fds) < 0 || write(fds[1], (const void *) word(offset), 4096) < 0 ? -errno : 0;

        close(fds[0]);
        close(fds[1]);
        say(r, NULL, 0);
}

/* How a child of this program ends that accesses the region, and what the program itself still reads there. */
static void do_fork(void) {
        pid_t child = fork();
        int status = 0;

        if (child == 0) {
                signal(SIGSEGV, SIG_DFL);
                if (failover_region_close(region) != -ECHILD)
                        _exit(77);
                _exit((int) (*word(0) & 1));
        }
        waitpid(child, &status, 0);
        printf("ok %d %llu\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0, (unsigned long long) *word(0));
}

/* A child that has all descriptors of this program, and outlives it. */
static void do_fork_and_stay(void) {
        pid_t child = fork();

        if (child == 0)
                for (int r = failover_share_close(share) == -ECHILD ? 0 : 77;;)
                        r == 0 ? (void) pause() : _exit(r);
        say(0, "", (uint64_t) child);
}

static void do_close(void) {
        failover_region *closing = region;
        int r;

        region = NULL;
        r = closing ? failover_region_close(closing) : failover_share_close(share);
        share = closing ? share : NULL;
        say(r, NULL, 0);
}

/* Two threads, or a thread and the library, at one region: stores without end. */
static void *keep_storing(void *userdata) {
        for (uint64_t value = 1;; value++)
                for (uint64_t at = 0; at + WORD_BYTES <= size(); at += 512)
                        *word(at) = value << 32 | value;
        return userdata;
}

static void do_store_forever(void) {
        static pthread_t thread;

        say(-pthread_create(&thread, NULL, keep_storing, NULL), NULL, 0);
}

/* The number of words that are not the same in both halves: torn. */
static void do_torn(void) {
        uint64_t torn = 0;

        for (uint64_t at = 0; at + WORD_BYTES <= size(); at += 512) {
                uint64_t value = *word(at);
                torn += value >> 32 != (value & UINT32_MAX);
        }
        say(0, "", torn);
}

static void obey(char *line) {
        unsigned long long a = 0, b = 0, c = 0, d = 0, e = 0;
        char *arguments = strchr(line, ' ');

        if (arguments)
                *arguments++ = 0;
        if (arguments)
                (void) sscanf(arguments, "%llu %llu %llu %llu %llu", &a, &b, &c, &d, &e);
        if (strcmp(line, "open") == 0)
                do_open(arguments);
        else if (strcmp(line, "share") == 0)
                do_share(arguments);
        else if (strcmp(line, "get") == 0)
                say(0, "", *word(a));
        else if (strcmp(line, "put") == 0)
                *word(a) = b, say(0, NULL, 0);
        else if (strcmp(line, "fill") == 0)
                do_fill(a, b, c);
        else if (strcmp(line, "verify") == 0)
                do_verify(a, b, c);
        else if (strcmp(line, "touch") == 0)
                do_touch(a, b, c, d, e);
        else if (strcmp(line, "size") == 0)
                say(0, "", size());
        else if (strcmp(line, "flush") == 0)
                say(failover_region_flush(region), NULL, 0);
        else if (strcmp(line, "check") == 0)
                say(region ? failover_region_check(region) : failover_share_check(share), NULL, 0);
        else if (strcmp(line, "refresh") == 0)
                say(failover_region_refresh(region), NULL, 0);
        else if (strcmp(line, "prefetch") == 0)
                say(failover_region_prefetch(region, a, b), NULL, 0);
        else if (strcmp(line, "flip") == 0)
                say(region ? failover_region_flip(region) : failover_share_flip(share), NULL, 0);
        else if (strcmp(line, "statistics") == 0)
                do_statistics();
        else if (strcmp(line, "pass") == 0)
                do_pass(a);
        else if (strcmp(line, "fork") == 0)
                do_fork();
        else if (strcmp(line, "fork-and-stay") == 0)
                do_fork_and_stay();
        else if (strcmp(line, "store-forever") == 0)
                do_store_forever();
        else if (strcmp(line, "torn") == 0)
                do_torn();
        else if (strcmp(line, "close") == 0)
                do_close();
        else
                say(-EINVAL, NULL, 0);
}

int main(void) {
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };
        static char line[4096];

        sigaction(SIGBUS, &action, NULL);
        sigaction(SIGSEGV, &action, NULL);
        setvbuf(stdout, NULL, _IOLBF, 0);
        while (fgets(line, sizeof(line), stdin)) {
                line[strcspn(line, "\n")] = 0;
                caught = 0;
                if (sigsetjmp(out, 1) == 0)
                        obey(line);
                else
                        printf("error %s\n", caught == SIGBUS ? "bus" : "segv");
        }
        return 0;
}
