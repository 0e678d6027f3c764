/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The engine is a function of what it remembers and what it is told. Random worlds, and all scenarios, are recorded
 * with snapshots at random instants. Then each recording is written anew, which has to give the same text, so that
 * nothing of an event is lost; and it is replayed from its beginning and from each of its snapshots on: every update
 * has to be the same to the last byte, and the replay has to come to every later snapshot. A field that the engine
 * remembers and a snapshot does not shows here, as does anything that decides and is not in the events.
 *
 *   explore-replay SEED_FROM N [PAIRS_MAX]
 *   explore-replay scenarios DIRECTORY [SNAPSHOTS]
 *   explore-replay damage SEED_FROM N
 *
 * The last one damages recordings at random: whatever stands in one, it is replayed or refused with a reason.
 */

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "daemon/replay/recording-reader.h"
#include "daemon/replay/replay.h"
#include "daemon/sim/simulate.h"
#include "tests/random.h"
#include "tests/sim/generate.h"
#include "tests/sim/scenario.h"

#define REPLAYED_MAX (4 * MIB) /* of one world: then it is not replayed from further snapshots */
#define PATH_LEN 512

static struct {
        uint64_t worlds, segments, events;
        unsigned segments_max; /* replayed from, of one world */
        struct generated world;
        char timeline[(GENERATED_LINES_MAX + 4) * GENERATED_LINE_LEN];
} explore;

/* ---- worlds ---------------------------------------------------------------------------------------------- */

static void write_timeline(uint64_t seed) {
        const struct generated *world = &explore.world;
        size_t used = (size_t) snprintf(explore.timeline, sizeof(explore.timeline), "seed %" PRIu64 "\n", seed + 1);

        for (size_t i = 0; i < world->n_lines; i++)
                used += (size_t) snprintf(explore.timeline + used, sizeof(explore.timeline) - used, "%s\n",
                                          world->lines[i]);
        snprintf(explore.timeline + used, sizeof(explore.timeline) - used, "%us heal\n%us end\n", world->heal_sec,
                 world->heal_sec + 60);
}

/* Runs a world, with a new segment after so many events on average, and gives the recording of it. */
static char *record(struct simulate_options options, const struct policy *policy, const char *timeline, size_t *ret_n) {
        struct error error = ERROR_INIT;
        char *recording = NULL;
        int r;

        options.quiet = true;
        options.record = open_memstream(&recording, ret_n);
        if (!options.record)
                return NULL;
        r = simulate_run(policy, timeline, NULL, &options, NULL, &error);
        if (r < 0)
                fprintf(stderr, "%s\n", error_text(&error));
        error_deinit(&error);
        return memstream_close(options.record, &recording) < 0 ? NULL : recording;
}

/* ---- recordings ------------------------------------------------------------------------------------------ */

static bool replay(const char *name, unsigned segment, const char *text, size_t n) {
        struct replay_options options = { 0 };
        struct replay_result result;
        struct error error = ERROR_INIT;
        int r = replay_run(text, n, &options, &result, &error);
        bool good = r >= 0 && !result.differs && !result.torn && result.digests > 0;

        if (!good)
                printf("%s, from segment %u: %s\n", name, segment,
                       r < 0            ? error_text(&error)
                       : result.differs ? result.difference
                                        : "torn, or nothing was compared");
        explore.events += result.events;
        error_deinit(&error);
        replay_result_deinit(&result);
        return good;
}

