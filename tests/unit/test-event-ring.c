/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ring of recordings, with a real engine and real files. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/records/evidence.h"
#include "daemon/replay/replay.h"
#include "policy/text.h"
#include "tests/unit/test.h"

#define BEGIN_USEC (1000 * USEC_PER_SEC)

struct bench {
        char root[64], directory[96];
        struct event_ring *ring;
        struct engine *engine;
        struct update update;
        struct policy *policy;
        usec_t now_usec;
};

static const char policy_yaml[] =
        "version: 1\n"
        "pool: {memory: 8GiB}\n"
        "pairs:\n"
        "  - name: orders\n"
        "    active: {domain: vm-a, base: 512MiB}\n"
        "    standby: {domain: vm-b, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: db, kind: hot-standby, memory: 512MiB, start: {command: [/bin/db, --password, hunter2]}}\n";

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void tell(struct bench *bench, struct event event) {
        event.time_usec = bench->now_usec;
        event.real_usec = bench->now_usec + UINT64_C(1700000000) * USEC_PER_SEC;
        event_ring_event(bench->ring, bench->engine, &event);
        engine_step(bench->engine, &event, &bench->update);
        event_ring_update(bench->ring, bench->engine, &bench->update);
}

/* A life of failoverd. */
static void start(struct bench *bench) {
        REQUIRE(event_ring_new(bench->directory, &bench->ring) == 0);
        bench->engine = engine_new();
        REQUIRE(bench->engine != NULL);
        tell(bench, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = bench->policy });
        tell(bench, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
}

static void stop(struct bench *bench) {
        bench->ring = event_ring_free(bench->ring);
        bench->engine = engine_free(bench->engine);
}

static void bench_init(struct bench *bench) {
        struct diagnostics diagnostics = { 0 };

        *bench = (struct bench) { .now_usec = BEGIN_USEC };
        strcpy(bench->root, P_tmpdir "/test-event-ring-XXXXXX");
        REQUIRE(mkdtemp(bench->root) != NULL);
        snprintf(bench->directory, sizeof(bench->directory), "%s/events", bench->root);
        REQUIRE(policy_parse(policy_yaml, strlen(policy_yaml), "policy", &bench->policy, &diagnostics) >= 0);
        diagnostics_deinit(&diagnostics);
        start(bench);
}

