/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/scenario.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "policy/text.h"

#define PATH_LEN 4096

int scenario_load_policy(void *directory, const char *file, struct policy **ret, struct error *error) {
        struct diagnostics diagnostics = { 0 };
        char path[PATH_LEN];
        int r;

        if (snprintf(path, sizeof(path), "%s/%s", (const char *) directory, file) >= (int) sizeof(path))
                return error_set(error, -ENAMETOOLONG, "%s is too long a name", file);
        r = policy_load(path, ret, &diagnostics);
        diagnostics_deinit(&diagnostics);
        return r < 0 ? error_set(error, r, "%s cannot be read", path) : r;
}

static char *read_file(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        char *text = NULL;
        size_t n = 0;

        return f && getdelim(&text, &n, 0, f) >= 0 ? text : NULL;
}

static int run_one(const char *timeline, int (*run)(const struct scenario *scenario)) {
        struct scenario scenario = { .directory = strndup(timeline, strlen(timeline) - strlen("/timeline")) };
        struct error error = ERROR_INIT;
        int r = scenario.directory ? 0 : -ENOMEM;

        if (r >= 0)
                r = scenario_load_policy(scenario.directory, "policy.yaml", &scenario.policy, &error);
        if (r >= 0 && !(scenario.timeline = read_file(timeline)))
                r = error_set(&error, -EIO, "%s cannot be read", timeline);
        if (r < 0)
                fprintf(stderr, "%s\n", error_text(&error));
        else
                r = run(&scenario);
        error_deinit(&error);
        policy_free(scenario.policy);
        free(scenario.timeline);
        free(scenario.directory);
        return r;
}

int scenarios_run(const char *directory, int (*run)(const struct scenario *scenario)) {
        char pattern[PATH_LEN];
        glob_t found;
        int n, r = 0;

        if (snprintf(pattern, sizeof(pattern), "%s/*/timeline", directory) >= (int) sizeof(pattern))
                return -ENAMETOOLONG;
        if (glob(pattern, 0, NULL, &found) != 0)
                return -ENOENT;
        n = (int) found.gl_pathc;
        for (int i = 0; i < n && r >= 0; i++)
                r = run_one(found.gl_pathv[i], run);
        globfree(&found);
        return r < 0 ? r : n;
}
