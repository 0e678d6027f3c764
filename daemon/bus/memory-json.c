/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory in two rights (N): of each region, who manages it, who uses it, and what is really in memory. */

#include <string.h>

#include "daemon/bus/assignment-json.h"
#include "daemon/bus/json-build.h"
#include "daemon/bus/status-member.h"
#include "daemon/bus/status.h"

static const char *domain_of(const struct pair *pair, struct holder holder) {
        return holder_is_vm(holder) ? pair->policy->members[holder.side].domain : NULL;
}

static void put_fact(struct json_builder *builder, struct json_object *object, const char *key, struct fact fact) {
        if (fact.seen_usec)
                json_put_number(builder, object, key, fact.value);
        else
                json_put_null(builder, object, key);
}

static void put_resident(struct json_builder *builder, struct json_object *object, struct fact resident) {
        put_fact(builder, object, "resident_bytes", resident);
        put_fact(builder, object, "resident_error_bytes", (struct fact) { resident.error, resident.seen_usec });
}

static void put_range(struct json_builder *builder, struct json_object *ranges, struct span span, const char *manager,
                      const char *user, bool leaving, struct fact resident) {
        struct json_object *object = json_put_object(builder, ranges, NULL);

        json_put_number(builder, object, "start_bytes", span.start);
        json_put_number(builder, object, "end_bytes", span.end);
        json_put_text(builder, object, "manager", manager);
        json_put_text(builder, object, "user", user);
        json_put_bool(builder, object, "leaving", leaving);
        put_resident(builder, object, resident);
}

/* What a side has in memory of a stretch of a region that is followed. */
static struct fact seen_resident(const struct handover *handover, enum side side, struct span span) {
        const struct usage *usage = &handover->usage;
        struct fact sum = { .seen_usec = handover->usage_usec };

        if (!usage->known[side] || handover->usage_usec == 0)
                return (struct fact) { 0 };
        for (uint64_t i = span.start / usage->extent_bytes; i < span.end / usage->extent_bytes; i++)
                sum.value += (uint64_t) usage->pages[side][i] * USAGE_PAGE_BYTES;
        return sum;
}

static struct fact side_resident(const struct pair *pair, int app, enum side side, const struct host_facts *facts) {
        const struct member_facts *member = host_facts_member(facts, pair->slot, side);
        const struct handover *handover = pair->apps[app].handover;

        if (handover && handover->usage_usec)
                return seen_resident(handover, side, (struct span) { 0, handover->rights.size_bytes });
        return member ? member->app_resident[app] : (struct fact) { 0 };
}

static void put_ranges(struct json_builder *builder, struct json_object *object, const struct pair *pair, int app,
                       const struct host_facts *facts) {
        const struct handover *handover = pair->apps[app].handover;
        const struct record_app *record = &pair->record.apps[app];
        struct json_object *ranges = json_put_array(builder, object, "ranges");
        uint64_t size = pair->policy->applications[app].memory_bytes, granted = record->granted_bytes[record->owner];

        for (size_t i = 0; handover && i < handover->rights.n_ranges; i++) {
                const struct rights_range *range = &handover->rights.ranges[i];

                put_range(builder, ranges, range->span, domain_of(pair, range->manager), domain_of(pair, range->user),
                          range->releasing,
                          holder_is_vm(range->user) ? seen_resident(handover, range->user.side, range->span)
                                                    : (struct fact){ 0 });
        }
        if (handover)
                return;
        if (granted > 0) {
                const char *domain = pair->policy->members[record->owner].domain;

                put_range(builder, ranges, (struct span){ 0, granted }, domain, domain,
                          record->releasing[record->owner], side_resident(pair, app, record->owner, facts));
        }
        if (granted < size)
                put_range(builder, ranges, (struct span) { granted, size }, NULL, NULL, false, (struct fact) { 0 });
}

/* What has left the old user's memory each second since it began, whichever way; 0 within the first. */
static uint64_t left_per_sec(const struct handover *handover, uint64_t left_bytes, usec_t now_usec) {
        usec_t took = now_usec > handover->begun_usec ? now_usec - handover->begun_usec : 0;

        return took < USEC_PER_SEC ? 0 : left_bytes / (took / USEC_PER_MSEC) * (USEC_PER_SEC / USEC_PER_MSEC);
}

