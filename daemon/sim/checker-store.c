/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What was written is known again after a crash, and only what is newer takes the place of what was written.
 */

#include <string.h>

#include "daemon/sim/world.h"

void checker_persist(struct sim *sim, const struct action *action) {
        const struct sim_pair *pair = &sim->pairs[action->pair];
        const struct record *written = action->level == PERSIST_STEP ? &pair->step : &pair->owner;
        bool known = action->level == PERSIST_STEP ? pair->step_known : pair->owner_known;

        if (known && action->record->seq < written->seq && !sim->store_gone)
                checker_violated(sim, "what is older is to be written over what is newer of %s", pair->name);
}

/* It was taken out meanwhile, or was, and is in the policy again: whether it has ended is another matter then. */
static bool app_kept(const struct record_app *a, const struct record_app *b, bool in_or_out) {
        bool ended = a->ended == b->ended || in_or_out;

        return a->owner == b->owner && a->token == b->token && ended && a->moving == b->moving &&
               memcmp(a->granted_bytes, b->granted_bytes, sizeof(a->granted_bytes)) == 0 &&
               memcmp(a->using_bytes, b->using_bytes, sizeof(a->using_bytes)) == 0 &&
               memcmp(a->releasing, b->releasing, sizeof(a->releasing)) == 0 && a->rehearsed == b->rehearsed;
}

static bool kept(const struct record *a, const struct record *b) {
        return a->failovers == b->failovers && a->flow.kind == b->flow.kind && a->flow.number == b->flow.number &&
               a->flow.from == b->flow.from && a->flow.to == b->flow.to && a->flow.drill == b->flow.drill &&
               memcmp(a->fence_wanted, b->fence_wanted, sizeof(a->fence_wanted)) == 0 &&
               memcmp(a->fence_frozen, b->fence_frozen, sizeof(a->fence_frozen)) == 0 &&
               memcmp(a->fence_stated, b->fence_stated, sizeof(a->fence_stated)) == 0 &&
               memcmp(a->away, b->away, sizeof(a->away)) == 0 && a->paused == b->paused &&
               a->paused_until_usec == b->paused_until_usec && a->held == b->held && a->n_flaps == b->n_flaps &&
               memcmp(a->flaps_usec, b->flaps_usec, a->n_flaps * sizeof(a->flaps_usec[0])) == 0 &&
               (a->rehearsal == REHEARSAL_NONE) == (b->rehearsal == REHEARSAL_NONE) && a->lost_bytes == b->lost_bytes;
}

void checker_restored(struct sim *sim, const struct pair *pair, const struct record *record) {
        if (!record->known)
                return; /* who owns what was no fact yet */
        if (!kept(&pair->record, record))
                checker_violated(sim, "what was written of %s is forgotten", pair->policy->name);
        for (unsigned i = 0; i < record->n_apps; i++)
                for (unsigned k = 0; k < pair->record.n_apps; k++)
                        if (strcmp(record->apps[i].name, pair->record.apps[k].name) == 0 &&
                            !app_kept(&record->apps[i], &pair->record.apps[k],
                                      pair->policy->applications[k].retired ||
                                              pair_application_kind(pair, (int) k) == APPLICATION_HOT_STANDBY))
                                checker_violated(sim, "what was written of %s is forgotten", record->apps[i].name);
}
