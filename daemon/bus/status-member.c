/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/status-member.h"

#include "agents/protocol/message.h"
#include "daemon/base/cleanup.h"

struct json_builder json_builder_at(const struct host_facts *facts, usec_t now_usec) {
        return (struct json_builder) {
                .now_usec = now_usec,
                .wall_known = facts && facts->realtime_offset_usec != 0,
                .wall_offset_usec = facts ? facts->realtime_offset_usec : 0,
        };
}

void json_put_side(struct json_builder *builder, struct json_object *parent, const char *key,
                   const struct pair_policy *policy, enum side side) {
        struct json_object *object = json_put_object(builder, parent, key);

        json_put_text(builder, object, "side", side_to_string(side));
        json_put_text(builder, object, "domain", policy->members[side].domain);
}

static void put_fact(struct json_builder *builder, struct json_object *parent, const char *key, const char *age_key,
                     const struct fact *fact) {
        if (fact && fact->seen_usec != 0)
                json_put_number(builder, parent, key, fact->value);
        else
                json_put_null(builder, parent, key);
        json_put_age(builder, parent, age_key, fact ? fact->seen_usec : 0);
}

static void put_agent(struct json_builder *builder, struct json_object *parent, const struct member_state *member) {
        struct json_object *agent = json_put_object(builder, parent, "agent");

        json_put_bool(builder, agent, "connected", member->link_up);
        json_put_bool(builder, agent, "greeted", member->greeted);
        json_put_bool(builder, agent, "configured", member->configured);
        json_put_age(builder, agent, "greeted_age_ms", member->greeted ? member->greeted_usec : 0);
        json_put_text(builder, agent, "version", member->agent_version);
        json_put_text(builder, agent, "system", member->system);
        json_put_text(builder, agent, "boot", member->boot);
        json_put_age(builder, agent, "last_beat_age_ms", member->detector.last_pong_usec);
}

static void put_second_paths(struct json_builder *builder, struct json_object *parent,
                             const struct detector *detector) {
        struct json_object *paths = json_put_array(builder, parent, "second_paths");

        for (int i = 0; i < SECOND_PATH_MAX; i++) {
                struct json_object *path = json_put_object(builder, paths, NULL);

                json_put_text(builder, path, "path", second_path_to_string((enum second_path) i));
                json_put_bool(builder, path, "works", detector->path_known[i]);
                json_put_age(builder, path, "age_ms", detector->last_path_usec[i]);
        }
}

static void put_troubles(struct json_builder *builder, struct json_object *object, const struct member_state *member) {
        if (member->going_usec != 0) {
                struct json_object *going = json_put_object(builder, object, "going");

                json_put_text(builder, going, "kind", member->going);
                json_put_age(builder, going, "age_ms", member->going_usec);
        } else
                json_put_null(builder, object, "going");

        if (member->failure[0]) {
                struct json_object *failure = json_put_object(builder, object, "failure");

                json_put_text(builder, failure, "text", member->failure);
                json_put_age(builder, failure, "age_ms", member->failure_usec);
        } else
                json_put_null(builder, object, "failure");
}

void json_put_member_name(struct json_builder *builder, struct json_object *object, const struct pair *pair,
                          enum side side) {
        json_put_text(builder, object, "side", side_to_string(side));
        json_put_text(builder, object, "domain", pair->policy->members[side].domain);
        json_put_text(builder, object, "role", side == pair_active(pair) ? "active" : "standby");
}

struct json_object *json_put_member_life(struct json_builder *builder, struct json_object *object,
                                         const struct member_state *member) {
        struct json_object *part = json_put_object(builder, object, "state");

        json_put_text(builder, part, "state", domain_state_to_string(member->domain));
        json_put_text(builder, part, "reason", domain_reason_to_string(member->reason));
        json_put_age(builder, part, "age_ms", member->domain_usec);

        part = json_put_object(builder, object, "process");
        if (member->process_known)
                json_put_bool(builder, part, "alive", member->process_alive);
        else
                json_put_null(builder, part, "alive");
        return part;
}

