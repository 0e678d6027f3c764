/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/check-json.h"

#include "daemon/bus/drill-json.h"
#include "daemon/bus/status-member.h"
#include "daemon/bus/status.h"
#include "daemon/bus/vms-json.h"
#include "policy/worst-case.h"

/* How long the policy expects it to take, from the failure to the application started. */
static usec_t expected(const struct pair_policy *policy, const struct readiness_case *c) {
        enum worst_case_fault fault = c->fault == READINESS_HANG          ? WORST_CASE_GUEST_HANG
                                      : c->fault == READINESS_APPLICATION ? WORST_CASE_APPLICATION_EXIT
                                                                          : WORST_CASE_PANIC;
        int application = c->fault == READINESS_APPLICATION ? c->app : -1;
        struct worst_case rows[WORST_CASES_MAX];
        size_t n = worst_case_list(policy, rows);

        for (size_t i = 0; c->flow != FLOW_NONE && i < n; i++)
                if (rows[i].fault == fault && rows[i].application == application)
                        return worst_case_total_usec(&rows[i]);
        return USEC_INFINITY;
}

static void put_move(struct json_builder *builder, struct json_object *array, const struct pair *pair,
                     const struct readiness_move *move) {
        struct json_object *object = json_put_object(builder, array, NULL);

        json_put_text(builder, object, "application", pair->policy->applications[move->app].name);
        json_put_number(builder, object, "memory_bytes", pair->policy->applications[move->app].memory_bytes);
        json_put_number(builder, object, "region_bytes", move->region_bytes);
        json_put_number(builder, object, "stand_in_bytes", move->stand_in_bytes);
        json_put_number(builder, object, "shared_bytes", move->shared_bytes);
        json_put_number(builder, object, "unused_bytes", move->unused_bytes);
        json_put_number(builder, object, "remote_bytes", move->remote_bytes);
        json_put_number(builder, object, "awaited_bytes", move->awaited_bytes);
        json_put_number(builder, object, "missing_bytes", move->missing_bytes);
}

static void put_case(struct json_builder *builder, struct json_object *array, const struct pair *pair,
                     const struct readiness_case *c) {
        struct json_object *object = json_put_object(builder, array, NULL), *moves;

        json_put_text(builder, object, "fault", readiness_fault_to_string(c->fault));
        json_put_side(builder, object, "at", pair->policy, c->side);
        json_put_text(builder, object, "application", c->app >= 0 ? pair->policy->applications[c->app].name : NULL);
        json_put_text(builder, object, "level", readiness_level_to_string(c->level));
        json_put_text(builder, object, "flow", flow_kind_to_string(c->flow));
        if (c->open)
                json_put_null(builder, object, "begins");
        else
                json_put_bool(builder, object, "begins", c->begins);
        if (c->flow != FLOW_NONE)
                json_put_side(builder, object, "to", pair->policy, side_other(c->side));
        else
                json_put_null(builder, object, "to");
        json_put_span(builder, object, "expected_ms", expected(pair->policy, c));
        json_put_text(builder, object, "why", c->why);
        json_put_text(builder, object, "mend", c->mend);
        moves = json_put_array(builder, object, "moves");
        for (unsigned i = 0; i < c->n_moves; i++)
                put_move(builder, moves, pair, &c->moves[i]);
}

/* How old what the answer rests on is. */
static void put_members(struct json_builder *builder, struct json_object *parent, const struct pair *pair) {
        struct json_object *members = json_put_array(builder, parent, "members");

        for (enum side side = 0; side < SIDE_MAX; side++) {
                const struct member_state *member = &pair->members[side];
                struct json_object *object = json_put_object(builder, members, NULL);

                json_put_text(builder, object, "side", side_to_string(side));
                json_put_text(builder, object, "domain", pair->policy->members[side].domain);
                json_put_text(builder, object, "role", side == pair_active(pair) ? "active" : "standby");
                json_put_text(builder, object, "state", domain_state_to_string(member->domain));
                json_put_age(builder, object, "state_age_ms", member->domain_usec);
                json_put_text(builder, object, "verdict", verdict_to_string(member->detector.verdict));
                json_put_age(builder, object, "last_beat_age_ms", member->detector.last_pong_usec);
                json_put_age(builder, object, "preflight_age_ms", member->preflight_usec);
                if (member->available_bytes)
                        json_put_number(builder, object, "guest_available_bytes", member->available_bytes);
                else
                        json_put_null(builder, object, "guest_available_bytes");
                json_put_age(builder, object, "guest_available_age_ms",
                             member->available_bytes ? member->available_usec : 0);
                json_put_text(builder, object, "agent_version", member->greeted ? member->agent_version : NULL);
        }
}

