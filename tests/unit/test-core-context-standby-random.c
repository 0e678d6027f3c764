/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Random worlds: a VM, its servers, libvirt and the program itself fail as they like, and the VM never runs beside
 * itself, nor is it thrown back further than to a checkpoint of the life that it has. */

#include <stdio.h>

#include "daemon/core/standby-readiness.h"
#include "tests/random.h"
#include "tests/unit/test.h"

#define SEC USEC_PER_SEC
#define LOOK_USEC (SEC / 2)
#define WORLDS 300
#define STEPS 6000

static const struct vm_policy policy = { .domain = "a", .checkpoint_usec = 30 * SEC, .flap_limit = 3,
                                         .flap_window_usec = 3600 * SEC };

/* A life is what begins with a start from nothing: going on from a checkpoint continues it. */
struct world {
        uint64_t random;
        usec_t now;
        bool process, crashed, servers, libvirt, program;
        enum alone_state ended; /* how libvirt saw it end */
        unsigned life;
        uint64_t run;
        struct {
                bool whole;
                bool lost, damaged; /* by the servers' doing */
                unsigned life;
                uint64_t saved;     /* its name there */
        } contexts[2];
        uint64_t saves;
        struct standby_record record; /* on file */
        struct standby_sight sight;   /* gone with the program */
        unsigned resumed, held, older;
        bool calm; /* nothing happens of itself any more */
};

static bool once_in(struct world *w, unsigned n) {
        return !w->calm && random_below(&w->random, n) == 0;
}

static void begin_process(struct world *w) {
        w->process = true;
        w->crashed = false;
        w->run++;
}

static void end_process(struct world *w, enum alone_state how) {
        w->process = w->crashed = false;
        w->ended = how;
}

/* Ending a VM in order, and starting it, takes its time, the more when both are done. */
static void outside(struct world *w) {
        switch (random_below(&w->random, 11)) {
        case 0:
        case 1:
                if (w->process)
                        end_process(w, ALONE_LOST);
                break;
        case 2:
                w->crashed = w->process;
                break;
        case 3:
                if (w->process)
                        end_process(w, ALONE_OFF);
                w->now += w->program ? 0 : 3 * SEC;
                break;
        case 4:
        case 5:
                if (!w->process) {
                        begin_process(w);
                        w->life++;
                }
                w->now += w->program ? 0 : 3 * SEC;
                break;
        case 6:
                w->servers = !w->servers;
                break;
        case 7:
                w->libvirt = !w->libvirt;
                break;
        case 8: /* they are started anew */
                w->contexts[0].lost = w->contexts[1].lost = true;
                break;
        case 9:
                w->contexts[random_below(&w->random, 2)].damaged = true;
                break;
        default:
                w->program = !w->program;
                break;
        }
        if (!w->program)
                w->sight = (struct standby_sight) { 0 };
}

/* Here the program may end, between any two steps. */
static bool survives(struct world *w) {
        if (!once_in(w, 20))
                return true;
        w->program = false;
        w->sight = (struct standby_sight) { 0 };
        return false;
}

static void see(struct world *w) {
        struct standby_sight *sight = &w->sight;

        sight->vm = !w->libvirt ? ALONE_UNKNOWN : !w->process ? w->ended : w->crashed ? ALONE_CRASHED : ALONE_RUNS;
        sight->run = w->process ? w->run : 0;
        sight->gone = !w->process;
        standby_seen(&w->record, sight, w->now);
}

/* The servers are asked what they have; what that is of may have been replaced since. */
static void prove(struct world *w) {
        const int slot = w->record.slot;
        const bool there = w->contexts[slot].whole && !w->contexts[slot].lost;

        if (!once_in(w, 20) && !w->calm)
                return;
        w->sight.kept = !w->servers ? KEPT_SILENT : there ? KEPT_WHOLE : KEPT_GONE;
        w->sight.kept_saved_usec = w->record.saved_usec;
        w->sight.reachable = w->servers;
        if (w->sight.kept == KEPT_WHOLE)
                w->sight.kept_usec = w->now;
}

/* So long the save takes, in which nothing but the VM's process is looked at; returns whether it ended in time. */
static bool save(struct world *w, uint64_t run, usec_t *ret_seen) {
        const usec_t until = w->now + (w->calm ? 2 : random_below(&w->random, 41)) * SEC;

        *ret_seen = w->now;
        while (w->now < until) {
                struct standby_sight sight = { .run = w->process ? w->run : 0, .gone = !w->process };

                *ret_seen = standby_watched(*ret_seen, run, &sight, w->now);
                if (sight.run != run)
                        return false;
                if (once_in(w, 100))
                        outside(w);
                if (!w->program)
                        return false;
                w->now += LOOK_USEC;
        }
        return w->servers;
}

