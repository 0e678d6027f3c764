/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/recording-cut.h"

#include <errno.h>

#include "daemon/base/cleanup.h"
#include "daemon/replay/recording-reader.h"

struct cut {
        struct recording_reader reader;
        struct recorder recorder;
        struct recording_time time;
        struct engine *engine;
        struct update update;
        struct policy *policy; /* in force at the beginning of the part */
        struct segment_head head; /* of the segment that is read */
        bool begun; /* something was written; and the segment that is read goes on from it */
        usec_t from_usec, until_usec;
};

/* Segments that follow each other become one. */
static int on_segment(struct cut *cut) {
        bool follows = cut->engine && cut->head.life == cut->reader.head.life &&
                       cut->head.segment + 1 == cut->reader.head.segment;

        cut->head = cut->reader.head;
        if (follows)
                return 0;
        engine_free(cut->engine);
        cut->engine = steal_ptr(cut->reader.engine);
        recording_time_segment(&cut->time, cut->engine);
        return cut->begun ? recorder_segment(&cut->recorder, cut->engine, &cut->head) : 0;
}

static int begin(struct cut *cut) {
        cut->begun = true;
        cut->policy = policy_copy(cut->engine->policy);
        if (!cut->policy)
                return -ENOMEM;
        policy_drop_retired(cut->policy); /* these stand in the recording */
        cut->recorder.policy_beside = true;
        return recorder_segment(&cut->recorder, cut->engine, &cut->head);
}

static int on_event(struct cut *cut) {
        const struct event *event = &cut->reader.event.event;
        int r = 0;

        recording_time_event(&cut->time, cut->engine, event);
        if (cut->until_usec && cut->time.since_usec > cut->until_usec)
                return 0;
        if (!cut->begun && cut->time.since_usec >= cut->from_usec && cut->engine->policy)
                r = begin(cut);
        if (r >= 0 && cut->begun)
                r = recorder_event(&cut->recorder, event);
        engine_step(cut->engine, event, &cut->update);
        if (r >= 0 && cut->begun)
                r = recorder_update(&cut->recorder, cut->engine, &cut->update);
        return cut->update.failed ? -ENOMEM : r;
}

static int run(struct cut *cut, struct error *error) {
        int r;

        while ((r = recording_reader_next(&cut->reader, error)) > 0) {
                if (r == RECORDING_SEGMENT)
                        r = on_segment(cut);
                else if (r == RECORDING_EVENT)
                        r = on_event(cut);
                if (r < 0)
                        return error_set(error, r, "out of memory");
                if (cut->until_usec && cut->time.since_usec > cut->until_usec)
                        break;
        }
        if (r >= 0 && !cut->begun)
                return error_set(error, -ENODATA, "nothing was recorded between these times");
        return r < 0 ? r : 0;
}

int recording_cut(const char *text, size_t n, usec_t from_usec, usec_t until_usec, const struct policy *policy,
                  struct buffer *out, struct policy **ret_policy, struct error *error) {
        struct cut cut = { .from_usec = from_usec, .until_usec = until_usec, .reader = { .policy = policy } };
        int r = recording_reader_init(&cut.reader, text, n, error);

        if (r >= 0)
                r = run(&cut, error);
        if (r >= 0) {
                buffer_add(out, cut.recorder.out.bytes, cut.recorder.out.n);
                r = out->failed ? error_set(error, -ENOMEM, "out of memory") : 0;
        }
        if (r >= 0)
                *ret_policy = steal_ptr(cut.policy);
        policy_free(cut.policy);
        engine_free(cut.engine);
        update_deinit(&cut.update);
        recorder_deinit(&cut.recorder);
        recording_reader_deinit(&cut.reader);
        return r;
}