static void put_handover(struct json_builder *builder, struct json_object *object, const struct pair *pair, int app) {
        const struct handover *handover = pair->apps[app].handover;
        struct json_object *child;
        uint64_t using, released;

        if (!handover) {
                json_put_null(builder, object, "handover");
                return;
        }
        using = pair->record.apps[app].using_bytes[handover->from];
        released = handover->begun_bytes > using ? handover->begun_bytes - using : 0;
        child = json_put_object(builder, object, "handover");
        json_put_side(builder, child, "from", pair->policy, handover->from);
        json_put_age(builder, child, "age_ms", handover->begun_usec);
        json_put_number(builder, child, "begun_bytes", handover->begun_bytes);
        json_put_number(builder, child, "using_bytes", using);
        json_put_number(builder, child, "released_bytes", released);
        json_put_number(builder, child, "paged_out_bytes", handover->paged_bytes);
        json_put_number(builder, child, "bytes_per_sec",
                        left_per_sec(handover, released + handover->paged_bytes, builder->now_usec));
        json_put_age(builder, child, "seen_age_ms", handover->usage_usec);
}

static void put_side(struct json_builder *builder, struct json_object *sides, const struct pair *pair, int app,
                     enum side side, const struct host_facts *facts) {
        struct json_object *object = json_put_object(builder, sides, NULL);
        const struct member_facts *member = host_facts_member(facts, pair->slot, side);
        struct fact resident = side_resident(pair, app, side, facts);
        struct fact swapped = member ? member->app_swapped[app] : (struct fact){ 0 };

        json_put_text(builder, object, "domain", pair->policy->members[side].domain);
        json_put_number(builder, object, "managed_bytes", pair->record.apps[app].granted_bytes[side]);
        json_put_number(builder, object, "using_bytes", pair->record.apps[app].using_bytes[side]);
        json_put_number(builder, object, "plugged_bytes", pair->members[side].plugged_bytes[app]);
        put_resident(builder, object, resident);
        json_put_age(builder, object, "resident_age_ms", resident.seen_usec);
        put_fact(builder, object, "swapped_bytes", swapped);
        json_put_age(builder, object, "swapped_age_ms", swapped.seen_usec);
        json_put_text(builder, object, "protection", member && member->protection[0] ? member->protection : NULL);
}

static void put_region(struct json_builder *builder, struct json_object *regions, const struct pair *pair, int app,
                       const struct host_facts *facts) {
        const struct application *policy = &pair->policy->applications[app];
        struct json_object *object = json_put_object(builder, regions, NULL), *sides;

        json_put_text(builder, object, "pair", pair->policy->name);
        json_put_text(builder, object, "application", policy->name);
        json_put_number(builder, object, "memory_bytes", policy->memory_bytes);
        json_put_number(builder, object, "extent_bytes", usage_extent_bytes(policy->memory_bytes));
        sides = json_put_array(builder, object, "sides");
        for (enum side side = 0; side < SIDE_MAX; side++)
                put_side(builder, sides, pair, app, side, facts);
        put_handover(builder, object, pair, app);
        if (policy->kind == APPLICATION_MEMORY) /* its places are the pool's: "assigned" */
                json_put_array(builder, object, "ranges");
        else
                put_ranges(builder, object, pair, app, facts);
}

struct json_object *memory_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec) {
        struct json_builder builder = { .now_usec = now_usec };
        struct json_object *root = json_object_new_object(), *object;

        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "memory");
        json_put_bool(&builder, root, "surveying", facts && facts->surveying);
        object = json_put_object(&builder, root, "reclaim");
        json_put_bool(&builder, object, "able", engine->reclaim_able);
        json_put_text(&builder, object, "text", engine->reclaim_text);
        if (engine->pool_limit_bytes)
                json_put_number(&builder, object, "pool_limit_bytes", engine->pool_limit_bytes);
        else
                json_put_null(&builder, object, "pool_limit_bytes");
        json_put_number(&builder, object, "swap_bytes", engine->swap_bytes);
        json_put_text(&builder, object, "pool_limit", facts && facts->pool_limit[0] ? facts->pool_limit : NULL);
        object = json_put_array(&builder, root, "regions");
        for (int i = 0; i < engine->n_pairs; i++)
                for (size_t k = 0; engine->pairs[i] && k < engine->pairs[i]->policy->n_applications; k++)
                        put_region(&builder, object, engine->pairs[i], (int) k, facts);
        json_put_assigned(&builder, root, engine);
        return json_finish(&builder, root);
}
