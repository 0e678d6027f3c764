/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/supervised-steps.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/guest/address.h"
#include "agents/guest/memory.h"
#include "agents/guest/region.h"
#include "agents/guest/region-pass.h"
#include "agents/guest/supervisor.h"
#include "daemon/base/cleanup.h"

static int add_addresses(struct supervised *app, char text[MESSAGE_TEXT_LEN]) {
        for (size_t i = 0; i < app->spec.n_addresses; i++) {
                const struct address *address = &app->spec.addresses[i];
                int r = address_add(address->cidr, address->link);

                if (r < 0) {
                        snprintf(text, MESSAGE_TEXT_LEN, "cannot add %s to %s: %s", address->cidr, address->link,
                                 strerror(-r));
                        return r;
                }
                (void) address_announce(address->cidr, address->link);
        }
        return 0;
}

void supervised_on_started(void *userdata) {
        struct supervised *app = userdata;

        if (app->state != APPLICATION_STARTING)
                return;
        supervised_set_state(app, APPLICATION_RUNNING);
        supervised_answer_start(app, 0, "");
        app->told_healthy = false;
        health_start(&app->health, &app->spec);
}

void supervised_on_exec_failed(void *userdata, int error) {
        struct supervised *app = userdata;
        char text[MESSAGE_TEXT_LEN];

        snprintf(text, sizeof(text), "cannot execute %s: %s",
                 app->spec.run.start.n_words > 0 ? app->spec.run.start.words[0] : "", strerror(-error));
        supervised_fail(app, FAILURE_START, -error, error == -ENOENT || error == -EACCES || error == -ENOEXEC, text);
}

void supervised_on_exited(void *userdata, const struct process_exit *end) {
        struct supervised *app = userdata;
        char text[MESSAGE_TEXT_LEN];

        if (app->state != APPLICATION_STARTING && app->state != APPLICATION_RUNNING) {
                if (app->state == APPLICATION_STOPPING)
                        supervised_look_for_leftovers(app);
                return;
        }
        if (!end->known) {
                supervised_fail(app, FAILURE_EXIT, -1, false,
                                "ended; its status is not known, the agent was restarted since its start");
                return;
        }
        if (end->signaled && end->status == SIGKILL && group_oom_kills(&app->group) > app->oom_kills) {
                supervised_fail(app, FAILURE_MEMORY, end->status, false, "killed: out of memory");
                return;
        }
        snprintf(text, sizeof(text), end->signaled ? "ended by signal %d" : "exited with %d", end->status);
        supervised_fail(app, end->signaled ? FAILURE_SIGNAL : FAILURE_EXIT, end->status, false, text);
}

int supervised_take_regions(struct supervised *app, const struct message *message) {
        char *regions = message->regions ? strdup(message->regions) : NULL;

        if (message->regions && !regions)
                return -ENOMEM;
        if (app->regions)
                explicit_bzero(app->regions, strlen(app->regions));
        free(app->regions);
        app->regions = regions;
        return 0;
}

static void start_unit(struct supervised *app) {
        int r = region_pass_write(app->supervisor->paths.run_dir, app->spec.app, app->regions);

        if (r < 0) {
                supervised_fail(app, FAILURE_START, -r, false, "cannot write the credential of its regions");
                return;
        }
        r = app->supervisor->units ? units_start(app->supervisor->units, app->spec.run.unit, app->node)
                                   : -EOPNOTSUPP;
        app->starting_unit = r == 0;
        if (r < 0)
                supervised_fail(app, FAILURE_START, -r, true, "cannot ask systemd to start the unit");
}

static void start_command(struct supervised *app) {
        _cleanup_close_ int regions_fd = app->regions ? region_pass_open(app->regions) : -1;
        struct process_options options = { .command = &app->spec.run.start, .group = &app->group, .node = app->node };
        int r;

        if (app->regions && regions_fd < 0) {
                supervised_fail(app, FAILURE_START, -regions_fd, false, "cannot hand its regions over");
                return;
        }
        if (regions_fd > 0)
                options.regions_fd = regions_fd;
        r = group_init(&app->group, app->supervisor->paths.cgroup_dir, app->spec.app, app->node);
        if (r == 0) {
                app->oom_kills = group_oom_kills(&app->group);
                r = process_spawn(&app->main, &options);
        }
        if (r < 0) {
                supervised_fail(app, FAILURE_START, -r, false, strerror(-r));
                return;
        }
        app->group.leader = app->main.pid;
        supervised_persist(app);
}

