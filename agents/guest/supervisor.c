/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/supervisor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/guest/log.h"
#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"

#define CONFIGURATION "configuration.json"

struct supervised *supervisor_find(const struct supervisor *supervisor, const char *name) {
        for (size_t i = 0; i < supervisor->n_apps; i++)
                if (strcmp(supervisor->apps[i]->spec.app, name) == 0)
                        return supervisor->apps[i];
        return NULL;
}

void supervisor_send(struct supervisor *supervisor, const struct message *message) {
        if (supervisor->link)
                link_send(supervisor->link, message, false);
}

void supervisor_answer(struct supervisor *supervisor, const char *app, uint64_t id, int result, uint64_t bytes,
                       const char *format, ...) {
        struct message message = { .type = MESSAGE_RESULT, .id = id, .result = result, .bytes = bytes };
        va_list ap;

        if (id == 0)
                return;
        snprintf(message.app, sizeof(message.app), "%s", app);
        va_start(ap, format);
        vsnprintf(message.text, sizeof(message.text), format, ap);
        va_end(ap);
        supervisor_send(supervisor, &message);
}

static void forget(struct supervisor *supervisor, size_t i) {
        struct supervised *app = supervisor->apps[i];

        memmove(&supervisor->apps[i], &supervisor->apps[i + 1],
                (--supervisor->n_apps - i) * sizeof(supervisor->apps[0]));
        supervised_deinit(app);
        free(app);
}

/* Finds or makes the entry. A full table first gives up an application that is neither wanted nor running. */
static int entry(struct supervisor *supervisor, const char *name, struct supervised **ret) {
        struct supervised *app = supervisor_find(supervisor, name);
        int r;

        if (app) {
                *ret = app;
                return 0;
        }
        for (size_t i = 0; supervisor->n_apps == ELEMENTSOF(supervisor->apps) && i < supervisor->n_apps; i++)
                if (!supervisor->apps[i]->configured && supervisor->apps[i]->state == APPLICATION_STOPPED)
                        forget(supervisor, i);
        if (supervisor->n_apps == ELEMENTSOF(supervisor->apps))
                return -ENOSPC;
        app = calloc(1, sizeof(*app));
        r = app ? supervised_init(app, supervisor, name) : -ENOMEM;
        if (r < 0) {
                free(app);
                return r;
        }
        *ret = supervisor->apps[supervisor->n_apps++] = app;
        return 0;
}

/* Takes all that it can. Returns the last error. */
static int take_specs(struct supervisor *supervisor, struct message *message) {
        int result = 0;

        for (size_t i = 0; i < supervisor->n_apps; i++)
                supervisor->apps[i]->configured = false;
        for (size_t i = 0; i < message->n_specs; i++) {
                struct supervised *app;
                int r = entry(supervisor, message->specs[i].app, &app);

                if (r == 0)
                        supervised_configure(app, &message->specs[i]);
                else {
                        log_error("%s: cannot take one more application: %s", message->specs[i].app, strerror(-r));
                        result = r;
                }
        }
        return result;
}

void supervisor_configure(struct supervisor *supervisor, struct message *message) {
        _cleanup_free_ char *line = NULL;
        char path[PATH_LENGTH];
        int r;

        r = codec_encode(message, &line);
        if (r == 0) {
                snprintf(path, sizeof(path), "%s/" CONFIGURATION, supervisor->paths.run_dir);
                r = file_replace(line, strlen(line), path);
        }
        if (r < 0)
                log_warning("the host's configuration cannot be kept in %s: %s, ignoring", supervisor->paths.run_dir,
                            strerror(-r));
        (void) take_specs(supervisor, message); /* the host hears of it when it asks for what is not here */
}

static int read_configuration(struct supervisor *supervisor) {
        _cleanup_free_ char *line = malloc(MESSAGE_LINE_MAX);
        struct error error = ERROR_INIT;
        struct message message;
        int r;

        if (!line)
                return -ENOMEM;
        r = file_read(line, MESSAGE_LINE_MAX, "%s/" CONFIGURATION, supervisor->paths.run_dir);
        if (r < 0)
                return r;
        r = codec_decode(line, (size_t) r, &message, &error);
        if (r < 0) {
                log_warning(CONFIGURATION ": %s", error_text(&error));
                error_deinit(&error);
                return r;
        }
        if (message.type == MESSAGE_CONFIGURE)
                r = take_specs(supervisor, &message);
        message_deinit(&message);
        return r;
}

static int adopt(struct supervisor *supervisor, const char *name) {
        struct state_record record;
        struct supervised *app;
        int r;

        r = state_read(supervisor->paths.run_dir, name, &record);
        if (r == 0)
                r = entry(supervisor, name, &app);
        if (r == 0)
                supervised_adopt(app, &record);
        return r;
}

int supervisor_adopt(struct supervisor *supervisor) {
        char names[POLICY_APPLICATIONS_MAX][NAME_LEN];
        int r, n;

        r = read_configuration(supervisor);
        if (r == -ENOMEM)
                return r;
        n = state_list(supervisor->paths.run_dir, names, ELEMENTSOF(names));
        if (n < 0)
                return n;
        for (int i = 0; i < n; i++) {
                r = adopt(supervisor, names[i]);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        log_warning("%s: its state is lost: %s", names[i], strerror(-r));
        }
        return 0;
}

void supervisor_report(const struct supervisor *supervisor, struct message *message) {
        message->n_apps = supervisor->n_apps;
        for (size_t i = 0; i < supervisor->n_apps; i++)
                message->apps[i] = supervised_report(supervisor->apps[i]);
}

static struct supervised *by_unit(struct supervisor *supervisor, const char *unit) {
        for (size_t i = 0; i < supervisor->n_apps; i++)
                if (supervisor->apps[i]->spec.run.unit && strcmp(supervisor->apps[i]->spec.run.unit, unit) == 0)
                        return supervisor->apps[i];
        return NULL;
}

static void on_unit_changed(void *userdata, const char *unit, const struct unit_status *status) {
        struct supervised *app = by_unit(userdata, unit);

        if (app)
                supervised_unit_changed(app, status);
}

static void on_unit_done(void *userdata, const char *unit, bool start, int result, const char *text) {
        struct supervised *app = by_unit(userdata, unit);

        if (app)
                supervised_unit_done(app, start, result, text);
}

static void on_going(void *userdata, const char *text) {
        struct message message = { .type = MESSAGE_GOING };

        snprintf(message.text, sizeof(message.text), "%s", text);
        supervisor_send(userdata, &message);
}

int supervisor_init(struct supervisor *supervisor, struct loop *loop, const struct paths *paths) {
        const struct units_handler handler = { on_unit_changed, on_unit_done, on_going, supervisor };
        int r;

        *supervisor = (struct supervisor) { .loop = loop, .paths = *paths, .processes = { .loop = loop } };
        r = units_new(loop, paths->run_dir, &handler, &supervisor->units);
        supervisor->has_systemd = r != -EOPNOTSUPP;
        if (r < 0 && supervisor->has_systemd)
                log_error("cannot reach systemd: %s; applications that are units cannot be run", strerror(-r));
        return 0;
}

void supervisor_deinit(struct supervisor *supervisor) {
        while (supervisor->n_apps > 0)
                forget(supervisor, supervisor->n_apps - 1);
        supervisor->units = units_free(supervisor->units);
}
