/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Out of memory anywhere in the store: what it acknowledges is there afterwards, every write has its answer, and
 * nothing is taken for damage. What SQLite itself asks for is spared: it has tests for that, and test-store-life has
 * what it says then. */

#include "tests/unit/faulty-heap.h"
#include "tests/unit/store-bench.h"

static sqlite3_mem_methods sqlite_heap;

static void *spared_malloc(int n) {
        void *p;

        heap_spare(HEAP_SPARE_ALL);
        p = sqlite_heap.xMalloc(n);
        heap_spare(HEAP_SPARE_NONE);
        return p;
}

static void *spared_realloc(void *old, int n) {
        void *p;

        heap_spare(HEAP_SPARE_ALL);
        p = sqlite_heap.xRealloc(old, n);
        heap_spare(HEAP_SPARE_NONE);
        return p;
}

static void spare_sqlite(void) {
        sqlite3_mem_methods spared;

        REQUIRE(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_heap) == SQLITE_OK);
        spared = sqlite_heap;
        spared.xMalloc = spared_malloc;
        spared.xRealloc = spared_realloc;
        REQUIRE(sqlite3_config(SQLITE_CONFIG_MALLOC, &spared) == SQLITE_OK);
}

/* Until the answers are there, or the loop itself has no memory to go on: failoverd ends then. */
static void wait_for_answers(struct bench *bench, unsigned n) {
        while (bench->n_answers < n && sd_event_run(bench->event, 50 * USEC_PER_MSEC) >= 0)
                ;
}

static void life(void) {
        struct bench *bench = bench_new_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
        struct record *records = NULL;
        unsigned n_asked = 0;
        uint64_t acknowledged = 0;
        bool failed;
        size_t n;
        int r;

        heap_begin(true);
        r = bench_open(bench);
        if (r >= 0 && store_load(bench->store, &records, &n) == 0)
                free(records);
        for (uint64_t seq = 1; r >= 0 && seq <= 2; seq++) {
                enum persist_level level = seq == 1 ? PERSIST_STEP : PERSIST_OWNER;
                struct record record = make_record("web", seq);

                store_add_event(bench->store, "web", SIDE_A, RECORD_ARMED, "a line of history");
                if (store_persist(bench->store, &record, level, 0, seq, PATIENCE_USEC) == 0)
                        n_asked++;
                wait_for_answers(bench, n_asked);
        }
        failed = heap_end();
        if (n_asked > 0)
                (void) bench_wait(bench, n_asked);
        for (unsigned i = 0; i < bench->n_answers; i++)
                if (bench->answers[i].result == 0)
                        acknowledged = bench->answers[i].action_id;
        CHECK(r >= 0 || (failed && bench->error.code == r && r != -EUCLEAN));
        CHECK(bench->n_answers == n_asked);
        CHECK(failed || acknowledged == 2);
        CHECK(!bench->finding.lost);
        CHECK(reopen(bench, "boot-1", "web") >= acknowledged);
        CHECK(!bench->finding.lost);
        bench_free(bench);
}

static void what_is_acknowledged_is_there_afterwards(void) {
        unsigned n;

        spare_sqlite();
        n = heap_fail_each(life, HEAP_LACK_LARGE);
        printf("%u allocations ", n);
        CHECK(n > 20);
}

TEST_MAIN("heap-store", TEST(what_is_acknowledged_is_there_afterwards))
