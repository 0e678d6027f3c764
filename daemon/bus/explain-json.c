/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/explain-json.h"

#include "agents/protocol/message.h"
#include "daemon/bus/json-build.h"
#include "daemon/bus/status-member.h"
#include "daemon/bus/status.h"

static void put_doubt(struct json_builder *builder, struct json_object *root, const struct engine *engine,
                      const char *text) {
        struct json_object *object = json_put_object(builder, root, "doubt");

        json_put_text(builder, object, "text", text);
        json_put_age(builder, object, "void_age_ms", engine->void_usec);
        json_put_age(builder, object, "pressure_age_ms", engine->pressure_usec);
        json_put_age(builder, object, "many_silent_age_ms", engine->mass_usec);
        json_put_number(builder, object, "suspected", engine->n_suspected);
        json_put_number(builder, object, "watched", engine->n_watched);
}

static void put_beats(struct json_builder *builder, struct json_object *parent, const struct member_state *member,
                      const struct member_explanation *explanation) {
        struct json_object *object = json_put_object(builder, parent, "beats");
        const struct detector *detector = &member->detector;

        json_put_bool(builder, object, "watched", detector->watching);
        json_put_age(builder, object, "last_age_ms", detector->last_pong_usec);
        json_put_span(builder, object, "silent_ms",
                      detector->watching ? explanation->evidence.silent_usec : USEC_INFINITY);
        json_put_span(builder, object, "limit_ms", explanation->evidence.limit_usec);
        json_put_span(builder, object, "interval_ms", detector->beat_usec);
        json_put_number(builder, object, "missed", explanation->missed);
        json_put_number(builder, object, "missed_limit", detector->beats_missed);
        json_put_bool(builder, object, "voided", explanation->evidence.voided);
}

static void put_paths(struct json_builder *builder, struct json_object *parent, const struct detector *detector,
                      const struct detector_evidence *evidence) {
        struct json_object *paths = json_put_array(builder, parent, "second_paths");

        for (enum second_path path = 0; path < SECOND_PATH_MAX; path++) {
                struct json_object *object = json_put_object(builder, paths, NULL);
                bool counts = path == evidence->path && evidence->path_known;

                json_put_text(builder, object, "path", second_path_to_string(path));
                json_put_bool(builder, object, "works", detector->path_known[path]);
                json_put_age(builder, object, "age_ms", detector->last_path_usec[path]);
                json_put_age(builder, object, "told_age_ms", detector->told_usec[path]);
                json_put_bool(builder, object, "counts", counts);
                json_put_span(builder, object, "silent_ms", counts ? evidence->path_silent_usec : USEC_INFINITY);
                json_put_span(builder, object, "limit_ms", counts ? evidence->path_limit_usec : USEC_INFINITY);
                json_put_span(builder, object, "waited_ms", counts ? evidence->waited_usec : USEC_INFINITY);
        }
}

/* It never decides; it tells a guest that spins from one that waits. */
static void put_processor(struct json_builder *builder, struct json_object *parent, const struct member_facts *facts) {
        struct json_object *object;

        if (!facts || facts->processor_usec.seen_usec == 0) {
                json_put_null(builder, parent, "processor");
                return;
        }
        object = json_put_object(builder, parent, "processor");
        json_put_span(builder, object, "used_ms", facts->processor_usec.value);
        json_put_span(builder, object, "within_ms", facts->processor_span_usec);
        json_put_age(builder, object, "age_ms", facts->processor_usec.seen_usec);
}

