/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Out of memory anywhere in the engine: failoverd says so and ends, is started again, and goes on from the store. Each
 * allocation of a run with failovers of both kinds, a planned move and a new policy fails in its turn, and of one in
 * which memory is assigned by hand; the simulator's checkers look on, and the pairs must be armed in the end.
 */

#include <stdio.h>

#include "daemon/core/engine.h"
#include "daemon/sim/simulate.h"
#include "policy/text.h"
#include "tests/unit/faulty-heap.h"
#include "tests/unit/test.h"

static const char policy_text[] =
        "version: 1\n"
        "pool: {memory: 4GiB, extent: 128MiB, monitor: 64MiB, overhead: 128MiB}\n"
        "pairs:\n"
        "  - name: orders\n"
        "    active: {domain: vm-a, base: 512MiB}\n"
        "    standby: {domain: vm-b, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: db, kind: hot-standby, memory: 512MiB, start: {command: [/bin/db]}, resources: {disks: "
        "[vdb]}}\n"
        "      - name: web\n"
        "        kind: hot-standby\n"
        "        memory: 128MiB\n"
        "        start: {command: [/bin/web]}\n"
        "        severity: [{signal: any, is: major}]\n"
        "      - {name: report, kind: plain, memory: 256MiB, start: {active: {command: [/bin/report]}}}\n";

/* What a later policy has beside that. */
static const char more_text[] =
        "  - name: mail\n"
        "    active: {domain: vm-c, base: 256MiB}\n"
        "    standby: {domain: vm-d, base: 256MiB}\n"
        "    applications:\n"
        "      - {name: mx, kind: hot-standby, memory: 128MiB, start: {command: [/bin/mx]}}\n";

static const char timeline[] =
        "40s fail web signal 9\n"
        "60s operator switch orders\n"
        "80s panic vm-b\n"
        "110s apply more\n"
        "170s memory-failure vm-a 128MiB\n"
        "230s kill failoverd\n"
        "260s heal\n"
        "270s heal\n"
        "340s end\n";

/* Enough places and rows that what keeps them has to grow. */
static const char memory_text[] =
        "version: 1\n"
        "pool: {memory: 6GiB, extent: 128MiB, monitor: 64MiB, overhead: 128MiB}\n"
        "pairs:\n"
        "  - name: orders\n"
        "    active: {domain: vm-a, base: 512MiB}\n"
        "    standby: {domain: vm-b, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: db, kind: hot-standby, memory: 256MiB, start: {command: [/bin/db]}}\n"
        "      - {name: web, kind: hot-standby, memory: 128MiB, start: {command: [/bin/web]}}\n"
        "      - {name: report, kind: plain, memory: 128MiB, start: {active: {command: [/bin/report]}}}\n"
        "      - {name: extra, kind: memory, memory: 1GiB}\n"
        "  - name: mail\n"
        "    active: {domain: vm-c, base: 512MiB}\n"
        "    standby: {domain: vm-d, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: mx, kind: hot-standby, memory: 128MiB, start: {command: [/bin/mx]}}\n"
        "      - {name: imap, kind: hot-standby, memory: 128MiB, start: {command: [/bin/imap]}}\n"
        "      - {name: more, kind: memory, memory: 512MiB}\n";

static const char memory_timeline[] =
        "8s operator assign 0-128MiB=vm-a 256MiB-384MiB=vm-b 512MiB-640MiB=vm-c 768MiB-896MiB=vm-d 1GiB-1152MiB=vm-a\n"
        "10s operator assign vm-a=-128MiB vm-b=+128MiB\n"
        "13s plug vm-a 0\n"
        "13s operator assign vm-a=+256MiB\n"
        "14s operator assign-cancel\n"
        "15s plug vm-a 100\n"
        "17s operator assign vm-b=-256MiB vm-c=-128MiB\n"
        "25s heal\n"
        "90s end\n";

static struct policy *policy;
static const char *events; /* the timeline of the run */
static unsigned n_flows; /* of a run in which nothing fails */

void __real_engine_step(struct engine *engine, const struct event *event, struct update *update);
void __wrap_engine_step(struct engine *engine, const struct event *event, struct update *update);
void __wrap_engine_step(struct engine *engine, const struct event *event, struct update *update) {
        heap_begin(false);
        __real_engine_step(engine, event, update);
        heap_end();
}

static int load(void *userdata, const char *file, struct policy **ret, struct error *error) {
        char text[sizeof(policy_text) + sizeof(more_text)];
        struct diagnostics d = { 0 };
        int r;

        snprintf(text, sizeof(text), "%s%s", policy_text, more_text);
        r = policy_parse(text, strlen(text), file, ret, &d);
        diagnostics_print(&d, stderr);
        diagnostics_deinit(&d);
        return r;
}

static void run(void) {
        const struct simulate_options options = { .quiet = true, .must_arm = true, .load_policy = load };
        struct simulate_result result = { 0 };
        struct error error = ERROR_INIT;

        REQUIRE(simulate_run(policy, events, stdout, &options, &result, &error) == 0);
        CHECK(result.violations == 0);
        n_flows = result.flows;
}

static unsigned fail_each(const char *text, const char *what_happens) {
        struct diagnostics d = { 0 };
        unsigned n;

        REQUIRE(policy_parse(text, strlen(text), "policy", &policy, &d) == 0);
        diagnostics_deinit(&d);
        events = what_happens;
        n = heap_fail_each(run, HEAP_LACK_ONE);
        printf("%u allocations ", n);
        policy = policy_free(policy);
        return n;
}

static void failoverd_that_runs_out_of_memory_goes_on_from_its_store(void) {
        CHECK(fail_each(policy_text, timeline) > 100);
        CHECK(n_flows == 4);
}

static void memory_by_hand_that_runs_out_of_memory_is_refused_or_goes_on(void) {
        CHECK(fail_each(memory_text, memory_timeline) > 20);
}

TEST_MAIN("heap-engine", TEST(failoverd_that_runs_out_of_memory_goes_on_from_its_store),
          TEST(memory_by_hand_that_runs_out_of_memory_is_refused_or_goes_on))
