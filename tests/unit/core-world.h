/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The engine, fed by hand: one pair, one hot-standby application. */

#include <stdio.h>

#include "daemon/core/engine.h"
#include "tests/unit/test.h"

struct world {
        struct policy *policy;
        struct engine *engine;
        struct update update;
        usec_t now;
        struct application application;
};

static inline void feed(struct world *w, struct event event) {
        event.time_usec = w->now += 100;
        event.real_usec = w->now;
        engine_step(w->engine, &event, &w->update);
        CHECK(!w->update.failed);
}

static inline const struct action *find(const struct world *w, enum action_kind kind, int side) {
        for (size_t i = 0; i < w->update.n_actions; i++)
                if (w->update.actions[i].kind == kind && (side < 0 || w->update.actions[i].side == (enum side) side))
                        return &w->update.actions[i];
        return NULL;
}

/* Number of the message of that type to that side in the last update; 0 where there is none. */
static inline uint64_t find_message(const struct world *w, enum message_type type, enum side side) {
        for (size_t i = 0; i < w->update.n_actions; i++) {
                const struct action *action = &w->update.actions[i];

                if (action->kind == ACTION_SEND && action->side == side && action->message &&
                    action->message->type == type)
                        return action->message->id;
        }
        return 0;
}

static inline void answer(struct world *w, const struct action *action, int result) {
        REQUIRE(action != NULL);
        feed(w, (struct event){ .kind = EVENT_DONE, .pair = action->pair, .side = action->side, .app = action->app,
                                .action = (int) action->kind, .action_id = action->id, .result = result });
}

/* Answers the writes that are under way one by one, by their number, until a step asks for something new. */
static inline void write_next(struct world *w) {
        struct pair *pair = w->engine->pairs[0];

        for (enum persist_level level = 0; level < PERSIST_LEVEL_MAX; level++)
                if (pair->persist[level].id) {
                        feed(w, (struct event){ .kind = EVENT_DONE, .pair = 0, .side = SIDE_INVALID, .app = NO_APP,
                                                .action = ACTION_PERSIST, .action_id = pair->persist[level].id });
                        return;
                }
}

/* Answers every write, so that what waits for it goes on. */
static inline void write_all(struct world *w) {
        const struct pair *pair = w->engine->pairs[0];

        while (pair->persist[PERSIST_STEP].id || pair->persist[PERSIST_OWNER].id)
                write_next(w);
}

static inline void tell_message(struct world *w, enum side side, struct message message) {
        feed(w, (struct event){ .kind = EVENT_MESSAGE, .pair = 0, .side = side, .app = NO_APP, .message = &message });
}

static inline void tell_domain(struct world *w, enum side side, enum domain_state state, enum domain_reason reason) {
        feed(w,
             (struct event){
                     .kind = EVENT_DOMAIN, .pair = 0, .side = side, .app = NO_APP, .domain = state, .reason = reason });
}

static inline void begin_with(struct world *w, void (*edit)(struct policy *policy)) {
        struct pair_policy *pair;

        *w = (struct world) { .now = 100 * USEC_PER_SEC };
        w->policy = policy_new();
        REQUIRE(w->policy != NULL);
        w->policy->pool_bytes = 4 * GIB;
        w->policy->extent_bytes = 128 * MIB;
        w->policy->monitor_bytes = 64 * MIB;
        w->policy->pairs = calloc(1, sizeof(*w->policy->pairs));
        REQUIRE(w->policy->pairs != NULL);
        w->policy->n_pairs = 1;
        pair = w->policy->pairs;
        pair_policy_init(pair);
        strcpy(pair->name, "orders");
        strcpy(pair->members[SIDE_A].domain, "vm-a");
        strcpy(pair->members[SIDE_B].domain, "vm-b");
        for (int side = 0; side < SIDE_MAX; side++)
                pair->members[side].base_bytes = pair->members[side].memory_bytes = 512 * MIB;
        pair->applications = calloc(1, sizeof(*pair->applications));
        REQUIRE(pair->applications != NULL);
        pair->n_applications = 1;
        application_init(pair->applications);
        strcpy(pair->applications[0].name, "db");
        pair->applications[0].kind = APPLICATION_HOT_STANDBY;
        pair->applications[0].memory_bytes = 512 * MIB;
        if (edit)
                edit(w->policy);
        w->engine = engine_new();
        REQUIRE(w->engine != NULL);
        feed(w, (struct event){ .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = w->policy });
}

