/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/replay/recording-cut.h"
#include "daemon/replay/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_line(void *userdata, usec_t since_usec, enum replay_line kind, const char *text) {
        size_t *bytes = userdata;

        *bytes += strlen(text);
}

/* One input is a recording from wherever: it is replayed, or refused with a reason. What can be replayed can be cut,
 * and the part can be replayed with its policy. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        size_t bytes = 0;
        struct replay_options options = { .all = true, .line = take_line, .userdata = &bytes };
        struct replay_result result;
        struct error error = ERROR_INIT;
        struct policy *policy = NULL;
        struct buffer part = { 0 };
        int r = replay_run((const char *) data, size, &options, &result, &error);

        assert(r >= 0 || (error.code < 0 && error.message));
        replay_result_deinit(&result);
        error_deinit(&error);
        if (r >= 0 && recording_cut((const char *) data, size, 1, 0, NULL, &part, &policy, NULL) >= 0) {
                options.policy = policy;
                r = replay_run(part.bytes, part.n, &options, &result, NULL);
                assert(r >= 0 && result.digests == 0);
                replay_result_deinit(&result);
        }
        buffer_deinit(&part);
        policy_free(policy);
        return 0;
}