static void put_member(struct json_builder *builder, struct json_object *parent, const struct pair *pair,
                       enum side side, const struct member_facts *facts) {
        const struct member_state *member = &pair->members[side];
        struct json_object *object = json_put_object(builder, parent, NULL), *part;

        json_put_member_name(builder, object, pair, side);
        part = json_put_member_life(builder, object, member);
        if (member->process_known && member->process_alive)
                json_put_number(builder, part, "pid", (uint64_t) member->pid);
        else
                json_put_null(builder, part, "pid");

        put_agent(builder, object, member);
        json_put_text(builder, object, "verdict", verdict_to_string(member->detector.verdict));
        json_put_age(builder, object, "suspected_age_ms", member->detector.suspected_usec);
        put_second_paths(builder, object, &member->detector);

        part = json_put_object(builder, object, "fence");
        json_put_text(builder, part, "state", fence_state_to_string(member->fence));
        json_put_age(builder, part, "age_ms", member->fence_usec);

        put_troubles(builder, object, member);
        json_put_bool(builder, object, "operator_hold", member->operator_hold);
        json_put_number(builder, object, "rebuilds", member->rebuilds);
        json_put_age(builder, object, "preflight_age_ms", member->preflight_usec);

        part = json_put_object(builder, object, "memory");
        json_put_number(builder, part, "base_bytes", pair->policy->members[side].base_bytes);
        json_put_number(builder, part, "guest_total_bytes", member->total_bytes);
        put_fact(builder, part, "resident_bytes", "resident_age_ms", facts ? &facts->resident : NULL);
        put_fact(builder, part, "overhead_bytes", "overhead_age_ms", facts ? &facts->overhead : NULL);
}

void json_put_members(struct json_builder *builder, struct json_object *parent, const struct pair *pair,
                      const struct host_facts *facts) {
        struct json_object *members = json_put_array(builder, parent, "members");

        for (int side = 0; side < SIDE_MAX; side++)
                put_member(builder, members, pair, (enum side) side,
                           host_facts_member(facts, pair->slot, (enum side) side));
}

unsigned application_restarts_left(const struct pair *pair, int app, usec_t now_usec) {
        const struct application *policy = &pair->policy->applications[app];
        unsigned used = pair_recent_restarts(pair, app, now_usec);

        return used < policy->restart_budget ? policy->restart_budget - used : 0;
}

bool application_is_healthy(const struct pair *pair, int app) {
        const struct member_state *member = &pair->members[pair->record.apps[app].owner];

        return pair->apps[app].healthy && member->detector.verdict == VERDICT_ALIVE;
}

static void put_application_side(struct json_builder *builder, struct json_object *parent, const struct pair *pair,
                                 int app, enum side side) {
        const struct member_state *member = &pair->members[side];
        const struct app_state *state = &pair->apps[app];
        struct json_object *object = json_put_object(builder, parent, NULL);

        json_put_text(builder, object, "side", side_to_string(side));
        json_put_text(builder, object, "domain", pair->policy->members[side].domain);
        json_put_text(builder, object, "state", /* null until its agent has told */
                      state->state_usec[side] ? application_state_to_string(state->state[side]) : NULL);
        json_put_age(builder, object, "age_ms", state->state_usec[side]);
        json_put_number(builder, object, "granted_bytes", pair->record.apps[app].granted_bytes[side]);
        json_put_number(builder, object, "using_bytes", pair->record.apps[app].using_bytes[side]);
        json_put_number(builder, object, "plugged_bytes", member->plugged_bytes[app]);
        if (member->requested_known[app])
                json_put_number(builder, object, "requested_bytes", member->requested_bytes[app]);
        else
                json_put_null(builder, object, "requested_bytes");
        json_put_number(builder, object, "used_bytes", state->used_bytes[side]);
        json_put_bool(builder, object, "attached", state->attached[side]);
        json_put_bool(builder, object, "startable", state->checked[side]);
        json_put_age(builder, object, "startable_age_ms", state->checked_usec[side]);
        json_put_text(builder, object, "startable_text", state->check_text[side]);
}