static void bench_deinit(struct bench *bench) {
        stop(bench);
        update_deinit(&bench->update);
        policy_free(bench->policy);
        (void) nftw(bench->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Time passes, with signs of life. */
static void live(struct bench *bench, unsigned n_events) {
        for (unsigned i = 0; i < n_events; i++) {
                bench->now_usec += 100 * USEC_PER_MSEC;
                tell(bench, (struct event) { .kind = EVENT_SECOND_PATH, .path = PATH_BALLOON, .age_usec = i });
                tell(bench, (struct event) { .kind = EVENT_WAKE, .pair = NO_PAIR, .due_usec = bench->now_usec });
        }
}

/* Something of weight. */
static void happen(struct bench *bench) {
        tell(bench, (struct event) { .kind = EVENT_PRESSURE, .pair = NO_PAIR, .bytes = 900000 });
}

/* What is taken, as one text; the caller frees. `ret_n` is the number of parts. */
static char *take(struct bench *bench, usec_t from_usec, uint64_t max_bytes, int *ret_n) {
        struct event_ring_part parts[EVENT_RING_FILES_MAX];
        char *text = NULL;
        size_t used = 0;

        *ret_n = event_ring_take(bench->ring, from_usec, max_bytes, parts);
        for (int i = 0; i < *ret_n; i++) {
                text = realloc(text, used + parts[i].bytes + 1);
                REQUIRE(text != NULL && pread(parts[i].fd, text + used, parts[i].bytes, 0) == (ssize_t) parts[i].bytes);
                used += parts[i].bytes;
                text[used] = 0;
        }
        event_ring_parts_close(parts, *ret_n);
        return text ? text : strdup("");
}

struct heard {
        unsigned n_gaps, n_lives;
};

static void take_line(void *userdata, usec_t since_usec, enum replay_line kind, const char *text) {
        struct heard *heard = userdata;

        heard->n_gaps += kind == REPLAY_NOTE && strstr(text, "missing here") != NULL;
        heard->n_lives += kind == REPLAY_NOTE && strstr(text, "started anew") != NULL;
}

static struct heard check_replays(const char *text, uint64_t n_least) {
        struct heard heard = { 0 };
        struct replay_options options = { .line = take_line, .userdata = &heard };
        struct replay_result result;
        struct error error = ERROR_INIT;

        if (replay_run(text, strlen(text), &options, &result, &error) < 0)
                printf("\n%s\n", error_text(&error));
        else if (result.differs)
                printf("\n%s\n", result.difference);
        CHECK(error.code == 0 && !result.differs && !result.torn && result.digests > 0 && result.events >= n_least);
        error_deinit(&error);
        replay_result_deinit(&result);
        return heard;
}

static size_t n_files(const struct bench *bench, uint64_t *ret_bytes) {
        DIR *dir = opendir(bench->directory);
        struct dirent *entry;
        size_t n = 0;
        struct stat st;

        *ret_bytes = 0;
        while (dir && (entry = readdir(dir)))
                if (entry->d_name[0] != '.' && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0) {
                        CHECK((st.st_mode & 0777) == 0600);
                        *ret_bytes += (uint64_t) st.st_size;
                        n++;
                }
        if (dir)
                closedir(dir);
        return n;
}

static void what_is_taken_decides_the_same_again(void) {
        struct bench bench;
        int n;

        bench_init(&bench);
        live(&bench, 200);
        happen(&bench);
        {
                _cleanup_free_ char *text = take(&bench, bench.now_usec, UINT64_MAX, &n);

                CHECK(n == 1);
                check_replays(text, 402);
        }
        bench_deinit(&bench);
}

static void signs_of_life_wait_and_what_weighs_does_not(void) {
        struct bench bench;
        uint64_t before, after;

        bench_init(&bench);
        live(&bench, 150); /* it is calm now */
        n_files(&bench, &before);
        live(&bench, 10);
        n_files(&bench, &after);
        CHECK(after == before);
        happen(&bench);
        n_files(&bench, &after);
        CHECK(after > before);
        before = after;
        live(&bench, 1);
        n_files(&bench, &after);
        CHECK(after > before);
        bench_deinit(&bench);
}

static void the_ring_is_bounded_and_follows_itself(void) {
        struct bench bench;
        uint64_t bytes;
        int n;

        bench_init(&bench);
        live(&bench, 90000);
        happen(&bench);
        CHECK(n_files(&bench, &bytes) == EVENT_RING_FILES_MAX && bytes <= EVENT_RING_BYTES_MAX);
        {
                _cleanup_free_ char *all = take(&bench, 0, UINT64_MAX, &n),
                                    *latest = take(&bench, bench.now_usec, UINT64_MAX, &n);
                struct heard heard = check_replays(all, 10000);

                CHECK(heard.n_gaps == 0 && heard.n_lives == 0);
                CHECK(n == 1);
                check_replays(latest, 1);
        }
        bench_deinit(&bench);
}

/* How it began, and how it ended. */
static void what_is_too_large_loses_its_middle(void) {
        struct bench bench;
        int n;

        bench_init(&bench);
        live(&bench, 30000);
        happen(&bench);
        {
                _cleanup_free_ char *all = take(&bench, 0, UINT64_MAX, &n), *part = NULL;
                int n_all = n;
                struct heard heard;

                part = take(&bench, 0, 700 * 1024, &n);
                CHECK(n_all > 3 && n > 1 && n < n_all && strlen(part) <= 700 * 1024 && strncmp(part, all, 1000) == 0);
                CHECK(strcmp(part + strlen(part) - 1000, all + strlen(all) - 1000) == 0);
                heard = check_replays(part, 1000);
                CHECK(heard.n_gaps == 1);
        }
        bench_deinit(&bench);
}

static void an_earlier_life_is_taken_with_it(void) {
        struct bench bench;
        usec_t then_usec;
        int n;

        bench_init(&bench);
        live(&bench, 100);
        happen(&bench);
        then_usec = bench.now_usec;
        stop(&bench);
        bench.now_usec += USEC_PER_SEC;
        start(&bench);
        live(&bench, 10);
        {
                _cleanup_free_ char *both = take(&bench, then_usec, UINT64_MAX, &n), *latest = NULL;
                struct heard heard = check_replays(both, 225);

                CHECK(n == 2 && heard.n_lives == 1 && heard.n_gaps == 0);
                latest = take(&bench, bench.now_usec, UINT64_MAX, &n);
                CHECK(n == 1);
        }
        bench_deinit(&bench);
}

static void what_else_lies_there_is_left_alone(void) {
        static const char *const names[] = { "x.events", "12.events", "0000000007.events.new",
                                             "99999999999999999999.events" };
        struct bench bench;
        uint64_t bytes;
        int fd;

        bench_init(&bench);
        stop(&bench);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char path[200];

                snprintf(path, sizeof(path), "%s/%s", bench.directory, names[i]);
                fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
                CHECK(fd >= 0 && close(fd) == 0);
        }
        start(&bench);
        CHECK(n_files(&bench, &bytes) == 2 + ELEMENTSOF(names));
        bench_deinit(&bench);
}

/* It is said once, and recording goes on later, in a file that does not pretend to follow. */
static void a_directory_that_fails_costs_the_recording_only(void) {
        struct bench bench;
        struct heard heard;
        char path[200];
        int n, fd;

        bench_init(&bench);
        /* The next file cannot be made: its name is taken. */
        snprintf(path, sizeof(path), "%s/0000000002.events", bench.directory);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && close(fd) == 0);
        live(&bench, 12000);
        CHECK(unlink(path) == 0);
        happen(&bench);
        {
                _cleanup_free_ char *text = take(&bench, 0, UINT64_MAX, &n);

                heard = check_replays(text, 1000);
                CHECK(n > 1 && heard.n_gaps == 1);
        }
        bench_deinit(&bench);
}

