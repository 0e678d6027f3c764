/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/update.h"

#include <stdlib.h>
#include <string.h>

static const char *const action_kind_table[] = {
        [ACTION_PERSIST] = "persist",         [ACTION_FREEZE] = "freeze",
        [ACTION_DUMP] = "dump",
        [ACTION_KILL] = "kill",               [ACTION_STOP_PROCESS] = "stop-process",
        [ACTION_START_DOMAIN] = "start-domain",
        [ACTION_RESIZE] = "resize",           [ACTION_VCPUS] = "vcpus",
        [ACTION_TAKE_VCPUS] = "take-vcpus",
        [ACTION_ATTACH_DISK] = "attach-disk", [ACTION_DETACH_DISK] = "detach-disk",
        [ACTION_GRANT_STATE] = "grant-state",
        [ACTION_INSPECT] = "inspect",         [ACTION_PREFLIGHT] = "preflight",
        [ACTION_FOLLOW] = "follow",           [ACTION_PAGE_OUT] = "page-out",
        [ACTION_PROBE] = "probe",             [ACTION_SEND] = "send",
        [ACTION_DROP_LINK] = "drop-link",    [ACTION_CONFIGURE] = "configure",     [ACTION_EVIDENCE] = "evidence",
        [ACTION_WAKE] = "wake",               [ACTION_RECORD] = "record",
        [ACTION_PHASE] = "phase",             [ACTION_FLOW_ENDED] = "flow-ended",
        [ACTION_DRILL_ENDED] = "drill-ended",
        [ACTION_CHANGED] = "changed",         [ACTION_REPLY] = "reply",
};
DEFINE_ENUM_TABLE(action_kind, action_kind_table)

static const char *const persist_level_table[] = { [PERSIST_STEP] = "step", [PERSIST_OWNER] = "owner" };
DEFINE_ENUM_TABLE(persist_level, persist_level_table)

static const char *const record_kind_table[] = {
        [RECORD_ARMED] = "armed",
        [RECORD_UNPROTECTED] = "unprotected",
        [RECORD_SUSPECTED] = "suspected",
        [RECORD_CLEARED] = "cleared",
        [RECORD_DECIDED] = "decided",
        [RECORD_IGNORED] = "ignored",
        [RECORD_FENCED] = "fenced",
        [RECORD_FENCE_FAILED] = "fence-failed",
        [RECORD_GRANTED] = "granted",
        [RECORD_REFUSED] = "refused",
        [RECORD_STARTED] = "started",
        [RECORD_RESTARTED] = "restarted",
        [RECORD_APP_FAILED] = "application-failed",
        [RECORD_ENDED] = "ended",
        [RECORD_HANDED_OVER] = "handed-over",
        [RECORD_RECLAIM] = "reclaim",
        [RECORD_RESERVE_USED] = "reserve-used",
        [RECORD_HELD] = "held",
        [RECORD_PAUSED] = "paused",
        [RECORD_RESUMED] = "resumed",
        [RECORD_DOUBT] = "doubt",
        [RECORD_TABLE_MISMATCH] = "table-mismatch",
        [RECORD_STORE] = "store",
        [RECORD_PROTOCOL] = "protocol",
        [RECORD_DRILL] = "drill",
        [RECORD_DRILL_MISSED] = "drill-missed",
        [RECORD_OVERFLOW] = "overflow",
};
DEFINE_ENUM_TABLE(record_kind, record_kind_table)

/* Releases what the actions own and forgets them; the room stays for the next step. */
void update_clear(struct update *update) {
        for (size_t i = 0; i < update->n_actions; i++) {
                struct action *action = &update->actions[i];

                if (action->message) {
                        message_deinit(action->message);
                        free(action->message);
                }
                free(action->record);
        }
        update->n_actions = 0;
        update->failed = false;
}

void update_deinit(struct update *update) {
        update_clear(update);
        free(update->actions);
        *update = UPDATE_INIT;
}

struct action *update_add(struct update *update, enum action_kind kind, int pair, enum side side, int app) {
        struct action *action;

        if (update->n_actions == update->n_allocated) {
                size_t n = update->n_allocated ? update->n_allocated * 2 : 16;
                struct action *grown = realloc(update->actions, n * sizeof(*grown));

                if (!grown) {
                        update->failed = true;
                        action = &update->scratch;
                        goto fill;
                }
                update->actions = grown;
                update->n_allocated = n;
        }
        action = &update->actions[update->n_actions++];
fill:
        memset(action, 0, sizeof(*action));
        action->kind = kind;
        action->pair = pair;
        action->side = side;
        action->app = app;
        return action;
}