void json_put_state_region(struct json_builder *builder, struct json_object *object,
                           const struct state_region *region) {
        json_put_text(builder, object, "region", region->name);
        json_put_number(builder, object, "region_kind", region->kind);
        json_put_number(builder, object, "size_bytes", region->size_bytes);
        if (region->kind >= REGION_KIND_RESIDENT)
                json_put_span(builder, object, "write_back_ms", region->write_back_usec);
        else
                json_put_null(builder, object, "write_back_ms");
        json_put_text(builder, object, "holder", region->holder);
        json_put_text(builder, object, "mirror", region->mirror);
}

/* How old the standby's view of the application's data can be while its holder answers: as the regions are written
 * back. Null where that is up to the application. */
static void put_state(struct json_builder *builder, struct json_object *parent, const struct application *policy) {
        struct json_object *state = json_put_array(builder, parent, "regions");

        for (size_t i = 0; i < policy->n_regions; i++) {
                const struct state_region *region = &policy->regions[i];
                struct json_object *object = json_put_object(builder, state, NULL);

                json_put_state_region(builder, object, region);
                if (region->kind < REGION_KIND_RESIDENT)
                        json_put_span(builder, object, "view_age_max_ms", 0);
                else if (region->write_back_usec > 0)
                        json_put_span(builder, object, "view_age_max_ms", region->write_back_usec);
                else
                        json_put_null(builder, object, "view_age_max_ms");
        }
}

static void put_application(struct json_builder *builder, struct json_object *parent, const struct pair *pair,
                            int app) {
        const struct application *policy = &pair->policy->applications[app];
        const struct record_app *record = &pair->record.apps[app];
        const struct app_state *state = &pair->apps[app];
        struct json_object *object = json_put_object(builder, parent, NULL), *sides;

        json_put_text(builder, object, "name", policy->name);
        json_put_text(builder, object, "kind", application_kind_to_string(pair_application_kind(pair, app)));
        json_put_text(builder, object, "declared", application_kind_to_string(policy->kind));
        json_put_number(builder, object, "memory_bytes", policy->memory_bytes);
        json_put_side(builder, object, "owner", pair->policy, record->owner);
        json_put_number(builder, object, "token", record->token);
        json_put_bool(builder, object, "exclusive", application_is_exclusive(policy));
        json_put_bool(builder, object, "healthy", application_is_healthy(pair, app));
        json_put_bool(builder, object, "moving", record->moving);
        json_put_bool(builder, object, "ended", record->ended);
        json_put_number(builder, object, "restart_budget", policy->restart_budget);
        json_put_number(builder, object, "restarts_left", application_restarts_left(pair, app, builder->now_usec));
        json_put_text(builder, object, "failure", state->failure);
        json_put_text(builder, object, "refusal", state->refused ? state->refusal : NULL);
        json_put_text(builder, object, "state_refusal",
                      pair_lacks_state(pair, app) ? state->state_failure : NULL);
        json_put_age(builder, object, "state_refusal_age_ms",
                     pair_lacks_state(pair, app) ? state->state_failed_usec : 0);
        put_state(builder, object, policy);
        sides = json_put_array(builder, object, "sides");
        for (int side = 0; side < SIDE_MAX; side++)
                put_application_side(builder, sides, pair, app, (enum side) side);
}

void json_put_applications(struct json_builder *builder, struct json_object *parent, const struct pair *pair) {
        struct json_object *applications = json_put_array(builder, parent, "applications");

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                put_application(builder, applications, pair, (int) i);
}