static void put_pair(struct json_builder *builder, struct json_object *array, const struct engine *engine,
                     const struct pair *pair, const struct readiness *readiness) {
        struct json_object *object = json_put_object(builder, array, NULL), *part;

        json_put_text(builder, object, "name", pair->policy->name);
        json_put_text(builder, object, "level", readiness_level_to_string(readiness->level));
        json_put_age(builder, object, "level_age_ms",
                     pair->readiness == readiness->level ? pair->readiness_usec : engine->now_usec);
        json_put_text(builder, object, "state", pair_state_to_string(pair->state));
        json_put_age(builder, object, "state_age_ms", pair->state_usec);
        json_put_span(builder, object, "objective_ms", pair->policy->objective_usec);
        part = json_put_array(builder, object, "reasons");
        for (unsigned i = 0; i < pair->n_reasons; i++)
                json_put_text(builder, part, NULL, pair->reasons[i]);
        put_members(builder, object, pair);
        part = json_put_array(builder, object, "cases");
        for (unsigned i = 0; i < readiness->n_cases; i++)
                put_case(builder, part, pair, &readiness->cases[i]);
        part = json_put_array(builder, object, "notes");
        for (unsigned i = 0; i < readiness->n_notes; i++)
                json_put_text(builder, part, NULL, readiness->notes[i]);
        if (pair->record.last_drill.at_usec != 0)
                json_fill_drill(builder, json_put_object(builder, object, "last_drill"), pair->policy->name,
                                &pair->record.last_drill);
        else
                json_put_null(builder, object, "last_drill");
}

struct json_object *check_json(const struct engine *engine, int slot, const char *vm, const struct host_facts *facts,
                               usec_t now_usec) {
        struct json_builder builder = json_builder_at(facts, now_usec);
        struct json_object *root = json_object_new_object(), *pairs;
        struct readiness readiness;

        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "check");
        json_put_wall_time(&builder, root, "time_ms", now_usec);
        json_put_bool(&builder, root, "ready", engine->ready);
        pairs = json_put_array(&builder, root, "pairs");
        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];

                if (!pair || !pair->policy || vm || (slot != NO_PAIR && slot != i))
                        continue;
                readiness_list(engine, pair, &readiness);
                put_pair(&builder, pairs, engine, pair, &readiness);
        }
        json_put_vm_checks(&builder, root, slot == NO_PAIR ? engine->policy : NULL, facts, vm);
        return json_finish(&builder, root);
}

static const struct readiness_case *worst(const struct readiness *readiness) {
        for (unsigned i = 0; i < readiness->n_cases; i++)
                if (readiness->cases[i].level == readiness->level)
                        return &readiness->cases[i];
        return NULL;
}

void json_put_readiness(struct json_builder *builder, struct json_object *parent, const struct engine *engine,
                        const struct pair *pair) {
        struct json_object *object = json_put_object(builder, parent, "readiness");
        const struct readiness_case *c;
        struct readiness readiness;
        unsigned n = 0, covered = 0;

        readiness_list(engine, pair, &readiness);
        c = worst(&readiness);
        for (unsigned i = 0; i < readiness.n_cases; i++) {
                n += readiness.cases[i].level != READINESS_NONE;
                covered += readiness.cases[i].level == READINESS_COVERED;
        }
        json_put_text(builder, object, "level", readiness_level_to_string(readiness.level));
        json_put_age(builder, object, "age_ms",
                     pair->readiness == readiness.level ? pair->readiness_usec : engine->now_usec);
        json_put_number(builder, object, "failures", n);
        json_put_number(builder, object, "covered", covered);
        json_put_text(builder, object, "why", c ? c->why : NULL);
        json_put_text(builder, object, "mend", c ? c->mend : NULL);
}
