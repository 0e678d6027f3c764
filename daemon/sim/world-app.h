/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a guest's agent is made of: world-agent.c, world-app.c and world-rehearsal.c alone. */

#include "daemon/sim/world.h"

struct item agent_item_for(enum item_kind kind, int pair, int side, int app, unsigned life);
/* Tells the result of what was asked under that number; 0: nothing was. */
void agent_answer(struct sim *sim, int pair, int side, int app, uint64_t id, int result, const char *text);

/* What the host asks of an application. */
void app_start(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void app_stop(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void app_restart(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void app_attach(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void app_granted(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void app_refused(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void app_tell(struct sim *sim, int pair, int side, int app);
void app_configure(struct sim *sim, int pair, int side, int app, bool is_wanted);

/* Memory has not come in time. */
void app_wait_over(struct sim *sim, const struct item *item);
void app_item(struct sim *sim, const struct item *item);

void rehearsal_touch(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void rehearsal_canary(struct sim *sim, int pair, int side, int app, const struct sim_message *m);
void rehearsal_over(struct sim *sim, const struct item *item);
void rehearsal_end(struct sim *sim, int pair, int side, int app);