static void put_member(struct json_builder *builder, struct json_object *array, const struct pair *pair, enum side side,
                       const struct explanation *explanation, const struct member_facts *facts) {
        const struct member_state *member = &pair->members[side];
        const struct member_explanation *e = &explanation->members[side];
        struct json_object *object = json_put_object(builder, array, NULL), *part;

        json_put_member_name(builder, object, pair, side);
        json_put_text(builder, object, "rule", e->rule);
        json_put_text(builder, object, "tips", e->tip);
        json_put_text(builder, object, "verdict", verdict_to_string(member->detector.verdict));
        json_put_age(builder, object, "suspected_age_ms", member->detector.suspected_usec);
        part = json_put_member_life(builder, object, member);
        json_put_age(builder, part, "gone_age_ms",
                     member->process_known && !member->process_alive ? member->process_gone_usec : 0);
        part = json_put_object(builder, object, "agent");
        json_put_bool(builder, part, "connected", member->link_up);
        json_put_bool(builder, part, "greeted", member->greeted);
        json_put_age(builder, part, "greeted_age_ms", member->greeted ? member->greeted_usec : 0);
        put_processor(builder, object, facts);
        put_beats(builder, object, member, e);
        put_paths(builder, object, &member->detector, &e->evidence);
        json_put_text(builder, object, "failure", member->failure);
        json_put_age(builder, object, "failure_age_ms", member->failure[0] ? member->failure_usec : 0);
        json_put_bool(builder, object, "operator_hold", member->operator_hold);
        json_put_text(builder, object, "blocked", explanation->blocked[side]);
}

static void put_application(struct json_builder *builder, struct json_object *array, const struct pair *pair, int app,
                            const struct app_explanation *explanation) {
        const struct application *policy = &pair->policy->applications[app];
        const struct app_state *state = &pair->apps[app];
        enum side owner = pair->record.apps[app].owner;
        struct json_object *object = json_put_object(builder, array, NULL);
        const char *severity = severity_to_string(explanation->severity);

        json_put_text(builder, object, "name", policy->name);
        json_put_text(builder, object, "kind", application_kind_to_string(pair_application_kind(pair, app)));
        json_put_side(builder, object, "owner", pair->policy, owner);
        json_put_text(builder, object, "rule", explanation->rule);
        json_put_text(builder, object, "tips", explanation->tip);
        json_put_text(builder, object, "state",
                      state->state_usec[owner] ? application_state_to_string(state->state[owner]) : NULL);
        json_put_age(builder, object, "state_age_ms", state->state_usec[owner]);
        json_put_bool(builder, object, "healthy", application_is_healthy(pair, app));
        json_put_text(builder, object, "failure", state->failure);
        json_put_age(builder, object, "failure_age_ms", state->failed_usec);
        json_put_text(builder, object, "severity", severity);
        json_put_number(builder, object, "restarts_used", explanation->restarts);
        json_put_number(builder, object, "restart_budget", policy->restart_budget);
        json_put_span(builder, object, "restart_window_ms", policy->restart_window_usec);
}

struct json_object *explain_json(const struct engine *engine, int slot, const struct host_facts *facts,
                                 usec_t now_usec) {
        struct json_builder builder = json_builder_at(facts, now_usec);
        const struct pair *pair = engine->pairs[slot];
        struct json_object *root = json_object_new_object(), *array;
        struct explanation explanation;
        char id[FAILOVER_ID_LEN];

        explain_pair(engine, pair, now_usec, &explanation);
        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "explain");
        json_put_wall_time(&builder, root, "time_ms", now_usec);
        json_put_text(&builder, root, "pair", pair->policy->name);
        json_put_text(&builder, root, "state", pair_state_to_string(pair->state));
        json_put_age(&builder, root, "state_age_ms", pair->state_usec);
        json_put_text(&builder, root, "flow",
                      pair->record.flow.kind == FLOW_NONE ? NULL : flow_id(pair->policy, &pair->record.flow, id));
        json_put_span(&builder, root, "objective_ms", pair->policy->objective_usec);
        json_put_text(&builder, root, "blocked", pair->blocked);
        put_doubt(&builder, root, engine, explanation.doubt);
        array = json_put_array(&builder, root, "members");
        for (enum side side = 0; side < SIDE_MAX; side++)
                put_member(&builder, array, pair, side, &explanation, host_facts_member(facts, slot, side));
        array = json_put_array(&builder, root, "applications");
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                put_application(&builder, array, pair, (int) i, &explanation.apps[i]);
        return json_finish(&builder, root);
}
