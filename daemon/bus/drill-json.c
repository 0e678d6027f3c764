/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/drill-json.h"

#include <inttypes.h>
#include <stdio.h>

/* The end is on the wall clock, unlike what else a builder is given. */
static void put_age(struct json_builder *builder, struct json_object *object, usec_t at_usec) {
        usec_t now_usec = (usec_t) ((int64_t) builder->now_usec + builder->wall_offset_usec);

        if (builder->wall_known)
                json_put_span(builder, object, "age_ms", now_usec > at_usec ? now_usec - at_usec : 0);
        else
                json_put_null(builder, object, "age_ms");
}

/* A span that was not reached is null. */
static void put_usec(struct json_builder *builder, struct json_object *object, const char *key, usec_t span_usec) {
        if (span_usec != USEC_INFINITY)
                json_put_number(builder, object, key, span_usec);
        else
                json_put_null(builder, object, key);
}

static void put_rehearsal(struct json_builder *builder, struct json_object *object, const struct drill_result *drill) {
        json_put_number(builder, object, "wanted_bytes", drill->wanted_bytes);
        json_put_number(builder, object, "rehearsed_bytes", drill->rehearsed_bytes);
        put_usec(builder, object, "plugged_usec", drill->plugged_usec);
        put_usec(builder, object, "touched_usec", drill->touched_usec);
        put_usec(builder, object, "canary_usec", drill->canary_usec);
}

void json_fill_drill(struct json_builder *builder, struct json_object *object, const char *pair,
                     const struct drill_result *drill) {
        char id[NAME_LEN + 24];

        json_put_text(builder, object, "level", drill_level_to_string(drill->level));
        json_put_bool(builder, object, "ok", drill->ok);
        json_put_text(builder, object, "verdict", drill_verdict(drill));
        json_put_number(builder, object, "time_ms", drill->at_usec / USEC_PER_MSEC);
        put_age(builder, object, drill->at_usec);
        put_usec(builder, object, "took_usec", drill->took_usec);
        json_put_span(builder, object, "objective_ms", drill->objective_usec);
        snprintf(id, sizeof(id), "%s-%" PRIu64, pair, drill->number);
        json_put_text(builder, object, "failover", drill->number ? id : NULL);
        json_put_text(builder, object, "text", drill->text);
        if (drill->level == DRILL_LEVEL_REHEARSE)
                put_rehearsal(builder, json_put_object(builder, object, "rehearsal"), drill);
        else
                json_put_null(builder, object, "rehearsal");
}
