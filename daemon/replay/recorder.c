/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/recorder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "daemon/replay/describe.h"
#include "daemon/replay/issued.h"
#include "daemon/replay/layouts.h"
#include "daemon/replay/policy-block.h"
#include "daemon/replay/snapshot.h"
#include "daemon/replay/update-text.h"

void recorder_deinit(struct recorder *recorder) {
        buffer_deinit(&recorder->out);
        buffer_deinit(&recorder->policy);
        buffer_deinit(&recorder->scratch);
        pong_memory_deinit(&recorder->pongs);
        *recorder = (struct recorder) { 0 };
}

/* The text of a policy takes longer than the rest of a snapshot, and it changes rarely. */
static int renew_policy(struct recorder *recorder, const struct engine *engine) {
        int r = 0;

        if (recorder->policy_known || !engine->policy)
                return 0;
        buffer_clear(&recorder->policy);
        if (recorder->policy_beside) {
                buffer_add_text(&recorder->policy, "policy beside\n");
                r = policy_block_write_beside(&recorder->policy, engine->policy);
        } else {
                buffer_add_text(&recorder->policy, "policy\n");
                r = policy_block_write(&recorder->policy, engine->policy);
        }
        recorder->policy_known = r >= 0 && !recorder->policy_beside;
        recorder->policy_beside = false;
        return r;
}

#define T struct segment_head
static const struct layout_row segment_head_rows[] = {
        TEXT(T, version),
        NUMBER(T, life),
        NUMBER(T, segment),
        NUMBER(T, time_usec),
};
const struct layout segment_head_layout = LAYOUT(T, segment_head_rows);
#undef T

int recorder_segment(struct recorder *recorder, const struct engine *engine, const struct segment_head *given) {
        struct segment_head head = *given;
        int r = renew_policy(recorder, engine);

        if (r < 0)
                return r;
        snprintf(head.version, sizeof(head.version), "%s", PROJECT_VERSION);
        buffer_add_text(&recorder->out, RECORDING_MAGIC " ");
        buffer_add_number(&recorder->out, RECORDING_FORMAT);
        layout_write(&recorder->out, &segment_head_layout, &head, NULL, "");
        buffer_add_char(&recorder->out, '\n');
        snapshot_write(&recorder->out, engine, &recorder->policy);
        recorder->clock = (struct event_clock) { engine->now_usec, engine->real_usec };
        pong_memory_deinit(&recorder->pongs);
        recorder->digest = DIGEST_BEGIN;
        recorder->n_undigested = 0;
        return recorder->out.failed ? -ENOMEM : 0;
}

int recorder_event(struct recorder *recorder, const struct event *event) {
        int r = event_text_write(&recorder->out, event, recorder->clock, &recorder->pongs);

        recorder->clock = (struct event_clock) { event->time_usec, event->real_usec };
        if (event->kind == EVENT_POLICY)
                recorder->policy_known = false;
        return r;
}

/* A line for each decision of weight. True where there was one. */
static bool write_decisions(struct recorder *recorder, const struct engine *engine, const struct update *update) {
        char text[DESCRIBE_LEN];
        bool weighs = false;

        for (size_t i = 0; i < update->n_actions; i++) {
                const struct action *action = &update->actions[i];
                const struct pair *pair =
                        action->pair >= 0 && action->pair < engine->n_pairs ? engine->pairs[action->pair] : NULL;

                if (!describe_action(action, pair ? pair->policy->name : NULL, pair ? pair->policy : NULL, text))
                        continue;
                weighs = true;
                buffer_add_text(&recorder->out, "> ");
                buffer_add_text(&recorder->out, text);
                buffer_add_char(&recorder->out, '\n');
        }
        return weighs;
}

static void write_issued(struct recorder *recorder, const struct update *update) {
        char key[ISSUED_KEY_LEN];
        uint64_t id;

        for (size_t i = 0; i < update->n_actions; i++) {
                if (!issued_key(&update->actions[i], key, &id))
                        continue;
                buffer_add_text(&recorder->out, "! ");
                buffer_add_number(&recorder->out, id);
                buffer_add_char(&recorder->out, ' ');
                buffer_add_text(&recorder->out, key);
                buffer_add_char(&recorder->out, '\n');
        }
}

int recorder_update(struct recorder *recorder, const struct engine *engine, const struct update *update) {
        char text[32];
        bool weighs;

        if (recorder->digest_every == 0) {
                write_issued(recorder, update);
                return recorder->out.failed ? -ENOMEM : 0;
        }
        weighs = write_decisions(recorder, engine, update);
        buffer_clear(&recorder->scratch);
        update_text_write(&recorder->scratch, update);
        recorder->digest = digest_add(recorder->digest, recorder->scratch.bytes, recorder->scratch.n);
        if (weighs || ++recorder->n_undigested >= recorder->digest_every) {
                snprintf(text, sizeof(text), "= %016" PRIx64 "\n", recorder->digest);
                buffer_add_text(&recorder->out, text);
                recorder->n_undigested = 0;
        }
        return recorder->out.failed || recorder->scratch.failed ? -ENOMEM : weighs;
}