/* Tells the monitor which region it uses (H: state A to B), and of what kind it is, as far as that is known. */
void supervised_tell_use(struct supervised *app) {
        struct message uses = { .type = MESSAGE_USES, .node = app->node, .bytes = app->bytes };

        memcpy(uses.app, app->spec.app, sizeof(uses.app));
        uses.kind = app->told_kind = region_kind(app);
        supervisor_send(app->supervisor, &uses);
}

/* Its memory is there. */
static void begin(struct supervised *app) {
        char text[MESSAGE_TEXT_LEN];
        int r;

        app->started_usec = loop_now();
        app->restart = app->killing = app->stop_failed = false;
        supervised_tell_use(app);
        supervised_set_state(app, APPLICATION_STARTING);
        r = add_addresses(app, text);
        if (r < 0) {
                supervised_fail(app, FAILURE_START, -r, r == -ENODEV, text);
                return;
        }
        if (app->spec.run.unit)
                start_unit(app);
        else
                start_command(app);
}

static void give_up_waiting(struct supervised *app, int result, const char *text) {
        app->request.id = 0;
        supervised_set_state(app, APPLICATION_STOPPED);
        supervised_answer_start(app, result, text);
}

void supervised_send_request(struct supervised *app) {
        struct message message = { .type = MESSAGE_REQUEST, .id = app->request.id, .bytes = app->request.bytes };

        memcpy(message.app, app->spec.app, sizeof(message.app));
        supervisor_send(app->supervisor, &message);
}

/* H: resource request. What it needs against what is there; short of it the monitor is asked. */
void supervised_start_when_ready(struct supervised *app) {
        uint64_t have = region_have(app->supervisor, app->node);

        if (have >= app->bytes) {
                begin(app);
                return;
        }
        app->request = (struct pending) { .id = ++app->supervisor->last_request, .bytes = app->bytes - have };
        supervised_set_state(app, APPLICATION_WAITING);
        supervised_send_request(app);
}

void supervised_start(struct supervised *app, const struct message *message) {
        struct supervisor *supervisor = app->supervisor;

        if (message->token < app->token) {
                supervisor_answer(supervisor, app->spec.app, message->id, -ESTALE, 0, "a higher token has been seen");
                return;
        }
        if (app->state == APPLICATION_STOPPING || !app->configured) {
                supervisor_answer(supervisor, app->spec.app, message->id, app->configured ? -EBUSY : -ENOENT, 0,
                                  app->configured ? "it is being stopped" : "it is not configured here");
                return;
        }
        if (supervised_take_regions(app, message) < 0) {
                supervisor_answer(supervisor, app->spec.app, message->id, -ENOMEM, 0, "out of memory");
                return;
        }
        app->token = message->token;
        if (app->state == APPLICATION_RUNNING) {
                supervised_persist(app);
                supervisor_answer(supervisor, app->spec.app, message->id, 0, app->bytes, "already running");
                return;
        }
        touch_cancel(app);
        canary_cancel(app);
        app->start.id = message->id;
        if (app->state == APPLICATION_STARTING || app->state == APPLICATION_WAITING) {
                if (app->state == APPLICATION_WAITING && app->request.id > 0 && app->request.deadline_usec == 0)
                        supervised_send_request(app); /* no answer has come: who asks again is asked again */
                supervised_persist(app);
                return;
        }
        app->node = message->node;
        app->bytes = message->bytes > 0 ? message->bytes : app->spec.memory_bytes;
        if (app->state == APPLICATION_FAILED) { /* its remains have to be gone first */
                app->restart = true;
                supervised_set_state(app, APPLICATION_STOPPING);
                supervised_look_for_leftovers(app);
        } else
                supervised_start_when_ready(app);
}

void supervised_grant(struct supervised *app, const struct message *message) {
        if (app->state != APPLICATION_WAITING || message->id != app->request.id)
                return;
        app->request.deadline_usec = loop_now() + REGION_TIMEOUT_USEC;
        loop_arm(app->supervisor->loop, &app->poll, loop_now());
}

void supervised_refuse(struct supervised *app, const struct message *message) {
        if (app->state != APPLICATION_WAITING || message->id != app->request.id)
                return;
        give_up_waiting(app, -ENOMEM, message->text);
}

void supervised_wait_for_grant(struct supervised *app) {
        if (app->node >= 0)
                (void) memory_online_blocks(app->supervisor->paths.sys_dir, app->node);
        if (region_have(app->supervisor, app->node) >= app->bytes) {
                app->request.id = 0;
                begin(app);
        } else if (loop_now() >= app->request.deadline_usec)
                give_up_waiting(app, -ETIMEDOUT, "the memory that was granted did not come online");
        else
                loop_arm(app->supervisor->loop, &app->poll, loop_now() + REGION_POLL_USEC);
}
