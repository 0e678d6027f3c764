/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/findings.h"
#include "daemon/bus/check-json.h"
#include "daemon/bus/drill-json.h"
#include "daemon/bus/json-build.h"
#include "daemon/bus/phases-json.h"
#include "daemon/bus/status-member.h"
#include "daemon/bus/vms-json.h"

static void put_flow(struct json_builder *builder, struct json_object *object, const struct pair_policy *policy,
                     const struct flow *flow) {
        usec_t recovery = phases_recovery(flow->phase_usec);
        char id[FAILOVER_ID_LEN];

        json_put_text(builder, object, "id", flow_id(policy, flow, id));
        json_put_text(builder, object, "kind", flow_kind_to_string(flow->kind));
        json_put_side(builder, object, "from", policy, flow->from);
        json_put_side(builder, object, "to", policy, flow->to);
        json_put_bool(builder, object, "drill", flow->drill);
        json_put_text(builder, object, "cause", flow->cause);
        json_put_span(builder, object, "objective_ms", policy->objective_usec);
        json_put_phases(builder, object, flow->phase_usec);
        if (recovery != USEC_INFINITY)
                json_put_bool(builder, object, "objective_met", recovery <= policy->objective_usec);
        else
                json_put_null(builder, object, "objective_met");
}

struct json_object *flow_json(const struct pair_policy *policy, const struct flow *flow,
                              const struct host_facts *facts, usec_t now_usec) {
        struct json_builder builder = json_builder_at(facts, now_usec);
        struct json_object *object = json_object_new_object();

        put_flow(&builder, object, policy, flow);
        return json_finish(&builder, object);
}

static void put_hold(struct json_builder *builder, struct json_object *object, const struct record *record) {
        struct json_object *part;

        if (record->paused) {
                part = json_put_object(builder, object, "paused");
                json_put_text(builder, part, "reason", record->pause_reason);
                json_put_span(builder, part, "until_ms", record->paused_until_usec);
        } else
                json_put_null(builder, object, "paused");
        if (record->held) {
                part = json_put_object(builder, object, "held");
                json_put_text(builder, part, "reason", record->held_reason);
        } else
                json_put_null(builder, object, "held");
}

/* The pool is planned with the policy's figure for what QEMU itself needs. */
static void put_overhead_finding(struct json_builder *builder, struct json_object *array, const struct policy *policy,
                                 const struct pair *pair, enum side side, const struct fact *overhead) {
        char text[FINDING_LEN], mend[FINDING_LEN];
        struct json_object *object;

        if (overhead->seen_usec == 0 || overhead->value <= policy->overhead_bytes)
                return;
        snprintf(text, sizeof(text), "QEMU itself uses %" PRIu64 " MiB, more than the %" PRIu64
                 " MiB that the pool keeps for it",
                 (overhead->value + MIB - 1) / MIB, policy->overhead_bytes / MIB);
        snprintf(mend, sizeof(mend), "set pool: overhead: to at least %" PRIu64 "MiB",
                 (overhead->value + policy->extent_bytes - 1) / policy->extent_bytes * policy->extent_bytes / MIB);
        object = json_put_object(builder, array, NULL);
        json_put_text(builder, object, "side", side_to_string(side));
        json_put_text(builder, object, "domain", pair->policy->members[side].domain);
        json_put_bool(builder, object, "advice", true);
        json_put_text(builder, object, "text", text);
        json_put_text(builder, object, "mend", mend);
        json_put_age(builder, object, "age_ms", overhead->seen_usec);
}

static void put_findings(struct json_builder *builder, struct json_object *parent, const struct policy *policy,
                         const struct pair *pair, const struct host_facts *facts) {
        struct json_object *array = json_put_array(builder, parent, "findings");
        struct finding findings[FINDINGS_MAX];

        for (int side = 0; side < SIDE_MAX; side++) {
                const struct member_state *member = &pair->members[side];
                size_t n = member->preflight_usec == 0 ? 0 /* nobody has looked yet */
                                                       : findings_list(policy, pair->policy, (enum side) side,
                                                                       &member->preflight, findings);

                for (size_t i = 0; i < n; i++) {
                        struct json_object *object = json_put_object(builder, array, NULL);

                        json_put_text(builder, object, "side", side_to_string((enum side) side));
                        json_put_text(builder, object, "domain", pair->policy->members[side].domain);
                        json_put_bool(builder, object, "advice", findings[i].advice);
                        json_put_text(builder, object, "text", findings[i].text);
                        json_put_text(builder, object, "mend", findings[i].mend);
                        json_put_age(builder, object, "age_ms", member->preflight_usec);
                }
        }
        for (int side = 0; side < SIDE_MAX; side++) {
                const struct member_facts *known = host_facts_member(facts, pair->slot, (enum side) side);

                if (known)
                        put_overhead_finding(builder, array, policy, pair, (enum side) side, &known->overhead);
        }
}