static void checkpoint(struct world *w) {
        const int slot = !w->record.slot;
        const uint64_t run = w->sight.run;
        const usec_t begun = w->now;
        usec_t seen;
        bool good;

        standby_replacing(&w->record);
        if (!survives(w))
                return;
        w->contexts[slot].whole = false;
        if (!survives(w))
                return;
        good = save(w, run, &seen);
        if (w->program && w->record.run == run && (seen == 0 || w->record.seen_usec < seen))
                w->record.seen_usec = seen;
        if (good) {
                w->contexts[slot].whole = true;
                w->contexts[slot].lost = w->contexts[slot].damaged = false;
                w->contexts[slot].life = w->life;
                w->contexts[slot].saved = ++w->saves;
        }
        if (once_in(w, 10))
                outside(w);
        if (!w->program || !survives(w))
                return;
        see(w);
        good = good && w->sight.vm == ALONE_RUNS && w->sight.run == run;
        w->sight.saved_usec = w->now;
        w->sight.saving_usec = w->now - begun;
        if (good)
                standby_taken(&w->record, run, begun, w->contexts[slot].saved);
}

static void resume(struct world *w) {
        const int slot = w->record.slot;
        const bool there = !w->contexts[slot].lost;

        CHECK(w->sight.gone);
        REQUIRE(w->contexts[slot].whole);             /* it never loses the one it rests on */
        REQUIRE(w->contexts[slot].saved == w->record.saved_usec);
        REQUIRE(w->process || w->contexts[slot].life == w->life); /* nobody is thrown back */
        if (!survives(w))
                return;
        if (once_in(w, 10))
                outside(w);
        if (!w->program)
                return;
        w->sight.tried_usec = w->now;
        if (!w->servers || !w->libvirt || w->process || !there || w->contexts[slot].damaged) {
                const bool final = w->servers && there && (w->contexts[slot].damaged || w->process);

                w->older += standby_failed(&w->record, &w->sight, final) || w->record.aside;
                return;
        }
        begin_process(w);
        if (!survives(w))
                return;
        see(w);
        standby_resumed(&w->record, w->sight.vm == ALONE_RUNS ? w->sight.run : 0, w->now);
        w->sight.tries = 0;
        w->resumed++;
}

static void act(struct world *w) {
        see(w);
        prove(w);
        switch (standby_next(&policy, &w->record, &w->sight, w->now)) {
        case STANDBY_CHECKPOINT:
                checkpoint(w);
                break;
        case STANDBY_DECIDE:
                w->sight.tries = 0;
                w->sight.refused = false;
                standby_decided(&w->record, w->now);
                break;
        case STANDBY_HOLD:
                standby_held(&w->record);
                w->held++;
                break;
        case STANDBY_FENCE:
                if (w->process)
                        end_process(w, ALONE_OFF);
                break;
        case STANDBY_RESUME:
                resume(w);
                break;
        case STANDBY_SETTLE:
                standby_settled(&w->record);
                break;
        default:
                break;
        }
        w->now += LOOK_USEC;
}

/* The outside comes to rest: then whatever was lost runs again, or is held, or was ended by somebody. */
static void ends_well(struct world *w) {
        enum standby_state state;

        w->servers = w->libvirt = w->program = w->calm = true;
        for (int i = 0; i < 300; i++)
                act(w);
        see(w);
        state = standby_state(&policy, &w->record, &w->sight, w->now);
        CHECK(state == STANDBY_ARMED || state == STANDBY_HELD || state == STANDBY_OFF);
        CHECK(state != STANDBY_ARMED || (w->process && !w->crashed && w->contexts[w->record.slot].whole &&
                                         !w->contexts[w->record.slot].lost &&
                                         w->contexts[w->record.slot].life == w->life));
        CHECK(state == STANDBY_HELD || !w->crashed);
}

static void no_world_has_it_twice_or_thrown_back(void) {
        unsigned resumed = 0, held = 0, older = 0;

        for (uint64_t seed = 1; seed <= WORLDS; seed++) {
                struct world w = { .random = seed, .now = 1000 * SEC, .servers = true, .libvirt = true,
                                   .program = true, .ended = ALONE_OFF };

                for (int i = 0; i < STEPS; i++) {
                        if (once_in(&w, 25))
                                outside(&w);
                        if (w.program)
                                act(&w);
                        else
                                w.now += LOOK_USEC;
                        if (once_in(&w, 200)) /* long enough for failovers not to be flapping */
                                w.record.n_flaps = 0;
                }
                ends_well(&w);
                resumed += w.resumed;
                held += w.held;
                older += w.older;
                if (CU_get_number_of_failure_records() > 0) {
                        printf("seed %llu\n", (unsigned long long) seed);
                        return;
                }
        }
        printf("%u resumed, %u times the turn of the one before, %u held ", resumed, older, held);
        CHECK(resumed > WORLDS && held > WORLDS && older > WORLDS / 10); /* the worlds are eventful */
}

TEST_MAIN("core-context-standby-random", TEST(no_world_has_it_twice_or_thrown_back))
