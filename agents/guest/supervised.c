/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/supervised-steps.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/guest/address.h"
#include "agents/guest/log.h"
#include "agents/guest/memory.h"
#include "agents/guest/region.h"
#include "agents/guest/supervisor.h"

#define QUICK_USEC (10 * USEC_PER_SEC)
#define QUICK_FAILURES_HARD 3

void supervised_persist(struct supervised *app) {
        struct state_record record = {
                .state = app->state, .token = app->token, .pid = app->main.pid, .node = app->node, .bytes = app->bytes,
                .cause = app->cause, .code = app->code, .hard = app->hard,
        };
        int r;

        memcpy(record.text, app->text, sizeof(record.text));
        if (record.pid > 0 && process_start_time(record.pid, &record.start_time) < 0)
                record.pid = 0;
        r = state_write(app->supervisor->paths.run_dir, app->spec.app, &record);
        if (r < 0)
                log_error("%s: its state cannot be kept in %s: %s: an agent that is started anew will not know it",
                          app->spec.app, app->supervisor->paths.run_dir, strerror(-r));
}

void supervised_set_state(struct supervised *app, enum application_state state) {
        if (app->state != state)
                log_notice("%s: %s", app->spec.app, application_state_to_string(state));
        app->state = state;
        supervised_persist(app);
}

static void report_failure(struct supervised *app) {
        struct message message = { .type = MESSAGE_FAILED, .token = app->token, .cause = app->cause, .code = app->code,
                                   .hard = app->hard };

        memcpy(message.app, app->spec.app, sizeof(message.app));
        memcpy(message.text, app->text, sizeof(message.text));
        supervisor_send(app->supervisor, &message);
}

static void report_healthy(struct supervised *app) {
        struct message message = { .type = MESSAGE_HEALTHY, .token = app->token };

        memcpy(message.app, app->spec.app, sizeof(message.app));
        supervisor_send(app->supervisor, &message);
}

/* Answers a start or restart that is still awaited. */
void supervised_answer_start(struct supervised *app, int result, const char *text) {
        supervisor_answer(app->supervisor, app->spec.app, app->start.id, result, app->bytes, "%s", text);
        app->start.id = 0;
}

int supervised_remove_addresses(struct supervised *app) {
        int first = 0;

        for (size_t i = 0; i < app->spec.n_addresses; i++) {
                int r = address_remove(app->spec.addresses[i].cidr, app->spec.addresses[i].link);

                if (r < 0 && first == 0)
                        first = r;
        }
        return first;
}

/* The failure is reported at once; what remains of the application is killed meanwhile. */
void supervised_fail(struct supervised *app, enum failure_cause cause, int code, bool hard, const char *text) {
        bool quick = loop_now() - app->started_usec < QUICK_USEC;

        health_stop(&app->health);
        app->quick_failures = quick ? app->quick_failures + 1 : 1;
        app->cause = cause;
        app->code = code;
        app->hard = hard || app->quick_failures >= QUICK_FAILURES_HARD;
        snprintf(app->text, sizeof(app->text), "%s", text);
        app->killing = true;
        supervised_set_state(app, APPLICATION_FAILED);
        supervised_answer_start(app, cause == FAILURE_START && code > 0 && code < 4096 ? -code : -EIO, text);
        report_failure(app);
        supervised_signal(app, SIGKILL);
        (void) supervised_remove_addresses(app); /* its stop tries again */
        loop_arm(app->supervisor->loop, &app->poll, loop_now());
}

static void on_healthy(void *userdata) {
        struct supervised *app = userdata;

        if (app->told_healthy)
                return;
        app->told_healthy = true;
        report_healthy(app);
        for (size_t i = 0; i < app->spec.n_addresses; i++) /* the first announcement may have been lost */
                (void) address_announce(app->spec.addresses[i].cidr, app->spec.addresses[i].link);
}

static void on_unhealthy(void *userdata, int status, const char *text) {
        supervised_fail(userdata, FAILURE_CHECK, status, false, text);
}