/* The one under way. */
static void put_rehearsal(struct json_builder *builder, struct json_object *object, const struct pair *pair) {
        enum side side = pair->record.rehearsal_side;
        uint64_t bytes = 0;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].rehearsed)
                        bytes += pair->record.apps[i].granted_bytes[side];
        json_put_text(builder, object, "state", rehearsal_state_to_string(pair->record.rehearsal));
        json_put_side(builder, object, "standby", pair->policy, side);
        json_put_age(builder, object, "age_ms", pair->rehearsal.since_usec);
        json_put_number(builder, object, "bytes", bytes);
}

static void put_pair(struct json_builder *builder, struct json_object *object, const struct engine *engine,
                     const struct pair *pair, const struct host_facts *facts) {
        struct json_object *part;

        json_put_text(builder, object, "name", pair->policy->name);
        json_put_text(builder, object, "state", pair_state_to_string(pair->state));
        json_put_age(builder, object, "state_age_ms", pair->state_usec);
        json_put_wall_time(builder, object, "state_since_ms", pair->state_usec);
        json_put_age(builder, object, "armed_age_ms", pair->armed_usec);
        json_put_side(builder, object, "active", pair->policy, pair_active(pair));
        json_put_side(builder, object, "home", pair->policy, SIDE_A);
        json_put_bool(builder, object, "split", pair_split(pair));
        json_put_span(builder, object, "objective_ms", pair->policy->objective_usec);
        json_put_number(builder, object, "failovers", pair->record.failovers);
        json_put_text(builder, object, "blocked", pair->blocked);
        put_hold(builder, object, &pair->record);

        part = json_put_array(builder, object, "reasons");
        for (unsigned i = 0; i < pair->n_reasons && i < REASONS_MAX; i++)
                json_put_text(builder, part, NULL, pair->reasons[i]);

        if (pair->record.flow.kind != FLOW_NONE)
                put_flow(builder, json_put_object(builder, object, "flow"), pair->policy, &pair->record.flow);
        else
                json_put_null(builder, object, "flow");

        if (pair->last_flow.kind != FLOW_NONE)
                put_flow(builder, json_put_object(builder, object, "last_flow"), pair->policy, &pair->last_flow);
        else
                json_put_null(builder, object, "last_flow");

        if (pair->record.last_drill.at_usec != 0)
                json_fill_drill(builder, json_put_object(builder, object, "last_drill"), pair->policy->name,
                                &pair->record.last_drill);
        else
                json_put_null(builder, object, "last_drill");
        if (pair->record.rehearsal != REHEARSAL_NONE)
                put_rehearsal(builder, json_put_object(builder, object, "rehearsal"), pair);
        else
                json_put_null(builder, object, "rehearsal");

        json_put_readiness(builder, object, engine, pair);
        json_put_members(builder, object, pair, facts);
        json_put_applications(builder, object, pair);
        put_findings(builder, object, engine->policy, pair, facts);
}

struct json_object *status_pair_json(const struct engine *engine, int slot, const struct host_facts *facts,
                                     usec_t now_usec) {
        struct json_builder builder = json_builder_at(facts, now_usec);
        struct json_object *object = json_object_new_object();

        put_pair(&builder, object, engine, engine->pairs[slot], facts);
        return json_finish(&builder, object);
}

static void put_link(struct json_builder *builder, struct json_object *parent, const char *key,
                     const struct link_fact *link) {
        struct json_object *object = json_put_object(builder, parent, key);

        if (link && link->known)
                json_put_bool(builder, object, "up", link->up);
        else
                json_put_null(builder, object, "up");
        json_put_age(builder, object, "age_ms", link && link->known ? link->since_usec : 0);
        json_put_text(builder, object, "error", link && link->known ? link->text : NULL);
}

