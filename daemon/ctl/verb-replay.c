/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A recording run through the engine again: what it was told, what it decides, and whether it decided the same then;
 * needs no daemon. With --scenario the part that matters becomes a directory for tests/scenarios. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/bus/json-build.h"
#include "daemon/bus/status.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/replay-scenario.h"
#include "daemon/replay/replay.h"

struct output {
        struct json_builder builder;
        struct json_object *lines; /* NULL: text is printed. Owned until it is put into the document */
};

static void take_line(void *userdata, usec_t since_usec, enum replay_line kind, const char *text) {
        static const char *const kinds[REPLAY_LINE_MAX] = { "event", "decision", "state", "note" };
        struct output *output = userdata;
        struct json_object *line;

        if (!output->lines) {
                replay_print_line(stdout, since_usec, kind, text);
                return;
        }
        line = json_put_object(&output->builder, output->lines, NULL);
        json_put_number(&output->builder, line, "since_start_usec", since_usec);
        json_put_text(&output->builder, line, "kind", kinds[kind]);
        json_put_text(&output->builder, line, "text", text);
}

static int parse_times(const struct ctl *ctl, struct replay_options *options) {
        const char *const texts[] = { ctl->from, ctl->until };
        usec_t *times[] = { &options->from_usec, &options->until_usec };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (texts[i] && duration_parse(texts[i], times[i]) < 0)
                        return ctl_fail(CTL_USAGE,
                                        "--%s takes a time since the beginning, such as 12s or 1500ms, not \"%s\"",
                                        i ? "until" : "from", texts[i]);
        return CTL_OK;
}

/* What the comparison came to. */
static int conclude(const struct replay_result *result, bool print) {
        if (result->n_unknown)
                fprintf(stderr,
                        "failoverctl: recorded by failoverd %s: %u fields are not known here (first: %s), ignoring\n",
                        result->version, result->n_unknown, result->unknown);
        if (result->torn)
                fputs("failoverctl: the last line was cut off, ignoring\n", stderr);
        if (print)
                printf("\n%" PRIu64 " events in %" PRIu64 ".%03" PRIu64 " s\n", result->events,
                       result->span_usec / USEC_PER_SEC, result->span_usec / USEC_PER_MSEC % 1000);
        if (result->differs)
                return ctl_fail(CTL_DIFFERS, "failoverd %s decided otherwise when this was recorded: %s",
                                result->version, result->difference);
        if (print && result->digests)
                printf("all %" PRIu64 " decisions are those that failoverd %s took when this was recorded\n",
                       result->decisions, result->version);
        else if (print)
                puts("the recording holds no decisions to compare with");
        return CTL_OK;
}

static void fill_document(struct output *output, struct json_object *root, const struct replay_result *result) {
        struct json_builder *builder = &output->builder;
        const struct engine *engine = result->engine;
        struct json_object *pairs;

        json_put_number(builder, root, "version", JSON_VERSION);
        json_put_text(builder, root, "kind", "replay");
        json_put_text(builder, root, "recorded_by", result->version);
        json_put_number(builder, root, "events", result->events);
        json_put_number(builder, root, "decisions", result->decisions);
        json_put_number(builder, root, "span_usec", result->span_usec);
        json_put_bool(builder, root, "torn", result->torn);
        if (result->differs || result->digests)
                json_put_bool(builder, root, "same", !result->differs);
        else
                json_put_null(builder, root, "same");
        json_put_text(builder, root, "difference", result->difference);
        json_put(builder, root, "lines", steal_ptr(output->lines));
        pairs = json_put_array(builder, root, "pairs");
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i])
                        json_put(builder, pairs, NULL, status_pair_json(engine, i, NULL, engine->now_usec));
        if (engine->policy)
                json_put(builder, root, "table", table_json(engine, NULL, engine->now_usec));
        else
                json_put_null(builder, root, "table");
}

static int print_document(struct output *output, const struct replay_result *result) {
        _cleanup_json_ struct json_object *root = json_object_new_object();

        fill_document(output, root, result);
        root = json_finish(&output->builder, steal_ptr(root));
        return root ? ctl_print_json(root) : ctl_fail(CTL_FAILED, "out of memory");
}

static int replay(const struct ctl *ctl, const struct recording_file *file, const struct replay_options *limits) {
        struct output output = { .lines = ctl->json ? json_object_new_array() : NULL };
        struct replay_options options = *limits;
        struct replay_result result;
        struct error error = ERROR_INIT;
        int r;

        options.policy = file->policy;
        options.line = take_line;
        options.userdata = &output;
        r = replay_run(file->text, strlen(file->text), &options, &result, &error);
        if (r < 0)
                r = ctl_fail(CTL_FAILED, "%s: %s", ctl->args[0], error_text(&error));
        else if (ctl->json)
                r = print_document(&output, &result);
        else
                replay_print_end(stdout, result.engine);
        if (r == CTL_OK)
                r = conclude(&result, !ctl->json);
        json_object_put(output.lines);
        error_deinit(&error);
        replay_result_deinit(&result);
        return r;
}

static int run(const struct ctl *ctl, const struct replay_options *options) {
        _cleanup_(recording_file_deinit) struct recording_file file = { 0 };
        int r = recording_file_read(ctl->args[0], &file);

        if (r != CTL_OK)
                return r;
        return ctl->scenario ? replay_scenario_write(ctl, &file, options) : replay(ctl, &file, options);
}

/* The core stops its program where an invariant does not hold. That may be what there is to see, and damage may do it:
 * so the program is a child's. */
int verb_replay(struct ctl *ctl) {
        struct replay_options options = { .all = ctl->all };
        int r = parse_times(ctl, &options), status;
        pid_t pid;

        if (r != CTL_OK)
                return r;
        fflush(stdout);
        pid = fork();
        if (pid < 0)
                return ctl_fail(CTL_FAILED, "a process for the replay cannot be started: %s", strerror(errno));
        if (pid == 0) {
                r = run(ctl, &options);
                _exit(fflush(stdout) != 0 && r == CTL_OK ? CTL_FAILED : r);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return ctl_fail(CTL_FAILED, "%s", strerror(errno));
        if (WIFEXITED(status))
                return WEXITSTATUS(status);
        if (WTERMSIG(status) == SIGPIPE) /* whoever reads has enough */
                return CTL_OK;
        return ctl_fail(CTL_FAILED,
                        "%s: the engine stopped (%s): a damaged recording, or a fault in failoverd; see `--all`",
                        ctl->args[0], strsignal(WTERMSIG(status)));
}
