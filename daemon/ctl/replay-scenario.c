/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/replay-scenario.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "daemon/ctl/ctl.h"
#include "daemon/replay/policy-block.h"
#include "daemon/replay/recording-cut.h"
#include "policy/text.h"

#define PATH_LEN 4096
/* What led to a flow began so long before it; and what a recording without one is about ended with it. */
#define LEAD_USEC (10 * USEC_PER_SEC)
#define TAIL_USEC (30 * USEC_PER_SEC)

/* ---- recordings ------------------------------------------------------------------------------------------ */

static int read_policy(const char *directory, struct policy **ret) {
        struct diagnostics diagnostics = { 0 };
        char path[PATH_LEN];
        int r;

        snprintf(path, sizeof(path), "%.4000s/policy.yaml", directory);
        r = policy_load(path, ret, &diagnostics);
        if (r < 0)
                (void) diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        return r < 0 ? ctl_fail(CTL_USAGE, "%s: %s", path, strerror(-r)) : CTL_OK;
}

int recording_file_read(const char *path, struct recording_file *ret) {
        char events[PATH_LEN];
        struct stat st;
        int r = CTL_OK;

        snprintf(events, sizeof(events), "%.4000s", path);
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
                snprintf(events, sizeof(events), "%.4000s/events", path);
                r = read_policy(path, &ret->policy);
        }
        return r == CTL_OK ? ctl_read_file(events, RECORDING_FILE_MAX, &ret->text) : r;
}

void recording_file_deinit(struct recording_file *file) {
        free(file->text);
        policy_free(file->policy);
        *file = (struct recording_file) { 0 };
}

/* ---- scenarios ------------------------------------------------------------------------------------------- */

bool replay_scenario_is(const char *path) {
        char events[PATH_LEN];

        snprintf(events, sizeof(events), "%.4000s/events", path);
        return access(events, R_OK) == 0;
}

static void print_line(void *userdata, usec_t since_usec, enum replay_line kind, const char *text) {
        replay_print_line(userdata, since_usec, kind, text);
}

static int print(const struct recording_file *file, const char *name, FILE *f) {
        struct replay_options options = { .policy = file->policy, .line = print_line, .userdata = f };
        struct replay_result result;
        struct error error = ERROR_INIT;
        int r = replay_run(file->text, strlen(file->text), &options, &result, &error);

        if (r < 0)
                ctl_fail(CTL_FAILED, "%s: %s", name, error_text(&error));
        else
                replay_print_end(f, result.engine);
        error_deinit(&error);
        replay_result_deinit(&result);
        return r < 0 ? CTL_FAILED : CTL_OK;
}

int replay_scenario_run(const char *path) {
        _cleanup_(recording_file_deinit) struct recording_file file = { 0 };
        int r = recording_file_read(path, &file);

        return r == CTL_OK ? print(&file, path, stdout) : r;
}

/* ---- making one ------------------------------------------------------------------------------------------ */

static int write_file(const char *directory, const char *name, const char *text, size_t n) {
        char path[PATH_LEN];
        FILE *f;
        bool ok;

        snprintf(path, sizeof(path), "%.4000s/%s", directory, name);
        f = fopen(path, "wxe");
        if (!f)
                return ctl_fail(CTL_FAILED, "%s cannot be written: %s", path, strerror(errno));
        ok = fwrite(text, 1, n, f) == n;
        if (fclose(f) != 0 || !ok)
                return ctl_fail(CTL_FAILED, "%s cannot be written: %s", path, strerror(errno));
        return CTL_OK;
}

static int write_policy(const char *directory, const struct policy *policy) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        int r = f ? policy_block_write_file(f, policy) : -ENOMEM;

        if (memstream_close(f, &text) < 0 || r < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return write_file(directory, "policy.yaml", text, n);
}

static int write_expect(const char *directory, const struct recording_file *part) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        int r = f ? print(part, directory, f) : CTL_FAILED;

        if (memstream_close(f, &text) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return r == CTL_OK ? write_file(directory, "expect", text, n) : r;
}

static int write_readme(const char *directory, const struct ctl *ctl, const struct replay_result *result) {
        const char *slash = strrchr(ctl->args[0], '/');
        char text[512];
        int n = snprintf(text, sizeof(text),
                         "Recorded by failoverd %.30s in the field (%.100s).\nSay here what must hold.\n",
                         result->version, slash ? slash + 1 : ctl->args[0]);

        return write_file(directory, "README", text, (size_t) n);
}

static int write_all(const struct ctl *ctl, const struct recording_file *part, const struct replay_result *whole) {
        int r = CTL_OK;

        if (mkdir(ctl->scenario, 0777) < 0)
                return ctl_fail(CTL_FAILED, "%s cannot be made: %s", ctl->scenario, strerror(errno));
        r = write_readme(ctl->scenario, ctl, whole);
        if (r == CTL_OK)
                r = write_policy(ctl->scenario, part->policy);
        if (r == CTL_OK)
                r = write_file(ctl->scenario, "events", part->text, strlen(part->text));
        if (r == CTL_OK)
                r = write_expect(ctl->scenario, part);
        if (r == CTL_OK)
                printf("Wrote %s: say in its README what must hold, and look into policy.yaml and events for what is "
                       "nobody's business.\n`failoverctl simulate %s` runs it.\n",
                       ctl->scenario, ctl->scenario);
        return r;
}

static int cut(const struct recording_file *file, usec_t from_usec, usec_t until_usec, struct recording_file *ret,
               struct error *error) {
        struct buffer out = { 0 };
        int r = recording_cut(file->text, strlen(file->text), from_usec, until_usec, file->policy, &out, &ret->policy,
                              error);

        buffer_add_char(&out, 0);
        if (r < 0 || out.failed) {
                buffer_deinit(&out);
                return r < 0 ? r : error_set(error, -ENOMEM, "out of memory");
        }
        ret->text = out.bytes;
        return 0;
}

int replay_scenario_write(const struct ctl *ctl, const struct recording_file *file,
                          const struct replay_options *times) {
        _cleanup_(recording_file_deinit) struct recording_file part = { 0 };
        struct replay_options options = { .policy = file->policy };
        struct replay_result whole;
        struct error error = ERROR_INIT;
        usec_t from_usec = times->from_usec, mark_usec, before_usec;
        int r = replay_run(file->text, strlen(file->text), &options, &whole, &error);

        if (r >= 0 && !ctl->from) {
                mark_usec = whole.failover_usec == USEC_INFINITY ? whole.span_usec : whole.failover_usec;
                before_usec = whole.failover_usec == USEC_INFINITY ? TAIL_USEC : LEAD_USEC;
                from_usec = mark_usec > before_usec ? mark_usec - before_usec : 0;
        }
        if (r >= 0)
                r = cut(file, from_usec, times->until_usec, &part, &error);
        if (r < 0)
                ctl_fail(CTL_FAILED, "%s: %s", ctl->args[0], error_text(&error));
        r = r < 0 ? CTL_FAILED : write_all(ctl, &part, &whole);
        if (r == CTL_OK && whole.differs)
                fprintf(stderr, "failoverctl: failoverd %s decided otherwise when this was recorded: %s\n",
                        whole.version, whole.difference);
        error_deinit(&error);
        replay_result_deinit(&whole);
        return r;
}
