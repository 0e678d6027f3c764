/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A policy and a timeline of faults on virtual time, through the very engine that failoverd runs; needs no daemon and
 * no VM. A directory with recorded events in place of a timeline is replayed. tests/scenarios/run compares what it
 * prints with what was expected. The document of --json is that of a replay: the run is recorded, and then decided
 * again. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/replay-scenario.h"
#include "daemon/sim/simulate.h"
#include "policy/text.h"

#define PATH_LEN 4096

static int load(void *userdata, const char *file, struct policy **ret, struct error *error) {
        struct diagnostics diagnostics = { 0 };
        char path[PATH_LEN];
        int r;

        if (snprintf(path, sizeof(path), "%s/%s", (const char *) userdata, file) >= (int) sizeof(path))
                return error_set(error, -ENAMETOOLONG, "%s/%s: %s", (const char *) userdata, file,
                                 strerror(ENAMETOOLONG));
        r = policy_load(path, ret, &diagnostics);
        if (r < 0) {
                (void) diagnostics_print(&diagnostics, stderr);
                error_set(error, r, "%s: %s", path, strerror(-r));
        }
        diagnostics_deinit(&diagnostics);
        return r;
}

/* DIRECTORY holds policy.yaml and timeline; else it is the timeline's file, beside its policy.yaml. */
static int find(const char *given, char directory[PATH_LEN], char timeline[PATH_LEN]) {
        struct stat st;
        const char *slash;

        if (stat(given, &st) < 0)
                return -errno;
        slash = strrchr(given, '/');
        if (S_ISDIR(st.st_mode)) {
                snprintf(directory, PATH_LEN, "%s", given);
                snprintf(timeline, PATH_LEN, "%.4000s/timeline", given);
        } else {
                snprintf(directory, PATH_LEN, "%.*s", slash ? (int) (slash - given) : 1, slash ? given : ".");
                snprintf(timeline, PATH_LEN, "%s", given);
        }
        return 0;
}

static int run(struct ctl *ctl, struct policy **policy, char **text, struct simulate_result *result) {
        char directory[PATH_LEN], timeline[PATH_LEN];
        struct simulate_options options = { .load_policy = load, .userdata = directory, .quiet = ctl->json };
        struct error error = ERROR_INIT;
        int r = find(ctl->args[0], directory, timeline);

        if (r < 0)
                return ctl_fail(CTL_USAGE, "%s: %s", ctl->args[0], strerror(-r));
        r = ctl_read_file(timeline, CTL_TEXT_MAX, text);
        if (r != CTL_OK)
                return CTL_USAGE;
        setlinebuf(stdout);
        r = load(directory, "policy.yaml", policy, &error);
        if (r >= 0 && ctl->record && !(options.record = fopen(ctl->record, "we")))
                r = error_set(&error, -errno, "%s: %s", ctl->record, strerror(errno));
        if (r >= 0)
                r = simulate_run(*policy, *text, ctl->json ? stderr : stdout, &options, result, &error);
        if (options.record && (ferror(options.record) | fclose(options.record)) && r >= 0)
                r = error_set(&error, -EIO, "%s: cannot be written", ctl->record);
        if (r < 0)
                ctl_fail(CTL_USAGE, "%s", error_text(&error));
        error_deinit(&error);
        return r < 0 ? CTL_USAGE : CTL_OK;
}

/* The document of a recording. */
static int print_json(struct ctl *ctl, const char *recording) {
        ctl->args[0] = recording;
        return verb_replay(ctl);
}

static int simulate(struct ctl *ctl) {
        struct simulate_result result = { 0 };
        struct policy *policy = NULL;
        _cleanup_free_ char *text = NULL;
        int r = run(ctl, &policy, &text, &result);
        policy_free(policy);
        if (r == CTL_OK && result.violations)
                return ctl_fail(CTL_FAILED,
                                "%u violations of what must always hold: a fault in failoverd; please report it with "
                                "this directory",
                                result.violations);
        return r;
}

int verb_simulate(struct ctl *ctl) {
        char recording[] = P_tmpdir "/failoverctl-XXXXXX";
        int fd, r;

        if (replay_scenario_is(ctl->args[0])) {
                if (ctl->record)
                        return ctl_fail(CTL_USAGE, "%s is recorded already: it has events in place of a timeline",
                                        ctl->args[0]);
                return ctl->json ? verb_replay(ctl) : replay_scenario_run(ctl->args[0]);
        }
        if (!ctl->json || ctl->record) {
                r = simulate(ctl);
                return r == CTL_OK && ctl->json ? print_json(ctl, ctl->record) : r;
        }
        fd = mkstemp(recording);
        if (fd < 0)
                return ctl_fail(CTL_FAILED, "%s: %s", recording, strerror(errno));
        close(fd);
        ctl->record = recording;
        r = simulate(ctl);
        if (r == CTL_OK)
                r = print_json(ctl, recording);
        unlink(recording);
        return r;
}