static void on_poll(void *userdata) {
        struct supervised *app = userdata;

        if (app->state == APPLICATION_WAITING)
                supervised_wait_for_grant(app);
        else if (app->state == APPLICATION_STOPPING || app->state == APPLICATION_FAILED)
                supervised_look_for_leftovers(app);
}

/* ---- units ---- */

static void note_cgroup(struct supervised *app, const struct unit_status *status) {
        if (status->control_group[0] && cgroup_is_mounted(app->supervisor->paths.cgroup_dir))
                snprintf(app->group.cgroup_dir, sizeof(app->group.cgroup_dir), "%.200s%.300s",
                         app->supervisor->paths.cgroup_dir, status->control_group);
}

static void unit_failed(struct supervised *app, const struct unit_status *status, enum failure_cause exit_cause) {
        enum failure_cause cause = status->signaled ? FAILURE_SIGNAL : exit_cause;
        char text[MESSAGE_TEXT_LEN];

        if (strcmp(status->result, "oom-kill") == 0)
                cause = FAILURE_MEMORY;
        else if (strcmp(status->result, "watchdog") == 0)
                cause = FAILURE_CHECK;
        snprintf(text, sizeof(text), "unit %s: %s, %s %d", app->spec.run.unit, status->result,
                 status->signaled ? "signal" : "status", status->status);
        supervised_fail(app, cause, status->status, !status->loaded, text);
}

void supervised_unit_changed(struct supervised *app, const struct unit_status *status) {
        note_cgroup(app, status);
        if ((app->state == APPLICATION_STARTING || app->state == APPLICATION_RUNNING) &&
            region_kind(app) != app->told_kind)
                supervised_tell_use(app); /* a systemd that is still booting tells late what a unit declares */
        if (app->state == APPLICATION_RUNNING && !app->starting_unit &&
            (status->state == UNIT_INACTIVE || status->state == UNIT_FAILED))
                unit_failed(app, status, FAILURE_EXIT);
        else if (app->state == APPLICATION_STOPPING)
                supervised_look_for_leftovers(app);
}

void supervised_unit_done(struct supervised *app, bool start, int result, const char *text) {
        app->starting_unit = false;
        if (!start || app->state != APPLICATION_STARTING) {
                if (!start && result < 0)
                        log_warning("%s: stopping unit %s: %s", app->spec.app, app->spec.run.unit, text);
                return;
        }
        if (result < 0)
                supervised_fail(app, FAILURE_START, -result, result == -ENOENT, text);
        else
                supervised_on_started(app);
}

/* ---- memory, checks, reports ---- */

void supervised_check(struct supervised *app, const struct message *message) {
        char text[MESSAGE_TEXT_LEN] = "";
        int r = region_check(app, text);

        supervisor_answer(app->supervisor, app->spec.app, message->id, r, 0, "%s", text);
}

void supervised_repeat(struct supervised *app) {
        if (app->state == APPLICATION_FAILED)
                report_failure(app);
        if (app->state == APPLICATION_WAITING && app->request.id > 0 && app->request.deadline_usec == 0)
                supervised_send_request(app);
}

struct application_report supervised_report(const struct supervised *app) {
        struct application_report report = { .state = app->state, .token = app->token };
        struct memory_usage usage;

        memcpy(report.app, app->spec.app, sizeof(report.app));
        if (app->state == APPLICATION_RUNNING) {
                report.bytes = group_memory(&app->group);
                report.missed_checks = app->health.failures;
        } else if ((app->state == APPLICATION_STOPPED || app->state == APPLICATION_FAILED) && app->spec.node >= 0 &&
                 memory_node_usage(app->supervisor->paths.sys_dir, app->spec.node, &usage) == 0) {
                report.node_bytes = usage.total_bytes;
                report.spare_bytes = usage.spare_bytes;
        }
        return report;
}

/* ---- life ---- */

