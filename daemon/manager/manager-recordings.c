/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What failoverd was told and decided is kept where it matters: of each failover, switch and return among its evidence,
 * and where it was decided not to act, or no further. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/manager/manager-internal.h"

/* What led to it began so long before. */
#define FLOW_LEAD_USEC (10 * USEC_PER_SEC)
#define DECISION_LEAD_USEC (30 * USEC_PER_SEC)
/* Decisions not to act may come by the dozen: of each kind of a pair one so often, and one of all pairs. */
#define DECISION_EVERY_USEC (600 * USEC_PER_SEC)
#define DECISION_ANY_USEC (60 * USEC_PER_SEC)

void manager_open_recordings(struct manager *manager, const char *runtime_dir) {
        _cleanup_free_ char *directory = NULL;
        int r = asprintf(&directory, "%s/events", runtime_dir) < 0 ? -ENOMEM
                                                                   : event_ring_new(directory, &manager->events);

        if (r < 0)
                fprintf(stderr, "what failoverd is told and decides is not recorded: %s/events: %s, ignoring\n",
                        runtime_dir, strerror(-r));
}

/* Keeps what was recorded from an instant on under a name. Returns `path` (the file that it will be), or NULL. */
static const char *keep(struct manager *manager, struct evidence *evidence, const char *directory, const char *name,
                        usec_t from_usec, char path[static RECORDING_PATH_LEN]) {
        struct evidence_request request = { .failover_id = name };
        int r = manager->events && evidence
                        ? event_ring_take(manager->events, from_usec, EVIDENCE_EVENTS_MAX, request.events)
                        : 0;

        if (r > 0) {
                request.n_events = r;
                r = evidence_keep(evidence, &request);
                event_ring_parts_close(request.events, request.n_events);
                if (r >= 0) {
                        snprintf(path, RECORDING_PATH_LEN, "%.4000s/%.200s/events", directory, name);
                        return path;
                }
        }
        if (r < 0)
                fprintf(stderr, "the recording of %s is not kept: %s, ignoring\n", name, strerror(-r));
        return NULL;
}

const char *manager_keep_flow(struct manager *manager, const struct pair_policy *policy, const struct flow *flow,
                              char path[static RECORDING_PATH_LEN]) {
        usec_t from_usec = manager->engine->now_usec;
        char id[FAILOVER_ID_LEN];

        for (enum phase phase = 0; phase < PHASE_MAX; phase++)
                if (flow->phase_usec[phase] && flow->phase_usec[phase] < from_usec)
                        from_usec = flow->phase_usec[phase];
        return keep(manager, manager->evidence, manager->evidence_dir, flow_id(policy, flow, id),
                    from_usec > FLOW_LEAD_USEC ? from_usec - FLOW_LEAD_USEC : 0, path);
}

void manager_keep_flows_cut_off(struct manager *manager) {
        char path[RECORDING_PATH_LEN];

        for (int i = 0; i < manager->engine->n_pairs; i++) {
                const struct pair *pair = manager->engine->pairs[i];

                if (pair && pair->restored && pair->record.flow.kind != FLOW_NONE)
                        (void) manager_keep_flow(manager, pair->policy, &pair->record.flow, path);
        }
}

/* A failure that was not followed by a failover, or a failover that goes no further. */
static bool is_kept(enum record_kind kind) {
        return kind == RECORD_IGNORED || kind == RECORD_HELD || kind == RECORD_FENCE_FAILED ||
               kind == RECORD_TABLE_MISMATCH;
}

const char *manager_keep_decision(struct manager *manager, struct manager_pair *slot, enum record_kind kind,
                                  char path[static RECORDING_PATH_LEN]) {
        usec_t now = manager->engine->now_usec, *kept;
        time_t seconds = (time_t) (manager->engine->real_usec / USEC_PER_SEC);
        char name[NAME_LEN + 64], stamp[32];
        struct tm tm;

        if (!slot || !is_kept(kind))
                return NULL;
        kept = &slot->kept_usec[kind];
        if ((*kept && now - *kept < DECISION_EVERY_USEC) ||
            (manager->decision_kept_usec && now - manager->decision_kept_usec < DECISION_ANY_USEC))
                return NULL;
        if (!gmtime_r(&seconds, &tm) || strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm) == 0)
                return NULL;
        *kept = manager->decision_kept_usec = now;
        snprintf(name, sizeof(name), "%s+%s-%s", slot->name, record_kind_to_string(kind), stamp);
        return keep(manager, manager->decisions, manager->decisions_dir, name,
                    now > DECISION_LEAD_USEC ? now - DECISION_LEAD_USEC : 0, path);
}