/* Takes the recording apart and writes it anew: the same text has to come out. */
static bool write_anew(const char *name, const char *text, size_t n) {
        struct recording_reader reader = { 0 };
        struct recorder recorder = { .digest_every = 1 };
        struct update update = UPDATE_INIT;
        struct engine *engine = NULL;
        struct error error = ERROR_INIT;
        bool good;
        int r = recording_reader_init(&reader, text, n, &error);

        while (r >= 0 && (r = recording_reader_next(&reader, &error)) > 0)
                if (r == RECORDING_SEGMENT) {
                        engine_free(engine);
                        engine = steal_ptr(reader.engine);
                        r = recorder_segment(&recorder, engine, &reader.head);
                } else if (r == RECORDING_EVENT) {
                        r = recorder_event(&recorder, &reader.event.event);
                        engine_step(engine, &reader.event.event, &update);
                        if (r >= 0)
                                r = recorder_update(&recorder, engine, &update);
                }
        good = r >= 0 && recorder.out.n == n && memcmp(recorder.out.bytes, text, n) == 0;
        if (!good)
                printf("%s: written anew it is another text %s\n", name, r < 0 ? error_text(&error) : "");
        engine_free(engine);
        update_deinit(&update);
        recorder_deinit(&recorder);
        recording_reader_deinit(&reader);
        error_deinit(&error);
        return good;
}

static bool prove(const char *name, const char *recording, size_t n) {
        bool good = recording && write_anew(name, recording, n);
        unsigned segment = 0;
        size_t replayed = 0;

        for (const char *at = recording; at && good && segment < explore.segments_max && replayed < REPLAYED_MAX;
             segment++) {
                good = replay(name, segment, at, n - (size_t) (at - recording));
                replayed += n - (size_t) (at - recording);
                at = strstr(at + 1, "\n" RECORDING_MAGIC " ");
                at = at ? at + 1 : NULL;
        }
        explore.worlds++;
        explore.segments += segment;
        return good;
}

/* ---- what is explored ------------------------------------------------------------------------------------ */

static char *record_seed(uint64_t seed, unsigned pairs_max, size_t *ret_n) {
        const struct simulate_options options = {
                .record_segment = seed % 4 ? 400 : 40, .load_policy = generated_load, .userdata = &explore.world,
        };
        struct error error = ERROR_INIT;
        struct policy *policy = NULL;
        char *recording = NULL;

        generate(seed, pairs_max, seed % 3 == 0, &explore.world);
        write_timeline(seed);
        if (generated_load(&explore.world, "policy.yaml", &policy, &error) >= 0)
                recording = record(options, policy, explore.timeline, ret_n);
        error_deinit(&error);
        policy_free(policy);
        return recording;
}

static bool explore_seed(uint64_t seed, unsigned pairs_max) {
        size_t n = 0;
        _cleanup_free_ char *recording = record_seed(seed, pairs_max, &n);
        char name[64];

        snprintf(name, sizeof(name), "seed %" PRIu64, seed);
        return prove(name, recording, n);
}

/* ---- damage ---------------------------------------------------------------------------------------------- */

#define DAMAGES 40 /* of one recording */

/* Where a word that begins with one of these letters begins, somewhere. */
static char *find(char *text, size_t n, uint64_t *random, const char *letters) {
        char *p = text + random_draw(random) % n;

        while (p < text + n && !strchr(letters, *p))
                p++;
        return p < text + n ? p : text;
}

/* Changes one thing: a digit, a byte, a line that goes, comes again or ends early. What stays is a text. */
static void damage(char *text, uint64_t *random) {
        size_t n = strlen(text);
        char *p, *end;

        if (n < 2)
                return;
        switch (random_below(random, 8)) {
        case 0 ... 3:
                *find(text, n, random, "0123456789") = (char) ('0' + random_below(random, 10));
                break;
        case 4:
                text[random_draw(random) % n] = "0 =.[]\"ab-|\n"[random_below(random, 12)];
                break;
        case 5: /* a number grows */
                p = find(text, n, random, "0123456789");
                for (end = p; *end && end < p + 18 && *end != '\n'; end++)
                        *end = '9';
                break;
        case 6: /* a line goes */
                p = find(text, n, random, "\n");
                end = strchr(p + 1, '\n');
                if (end)
                        memmove(p, end, strlen(end) + 1);
                break;
        default: /* one line takes the place of another */
                p = find(text, n, random, "\n") + 1;
                end = find(text, n, random, "\n") + 1;
                memmove(p, end, strcspn(end, "\n") < strlen(p) ? strcspn(end, "\n") : strlen(p));
                break;
        }
}