static inline void begin(struct world *w) {
        begin_with(w, NULL);
}

static inline void end(struct world *w) {
        update_deinit(&w->update);
        engine_free(w->engine);
        policy_free(w->policy);
}

static inline void bring_up(struct world *w, enum side side) {
        struct preflight found = {
                .defined = true, .persistent = true, .channel = true, .requested_zero = true, .vcpus = 1, .vcpus_max = 2
        };
        struct message hello = { .type = MESSAGE_HELLO, .version = PROTOCOL_VERSION };

        found.base_bytes = 512 * MIB;
        found.apps[0].present = true;
        found.apps[0].node = 1;
        found.apps[0].size_bytes = 512 * MIB;
        snprintf(hello.boot, sizeof(hello.boot), "boot-%d", side);
        feed(w, (struct event){ .kind = EVENT_PROCESS,
                                .pair = 0,
                                .side = side,
                                .app = NO_APP,
                                .up = true,
                                .pid = 10 + (int) side });
        tell_domain(w, side, DOMAIN_RUNNING, REASON_BOOTED);
        feed(w, (struct event){ .kind = EVENT_PREFLIGHT, .pair = 0, .side = side, .app = NO_APP, .preflight = &found });
        feed(w, (struct event){ .kind = EVENT_LINK, .pair = 0, .side = side, .app = NO_APP, .up = true });
        tell_message(w, side, hello);
}

/* Both VMs up, nothing started yet. */
static inline void begin_up_with(struct world *w, void (*edit)(struct policy *policy)) {
        begin_with(w, edit);
        feed(w, (struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        write_all(w);
        feed(w, (struct event){ .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .up = true });
        bring_up(w, SIDE_A);
        bring_up(w, SIDE_B);
}

/* Both VMs up, the application running on vm-a, the pair armed. */
static inline void make_armed_with(struct world *w, void (*edit)(struct policy *policy)) {
        struct message uses = { .type = MESSAGE_USES, .app = "db", .bytes = 512 * MIB, .kind = APPLICATION_AUTO };
        struct message request = { .type = MESSAGE_REQUEST, .id = 7, .app = "db", .bytes = 512 * MIB };
        uint64_t start_id, check_id;

        begin_up_with(w, edit);
        check_id = find_message(w, MESSAGE_CHECK, SIDE_B);
        REQUIRE(check_id != 0);
        while (!(start_id = find_message(w, MESSAGE_START, SIDE_A)) && w->engine->pairs[0]->persist[PERSIST_OWNER].id)
                write_next(w);
        REQUIRE(start_id != 0);
        tell_message(w, SIDE_A, request);
        CHECK(find_message(w, MESSAGE_GRANT, SIDE_A) != 0);
        write_all(w);
        feed(w, (struct event){ .kind = EVENT_DEVICE_SIZE, .pair = 0, .side = SIDE_A, .app = 0, .bytes = 512 * MIB });
        tell_message(w, SIDE_A, uses);
        tell_message(w, SIDE_A, (struct message){ .type = MESSAGE_RESULT, .id = start_id, .app = "db" });
        tell_message(w, SIDE_B, (struct message){ .type = MESSAGE_RESULT, .id = check_id, .app = "db" });
        write_all(w);
        REQUIRE(w->engine->pairs[0]->state == PAIR_ARMED);
}

static inline void make_armed(struct world *w) {
        make_armed_with(w, NULL);
}
