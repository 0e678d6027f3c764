/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Seeded exploration: a safety phase in which anything may fail, then everything heals and every pair has to be
 * armed within a bounded time. The simulator's checkers look on throughout. What fails is printed as a scenario
 * that runs by itself, reduced to the lines that it needs.
 *
 *   explore SEED_FROM N [PAIRS_MAX]
 *   explore for MINUTES               seeds that nobody has seen; every 20th world may have up to 50 pairs
 *   explore show SEED [PAIRS_MAX]     prints that world's policy.yaml and timeline
 *   explore reach MACHINE FROM TO SEED  prints what of that world is needed to come to that change of state
 *   explore check ...                 the same, but instead of healing: once the world is at rest, one of the failures
 *                                     of which `failoverctl check` speaks is caused, and what it said must come true
 *   explore first ...                 the same, up to the first seed that fails, which is only named
 *   explore scenarios DIRECTORY ...   the same, and each change of state of any machine of the core (daemon/sim/
 *                                     transitions.h) that the worlds come to has to be in a scenario there
 */

#include <inttypes.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/sim/simulate.h"
#include "tests/sim/generate.h"
#include "tests/sim/scenario.h"

#define PAIRS_MAX 5        /* of most worlds */
#define PAIRS_MAX_LARGE 50 /* few, but large worlds */
#define LARGE_EVERY 20
#define FAILED_MAX 5       /* then it is enough */
#define CHECK_AFTER_SEC 120 /* by then what is hidden has struck, and a guest has booted twice */
#define CHECK_FOR_SEC 90
#define LIVENESS_SEC 900 /* longest rebuild: a guest that never greets (300 s), twice, and some */
#define TIMELINE_LEN (GENERATED_LINES_MAX * GENERATED_LINE_LEN + 512)

static struct {
        uint64_t seed;
        bool check, first;
        bool scenarios;
        struct transitions known; /* which scenarios have */
        struct {
                enum machine machine;
                unsigned from, to;
        } reach;
        uint64_t transition_seed[MACHINE_MAX][MACHINE_STATES_MAX][MACHINE_STATES_MAX];
        usec_t began_usec;
        struct generated world;
        bool left_out[GENERATED_LINES_MAX];
        char timeline[TIMELINE_LEN];
        struct simulate_result total;
} explore; /* for the signal handler, which has no other way to know */

