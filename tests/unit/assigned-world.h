/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The engine, fed by hand: two pairs, each with a region for memory that is assigned by hand. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/engine.h"
#include "policy/text.h"
#include "tests/unit/test.h"

struct world {
        struct engine *engine;
        struct update update;
        usec_t now_usec;
};

static const char two_pairs[] =
        "version: 1\n"
        "pool: {memory: 4GiB, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: 64MiB}\n"
        "pairs:\n"
        "  - name: p\n"
        "    active: {domain: a, base: 256MiB}\n"
        "    standby: {domain: b, base: 256MiB}\n"
        "    applications:\n"
        "      - {name: db, kind: hot-standby, memory: 256MiB, start: {unit: db.service}}\n"
        "      - {name: extra, kind: memory, memory: 1GiB}\n"
        "  - name: q\n"
        "    active: {domain: c, base: 256MiB}\n"
        "    standby: {domain: d, base: 256MiB}\n"
        "    applications:\n"
        "      - {name: web, kind: hot-standby, memory: 256MiB, start: {unit: web.service}}\n"
        "      - {name: more, kind: memory, memory: 512MiB}\n";

static inline void step(struct world *w, struct event event) {
        event.time_usec = w->now_usec += USEC_PER_MSEC;
        event.real_usec = event.time_usec;
        engine_step(w->engine, &event, &w->update);
        table_check(&w->engine->table);
}

static inline struct world begin_with(const char *text) {
        struct world w = { .engine = engine_new(), .now_usec = USEC_PER_SEC };
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;

        REQUIRE(policy_parse(text, strlen(text), "policy", &policy, &diagnostics) == 0);
        diagnostics_deinit(&diagnostics);
        step(&w, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        policy_free(policy);
        return w;
}

static inline struct world begin(void) {
        return begin_with(two_pairs);
}

static inline struct world begin_ready(void) {
        struct world w = begin();

        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        return w;
}

static inline void end(struct world *w) {
        update_deinit(&w->update);
        engine_free(w->engine);
}

static inline int find_reply(const struct update *update, char text[EVENT_TEXT_LEN]) {
        for (size_t i = 0; i < update->n_actions; i++)
                if (update->actions[i].kind == ACTION_REPLY) {
                        strcpy(text, update->actions[i].text);
                        return update->actions[i].result;
                }
        return -EINPROGRESS;
}

/* Asks, and returns the answer, which comes when what it changed is written. */
static inline int ask(struct world *w, enum command_verb verb, const char *request, const char **ret_text) {
        static char reply[EVENT_TEXT_LEN];
        struct operator_command command = { .verb = verb, .id = 7, .who = "root" };
        int r;

        snprintf(command.request, sizeof(command.request), "%s", request);
        step(w, (struct event) { .kind = EVENT_COMMAND, .pair = NO_PAIR, .command = &command });
        r = find_reply(&w->update, reply);
        for (int i = 0; r == -EINPROGRESS && i < w->engine->n_pairs; i++)
                for (int level = 0; r == -EINPROGRESS && level < PERSIST_LEVEL_MAX; level++) {
                        uint64_t id = w->engine->pairs[i]->persist[level].id;

                        if (id == 0)
                                continue;
                        CHECK(w->engine->assigning.asker.command_id == command.id);
                        step(w, (struct event) { .kind = EVENT_DONE, .pair = i, .side = SIDE_INVALID, .app = NO_APP,
                                                 .action = ACTION_PERSIST, .action_id = id });
                        r = find_reply(&w->update, reply);
                        level--; /* more may have been written meanwhile */
                }
        *ret_text = reply;
        return r;
}

static inline struct record record_of(const char *name, const char *app, const char *region) {
        struct record record = { .seq = 1, .known = true, .n_apps = 2 };

        snprintf(record.pair, sizeof(record.pair), "%s", name);
        snprintf(record.apps[0].name, NAME_LEN, "%s", app);
        snprintf(record.apps[1].name, NAME_LEN, "%s", region);
        record.apps[0].token = record.apps[1].token = 1;
        return record;
}
