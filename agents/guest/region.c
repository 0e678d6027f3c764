/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/region.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/guest/memory.h"
#include "agents/guest/supervisor.h"

static uint64_t without(uint64_t bytes, uint64_t lost) {
        return bytes > lost ? bytes - lost : 0;
}

uint64_t region_have(const struct supervisor *supervisor, int node) {
        struct memory_usage usage = { 0 };
        uint64_t bytes = 0;

        if (node < 0) {
                (void) memory_available(supervisor->paths.proc_dir, &bytes);
                return without(bytes, loss_spare_bytes(&supervisor->loss, supervisor->paths.sys_dir, -1));
        }
        (void) memory_node_usage(supervisor->paths.sys_dir, node, &usage);
        return without(usage.total_bytes, loss_bytes(&supervisor->loss, supervisor->paths.sys_dir, node));
}

enum application_kind region_kind(const struct supervised *app) {
        const struct command *start = &app->spec.run.start;
        const struct unit_status *status;
        const char *program;

        if (app->spec.run.unit) {
                status = units_status(app->supervisor->units, app->spec.run.unit);
                return status ? status->kind : APPLICATION_AUTO;
        }
        if (start->n_words == 0)
                return APPLICATION_AUTO;
        program = strrchr(start->words[0], '/');
        if (strcmp(program ? program + 1 : start->words[0], "env") != 0)
                return APPLICATION_AUTO;
        for (size_t i = 1; i < start->n_words && strchr(start->words[i], '='); i++)
                if (strncmp(start->words[i], "FAILOVER_KIND=", 14) == 0) {
                        enum application_kind kind = application_kind_from_string(start->words[i] + 14);
                        return (int) kind >= 0 ? kind : APPLICATION_AUTO;
                }
        return APPLICATION_AUTO;
}

static int find_program(const char *name) {
        const char *path = getenv("PATH") ?: "/usr/sbin:/usr/bin:/sbin:/bin";
        char file[PATH_LENGTH];

        if (strchr(name, '/'))
                return access(name, X_OK) < 0 ? -errno : 0;
        for (const char *p = path; *p;) {
                size_t n = strcspn(p, ":");

                snprintf(file, sizeof(file), "%.*s/%s", (int) n, p, name);
                if (access(file, X_OK) == 0)
                        return 0;
                p += n + (p[n] == ':');
        }
        return -ENOENT;
}

int region_check(const struct supervised *app, char text[MESSAGE_TEXT_LEN]) {
        const struct application_side *run = &app->spec.run;
        struct memory_usage usage;
        int r;

        if (!app->configured) {
                snprintf(text, MESSAGE_TEXT_LEN, "it is not configured here");
                return -ENOENT;
        }
        r = run->unit ? units_check(app->supervisor->units, run->unit) : find_program(run->start.words[0]);
        if (r == -ENOTCONN) {
                snprintf(text, MESSAGE_TEXT_LEN, "%s: systemd cannot be asked, since the guest's system bus cannot be "
                         "reached", run->unit);
                return r;
        }
        if (r < 0) {
                snprintf(text, MESSAGE_TEXT_LEN, "%s: %s", run->unit ?: run->start.words[0], strerror(-r));
                return r;
        }
        if (app->spec.node >= 0) {
                r = memory_node_usage(app->supervisor->paths.sys_dir, app->spec.node, &usage);
                if (r < 0) {
                        snprintf(text, MESSAGE_TEXT_LEN, "this guest has no NUMA node %d", app->spec.node);
                        return r;
                }
        }
        for (size_t i = 0; i < app->spec.n_addresses; i++)
                if (if_nametoindex(app->spec.addresses[i].link) == 0) {
                        snprintf(text, MESSAGE_TEXT_LEN, "this guest has no link %s", app->spec.addresses[i].link);
                        return -ENODEV;
                }
        return 0;
}

/* ---- attach ---- */

