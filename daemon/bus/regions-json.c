/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shared regions (R): those of the policy, and who has the right to write them; and names that programs registered. */

#include <string.h>

#include "daemon/bus/status-member.h"
#include "daemon/bus/status.h"

/* Null where nobody is known to have it. Applications run on through a restart of failoverd, and so does the right. */
static void put_writer(struct json_builder *builder, struct json_object *object, const struct pair *pair, int app,
                       bool kept, const struct host_facts *facts) {
        const struct record_app *record = &pair->record.apps[app];
        const struct app_state *state = &pair->apps[app];
        const struct member_facts *member = host_facts_member(facts, pair->slot, record->owner);
        bool granted = state->state_token != 0 && state->state_token == record->token;

        if (granted || (kept && state->state[record->owner] == APPLICATION_RUNNING))
                json_put_side(builder, object, "writer", pair->policy, record->owner);
        else
                json_put_null(builder, object, "writer");
        json_put_number(builder, object, "token", record->token);
        json_put_bool(builder, object, "granted", granted);
        json_put_age(builder, object, "granted_age_ms", granted && member ? member->app_granted_usec[app] : 0);
        json_put_text(builder, object, "refusal", state->state_failure);
        json_put_age(builder, object, "refusal_age_ms", state->state_failure[0] ? state->state_failed_usec : 0);
}

static void put_region(struct json_builder *builder, struct json_object *regions, const struct policy *policy,
                       const struct pair *pair, int app, size_t i, const struct host_facts *facts) {
        const struct state_region *region = &pair->policy->applications[app].regions[i];
        struct json_object *object = json_put_object(builder, regions, NULL);
        bool kept = pair->record.apps[app].state_kept & 1U << i;
        int server = policy_find_server(policy, region->holder), mirror = policy_find_server(policy, region->mirror);

        json_put_text(builder, object, "pair", pair->policy->name);
        json_put_text(builder, object, "application", pair->policy->applications[app].name);
        json_put_state_region(builder, object, region);
        json_put_text(builder, object, "control", server >= 0 ? policy->servers[server].control : NULL);
        json_put_text(builder, object, "mirror_control", mirror >= 0 ? policy->servers[mirror].control : NULL);
        json_put_bool(builder, object, "kept", kept);
        put_writer(builder, object, pair, app, kept, facts);
}

static void put_name(struct json_builder *builder, struct json_object *names, const struct name_fact *name) {
        struct json_object *object = json_put_object(builder, names, NULL), *kinds;

        json_put_text(builder, object, "name", name->name);
        json_put_number(builder, object, "pid", name->pid);
        json_put_number(builder, object, "uid", name->uid);
        json_put_number(builder, object, "size_bytes", name->size_bytes);
        kinds = json_put_array(builder, object, "kinds");
        for (int kind = 1; kind <= REGION_KIND_MAX; kind++)
                if (name->kinds & (1U << kind))
                        json_put(builder, kinds, NULL, json_object_new_int(kind));
        json_put_age(builder, object, "age_ms", name->since_usec);
        json_put_number(builder, object, "resolved", name->resolved);
}

/* Where regions may be, also such that the policy has no more; whose they are there, and whose spaces are none. */
static void put_servers(struct json_builder *builder, struct json_object *root, const struct policy *policy) {
        struct json_object *array = json_put_array(builder, root, "servers");

        for (size_t i = 0; policy && i < policy->n_servers; i++) {
                struct json_object *object = json_put_object(builder, array, NULL);

                json_put_text(builder, object, "server", policy->servers[i].name);
                json_put_text(builder, object, "control", policy->servers[i].control);
        }
        array = json_put_array(builder, root, "pairs");
        for (size_t i = 0; policy && i < policy->n_pairs; i++)
                json_put(builder, array, NULL, json_object_new_string(policy->pairs[i].name));
        array = json_put_array(builder, root, "vms");
        for (size_t i = 0; policy && i < policy->n_pairs; i++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        json_put(builder, array, NULL, json_object_new_string(policy->pairs[i].members[side].domain));
        for (size_t i = 0; policy && i < policy->n_vms; i++)
                json_put(builder, array, NULL, json_object_new_string(policy->vms[i].domain));
}

struct json_object *regions_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec) {
        struct json_builder builder = { .now_usec = now_usec };
        struct json_object *root = json_object_new_object(), *array;

        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "regions");
        json_put_text(&builder, root, "node", facts ? facts->node : NULL);
        array = json_put_array(&builder, root, "regions");
        for (int slot = 0; slot < engine->n_pairs; slot++) {
                const struct pair *pair = engine->pairs[slot];

                for (size_t app = 0; pair && app < pair->policy->n_applications; app++)
                        for (size_t i = 0; i < pair->policy->applications[app].n_regions; i++)
                                put_region(&builder, array, engine->policy, pair, (int) app, i, facts);
        }
        array = json_put_array(&builder, root, "names");
        for (size_t i = 0; facts && i < facts->n_names; i++)
                put_name(&builder, array, &facts->names[i]);
        put_servers(&builder, root, engine->policy);
        return json_finish(&builder, root);
}
