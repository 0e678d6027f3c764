/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Agents that say what is not so. The link lets through only what the protocol allows, so a lie is a message of the
 * right form: about applications that are not the guest's, with ids and tokens that nobody gave it, of things that
 * have not happened.
 */

#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define FOREIGN_APP POLICY_APPLICATIONS_MAX /* no place in any pair: agent_message() finds a name for it */
#define IDS_TRIED 16

static void say(struct sim *sim, int pair, int side, int app, struct sim_message message) {
        agent_say(sim, pair, side, app, &message);
}

static void lie_started(struct sim *sim, int pair, int side, int app) {
        const struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_RESULT, .id = a->start_id });
        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_HEALTHY, .token = a->token });
}

static void lie_stopped(struct sim *sim, int pair, int side, int app) {
        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_RESULT,
                                                        .id = sim_vm(sim, pair, side)->apps[app].stop_id });
}

static void lie_running(struct sim *sim, int pair, int side, int app) {
        uint64_t states = agent_states(sim_vm(sim, pair, side)) & ~(UINT64_C(15) << (4 * app));

        say(sim, pair, side, NO_APP,
            (struct sim_message){ .type = MESSAGE_PONG,
                                  .states = states | (uint64_t) APPLICATION_RUNNING << (4 * app) });
}

static void lie_failed(struct sim *sim, int pair, int side, int app) {
        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_FAILED, .cause = FAILURE_SIGNAL, .code = 11,
                                                        .token = sim_vm(sim, pair, side)->apps[app].token });
}

static void lie_memory(struct sim *sim, int pair, int side, int app) {
        const struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_RESULT, .id = a->attach_id });
        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_USES, .bytes = UINT64_MAX });
        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_REQUEST, .id = 1, .bytes = UINT64_MAX });
        say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_REQUEST, .id = 2, .bytes = 1 });
}

static void lie_foreign(struct sim *sim, int pair, int side, int app) {
        static const enum message_type types[] = { MESSAGE_FAILED, MESSAGE_USES, MESSAGE_REQUEST, MESSAGE_HEALTHY,
                                                   MESSAGE_RESULT };

        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                say(sim, pair, side, FOREIGN_APP, (struct sim_message){ .type = types[i], .id = 1, .token = 1,
                                                                        .bytes = 128 * MIB });
}

static void lie_token(struct sim *sim, int pair, int side, int app) {
        uint64_t token = sim_vm(sim, pair, side)->apps[app].token;
        const uint64_t tokens[] = { token + 1, token - 1, UINT64_MAX };

        for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
                say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_FAILED, .cause = FAILURE_EXIT,
                                                                .code = 1, .token = tokens[i] });
                say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_HEALTHY, .token = tokens[i] });
        }
}

/* Answers to what it was not asked: what others may have been, of late. */
static void lie_ids(struct sim *sim, int pair, int side, int app) {
        uint64_t last = sim->engine ? sim->engine->next_id : 0;

        for (uint64_t i = 0; i < IDS_TRIED; i++)
                say(sim, pair, side, app, (struct sim_message){ .type = MESSAGE_RESULT, .id = last - i,
                                                                .result = i % 2 ? -5 : 0 });
}

static const struct {
        const char *name;
        void (*say)(struct sim *sim, int pair, int side, int app);
} lies[] = {
        { "started", lie_started }, { "running", lie_running }, { "stopped", lie_stopped }, { "failed", lie_failed },
        { "memory", lie_memory },   { "foreign", lie_foreign }, { "token", lie_token },     { "ids", lie_ids },
};

bool liar_knows(const char *lie) {
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
                if (strcmp(lies[i].name, lie) == 0)
                        return true;
        return false;
}

void liar_say(struct sim *sim, int pair, int side, const char *lie, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm_guest_acts(vm) || !vm->agent_up || vm->agent_stopped)
                return;
        vm->lied = true;
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
                if (strcmp(lies[i].name, lie) == 0)
                        lies[i].say(sim, pair, side, app);
}

/* States that are none of the application's. */
static uint64_t any_states(struct sim *sim) {
        uint64_t states = 0;

        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                states |= (uint64_t) sim_below(sim, APPLICATION_STATE_MAX) << (4 * i);
        return states;
}

bool liar_twist(struct sim *sim, struct item *item) {
        static const enum message_type types[] = { MESSAGE_RESULT,  MESSAGE_FAILED, MESSAGE_USES, MESSAGE_REQUEST,
                                                   MESSAGE_HEALTHY, MESSAGE_PONG,   MESSAGE_GOING };
        struct sim_message *m = &item->message;

        switch (sim_below(sim, 9)) {
        case 0: item->app = item->app < 0 ? NO_APP : (signed char) sim_below(sim, FOREIGN_APP + 1); break;
        case 1: m->token = sim_below(sim, 2) ? UINT64_MAX : m->token + sim_below(sim, 5) - 2; break;
        case 2:
                m->id = sim_below(sim, 2) && sim->engine ? sim->engine->next_id - sim_below(sim, IDS_TRIED)
                                                         : sim_below(sim, 100);
                break;
        case 3: m->result = m->result ? 0 : -(int) sim_below(sim, 130); break;
        case 4: m->bytes = sim_below(sim, 2) ? UINT64_MAX : sim_below(sim, 4096) * MIB; break;
        case 5: m->states = any_states(sim); break;
        case 6:
                m->type = types[sim_below(sim, sizeof(types) / sizeof(types[0]))];
                m->text = m->type == MESSAGE_GOING && sim_below(sim, 2) ? "reboot" : m->text;
                item->app = m->type == MESSAGE_PONG || m->type == MESSAGE_GOING ? NO_APP : item->app;
                break;
        case 7: m->nonce += sim_below(sim, 5); break;
        default: return false;
        }
        return true;
}
