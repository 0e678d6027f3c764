/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store: a copy in the run-time directory that survives failoverd, and one on disk that survives the host. */

#include <errno.h>
#include <stdlib.h>

#include "daemon/sim/world.h"

#define STEP_USEC 200
#define OWNER_USEC (1 * USEC_PER_MSEC)

const struct record *store_newest(const struct sim_pair *pair) {
        if (pair->step_known && (!pair->owner_known || pair->step.seq >= pair->owner.seq))
                return &pair->step;
        return pair->owner_known ? &pair->owner : NULL;
}

/* Takes a copy of the record; the write ends later. A disk that stalls lets the deadline pass, and may write after
 * all when it goes on. */
void store_act(struct sim *sim, const struct action *action) {
        struct item item = { .kind = ITEM_CALL_END, .pair = (short) action->pair, .side = (signed char) action->side,
                             .app = NO_APP, .action = ACTION_PERSIST, .id = action->id, .value = action->level,
                             .host = sim->host, .life = sim->power };
        usec_t takes = sim_latency(sim, action->level == PERSIST_STEP ? STEP_USEC : OWNER_USEC);

        item.record = malloc(sizeof(*item.record));
        if (!item.record) {
                sim->failed = true;
                return;
        }
        *item.record = *action->record;
        if (action->level == PERSIST_OWNER && sim->store_stall_usec > sim->now_usec + takes) {
                usec_t late = sim->store_stall_usec - sim->now_usec;

                if (late > action->deadline_usec) {
                        struct item answer = item;

                        answer.record = NULL;
                        answer.result = -ETIMEDOUT;
                        sim_add(sim, answer, action->deadline_usec);
                        item.id = 0; /* answered already */
                }
                takes = late;
        } else if (sim->store_fail_usec > sim->now_usec)
                item.result = -ENOSPC;
        sim_add(sim, item, takes);
}

/* The database breaks while it is written: nothing on disk can be read any more, as is found at the next start. */
static void tear(struct sim *sim) {
        sim->store_tears = false;
        sim->store_torn = sim->store_lost = true;
        for (int i = 0; i < sim->n_pairs; i++)
                sim->pairs[i].owner_known = false;
}

void store_item(struct sim *sim, struct item *item) {
        struct sim_pair *pair = &sim->pairs[item->pair];
        struct event event = { .kind = EVENT_DONE, .pair = item->pair, .side = SIDE_INVALID, .app = NO_APP,
                               .action = ACTION_PERSIST, .action_id = item->id, .result = item->result };
        bool lost = item->life != sim->power || (item->host != sim->host && (sim->engine || !sim_chance(sim, 50)));

        if (item->value == PERSIST_OWNER && sim->store_tears && item->record && !lost)
                tear(sim);
        if (item->value == PERSIST_OWNER && sim->store_torn && event.result == 0)
                event.result = -EUCLEAN;
        if (item->record && event.result == 0 && !lost && pair->last.seq <= item->record->seq)
                pair->last = *item->record;
        if (item->record && event.result == 0 && !lost) {
                struct record *copy = item->value == PERSIST_STEP ? &pair->step : &pair->owner;
                bool *known = item->value == PERSIST_STEP ? &pair->step_known : &pair->owner_known;

                if (!*known || copy->seq <= item->record->seq)
                        *copy = *item->record;
                *known = true;
        }
        free(item->record);
        item->record = NULL;
        if (item->id && item->host == sim->host)
                failoverd_step(sim, &event);
}
