/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What deciding costs, on virtual time: pairs of the simulator, the engine that failoverd runs, and this thread's
 * processor time.
 *
 *   engine-cost idle PAIRS SECONDS     pairs that nothing happens to, each with a beat every 500 ms
 *   engine-cost failovers PAIRS COUNT  the active QEMUs are killed one after the other, each VM is rebuilt
 *   engine-cost rest PAIRS SECONDS     as `idle`, with each step of the engine timed once all is at rest
 *   engine-cost latency PAIRS COUNT    as `failovers`, the same
 *
 * Prints figures as lines "NAME VALUE". A step's latency is what its event waits for: the steps that are still under
 * way when it comes, as if one processor ran them all, and its own.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/engine.h"
#include "daemon/sim/simulate.h"
#include "policy/text.h"

#define PAIRS_MAX 4000
#define PAIR_TEXT_LEN 512
#define LINE_TEXT_LEN 48
#define ARMED_SEC 20     /* by then every pair is armed, and the engine at rest */
#define REBUILT_SEC 30   /* a killed VM is up again and its pair armed */
#define SPACING_MSEC 37  /* between faults: no multiple of a beat */
#define LATENCIES_MAX (1 << 20)

static struct {
        bool timed;
        uint64_t overhead_nsec; /* of looking at the clock */
        uint64_t n_steps, n_at_rest, total_nsec;
        uint64_t busy_nsec; /* on virtual time: when the one processor has done all that came before */
        uint64_t all[LATENCIES_MAX], deciding[LATENCIES_MAX];
        size_t n_all, n_deciding;
} cost; /* the linker puts a wrapper around engine_step(), which knows nothing of its caller */

void __real_engine_step(struct engine *engine, const struct event *event, struct update *update);
void __wrap_engine_step(struct engine *engine, const struct event *event, struct update *update);

