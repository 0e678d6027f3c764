/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/assignment-json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/cleanup.h"

/* Of a VM's places as many bytes are in use as the table gives it by hand: which of them is the guest's to choose, so
 * the lowest are shown as used. */
static void put_side(struct json_builder *builder, struct json_object *ranges, const struct pair *pair,
                     enum side side) {
        const struct assigned *assigned = &pair->record.assigned[side];
        int app = pair_policy_find_memory(pair->policy);
        uint64_t has = app < 0 ? 0 : pair->record.apps[app].granted_bytes[side];

        for (unsigned i = 0; i < assigned->n_spans; i++) {
                struct json_object *object = json_put_object(builder, ranges, NULL);
                uint64_t bytes = span_bytes(assigned->spans[i]), used = bytes < has ? bytes : has;

                json_put_number(builder, object, "start_bytes", assigned->spans[i].start);
                json_put_number(builder, object, "end_bytes", assigned->spans[i].end);
                json_put_text(builder, object, "manager", pair->policy->members[side].domain);
                json_put_number(builder, object, "used_bytes", used);
                has -= used;
        }
}

static void put_places(struct json_builder *builder, struct json_object *root, const struct engine *engine) {
        struct json_object *object = NULL, *ranges = NULL;

        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];

                if (!pair || pair_policy_find_memory(pair->policy) < 0)
                        continue;
                if (!object) {
                        object = json_put_object(builder, root, "assigned");
                        json_put_number(builder, object, "extent_bytes", engine->policy->extent_bytes);
                        json_put_number(builder, object, "size_bytes", engine->policy->pool_bytes);
                        json_put_number(builder, object, "available_bytes", assigned_available(engine));
                        ranges = json_put_array(builder, object, "ranges");
                }
                for (enum side side = 0; side < SIDE_MAX; side++)
                        put_side(builder, ranges, pair, side);
        }
        if (!object)
                json_put_null(builder, root, "assigned");
}

static void put_requests(struct json_builder *builder, struct json_object *object, const struct assignment *plan) {
        struct json_object *array = json_put_array(builder, object, "requests");

        for (size_t i = 0; i < plan->n_items; i++) {
                struct assignment_report report = assignment_report(plan, i);
                struct json_object *item = json_put_object(builder, array, NULL);
                char text[ASSIGNMENT_ITEM_LEN];

                json_put_text(builder, item, "request", assignment_item_format(&plan->items[i], text));
                json_put_number(builder, item, "asked_bytes", report.asked_bytes);
                json_put_number(builder, item, "done_bytes", report.done_bytes);
                json_put_number(builder, item, "under_way_bytes", report.under_way_bytes);
                json_put_number(builder, item, "refused_bytes", report.refused_bytes);
                json_put_text(builder, item, "why", report.refused_bytes ? report.why : NULL);
        }
}

void json_put_assigned(struct json_builder *builder, struct json_object *root, const struct engine *engine) {
        const struct assigning *assigning = &engine->assigning;
        struct json_object *object;

        put_places(builder, root, engine);
        if (assigning->begun_usec == 0) {
                json_put_null(builder, root, "assignment");
                return;
        }
        object = json_put_object(builder, root, "assignment");
        json_put_text(builder, object, "who", assigning->who);
        json_put_bool(builder, object, "running", assigning->plan.running);
        json_put_age(builder, object, "begun_age_ms", assigning->begun_usec);
        json_put_age(builder, object, "ended_age_ms", assigning->ended_usec);
        put_requests(builder, object, &assigning->plan);
}

static const char *step_text(const struct assignment *plan, const struct assignment_part *part, char *text,
                             size_t size) {
        const char *from = part->from >= 0 ? plan->vms[part->from].name : NULL;
        const char *to = part->to >= 0 ? plan->vms[part->to].name : NULL;
        char bytes[UNITS_TEXT_MAX], start[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX], where[2 * UNITS_TEXT_MAX + 8] = "";

        size_format(bytes, part->bytes);
        if (part->is_range)
                snprintf(where, sizeof(where), " (%s-%s)", size_format(start, part->span.start),
                         size_format(end, part->span.end));
        if (from && to)
                snprintf(text, size, "%s gives %s%s to %s", from, bytes, where, to);
        else if (to)
                snprintf(text, size, "%s gets %s%s out of unused", to, bytes, where);
        else
                snprintf(text, size, "%s gives %s%s back", from ? from : "nobody", bytes, where);
        return text;
}

struct json_object *assignment_plan_json(const struct engine *engine, const char *request, int *ret_result, char *why,
                                         size_t size) {
        struct json_builder builder = { 0 };
        _cleanup_free_ struct assignment *plan = calloc(1, sizeof(*plan));
        struct json_object *root = json_object_new_object(), *steps;
        char text[2 * NAME_LEN + 4 * UNITS_TEXT_MAX + 64];
        struct rights map;

        if (!plan)
                builder.failed = true;
        else {
                *ret_result = assigned_plan(engine, request, plan, &map, why, size);
                if (*ret_result >= 0)
                        rights_deinit(&map);
                steps = json_put_array(&builder, root, "steps");
                for (size_t i = 0; *ret_result >= 0 && i < plan->n_parts; i++)
                        json_put_text(&builder, steps, NULL, step_text(plan, &plan->parts[i], text, sizeof(text)));
                put_requests(&builder, root, plan);
        }
        return json_finish(&builder, root);
}