void supervised_configure(struct supervised *app, struct application_spec *spec) {
        bool checking = app->state == APPLICATION_RUNNING;

        health_stop(&app->health); /* it borrows the spec */
        canary_cancel(app);        /* the same */
        application_spec_deinit(&app->spec);
        app->spec = *spec;
        *spec = (struct application_spec) { 0 };
        app->configured = true;
        app->told_healthy = false; /* a failoverd that has just come does not know */
        if (checking)
                health_start(&app->health, &app->spec);
        if (!app->spec.run.unit && app->state == APPLICATION_STOPPED) /* now, and not while somebody waits for its
                                                                       * start */
                (void) group_init(&app->group, app->supervisor->paths.cgroup_dir, app->spec.app, app->spec.node);
        if (app->spec.run.unit && app->supervisor->units)
                (void) units_watch(app->supervisor->units, app->spec.run.unit);
}

void supervised_adopt(struct supervised *app, const struct state_record *record) {
        bool was_up = record->state == APPLICATION_RUNNING || record->state == APPLICATION_STARTING;

        app->token = record->token;
        app->node = record->node;
        app->bytes = record->bytes;
        app->cause = record->cause;
        app->code = record->code;
        app->hard = record->hard;
        memcpy(app->text, record->text, sizeof(app->text));
        app->state = record->state == APPLICATION_WAITING ? APPLICATION_STOPPED : record->state;
        if (!app->spec.run.unit && app->state != APPLICATION_STOPPED)
                (void) group_init(&app->group, app->supervisor->paths.cgroup_dir, app->spec.app, app->node);
        app->oom_kills = group_oom_kills(&app->group);
        if (record->pid > 0 && process_adopt(&app->main, record->pid, record->start_time) == 0)
                app->group.leader = record->pid;
        if (app->state == APPLICATION_STOPPING || app->state == APPLICATION_FAILED) {
                app->killing = app->state == APPLICATION_FAILED;
                app->stop.deadline_usec = loop_now() + app->spec.stop_timeout_usec;
                loop_arm(app->supervisor->loop, &app->poll, loop_now());
        } else if (was_up && !app->spec.run.unit && app->main.pid == 0)
                supervised_fail(app, FAILURE_EXIT, -1, false, "ended while the agent was away");
        else if (was_up) {
                supervised_set_state(app, APPLICATION_RUNNING);
                health_start(&app->health, &app->spec);
        }
}

int supervised_init(struct supervised *app, struct supervisor *supervisor, const char *name) {
        const struct process_handler main_handler = { supervised_on_started, supervised_on_exec_failed,
                                                      supervised_on_exited, app };
        const struct process_handler stop_handler = { NULL, supervised_on_stop_exec_failed, supervised_on_stop_exited,
                                                      app };
        const struct health_handler health_handler = { on_healthy, on_unhealthy, app };

        if (strlen(name) >= sizeof(app->spec.app))
                return -EINVAL;
        *app = (struct supervised) { .supervisor = supervisor, .node = -1, .told_kind = APPLICATION_AUTO,
                                     .poll = { 0, on_poll, app, NULL } };
        strcpy(app->spec.app, name);
        app->spec.node = -1; /* until it is configured */
        strcpy(app->group.app, name);
        process_init(&app->main, &supervisor->processes, &main_handler);
        process_init(&app->stop_command, &supervisor->processes, &stop_handler);
        health_init(&app->health, &supervisor->processes, &health_handler);
        region_init(app);
        touch_init(app);
        canary_init(app);
        return 0;
}

void supervised_deinit(struct supervised *app) {
        loop_disarm(app->supervisor->loop, &app->poll);
        region_deinit(app);
        touch_cancel(app);
        canary_cancel(app);
        health_stop(&app->health);
        process_kill(&app->stop_command);
        process_deinit(&app->main);
        application_spec_deinit(&app->spec);
        if (app->regions)
                explicit_bzero(app->regions, strlen(app->regions));
        free(app->regions);
}