static void damage_world(uint64_t seed, uint64_t *n_replayed, uint64_t *n_refused) {
        size_t n = 0;
        _cleanup_free_ char *recording = record_seed(seed, 3, &n), *copy = recording ? malloc(n + 1) : NULL;
        uint64_t random = seed;

        for (int i = 0; copy && i < DAMAGES; i++) {
                struct replay_options options = { 0 };
                struct replay_result result;
                struct error error = ERROR_INIT;
                char *from = recording, *next;

                /* From one of its first segments on, and not all of it: what is damaged is to be met soon. */
                for (unsigned k = random_below(&random, 6); k > 0 && (next = strstr(from + 1, "\n" RECORDING_MAGIC));
                     k--)
                        from = next + 1;
                n = strnlen(from, 20000 + random_below(&random, 40000));
                memcpy(copy, from, n);
                copy[n] = 0;
                for (unsigned k = 1 + random_below(&random, 3); k > 0; k--)
                        damage(copy, &random);
                if (replay_run(copy, strlen(copy), &options, &result, &error) >= 0)
                        ++*n_replayed;
                else
                        ++*n_refused;
                error_deinit(&error);
                replay_result_deinit(&result);
        }
}

static unsigned explore_damage(uint64_t from, uint64_t n) {
        uint64_t n_replayed = 0, n_refused = 0;

        for (uint64_t seed = from; seed < from + n; seed++)
                damage_world(seed, &n_replayed, &n_refused);
        printf("%" PRIu64 " damaged recordings were replayed, %" PRIu64 " refused\n", n_replayed, n_refused);
        return n_replayed && n_refused ? 0 : 1;
}

/* ---- scenarios ------------------------------------------------------------------------------------------- */

static unsigned scenarios_failed;

static int explore_scenario(const struct scenario *scenario) {
        const struct simulate_options options = {
                .record_segment = 50, .load_policy = scenario_load_policy, .userdata = scenario->directory,
        };
        _cleanup_free_ char *recording = NULL;
        size_t n = 0;

        recording = record(options, scenario->policy, scenario->timeline, &n);
        scenarios_failed += !prove(scenario->directory, recording, n);
        return 0;
}

static unsigned explore_seeds(uint64_t from, uint64_t n, unsigned pairs_max) {
        unsigned failed = 0;

        printf("seeds %" PRIu64 " to %" PRIu64 ", up to %u pairs; again: explore-replay SEED 1 %u\n", from,
               from + n - 1, pairs_max, pairs_max);
        fflush(stdout);
        for (uint64_t seed = from; seed < from + n && failed < 5; seed++)
                failed += !explore_seed(seed, pairs_max);
        return failed;
}

int main(int argc, char **argv) {
        uint64_t from = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, n = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
        unsigned pairs_max = argc == 4 && strcmp(argv[1], "damage") != 0 ? (unsigned) strtoul(argv[3], NULL, 10) : 5,
                 failed;

        if (pairs_max == 0 || pairs_max > 50) {
                fprintf(stderr, "usage: %s SEED_FROM N [PAIRS_MAX]; at most 50 pairs\n", argv[0]);
                return 2;
        }
        explore.segments_max = 16;
        if (argc == 4 && strcmp(argv[1], "scenarios") == 0)
                explore.segments_max = pairs_max;
        if (argc >= 3 && strcmp(argv[1], "scenarios") == 0)
                failed = scenarios_run(argv[2], explore_scenario) < 0 || scenarios_failed;
        else if (argc == 4 && strcmp(argv[1], "damage") == 0)
                return (int) explore_damage(n, strtoull(argv[3], NULL, 10));
        else
                failed = explore_seeds(from, n, pairs_max);
        printf("%" PRIu64 " worlds, replayed from %" PRIu64 " snapshots, %" PRIu64 " events; %u failed\n",
               explore.worlds, explore.segments, explore.events, failed);
        return failed || explore.segments < explore.worlds + (explore.segments_max > 1) ? 1 : 0;
}