static char *read_file(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        char *text = NULL;
        size_t n = 0;

        return f && getdelim(&text, &n, 0, f) >= 0 ? text : NULL;
}

static void evidence_keeps_the_longer_recording(void) {
        struct evidence_request request = { .failover_id = "orders-1" };
        char directory[96], path[128];
        struct bench bench;

        bench_init(&bench);
        live(&bench, 100);
        snprintf(directory, sizeof(directory), "%s/evidence", bench.root);
        snprintf(path, sizeof(path), "%s/orders-1/events", directory);
        for (int round = 0; round < 2; round++) {
                _cleanup_free_ char *kept = NULL, *taken = NULL;
                int n;

                request.n_events = event_ring_take(bench.ring, 0, EVIDENCE_EVENTS_MAX, request.events);
                CHECK(request.n_events == 1 && evidence_write(directory, &request) == 0);
                taken = take(&bench, 0, UINT64_MAX, &n);
                kept = read_file(path);
                CHECK(kept && strcmp(kept, taken) == 0);
                check_replays(kept, 200);
                if (round == 1) { /* a shorter one, that comes late */
                        request.events[0].bytes = 100;
                        CHECK(evidence_write(directory, &request) == 0);
                        free(steal_ptr(kept));
                        kept = read_file(path);
                        CHECK(kept && strcmp(kept, taken) == 0);
                }
                event_ring_parts_close(request.events, request.n_events);
                live(&bench, 100);
        }
        bench_deinit(&bench);
}

TEST_MAIN("event-ring", TEST(what_is_taken_decides_the_same_again), TEST(signs_of_life_wait_and_what_weighs_does_not),
          TEST(the_ring_is_bounded_and_follows_itself), TEST(what_is_too_large_loses_its_middle),
          TEST(an_earlier_life_is_taken_with_it), TEST(what_else_lies_there_is_left_alone),
          TEST(a_directory_that_fails_costs_the_recording_only), TEST(evidence_keeps_the_longer_recording))
