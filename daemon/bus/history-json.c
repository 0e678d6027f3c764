/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/history-json.h"

#include <stdio.h>

#include "daemon/bus/drill-json.h"
#include "daemon/bus/json-build.h"
#include "daemon/bus/phases-json.h"
#include "daemon/bus/status.h"
#include "daemon/host/records/evidence.h"

/* Events that led to a failover stand shortly before it. */
#define LEAD_USEC (10 * USEC_PER_SEC)

/* Or a VM that stands alone, whose events are kept like a pair's. */
static bool is_pair(const struct history_query *query, const char *name) {
        const struct policy *policy = query->policy;

        return policy && (policy_find_pair(policy, name) >= 0 || policy_find_vm(policy, name) >= 0);
}

const char *history_pair(const struct history_query *query, char buffer[NAME_LEN]) {
        char *dash;

        snprintf(buffer, NAME_LEN, "%s", query->id);
        if (is_pair(query, query->id))
                return buffer;
        dash = strrchr(buffer, '-');
        if (dash && dash[1] && strspn(dash + 1, "0123456789") == strlen(dash + 1))
                *dash = 0;
        return buffer;
}

static void put_domain(struct json_builder *builder, struct json_object *parent, const char *key,
                       const struct history_query *query, const char *pair, enum side side) {
        int i = query->policy ? policy_find_pair(query->policy, pair) : -1;
        struct json_object *object;

        if ((int) side < 0 || side >= SIDE_MAX) {
                json_put_null(builder, parent, key);
                return;
        }
        object = json_put_object(builder, parent, key);
        json_put_text(builder, object, "side", side_to_string(side));
        json_put_text(builder, object, "domain", i >= 0 ? query->policy->pairs[i].members[side].domain : NULL);
}

static void put_flow(struct json_builder *builder, struct json_object *flows, const struct history_query *query,
                     const struct history_flow *flow) {
        struct json_object *object = json_put_object(builder, flows, NULL);

        json_put_text(builder, object, "id", flow->id);
        json_put_text(builder, object, "pair", flow->pair);
        json_put_text(builder, object, "kind", flow_kind_to_string(flow->kind));
        put_domain(builder, object, "from", query, flow->pair, flow->from);
        put_domain(builder, object, "to", query, flow->pair, flow->to);
        json_put_bool(builder, object, "drill", flow->drill);
        json_put_wall_time(builder, object, "begun_ms", flow->begun_usec);
        json_put_wall_time(builder, object, "ended_ms", flow->ended_usec);
        json_put_age(builder, object, "age_ms", flow->begun_usec);
        if (flow->ended_usec != 0)
                json_put_bool(builder, object, "ok", flow->result == 0);
        else
                json_put_null(builder, object, "ok");
        json_put_text(builder, object, "error", flow->result < 0 ? strerror(-flow->result) : NULL);
        json_put_text(builder, object, "cause", flow->cause);
        json_put_text(builder, object, "text", flow->text);
        json_put_phases(builder, object, flow->phase_usec);
}

static void put_event(struct json_builder *builder, struct json_object *events, const struct history_query *query,
                      const struct history_event *event) {
        struct json_object *object = json_put_object(builder, events, NULL);

        json_put_wall_time(builder, object, "time_ms", event->time_usec);
        json_put_age(builder, object, "age_ms", event->time_usec);
        json_put_text(builder, object, "pair", event->pair);
        put_domain(builder, object, "at", query, event->pair, event->side);
        json_put_text(builder, object, "kind", record_kind_to_string(event->kind));
        json_put_text(builder, object, "text", event->text);
}

/* The one failover that the id names, or NULL where it names a pair or all. */
static const struct history_flow *find_flow(const struct history_query *query, const struct history_flow *flows,
                                            size_t n_flows) {
        if (!query->id[0] || is_pair(query, query->id))
                return NULL;
        for (size_t i = 0; i < n_flows; i++)
                if (strcmp(flows[i].id, query->id) == 0)
                        return &flows[i];
        return NULL;
}

