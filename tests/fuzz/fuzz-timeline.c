/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/simulate.h"
#include "daemon/sim/timeline.h"
#include "policy/text.h"

/* What is run and not only read. */
#define RUN_LINES_MAX 40
#define RUN_SPAN_MAX (300 * USEC_PER_SEC)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char policy_text[] =
        "version: 1\n"
        "pool: {memory: 3GiB, extent: 128MiB, monitor: 64MiB, overhead: 128MiB}\n"
        "pairs:\n"
        "  - name: p\n"
        "    active: {domain: a, base: 512MiB}\n"
        "    standby: {domain: b, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: x, kind: hot-standby, memory: 256MiB, start: {command: [/x]}, canary: {command: [/c]},\n"
        "         resources: {disks: [vdb]}}\n"
        "      - {name: y, kind: plain, memory: 128MiB, start: {command: [/y]}}\n"
        "  - name: q\n"
        "    active: {domain: c, base: 512MiB}\n"
        "    standby: {domain: d, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: z, kind: hot-standby, memory: 128MiB, start: {command: [/z]}}\n";

static struct policy *make_policy(void) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;

        if (policy_parse(policy_text, strlen(policy_text), "policy.yaml", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        assert(policy);
        diagnostics_deinit(&diagnostics);
        return policy;
}

static int load(void *userdata, const char *file, struct policy **ret, struct error *error) {
        *ret = make_policy();
        return 0;
}

/* One input is a timeline: it is refused with a reason, or run; whatever it asks for, what must always hold does. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct policy *policy;
        struct simulate_options options = { .quiet = true, .load_policy = load };
        struct simulate_result result = { 0 };
        struct error error = ERROR_INIT;
        struct timeline timeline = { 0 };
        char *text = strndup((const char *) data, size);
        int r;

        if (!policy)
                policy = make_policy();
        assert(text);
        r = timeline_parse(text, &timeline, &error);
        assert(r >= 0 || (error.code < 0 && error.message));
        if (r >= 0 && timeline.n_lines <= RUN_LINES_MAX && timeline.end_usec <= RUN_SPAN_MAX &&
            (timeline.n_lines == 0 || timeline.lines[timeline.n_lines - 1]->at_usec <= RUN_SPAN_MAX)) {
                r = simulate_run(policy, text, stdout, &options, &result, &error);
                assert(r >= 0 || (error.code < 0 && error.message));
                fflush(stdout);
                assert(result.violations == 0);
        }
        timeline_deinit(&timeline);
        error_deinit(&error);
        free(text);
        return 0;
}
