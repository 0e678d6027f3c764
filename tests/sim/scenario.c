/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs one scenario directory (policy.yaml, timeline) and prints what happens; tests/scenarios/run compares it with
 * `expect`. Exits 1 when something that must always hold was violated, 2 when the scenario cannot be run. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/sim/simulate.h"
#include "policy/text.h"

static int read_text(const char *path, char **ret) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        char *text = NULL;
        size_t size = 0;
        ssize_t n;

        if (!f)
                return -errno;
        n = getdelim(&text, &size, 0, f);
        if (n < 0) {
                free(text);
                return feof(f) ? -ENODATA : -errno;
        }
        *ret = text;
        return 0;
}

static int load(void *userdata, const char *file, struct policy **ret, struct error *error) {
        struct diagnostics diagnostics = { 0 };
        char path[4096];
        int r;

        snprintf(path, sizeof(path), "%s/%s", (const char *) userdata, file);
        r = policy_load(path, ret, &diagnostics);
        if (r < 0) {
                diagnostics_print(&diagnostics, stderr);
                error_set(error, r, "%s: %s", path, strerror(-r));
        }
        diagnostics_deinit(&diagnostics);
        return r;
}

int main(int argc, char **argv) {
        struct simulate_options options = { .load_policy = load };
        struct simulate_result result = { 0 };
        struct error error = ERROR_INIT;
        struct policy *policy = NULL;
        _cleanup_free_ char *timeline = NULL;
        char path[4096];
        int r;

        if (argc != 2) {
                fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
                return 2;
        }
        setlinebuf(stdout);
        options.userdata = argv[1];
        snprintf(path, sizeof(path), "%s/timeline", argv[1]);
        r = read_text(path, &timeline);
        if (r < 0)
                error_set(&error, r, "%s: %s", path, strerror(-r));
        if (r >= 0)
                r = load(argv[1], "policy.yaml", &policy, &error);
        if (r >= 0)
                r = simulate_run(policy, timeline, stdout, &options, &result, &error);
        policy_free(policy);
        if (r < 0) {
                fprintf(stderr, "%s\n", error_text(&error));
                error_deinit(&error);
                return 2;
        }
        return result.violations ? 1 : 0;
}