static bool event_fits(const struct history_query *query, const struct history_flow *only,
                       const struct history_event *event) {
        if (!only)
                return !query->id[0] || strcmp(event->pair, query->id) == 0;
        return strcmp(event->pair, only->pair) == 0 && event->time_usec + LEAD_USEC >= only->begun_usec &&
               (only->ended_usec == 0 || event->time_usec <= only->ended_usec + USEC_PER_SEC);
}

/* The document that was kept, with ages as of then; null where there is none. */
static void put_explanation(struct json_builder *builder, struct json_object *root, const char *text) {
        struct json_object *explanation = text ? json_tokener_parse(text) : NULL;

        if (explanation)
                json_put(builder, root, "explanation", explanation);
        else
                json_put_null(builder, root, "explanation");
}

static void put_evidence(struct json_builder *builder, struct json_object *root, const struct history_rows *rows) {
        struct json_object *object, *files;

        if (!rows->n_files) {
                json_put_null(builder, root, "evidence");
                return;
        }
        object = json_put_object(builder, root, "evidence");
        json_put_text(builder, object, "directory", rows->evidence_dir);
        files = json_put_array(builder, object, "files");
        for (size_t i = 0; i < rows->n_files; i++) {
                struct json_object *file = json_put_object(builder, files, NULL);

                json_put_text(builder, file, "name", rows->files[i].name);
                json_put_number(builder, file, "bytes", rows->files[i].bytes);
                json_put_wall_time(builder, file, "time_ms", rows->files[i].time_usec);
                json_put_age(builder, file, "age_ms", rows->files[i].time_usec);
        }
}

static void put_drill(struct json_builder *builder, struct json_object *drills, const struct history_drill *drill) {
        struct json_object *object = json_put_object(builder, drills, NULL);

        json_put_text(builder, object, "pair", drill->pair);
        json_fill_drill(builder, object, drill->pair, &drill->result);
}

static bool drill_fits(const struct history_query *query, const struct history_flow *only,
                       const struct history_drill *drill) {
        if (!only)
                return !query->id[0] || strcmp(drill->pair, query->id) == 0;
        return strcmp(drill->pair, only->pair) == 0 && drill->result.number == only->number;
}

int history_json(const struct history_query *query, const struct history_rows *rows, struct json_object **ret) {
        struct json_builder builder = { .now_usec = query->realtime_usec, .wall_known = true };
        const struct history_flow *only = find_flow(query, rows->flows, rows->n_flows);
        struct json_object *root = json_object_new_object(), *array;
        size_t found = 0;

        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "history");
        array = json_put_array(&builder, root, "flows");
        for (size_t i = 0; i < rows->n_flows; i++) {
                const struct history_flow *flow = &rows->flows[i];

                if (only ? flow == only : !query->id[0] || strcmp(flow->pair, query->id) == 0) {
                        put_flow(&builder, array, query, flow);
                        found++;
                }
        }
        array = json_put_array(&builder, root, "drills");
        for (size_t i = 0; i < rows->n_drills; i++)
                if (drill_fits(query, only, &rows->drills[i])) {
                        put_drill(&builder, array, &rows->drills[i]);
                        found++;
                }
        array = json_put_array(&builder, root, "events");
        for (size_t i = 0; i < rows->n_events; i++)
                if (event_fits(query, only, &rows->events[i])) {
                        put_event(&builder, array, query, &rows->events[i]);
                        found++;
                }
        if (only) {
                put_explanation(&builder, root, rows->explanation);
                put_evidence(&builder, root, rows);
        }
        root = json_finish(&builder, root);
        if (!root)
                return -ENOMEM;
        if (found == 0 && query->id[0] && !is_pair(query, query->id)) {
                json_object_put(root);
                return -ENOENT;
        }
        *ret = root;
        return 0;
}