static void write_line(size_t *used, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void write_line(size_t *used, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        *used += (size_t) vsnprintf(explore.timeline + *used, TIMELINE_LEN - *used, format, ap);
        va_end(ap);
        explore.timeline[(*used)++] = '\n';
        explore.timeline[*used] = 0;
}

/* The last heal comes when the longest time-out of the policy is over: what it led to may hold a pair. */
static void write_timeline(void) {
        static const unsigned heal_sec[] = { 0, 10, 20, 120 };
        const struct generated *world = &explore.world;
        char name[GENERATED_NAME_LEN];
        size_t used = 0;

        write_line(&used, "seed %" PRIu64, explore.seed);
        for (size_t i = 0; i < world->n_lines; i++)
                if (!explore.left_out[i])
                        write_line(&used, "%s", world->lines[i]);
        if (explore.check) {
                write_line(&used, "%us calm", world->heal_sec);
                write_line(&used, "%us try p%" PRIu64 " %" PRIu64, world->heal_sec + CHECK_AFTER_SEC,
                           explore.seed % world->n_pairs, explore.seed / 7);
                write_line(&used, "%us end", world->heal_sec + CHECK_AFTER_SEC + CHECK_FOR_SEC);
                return;
        }
        for (size_t i = 0; i < sizeof(heal_sec) / sizeof(heal_sec[0]); i++) {
                write_line(&used, "%us heal", world->heal_sec + heal_sec[i]);
                if (world->n_policies > 1 && strstr(explore.timeline, "apply"))
                        write_line(&used, "%us apply %s", world->heal_sec + heal_sec[i] + 5,
                                   generated_policy_name(world->n_policies, name));
        }
        write_line(&used, "%us end", world->heal_sec + LIVENESS_SEC);
}

static void show(const char *text) {
        size_t n = strlen(text);

        while (n > 0) {
                ssize_t k = write(STDERR_FILENO, text, n);

                if (k <= 0)
                        return;
                text += k;
                n -= (size_t) k;
        }
}

/* An assertion of the core: say which world it was. */
static void on_abort(int signal_number) {
        char line[64];

        snprintf(line, sizeof(line), "\nseed %" PRIu64 " aborted\n---- policy.yaml\n", explore.seed);
        show(line);
        show(explore.world.policies[0]);
        show("---- timeline\n");
        show(explore.timeline);
        signal(signal_number, SIG_DFL);
        raise(signal_number);
}

static bool run_once(FILE *out, bool quiet, struct simulate_result *ret) {
        const struct simulate_options options = {
                .quiet = quiet, .must_arm = !explore.check, .load_policy = generated_load, .userdata = &explore.world,
        };
        struct error error = ERROR_INIT;
        struct policy *policy = NULL;
        int r;

        *ret = (struct simulate_result) { 0 };
        write_timeline();
        r = generated_load(&explore.world, "policy.yaml", &policy, &error);
        if (r >= 0)
                r = simulate_run(policy, explore.timeline, out, &options, ret, &error);
        policy_free(policy);
        if (r < 0) {
                fprintf(stderr, "seed %" PRIu64 ": %s\n", explore.seed, error_text(&error));
                error_deinit(&error);
        }
        return r >= 0 && ret->violations == 0;
}

static bool fails(void) {
        struct simulate_result result;

        return !run_once(NULL, true, &result) && result.violations > 0; /* else it is no timeline any more */
}

static bool reaches(void) {
        struct simulate_result result;

        run_once(NULL, true, &result);
        return result.transitions.n[explore.reach.machine][explore.reach.from][explore.reach.to] > 0;
}

/* Leaves out every line without which `holds` does too. */
static void reduce(bool (*holds)(void)) {
        bool smaller = true;

        while (smaller) {
                smaller = false;
                for (size_t i = explore.world.n_lines; i-- > 0;) {
                        if (explore.left_out[i])
                                continue;
                        explore.left_out[i] = true;
                        if (holds())
                                smaller = true;
                        else
                                explore.left_out[i] = false;
                }
        }
}

static void print_world(void) {
        char name[GENERATED_NAME_LEN];

        for (size_t i = 0; i <= explore.world.n_policies; i++) {
                generated_policy_name(i, name);
                if (i == 0 || strstr(explore.timeline, name))
                        printf("---- %s\n%s", name, explore.world.policies[i]);
        }
        printf("---- timeline\n%s", explore.timeline);
}

static void note_transitions(uint64_t seed, const struct transitions *transitions) {
        for (enum machine machine = 0; machine < MACHINE_MAX; machine++)
                for (unsigned a = 0; a < MACHINE_STATES_MAX; a++)
                        for (unsigned b = 0; b < MACHINE_STATES_MAX; b++)
                                if (explore.total.transitions.n[machine][a][b] == 0)
                                        explore.transition_seed[machine][a][b] = seed;
        transitions_add(&explore.total.transitions, transitions);
}

static bool explore_seed(uint64_t seed, unsigned pairs_max) {
        struct simulate_result result;
        bool good;

        explore.seed = seed;
        memset(explore.left_out, 0, sizeof(explore.left_out));
        generate(seed, pairs_max, explore.check, &explore.world);
        good = run_once(NULL, true, &result);
        explore.total.steps += result.steps;
        explore.total.span_usec += result.span_usec;
        explore.total.flows += result.flows;
        for (int i = 0; i < READINESS_LEVEL_MAX; i++)
                explore.total.foretold[i] += result.foretold[i];
        note_transitions(seed, &result.transitions);
        if (good)
                return true;
        if (explore.first) {
                printf("seed %" PRIu64 " failed\n", seed);
                return false;
        }
        reduce(fails);
        printf("seed %" PRIu64 " failed\n", seed);
        run_once(NULL, true, &result);
        print_world();
        printf("---- run\n");
        run_once(stdout, getenv("EXPLORE_QUIET") != NULL, &result);
        return false;
}

static int show_world(uint64_t seed, unsigned pairs_max) {
        explore.seed = seed;
        generate(seed, pairs_max, explore.check, &explore.world);
        write_timeline();
        print_world();
        return 0;
}

static unsigned machine_state_from_string(enum machine machine, const char *word) {
        unsigned state = 0;

        while (state < MACHINE_STATES_MAX && strcmp(word, machine_state_to_string(machine, state) ?: "") != 0)
                state++;
        return state;
}

/* Prints the least of that seed's world that comes to a transition. */
static int reach(const char *machine, const char *from, const char *to, uint64_t seed) {
        explore.reach.machine = machine_from_string(machine);
        if (explore.reach.machine >= 0) {
                explore.reach.from = machine_state_from_string(explore.reach.machine, from);
                explore.reach.to = machine_state_from_string(explore.reach.machine, to);
        }
        if (explore.reach.machine < 0 || explore.reach.from == MACHINE_STATES_MAX ||
            explore.reach.to == MACHINE_STATES_MAX) {
                fprintf(stderr, "%s: %s -> %s: no such machine, or no such state of it\n", machine, from, to);
                return 2;
        }
        explore.seed = seed;
        generate(seed, PAIRS_MAX, explore.check, &explore.world);
        if (!reaches()) {
                fprintf(stderr, "seed %" PRIu64 " does not come to that\n", seed);
                return 1;
        }
        reduce(reaches);
        write_timeline();
        print_world();
        return 0;
}

static usec_t now(clockid_t clock) {
        struct timespec t;

        clock_gettime(clock, &t);
        return (usec_t) t.tv_sec * USEC_PER_SEC + (usec_t) t.tv_nsec / 1000;
}

/* How many of a machine's transitions no scenario has. */
static unsigned name_unread_transitions(enum machine machine) {
        unsigned n = 0, n_missing = 0;

        for (unsigned a = 0; a < MACHINE_STATES_MAX; a++)
                for (unsigned b = 0; b < MACHINE_STATES_MAX; b++) {
                        if (explore.total.transitions.n[machine][a][b] == 0)
                                continue;
                        n++;
                        if (explore.known.n[machine][a][b] > 0)
                                continue;
                        n_missing++;
                        printf("%s: %s -> %s: in no scenario, %u times here; see `explore reach %s %s %s %" PRIu64
                               "`\n",
                               machine_to_string(machine), machine_state_to_string(machine, a),
                               machine_state_to_string(machine, b), explore.total.transitions.n[machine][a][b],
                               machine_to_string(machine), machine_state_to_string(machine, a),
                               machine_state_to_string(machine, b), explore.transition_seed[machine][a][b]);
                }
        printf("%s: %u transitions, %u of them in no scenario\n", machine_to_string(machine), n, n_missing);
        return n_missing;
}

static unsigned name_all_unread_transitions(void) {
        unsigned n = 0;

        for (enum machine machine = 0; machine < MACHINE_MAX; machine++)
                n += name_unread_transitions(machine);
        return n;
}

/* What is known is what the scenarios come to: their `expect` has been read, and another test holds them to it. */
static int learn_transitions(const struct scenario *scenario) {
        const struct simulate_options options = {
                .quiet = true, .load_policy = scenario_load_policy, .userdata = scenario->directory,
        };
        struct simulate_result result = { 0 };
        struct error error = ERROR_INIT;
        int r = simulate_run(scenario->policy, scenario->timeline, NULL, &options, &result, &error);

        if (r < 0)
                fprintf(stderr, "%s: %s\n", scenario->directory, error_text(&error));
        error_deinit(&error);
        transitions_add(&explore.known, &result.transitions);
        return r;
}

static int end(uint64_t n, unsigned failed) {
        double sec = (double) (now(CLOCK_MONOTONIC) - explore.began_usec) / USEC_PER_SEC;

        printf("%" PRIu64 " seeds in %.1f s (%.0f/s), %" PRIu64 " virtual hours, %" PRIu64 " steps, "
               "%u flows ended; %u failed\n",
               n, sec, sec > 0 ? (double) n / sec : 0, explore.total.span_usec / USEC_PER_SEC / 3600,
               explore.total.steps, explore.total.flows, failed);
        for (int i = 0; explore.check && i < READINESS_LEVEL_MAX; i++)
                printf("%u failures caused that check called %s\n", explore.total.foretold[i],
                       readiness_level_to_string((enum readiness_level) i));
        if (explore.scenarios && name_all_unread_transitions() > 0)
                return 1;
        return failed ? 1 : 0;
}

static unsigned failed_max(void) {
        return explore.first ? 1 : FAILED_MAX;
}

static int explore_for(usec_t span_usec) {
        usec_t until = now(CLOCK_MONOTONIC) + span_usec;
        uint64_t from = now(CLOCK_REALTIME), n = 0;
        unsigned failed = 0;

        printf("seeds from %" PRIu64 " on; again: explore %sSEED 1 %d, every %dth with %d\n", from,
               explore.check ? "check " : "", PAIRS_MAX, LARGE_EVERY, PAIRS_MAX_LARGE);
        fflush(stdout);
        for (; now(CLOCK_MONOTONIC) < until && failed < failed_max(); n++)
                failed += !explore_seed(from + n, n % LARGE_EVERY ? PAIRS_MAX : PAIRS_MAX_LARGE);
        return end(n, failed);
}

static int explore_seeds(uint64_t from, uint64_t n, unsigned pairs_max) {
        unsigned failed = 0;

        printf("seeds %" PRIu64 " to %" PRIu64 ", up to %u pairs; again: explore %sSEED 1 %u\n", from, from + n - 1,
               pairs_max, explore.check ? "check " : "", pairs_max);
        fflush(stdout);
        for (uint64_t seed = from; seed < from + n && failed < failed_max(); seed++)
                failed += !explore_seed(seed, pairs_max);
        return end(n, failed);
}

/* Takes the words before the seeds off the command line. Returns false where one of them cannot be followed. */
static bool take_words(int *argc, char ***argv) {
        for (; *argc > 1; (*argc)--, (*argv)++) {
                const char *word = (*argv)[1];

                if (strcmp(word, "check") == 0) {
                        explore.check = true;
                } else if (strcmp(word, "first") == 0) {
                        explore.first = true;
                } else if (strcmp(word, "scenarios") == 0 && *argc > 2) {
                        explore.scenarios = true;
                        if (scenarios_run((*argv)[2], learn_transitions) <= 0) {
                                fprintf(stderr, "%s: no scenarios that can be run\n", (*argv)[2]);
                                return false;
                        }
                        (*argc)--, (*argv)++;
                } else {
                        return true;
                }
        }
        return true;
}

int main(int argc, char **argv) {
        const char *first;
        uint64_t n;
        unsigned pairs_max;

        if (!take_words(&argc, &argv))
                return 2;
        if (argc == 6 && strcmp(argv[1], "reach") == 0)
                return reach(argv[2], argv[3], argv[4], strtoull(argv[5], NULL, 10));
        first = argc > 1 ? argv[1] : "";
        n = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
        pairs_max = argc > 3 ? (unsigned) strtoul(argv[3], NULL, 10) : PAIRS_MAX;
        if (argc < 3 || argc > 4 || pairs_max == 0 || pairs_max > PAIRS_MAX_LARGE) {
                fprintf(stderr,
                        "usage: explore [check] [first] [scenarios DIRECTORY] SEED_FROM N [PAIRS_MAX] | for MINUTES | "
                        "show SEED [PAIRS_MAX] | reach MACHINE FROM TO SEED; at most %d pairs\n",
                        PAIRS_MAX_LARGE);
                return 2;
        }
        if (strcmp(first, "show") == 0)
                return show_world(n, pairs_max);
        signal(SIGABRT, on_abort);
        explore.began_usec = now(CLOCK_MONOTONIC);
        if (strcmp(first, "for") == 0)
                return explore_for((usec_t) (strtod(argv[2], NULL) * 60 * USEC_PER_SEC));
        return explore_seeds(strtoull(first, NULL, 10), n, pairs_max);
}