static uint64_t online_bytes(const struct supervised *app) {
        uint64_t bytes = 0;

        if (app->attach.node >= 0)
                return region_have(app->supervisor, app->attach.node);
        (void) memory_total(app->supervisor->paths.proc_dir, &bytes);
        return bytes;
}

static void answer_attach(struct supervised *app, int result, uint64_t bytes, const char *text) {
        loop_disarm(app->supervisor->loop, &app->attach_poll);
        supervisor_answer(app->supervisor, app->spec.app, app->attach.id, result, bytes, "%s", text);
        app->attach.id = 0;
}

static void on_attach_poll(void *userdata) {
        struct supervised *app = userdata;
        const char *sys_dir = app->supervisor->paths.sys_dir;
        uint64_t bytes = online_bytes(app);

        /* Where the kernel does not set plugged memory online by itself, it is done here. */
        if (bytes < app->attach.bytes && app->attach.node >= 0 && memory_online_blocks(sys_dir, app->attach.node) > 0)
                bytes = online_bytes(app);
        if (bytes >= app->attach.bytes)
                answer_attach(app, 0, bytes, "");
        else if (loop_now() >= app->attach.deadline_usec)
                answer_attach(app, -ETIMEDOUT, bytes, "not all of it came online");
        else
                loop_arm(app->supervisor->loop, &app->attach_poll, loop_now() + REGION_POLL_USEC);
}

void supervised_attach(struct supervised *app, const struct message *message) {
        if (app->attach.id > 0 && app->attach.id != message->id)
                answer_attach(app, -ECANCELED, online_bytes(app), "a newer attach takes its place");
        touch_cancel(app);
        app->attach = (struct pending) {
                .id = message->id, .node = message->node, .bytes = message->bytes,
                .deadline_usec = loop_now() + REGION_TIMEOUT_USEC,
        };
        on_attach_poll(app);
}

/* ---- detach ---- */

static int run_detach(void *userdata) {
        const struct supervised *app = userdata;
        const struct paths *paths = &app->supervisor->paths;

        return app->detach.node < 0
                       ? 0
                       : memory_prepare_detach(paths->sys_dir, paths->proc_dir, app->detach.node, app->detach.bytes);
}

static void answer_detach(struct supervised *app, int result, const char *text) {
        struct memory_usage usage = { 0 };

        if (app->detach.node >= 0)
                (void) memory_node_usage(app->supervisor->paths.sys_dir, app->detach.node, &usage);
        supervisor_answer(app->supervisor, app->spec.app, app->detach.id, result,
                          usage.total_bytes > usage.free_bytes ? usage.total_bytes - usage.free_bytes : 0, "%s", text);
        app->detach.id = 0;
}

static void on_detach_failed(void *userdata, int error) {
        answer_detach(userdata, error, "cannot run");
}

static void on_detached(void *userdata, const struct process_exit *end) {
        bool good = end->known && !end->signaled && end->status == 0;

        answer_detach(userdata, good ? 0 : -EIO, good ? "" : "cannot compact the node");
}

void supervised_detach(struct supervised *app, const struct message *message) {
        const struct process_options options = { .function = run_detach, .function_userdata = app, .node = -1 };
        int r;

        process_kill(&app->detach_helper);
        touch_cancel(app);
        if (app->detach.id > 0 && app->detach.id != message->id)
                answer_detach(app, -ECANCELED, "a newer detach takes its place");
        app->detach = (struct pending) { .id = message->id, .node = message->node, .bytes = message->bytes };
        r = process_spawn(&app->detach_helper, &options);
        if (r < 0)
                answer_detach(app, r, strerror(-r));
}

void region_init(struct supervised *app) {
        const struct process_handler handler = { NULL, on_detach_failed, on_detached, app };

        process_init(&app->detach_helper, &app->supervisor->processes, &handler);
        app->attach_poll = (struct timer) { 0, on_attach_poll, app, NULL };
}

void region_deinit(struct supervised *app) {
        loop_disarm(app->supervisor->loop, &app->attach_poll);
        process_kill(&app->detach_helper);
}