static uint64_t cpu_nsec(void) {
        struct timespec now;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

/* Is this the step that decides to fence? */
static bool decides(const struct update *update) {
        for (size_t i = 0; i < update->n_actions; i++)
                if (update->actions[i].kind == ACTION_RECORD && update->actions[i].record_kind == RECORD_DECIDED)
                        return true;
        return false;
}

/* A name for what counts instructions, and looks at no clock in between. */
__attribute__((noinline)) static void step_at_rest(struct engine *engine, const struct event *event,
                                                   struct update *update) {
        __real_engine_step(engine, event, update);
        cost.n_at_rest++;
}

void __wrap_engine_step(struct engine *engine, const struct event *event, struct update *update) {
        uint64_t began, took, came = event->time_usec * 1000;

        cost.n_steps++;
        if (!engine->ready || engine->now_usec < engine->ready_usec + ARMED_SEC * USEC_PER_SEC) {
                __real_engine_step(engine, event, update);
                return;
        }
        if (!cost.timed) {
                step_at_rest(engine, event, update);
                return;
        }
        began = cpu_nsec();
        step_at_rest(engine, event, update);
        took = cpu_nsec() - began;
        took = took > cost.overhead_nsec ? took - cost.overhead_nsec : 0;
        cost.total_nsec += took;
        cost.busy_nsec = (cost.busy_nsec > came ? cost.busy_nsec : came) + took;
        if (cost.n_all < LATENCIES_MAX)
                cost.all[cost.n_all++] = cost.busy_nsec - came;
        if (decides(update) && cost.n_deciding < LATENCIES_MAX)
                cost.deciding[cost.n_deciding++] = cost.busy_nsec - came;
}

static void calibrate(void) {
        uint64_t least = UINT64_MAX;

        for (int i = 0; i < 1000; i++) {
                uint64_t began = cpu_nsec(), took = cpu_nsec() - began;

                if (took < least)
                        least = took;
        }
        cost.overhead_nsec = least;
}

static struct policy *make_policy(unsigned n_pairs) {
        _cleanup_free_ char *text = malloc(n_pairs * PAIR_TEXT_LEN + PAIR_TEXT_LEN);
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;
        size_t used;

        if (!text)
                return NULL;
        used = (size_t) sprintf(text,
                                "version: 1\npool: {memory: %uGiB, reserve: 64MiB, extent: 32MiB, monitor: 64MiB, "
                                "overhead: 64MiB}\npairs:\n",
                                n_pairs + 1);
        for (unsigned i = 0; i < n_pairs; i++)
                used += (size_t) sprintf(
                        text + used,
                        "  - name: p%u\n    active: {domain: a%u, base: 192MiB}\n    standby: {domain: b%u, base: "
                        "192MiB}\n"
                        "    detect: {beat: 500ms}\n    flap: {failovers: 16, within: 1s}\n    applications:\n"
                        "      - {name: db%u, kind: hot-standby, memory: 128MiB, start: {command: [/bin/db]}}\n"
                        "      - {name: web%u, kind: plain, memory: 64MiB, start: {active: {command: [/bin/web]}}}\n",
                        i, i, i, i, i);
        if (policy_parse(text, used, "policy", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        return policy;
}

/* The active VM of one pair after the other is killed; its side is the other one in the next round. */
static char *make_timeline(unsigned n_pairs, unsigned n_failovers, unsigned seconds) {
        unsigned round_msec = n_pairs * SPACING_MSEC > REBUILT_SEC * 1000 ? n_pairs * SPACING_MSEC : REBUILT_SEC * 1000;
        char *text = malloc(((size_t) n_failovers + 1) * LINE_TEXT_LEN);
        size_t used = 0;
        uint64_t end = ARMED_SEC * 1000 + seconds * 1000;

        if (!text)
                return NULL;
        for (unsigned i = 0; i < n_failovers; i++) {
                uint64_t at = ARMED_SEC * 1000 + (uint64_t) (i / n_pairs) * round_msec + i % n_pairs * SPACING_MSEC;

                used += (size_t) sprintf(text + used, "%" PRIu64 "ms qemu-kill %c%u\n", at, "ab"[i / n_pairs % 2],
                                         i % n_pairs);
                end = at + REBUILT_SEC * 1000;
        }
        sprintf(text + used, "%" PRIu64 "ms end\nseed 1\n", end);
        return text;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return (x > y) - (x < y);
}

static void print_latency(const char *name, uint64_t *latencies, size_t n) {
        qsort(latencies, n, sizeof(*latencies), compare);
        if (n)
                printf("%s-p50-usec %.3f\n%s-p99-usec %.3f\n%s-max-usec %.3f\n", name, (double) latencies[n / 2] / 1e3,
                       name, (double) latencies[n - 1 - n / 100] / 1e3, name, (double) latencies[n - 1] / 1e3);
}

int main(int argc, char **argv) {
        const struct simulate_options options = { .quiet = true };
        unsigned n_pairs = argc == 4 ? (unsigned) strtoul(argv[2], NULL, 10) : 0,
                 n = argc == 4 ? (unsigned) strtoul(argv[3], NULL, 10) : 0;
        bool faults;
        struct simulate_result result = { 0 };
        struct error error = ERROR_INIT;
        _cleanup_free_ char *timeline = NULL;
        struct policy *policy;
        uint64_t began;
        double cpu, seconds;
        int r;

        if (n_pairs == 0 || n_pairs > PAIRS_MAX || n == 0) {
                fprintf(stderr, "usage: engine-cost idle|rest PAIRS SECONDS | failovers|latency PAIRS COUNT\n");
                return 2;
        }
        calibrate();
        cost.timed = strcmp(argv[1], "rest") == 0 || strcmp(argv[1], "latency") == 0;
        faults = strcmp(argv[1], "failovers") == 0 || strcmp(argv[1], "latency") == 0;
        policy = make_policy(n_pairs);
        timeline = make_timeline(n_pairs, faults ? n : 0, faults ? 0 : n);
        if (!policy || !timeline)
                return 1;
        began = cpu_nsec();
        r = simulate_run(policy, timeline, stderr, &options, &result, &error);
        cpu = (double) (cpu_nsec() - began) / 1e9;
        policy_free(policy);
        if (r < 0 || result.violations) {
                fprintf(stderr, "%s\n", r < 0 ? error_text(&error) : "something that must always hold was violated");
                error_deinit(&error);
                return 1;
        }
        seconds = (double) result.span_usec / 1e6;
        printf("cpu-sec %.4f\npair-seconds %.0f\nsteps %" PRIu64 "\nflows %u\n", cpu, seconds * n_pairs, cost.n_steps,
               result.flows);
        if (cost.timed)
                printf("engine-nsec-per-pair-second %.1f\n",
                       (double) cost.total_nsec / ((seconds - ARMED_SEC) * n_pairs));
        print_latency("step", cost.all, cost.n_all);
        print_latency("decision", cost.deciding, cost.n_deciding);
        return 0;
}