/* A line each. */
static void put_lines(struct json_builder *builder, struct json_object *parent, const char *key, const char *text) {
        struct json_object *array = json_put_array(builder, parent, key);
        char line[512];

        for (const char *end; text && *text; text = end + (*end == '\n')) {
                end = strchrnul(text, '\n');
                snprintf(line, sizeof(line), "%.*s", (int) (end - text), text);
                json_put_text(builder, array, NULL, line);
        }
}

static void put_daemon(struct json_builder *builder, struct json_object *root, const struct engine *engine,
                       const struct host_facts *facts) {
        struct json_object *object = json_put_object(builder, root, "failoverd");

        json_put_text(builder, object, "version", PROJECT_VERSION);
        json_put_bool(builder, object, "ready", engine->ready);
        json_put_text(builder, object, "mode", !facts ? NULL : facts->user_mode ? "user" : "system");
        json_put_age(builder, object, "uptime_ms", facts ? facts->started_usec : 0);
        json_put_text(builder, object, "policy", facts ? facts->policy_path : NULL);
        json_put_bool(builder, object, "policy_taken", !facts || !facts->policy_is_last);
        put_lines(builder, object, "policy_refused", facts ? facts->policy_refused : NULL);
        json_put_text(builder, object, "decisions", facts ? facts->decisions_dir : NULL);
        if (facts && facts->monitor_resident.seen_usec != 0)
                json_put_number(builder, object, "resident_bytes", facts->monitor_resident.value);
        else
                json_put_null(builder, object, "resident_bytes");
        if (facts && facts->loop_late_usec.seen_usec != 0)
                json_put_number(builder, object, "loop_late_usec", facts->loop_late_usec.value);
        else
                json_put_null(builder, object, "loop_late_usec");
        put_link(builder, object, "helper", facts ? &facts->helper : NULL);
}

static void put_outside(struct json_builder *builder, struct json_object *root, const struct engine *engine,
                        const struct host_facts *facts) {
        struct json_object *object = json_put_object(builder, root, "hypervisor");

        json_put_text(builder, object, "uri", engine->policy ? engine->policy->hypervisor_uri : NULL);
        json_put_bool(builder, object, "up", engine->hypervisor_up);
        json_put_age(builder, object, "age_ms", engine->hypervisor_usec);
        put_link(builder, object, "observe", facts ? &facts->observe : NULL);
        put_link(builder, object, "act", facts ? &facts->act : NULL);
        put_link(builder, object, "fence", facts ? &facts->fence : NULL);

        object = json_put_object(builder, root, "reclaim");
        json_put_bool(builder, object, "able", engine->reclaim_able);
        json_put_text(builder, object, "text", engine->reclaim_text);

        put_link(builder, root, "store", facts ? &facts->store : NULL);
        object = json_object_object_get(root, "store");
        json_put_bool(builder, object, "lost", engine->store_lost);
        json_put_span(builder, object, "last_write_ms",
                      facts && facts->store_write_usec.seen_usec ? facts->store_write_usec.value : USEC_INFINITY);

        object = json_put_object(builder, root, "doubt");
        json_put_age(builder, object, "void_age_ms", engine->void_usec);
        json_put_age(builder, object, "pressure_age_ms", engine->pressure_usec);
        json_put_number(builder, object, "suspected", engine->n_suspected);
        json_put_number(builder, object, "watched", engine->n_watched);
}

struct json_object *status_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec) {
        struct json_builder builder = json_builder_at(facts, now_usec);
        struct json_object *root = json_object_new_object(), *pairs;

        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "status");
        json_put_wall_time(&builder, root, "time_ms", now_usec);
        put_daemon(&builder, root, engine, facts);
        put_outside(&builder, root, engine, facts);
        pairs = json_put_array(&builder, root, "pairs");
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && engine->pairs[i]->policy)
                        put_pair(&builder, json_put_object(&builder, pairs, NULL), engine, engine->pairs[i], facts);
        json_put_vms(&builder, root, engine->policy, facts);
        return json_finish(&builder, root);
}
