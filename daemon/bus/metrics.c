/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "daemon/bus/status-member.h"
#include "daemon/bus/status.h"

/*
 * OpenMetrics wants all samples of one family together, so each family is one walk over the pairs. Names that go
 * into labels come from the policy and hold none of the characters that would have to be escaped.
 */
struct metrics {
        FILE *out;
        const struct engine *engine;
        const struct host_facts *facts;
        usec_t now_usec;
        bool failed; /* out of memory somewhere; what came after may have found room again */
};

static void __attribute__((format(printf, 2, 3))) print(struct metrics *m, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        m->failed |= vfprintf(m->out, format, ap) < 0;
        va_end(ap);
}

static void family(struct metrics *m, const char *name, const char *type, const char *unit, const char *help) {
        print(m, "# TYPE %s %s\n", name, type);
        if (unit)
                print(m, "# UNIT %s %s\n", name, unit);
        print(m, "# HELP %s %s\n", name, help);
}

/* Seconds with all six digits, without floating point. */
static void seconds(struct metrics *m, usec_t usec) {
        print(m, " %" PRIu64 ".%06" PRIu64 "\n", usec / USEC_PER_SEC, usec % USEC_PER_SEC);
}

static usec_t age(const struct metrics *m, usec_t then_usec) {
        return m->now_usec > then_usec ? m->now_usec - then_usec : 0;
}

/* The next pair that exists, from `slot` on; NULL at the end. */
static const struct pair *next_pair(const struct metrics *m, int *slot) {
        for (; *slot < m->engine->n_pairs; (*slot)++)
                if (m->engine->pairs[*slot] && m->engine->pairs[*slot]->policy)
                        return m->engine->pairs[(*slot)++];
        return NULL;
}

