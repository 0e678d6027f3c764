/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/phases-json.h"

static usec_t first_of(const usec_t phase_usec[PHASE_MAX]) {
        for (int i = 0; i < PHASE_MAX; i++)
                if (phase_usec[i] != 0)
                        return phase_usec[i];
        return 0;
}

static usec_t since(usec_t first_usec, usec_t then_usec) {
        return then_usec > first_usec ? then_usec - first_usec : 0;
}

usec_t phases_recovery(const usec_t phase_usec[PHASE_MAX]) {
        if (phase_usec[PHASE_STARTED] == 0)
                return USEC_INFINITY;
        return since(first_of(phase_usec), phase_usec[PHASE_STARTED]);
}

void json_put_phases(struct json_builder *builder, struct json_object *parent, const usec_t phase_usec[PHASE_MAX]) {
        struct json_object *phases = json_put_array(builder, parent, "phases");
        usec_t recovery = phases_recovery(phase_usec);

        for (int i = 0; i < PHASE_MAX; i++) {
                struct json_object *phase;

                if (phase_usec[i] == 0)
                        continue;
                phase = json_put_object(builder, phases, NULL);
                json_put_text(builder, phase, "phase", phase_to_string((enum phase) i));
                json_put_number(builder, phase, "since_start_usec", since(first_of(phase_usec), phase_usec[i]));
                json_put_age(builder, phase, "age_ms", phase_usec[i]);
                json_put_wall_time(builder, phase, "time_ms", phase_usec[i]);
        }
        if (recovery != USEC_INFINITY)
                json_put_number(builder, parent, "recovery_usec", recovery);
        else
                json_put_null(builder, parent, "recovery_usec");
}
