/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The recording of a simulation: what failoverd itself would write down. */

#include "daemon/sim/world.h"

static void put(struct sim *sim, int r) {
        struct buffer *out = &sim->recorder.out;

        if (r < 0)
                sim->failed = true;
        fwrite(out->bytes, 1, out->n, sim->options->record);
        buffer_clear(out);
}

static int segment(struct sim *sim) {
        struct segment_head head = { .life = sim->host,
                                     .segment = ++sim->record_number,
                                     .time_usec = sim->now_usec - sim->boot_offset_usec };

        return recorder_segment(&sim->recorder, sim->engine, &head);
}

void record_start(struct sim *sim) {
        if (!sim->options->record)
                return;
        recorder_deinit(&sim->recorder);
        /* Where segments begin at random, it is a test: each update is to be told from each other. */
        sim->recorder.digest_every = sim->options->record_segment ? 1 : RECORDER_DIGEST_EVERY;
        put(sim, segment(sim));
}

void record_event(struct sim *sim, const struct event *event) {
        if (!sim->options->record)
                return;
        if (sim->options->record_segment && sim_draw(&sim->record_random) % sim->options->record_segment == 0)
                put(sim, segment(sim));
        put(sim, recorder_event(&sim->recorder, event));
}

void record_update(struct sim *sim) {
        if (sim->options->record)
                put(sim, recorder_update(&sim->recorder, sim->engine, &sim->update));
}
