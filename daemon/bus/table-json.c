/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "daemon/bus/json-build.h"
#include "daemon/bus/status.h"

static const struct pair *holder_pair(const struct engine *engine, struct holder holder) {
        return holder.pair >= 0 && holder.pair < engine->n_pairs ? engine->pairs[holder.pair] : NULL;
}

const char *holder_text(const struct engine *engine, struct holder holder) {
        const struct pair *pair = holder_pair(engine, holder);

        return pair && pair->policy ? pair->policy->members[holder.side].domain : "monitor";
}

static const char *region_title(const struct region *region) {
        switch (region->kind) {
        case REGION_MONITOR:
                return "monitor";
        case REGION_OVERHEAD:
                return "QEMU overhead";
        case REGION_RESERVE:
                return "reserve";
        case REGION_UNUSED:
                return "unused";
        default:
                return region->name;
        }
}

const char *region_key(const struct engine *engine, const struct region *region, char buffer[REGION_KEY_LEN]) {
        const struct pair *pair = holder_pair(engine, region->user);

        if (!pair || !pair->policy)
                snprintf(buffer, REGION_KEY_LEN, "%s",
                         region->kind == REGION_OVERHEAD ? "overhead" : region_title(region));
        else if (region->app < 0 || (size_t) region->app >= pair->policy->n_applications)
                snprintf(buffer, REGION_KEY_LEN, "%s:%s", pair->policy->name, side_to_string(region->user.side));
        else
                snprintf(buffer, REGION_KEY_LEN, "%s:%s:%s%s", pair->policy->name, side_to_string(region->user.side),
                         pair->policy->applications[region->app].name,
                         region->kind == REGION_REHEARSAL ? ":rehearsal" : "");
        return buffer;
}

/* Adds up QEMU's own memory of all VMs; known only where every VM's is. The age is the oldest one's. */
static struct fact overhead_resident(const struct engine *engine, const struct host_facts *facts) {
        struct fact sum = { .seen_usec = USEC_INFINITY };
        bool any = false;

        for (int i = 0; i < engine->n_pairs; i++)
                for (int side = 0; engine->pairs[i] && engine->pairs[i]->policy && side < SIDE_MAX; side++) {
                        const struct member_facts *member = host_facts_member(facts, i, (enum side) side);

                        if (!member || member->overhead.seen_usec == 0)
                                return (struct fact) { 0 };
                        sum.value += member->overhead.value;
                        if (member->overhead.seen_usec < sum.seen_usec)
                                sum.seen_usec = member->overhead.seen_usec;
                        any = true;
                }
        return any ? sum : (struct fact) { 0 };
}

static struct fact region_resident(const struct engine *engine, const struct host_facts *facts,
                                   const struct region *region) {
        const struct member_facts *member = host_facts_member(facts, region->user.pair, region->user.side);

        if (region->kind == REGION_MONITOR && facts)
                return facts->monitor_resident;
        if (region->kind == REGION_OVERHEAD)
                return overhead_resident(engine, facts);
        if (region->kind == REGION_SYSTEM && member)
                return member->system_resident;
        if (member && region->app >= 0 && region->app < POLICY_APPLICATIONS_MAX)
                return member->app_resident[region->app];
        return (struct fact) { 0 };
}

static void put_holder(struct json_builder *builder, struct json_object *parent, const char *key,
                       const struct engine *engine, struct holder holder) {
        const struct pair *pair = holder_pair(engine, holder);
        struct json_object *object = json_put_object(builder, parent, key);

        json_put_text(builder, object, "name", holder_text(engine, holder));
        json_put_text(builder, object, "pair", pair && pair->policy ? pair->policy->name : NULL);
        json_put_text(builder, object, "side", pair && pair->policy ? side_to_string(holder.side) : NULL);
}

static void put_row(struct json_builder *builder, struct json_object *rows, const struct engine *engine,
                    const struct host_facts *facts, const struct region *region) {
        const struct pair *pair = holder_pair(engine, region->user);
        struct fact resident = region_resident(engine, facts, region);
        struct json_object *row = json_put_object(builder, rows, NULL);
        char key[REGION_KEY_LEN];

        json_put_text(builder, row, "key", region_key(engine, region, key));
        json_put_text(builder, row, "name", region_title(region));
        json_put_text(builder, row, "kind", region_kind_to_string(region->kind));
        json_put_number(builder, row, "usage_bytes", region->usage_bytes);
        json_put_number(builder, row, "remote_bytes", pair ? pair_remote_bytes(pair, region) : 0);
        if (resident.seen_usec != 0) {
                json_put_number(builder, row, "resident_bytes", resident.value);
                json_put_number(builder, row, "resident_error_bytes", resident.error);
        } else {
                json_put_null(builder, row, "resident_bytes");
                json_put_null(builder, row, "resident_error_bytes");
        }
        json_put_age(builder, row, "resident_age_ms", resident.seen_usec);
        if (pair && region->app >= 0 && region->app < POLICY_APPLICATIONS_MAX)
                json_put_number(builder, row, "plugged_bytes",
                                pair->members[region->user.side].plugged_bytes[region->app]);
        else
                json_put_null(builder, row, "plugged_bytes");
        put_holder(builder, row, "user", engine, region->user);
        put_holder(builder, row, "target", engine, region->target);
}

struct json_object *table_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec) {
        static const enum region_kind order[] = {
                REGION_MONITOR, REGION_OVERHEAD, REGION_RESERVE, REGION_SYSTEM, REGION_APPLICATION, REGION_REHEARSAL,
                REGION_UNUSED,
        };
        struct json_builder builder = { .now_usec = now_usec };
        struct json_object *root = json_object_new_object(), *rows;
        uint64_t total = 0;

        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "table");
        json_put_number(&builder, root, "governed_bytes", engine->table.governed_bytes);
        json_put_bool(&builder, root, "surveying", facts && facts->surveying);
        rows = json_put_array(&builder, root, "rows");
        for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++)
                for (size_t i = 0; i < engine->table.n_rows; i++)
                        if (engine->table.rows[i].kind == order[k]) {
                                put_row(&builder, rows, engine, facts, &engine->table.rows[i]);
                                total += engine->table.rows[i].usage_bytes;
                        }
        json_put_number(&builder, root, "total_bytes", total);
        return json_finish(&builder, root);
}
