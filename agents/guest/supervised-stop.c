/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/supervised-steps.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "agents/guest/log.h"
#include "agents/guest/supervisor.h"

#define STOP_POLL_USEC (5 * USEC_PER_MSEC)
#define STOP_TIMEOUT_DEFAULT_USEC (10 * USEC_PER_SEC)
#define KILL_PATIENCE_USEC (5 * USEC_PER_SEC) /* then the host hears that something cannot be killed */

static void stopped(struct supervised *app) {
        process_kill(&app->stop_command);
        group_remove(&app->group, app->supervisor->paths.cgroup_dir);
        process_deinit(&app->main);
        if (app->stop.id > 0)
                app->restart = false;
        supervised_set_state(app, APPLICATION_STOPPED);
        supervisor_answer(app->supervisor, app->spec.app, app->stop.id, 0, 0, "%s", "");
        app->stop.id = 0;
        if (app->restart)
                supervised_start_when_ready(app);
}

void supervised_signal(struct supervised *app, int signal_number) {
        process_signal(&app->main, signal_number);
        (void) group_signal(&app->group, signal_number);
}

/* Its first process counts by itself: before it has joined its group it is in none. A unit is gone when systemd says so
 * and its cgroup, as last seen, is empty too. */
static int leftovers(struct supervised *app) {
        const struct unit_status *status;
        int n = group_count(&app->group);

        if (n == 0 && app->main.pid > 0)
                return 1;
        if (n != 0 || !app->spec.run.unit)
                return n;
        if (!app->supervisor->has_systemd)
                return 0; /* nothing that could run it */
        status = units_status(app->supervisor->units, app->spec.run.unit);
        return status && (status->state == UNIT_INACTIVE || status->state == UNIT_FAILED) ? 0 : 1;
}

static void kill_rest(struct supervised *app, int n) {
        usec_t now = loop_now();

        if (!app->killing)
                log_warning("%s: did not stop in time, killing it", app->spec.app);
        app->killing = true;
        process_kill(&app->stop_command);
        supervised_signal(app, SIGKILL);
        if (now < app->stop.deadline_usec + KILL_PATIENCE_USEC)
                return;
        if (n == 0)
                supervisor_answer(app->supervisor, app->spec.app, app->stop.id, -EBUSY, 0,
                                  "its addresses cannot be removed");
        else if (app->spec.run.unit && units_check(app->supervisor->units, app->spec.run.unit) == -ENOTCONN)
                supervisor_answer(app->supervisor, app->spec.app, app->stop.id, -EBUSY, 0,
                                  "systemd cannot be asked whether its unit has ended");
        else
                supervisor_answer(app->supervisor, app->spec.app, app->stop.id, -EBUSY, 0,
                                  "%d of its processes cannot be killed", n > 0 ? n : 1);
        app->stop.id = 0; /* asked again, it answers when they are gone */
}

/* Only when no process and no address is left is it stopped, however long that takes. */
void supervised_look_for_leftovers(struct supervised *app) {
        int n = leftovers(app);

        if (app->state == APPLICATION_FAILED) {
                if (n == 0) {
                        app->group.leader = 0; /* the number may belong to somebody else from now on */
                        return;
                }
                supervised_signal(app, SIGKILL);
        } else if (n == 0 && supervised_remove_addresses(app) == 0) {
                stopped(app);
                return;
        } else if (app->killing || loop_now() >= app->stop.deadline_usec)
                kill_rest(app, n);
        loop_arm(app->supervisor->loop, &app->poll, loop_now() + STOP_POLL_USEC);
}

void supervised_on_stop_exec_failed(void *userdata, int error) {
        struct supervised *app = userdata;

        log_warning("%s: stop command: %s, ending it by signal", app->spec.app, strerror(-error));
        supervised_signal(app, SIGTERM);
}

void supervised_on_stop_exited(void *userdata, const struct process_exit *end) {
        struct supervised *app = userdata;

        if (end->known && !end->signaled && end->status == 0)
                return;
        log_warning("%s: its stop command failed, ending it by signal", app->spec.app);
        supervised_signal(app, SIGTERM);
}

static void ask_to_stop(struct supervised *app) {
        const struct process_options options = { .command = &app->spec.run.stop, .node = -1 };

        if (app->spec.run.unit) {
                if (app->supervisor->units)
                        (void) units_stop(app->supervisor->units, app->spec.run.unit);
        } else if (app->spec.run.stop.n_words == 0 || process_spawn(&app->stop_command, &options) < 0)
                supervised_signal(app, SIGTERM);
}

static void begin_stop(struct supervised *app) {
        usec_t timeout = app->spec.stop_timeout_usec > 0 ? app->spec.stop_timeout_usec : STOP_TIMEOUT_DEFAULT_USEC;
        bool was_up = app->state == APPLICATION_RUNNING || app->state == APPLICATION_STARTING;

        health_stop(&app->health);
        app->stop.deadline_usec = loop_now() + timeout;
        app->killing = app->state == APPLICATION_FAILED;
        supervised_set_state(app, APPLICATION_STOPPING);
        if (was_up || app->spec.run.unit || (!app->killing && leftovers(app) != 0))
                ask_to_stop(app);
        supervised_look_for_leftovers(app);
}

void supervised_stop(struct supervised *app, const struct message *message) {
        if (app->start.id > 0)
                supervised_answer_start(app, -ECANCELED, "stopped before it was up");
        app->restart = false;
        app->request.id = 0;
        app->quick_failures = 0;
        app->stop.id = message->id;
        touch_cancel(app); /* nothing is to be made ready for it any more */
        if (app->state == APPLICATION_STOPPING) {
                if (app->killing) /* a new question gets a new answer after the same patience */
                        app->stop.deadline_usec = loop_now();
                return;
        }
        begin_stop(app);
}

void supervised_restart(struct supervised *app, const struct message *message) {
        struct supervisor *supervisor = app->supervisor;

        if (message->token < app->token) {
                supervisor_answer(supervisor, app->spec.app, message->id, -ESTALE, 0, "a higher token has been seen");
                return;
        }
        if (!app->configured) {
                supervisor_answer(supervisor, app->spec.app, message->id, -ENOENT, 0, "it is not configured here");
                return;
        }
        if (app->stop.id > 0 || app->state == APPLICATION_WAITING) {
                supervisor_answer(supervisor, app->spec.app, message->id, -EBUSY, 0, "it is %s",
                                  application_state_to_string(app->state));
                return;
        }
        if (app->token == 0 && app->bytes == 0) { /* never started here: as configured */
                app->node = app->spec.node;
                app->bytes = app->spec.memory_bytes;
        }
        if (supervised_take_regions(app, message) < 0) {
                supervisor_answer(supervisor, app->spec.app, message->id, -ENOMEM, 0, "out of memory");
                return;
        }
        app->token = message->token;
        app->start.id = message->id;
        app->restart = true;
        if (app->state != APPLICATION_STOPPING)
                begin_stop(app);
}

void supervised_kill(struct supervised *app, const struct message *message) {
        int r = app->state == APPLICATION_RUNNING ? group_signal(&app->group, SIGKILL) : -ESRCH;

        supervisor_answer(app->supervisor, app->spec.app, message->id, r, 0, "%s", r < 0 ? "it does not run" : "");
}