static void pairs_state(struct metrics *m) {
        const struct pair *pair;

        family(m, "failover_pair_state", "stateset", NULL, "State of the pair.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                for (int state = 0; state < PAIR_REMOVED; state++)
                        print(m, "failover_pair_state{pair=\"%s\",failover_pair_state=\"%s\"} %d\n",
                                pair->policy->name, pair_state_to_string((enum pair_state) state),
                                pair->state == (enum pair_state) state);
        family(m, "failover_pair_state_age_seconds", "gauge", "seconds", "Time in this state.");
        for (int slot = 0; (pair = next_pair(m, &slot));) {
                print(m, "failover_pair_state_age_seconds{pair=\"%s\"}", pair->policy->name);
                seconds(m, age(m, pair->state_usec));
        }
        family(m, "failover_pair_readiness", "stateset", NULL,
               "Whether a failover is covered for each single failure.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                for (int level = 0; level < READINESS_LEVEL_MAX; level++)
                        print(m, "failover_pair_readiness{pair=\"%s\",failover_pair_readiness=\"%s\"} %d\n",
                                pair->policy->name, readiness_level_to_string((enum readiness_level) level),
                                pair->readiness == (enum readiness_level) level);
        family(m, "failover_pair_flows", "counter", NULL, "Failovers, switches and returns ever begun.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                print(m, "failover_pair_flows_total{pair=\"%s\"} %" PRIu64 "\n", pair->policy->name,
                        pair->record.failovers);
        family(m, "failover_pair_paused", "gauge", NULL, "1 while an operator has paused the pair.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                print(m, "failover_pair_paused{pair=\"%s\"} %d\n", pair->policy->name, pair->record.paused);
        family(m, "failover_pair_objective_seconds", "gauge", "seconds", "Recovery-time objective.");
        for (int slot = 0; (pair = next_pair(m, &slot));) {
                print(m, "failover_pair_objective_seconds{pair=\"%s\"}", pair->policy->name);
                seconds(m, pair->policy->objective_usec);
        }
}

static void drills(struct metrics *m) {
        const struct pair *pair;

        family(m, "failover_last_drill_good", "gauge", NULL, "1 where the latest drill met the objective.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                if (pair->record.last_drill.at_usec)
                        fprintf(m->out, "failover_last_drill_good{pair=\"%s\",level=\"%s\"} %d\n", pair->policy->name,
                                drill_level_to_string(pair->record.last_drill.level), pair->record.last_drill.ok);
        family(m, "failover_last_drill_time_seconds", "gauge", "seconds", "When the latest drill ended, since 1970.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                if (pair->record.last_drill.at_usec) {
                        fprintf(m->out, "failover_last_drill_time_seconds{pair=\"%s\",level=\"%s\"}",
                                pair->policy->name, drill_level_to_string(pair->record.last_drill.level));
                        seconds(m, pair->record.last_drill.at_usec);
                }
}

static void members(struct metrics *m) {
        const struct pair *pair;

        family(m, "failover_member_active", "gauge", NULL, "1 for the active VM of the pair.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                for (int side = 0; side < SIDE_MAX; side++)
                        print(m, "failover_member_active{pair=\"%s\",domain=\"%s\"} %d\n", pair->policy->name,
                                pair->policy->members[side].domain, pair_active(pair) == (enum side) side);
        family(m, "failover_member_alive", "gauge", NULL, "1 while the guest gives signs of life.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                for (int side = 0; side < SIDE_MAX; side++)
                        print(m, "failover_member_alive{pair=\"%s\",domain=\"%s\"} %d\n", pair->policy->name,
                                pair->policy->members[side].domain,
                                pair->members[side].detector.verdict == VERDICT_ALIVE);
        family(m, "failover_member_beat_age_seconds", "gauge", "seconds", "Time since the agent's last heartbeat.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                for (int side = 0; side < SIDE_MAX; side++) {
                        if (pair->members[side].detector.last_pong_usec == 0)
                                continue;
                        print(m, "failover_member_beat_age_seconds{pair=\"%s\",domain=\"%s\"}",
                                pair->policy->name, pair->policy->members[side].domain);
                        seconds(m, age(m, pair->members[side].detector.last_pong_usec));
                }
}

static void applications(struct metrics *m) {
        const struct pair *pair;

        family(m, "failover_application_healthy", "gauge", NULL,
               "1 while the application is healthy and its agent is heard.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        print(m, "failover_application_healthy{pair=\"%s\",application=\"%s\",domain=\"%s\"} %d\n",
                                pair->policy->name, pair->policy->applications[i].name,
                                pair->policy->members[pair->record.apps[i].owner].domain,
                                application_is_healthy(pair, (int) i));
        family(m, "failover_application_restarts_left", "gauge", NULL, "Restarts in place left in this window.");
        for (int slot = 0; (pair = next_pair(m, &slot));)
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        print(m, "failover_application_restarts_left{pair=\"%s\",application=\"%s\"} %u\n",
                                pair->policy->name, pair->policy->applications[i].name,
                                application_restarts_left(pair, (int) i, m->now_usec));
}

static void regions(struct metrics *m) {
        char key[REGION_KEY_LEN];

        family(m, "failover_governed_bytes", "gauge", "bytes", "All memory that failoverd governs.");
        print(m, "failover_governed_bytes %" PRIu64 "\n", m->engine->table.governed_bytes);
        family(m, "failover_region_bytes", "gauge", "bytes",
               "Usage of each region; they add up to the governed bytes.");
        for (size_t i = 0; i < m->engine->table.n_rows; i++) {
                const struct region *region = &m->engine->table.rows[i];

                print(m, "failover_region_bytes{region=\"%s\",kind=\"%s\",user=\"%s\",target=\"%s\"} %" PRIu64 "\n",
                        region_key(m->engine, region, key), region_kind_to_string(region->kind),
                        holder_text(m->engine, region->user), holder_text(m->engine, region->target),
                        region->usage_bytes);
        }
        family(m, "failover_resident_bytes", "gauge", "bytes", "Resident memory of each VM's QEMU process.");
        for (int slot = 0; slot < m->engine->n_pairs; slot++)
                for (int side = 0; m->engine->pairs[slot] && m->engine->pairs[slot]->policy && side < SIDE_MAX;
                     side++) {
                        const struct member_facts *known = host_facts_member(m->facts, slot, (enum side) side);

                        if (known && known->resident.seen_usec != 0)
                                print(m, "failover_resident_bytes{pair=\"%s\",domain=\"%s\"} %" PRIu64 "\n",
                                        m->engine->pairs[slot]->policy->name,
                                        m->engine->pairs[slot]->policy->members[side].domain, known->resident.value);
                }
}

static void daemon_itself(struct metrics *m) {
        family(m, "failover_build", "info", NULL, "Version of failoverd.");
        print(m, "failover_build_info{version=\"%s\"} 1\n", PROJECT_VERSION);
        family(m, "failover_ready", "gauge", NULL, "1 once the records are read and decisions are made.");
        print(m, "failover_ready %d\n", m->engine->ready);
        family(m, "failover_hypervisor_up", "gauge", NULL, "1 while the hypervisor answers.");
        print(m, "failover_hypervisor_up %d\n", m->engine->hypervisor_up);
        family(m, "failover_store_lost", "gauge", NULL, "1 where the store was there once and is gone.");
        print(m, "failover_store_lost %d\n", m->engine->store_lost);
        family(m, "failover_members_suspected", "gauge", NULL, "Guests under suspicion now.");
        print(m, "failover_members_suspected %u\n", m->engine->n_suspected);
        if (m->facts && m->facts->monitor_resident.seen_usec != 0) {
                family(m, "failover_monitor_resident_bytes", "gauge", "bytes", "Resident memory of failoverd.");
                print(m, "failover_monitor_resident_bytes %" PRIu64 "\n", m->facts->monitor_resident.value);
        }
}

int metrics_text(const struct engine *engine, const struct host_facts *facts, usec_t now_usec, char **ret_text) {
        struct metrics m = { .engine = engine, .facts = facts, .now_usec = now_usec };
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        int r;

        m.out = open_memstream(&text, &size);
        if (!m.out)
                return -ENOMEM;
        daemon_itself(&m);
        pairs_state(&m);
        drills(&m);
        members(&m);
        applications(&m);
        regions(&m);
        print(&m, "# EOF\n");
        r = memstream_close(m.out, &text);
        if (r >= 0 && m.failed)
                r = -ENOMEM;
        if (r >= 0)
                *ret_text = steal_ptr(text);
        return r;
}
