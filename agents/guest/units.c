/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/units.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "agents/guest/log.h"
#include "daemon/base/cleanup.h"

#define SERVICE "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define CALL_TIMEOUT_USEC (90 * USEC_PER_SEC)

struct unit {
        struct units *units;
        char *name, *path;
        sd_bus_slot *match, *call;
        struct unit_status status;
        char *job;     /* object path of the job under way */
        bool starting; /* what that job is */
        bool busy;     /* a job was asked for: what was known of the unit, or was asked before its end, is old */
        struct unit *next;
};

struct units {
        struct loop *loop;
        struct units_handler handler;
        sd_bus *bus;
        struct source source;
        struct timer timer;
        struct unit *units;
        char system[NAME_LEN];
};

static struct unit *find(const struct units *units, const char *name) {
        for (struct unit *unit = units->units; unit; unit = unit->next)
                if (strcmp(unit->name, name) == 0)
                        return unit;
        return NULL;
}

/* Lets sd-bus do its work, then waits for what it says it waits for. */
static void process_bus(void *userdata) {
        struct units *units = userdata;
        uint64_t timeout;
        int r;

        do
                r = sd_bus_process(units->bus, NULL);
        while (r > 0);
        if (r < 0) {
                log_error("the system bus is lost (%s): units of applications are not seen until failover-agent is "
                          "started anew", strerror(-r));
                loop_unwatch(units->loop, &units->source);
                return;
        }
        r = sd_bus_get_events(units->bus);
        if (r >= 0)
                (void) loop_watch(units->loop, &units->source, sd_bus_get_fd(units->bus),
                                  (r & POLLIN ? EPOLLIN : 0u) | (r & POLLOUT ? EPOLLOUT : 0u));
        loop_disarm(units->loop, &units->timer);
        /* sd-bus counts on CLOCK_MONOTONIC; a turn of the loop too many does no harm. */
        if (sd_bus_get_timeout(units->bus, &timeout) > 0 && timeout != UINT64_MAX)
                loop_arm(units->loop, &units->timer, loop_now() + USEC_PER_SEC);
}

static void on_bus_event(void *userdata, uint32_t events) {
        process_bus(userdata);
}

/* Calls that were just queued go out at the next turn of the loop, not inside the caller. */
static void kick(struct units *units) {
        loop_arm(units->loop, &units->timer, loop_now());
}

static enum unit_state state_of(const char *word) {
        if (strcmp(word, "active") == 0)
                return UNIT_ACTIVE;
        if (strcmp(word, "inactive") == 0)
                return UNIT_INACTIVE;
        if (strcmp(word, "failed") == 0)
                return UNIT_FAILED;
        return UNIT_CHANGING;
}

static int read_environment(sd_bus_message *m, struct unit_status *status) {
        const char *word;
        int r;

        status->kind = APPLICATION_AUTO;
        r = sd_bus_message_enter_container(m, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "s", &word)) > 0)
                if (strncmp(word, "FAILOVER_KIND=", 14) == 0) {
                        enum application_kind kind = application_kind_from_string(word + 14);
                        if ((int) kind >= 0)
                                status->kind = kind;
                }
        if (r < 0 || (r = sd_bus_message_exit_container(m)) < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

static int read_property(sd_bus_message *m, const char *name, struct unit_status *status) {
        const char *text;
        int32_t number;
        int r;

        if (strcmp(name, "Environment") == 0)
                return read_environment(m, status);
        if (strcmp(name, "ExecMainCode") == 0 || strcmp(name, "ExecMainStatus") == 0) {
                r = sd_bus_message_read(m, "v", "i", &number);
                if (r >= 0 && strcmp(name, "ExecMainCode") == 0)
                        status->signaled = number == CLD_KILLED || number == CLD_DUMPED;
                else if (r >= 0)
                        status->status = number;
                return r;
        }
        if (strcmp(name, "ActiveState") != 0 && strcmp(name, "LoadState") != 0 && strcmp(name, "Result") != 0 &&
            strcmp(name, "ControlGroup") != 0)
                return sd_bus_message_skip(m, "v");
        r = sd_bus_message_read(m, "v", "s", &text);
        if (r < 0)
                return r;
        if (strcmp(name, "ActiveState") == 0)
                status->state = state_of(text);
        else if (strcmp(name, "LoadState") == 0)
                status->loaded = strcmp(text, "loaded") == 0;
        else if (strcmp(name, "Result") == 0)
                snprintf(status->result, sizeof(status->result), "%s", text);
        else
                snprintf(status->control_group, sizeof(status->control_group), "%s", text);
        return 0;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct unit *unit = userdata;
        struct unit_status status = unit->status;
        const char *name;
        int r;

        unit->call = sd_bus_slot_unref(unit->call);
        if (sd_bus_message_is_method_error(m, NULL)) {
                log_warning("%s: systemd does not tell its properties: %s", unit->name,
                            sd_bus_message_get_error(m)->message);
                return 0;
        }
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0)
                        r = read_property(m, name, &status);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r < 0) {
                log_warning("%s: cannot read its properties: %s", unit->name, strerror(-r));
                return 0;
        }
        if (unit->busy)
                status.state = UNIT_CHANGING;
        unit->status = status;
        unit->units->handler.changed(unit->units->handler.userdata, unit->name, &status);
        return 0;
}

/* Asks for everything of the unit; of several requests only the last is answered to us. */
static int refresh(struct unit *unit) {
        unit->call = sd_bus_slot_unref(unit->call);
        return sd_bus_call_method_async(unit->units->bus, &unit->call, SERVICE, unit->path, PROPERTIES, "GetAll",
                                        on_properties, unit, "s", "");
}

static int on_properties_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        (void) refresh(userdata);
        return 0;
}

static void job_done(struct unit *unit, int result, const char *text) {
        struct units *units = unit->units;

        free(unit->job);
        unit->job = NULL;
        unit->busy = false;
        units->handler.done(units->handler.userdata, unit->name, unit->starting, result, text);
        (void) refresh(unit);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct units *units = userdata;
        const char *job, *name, *result;
        uint32_t id;
        char text[128];

        if (sd_bus_message_read(m, "uoss", &id, &job, &name, &result) < 0)
                return 0;
        for (struct unit *unit = units->units; unit; unit = unit->next)
                if (unit->job && strcmp(unit->job, job) == 0) {
                        bool good = strcmp(result, "done") == 0 || strcmp(result, "skipped") == 0;

                        snprintf(text, sizeof(text), "systemd job: %s", result);
                        job_done(unit, good ? 0 : -EIO, text);
                        return 0;
                }
        return 0;
}

/* The first job of an orderly stop, well before this process is told to end. */
static int on_job_new(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct units *units = userdata;
        const char *job, *name;
        uint32_t id;

        if (sd_bus_message_read(m, "uos", &id, &job, &name) < 0)
                return 0;
        if (strcmp(name, "reboot.target") == 0 || strcmp(name, "kexec.target") == 0)
                units->handler.going(units->handler.userdata, "reboot");
        else if (strcmp(name, "poweroff.target") == 0 || strcmp(name, "halt.target") == 0)
                units->handler.going(units->handler.userdata, "shutdown");
        return 0;
}

static int on_job_queued(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct unit *unit = userdata;
        const char *job;

        if (sd_bus_message_is_method_error(m, NULL)) {
                job_done(unit, -sd_bus_message_get_errno(m), sd_bus_message_get_error(m)->message);
                return 0;
        }
        if (sd_bus_message_read(m, "o", &job) < 0) {
                job_done(unit, -EBADMSG, "systemd's answer is malformed");
                return 0;
        }
        free(unit->job);
        unit->job = strdup(job);
        return 0;
}

static struct unit *unit_free(struct unit *unit) {
        if (!unit)
                return NULL;
        sd_bus_slot_unref(unit->match);
        sd_bus_slot_unref(unit->call);
        free(unit->name);
        free(unit->path);
        free(unit->job);
        free(unit);
        return NULL;
}

DEFINE_CLEANUP(struct unit *, unit_free)

int units_watch(struct units *units, const char *name) {
        _cleanup_(unit_freep) struct unit *unit = NULL;
        int r;

        if (find(units, name))
                return 0;
        unit = calloc(1, sizeof(*unit));
        if (!unit)
                return -ENOMEM;
        unit->units = units;
        unit->status.kind = APPLICATION_AUTO;
        unit->name = strdup(name);
        if (!unit->name)
                return -ENOMEM;
        /* systemd loads a unit when its path is asked for, so there is no call to load it. */
        r = sd_bus_path_encode(MANAGER_PATH "/unit", name, &unit->path);
        if (r >= 0)
                r = sd_bus_match_signal_async(units->bus, &unit->match, SERVICE, unit->path, PROPERTIES,
                                              "PropertiesChanged", on_properties_changed, NULL, unit);
        if (r >= 0)
                r = refresh(unit);
        if (r < 0)
                return r;
        unit->next = units->units;
        units->units = steal_ptr(unit);
        kick(units);
        return 0;
}

const struct unit_status *units_status(const struct units *units, const char *name) {
        const struct unit *unit = units ? find(units, name) : NULL;

        return unit ? &unit->status : NULL;
}

static int set_memory_node(struct units *units, const char *name, int node) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint8_t mask[128] = { 0 };
        size_t length = 0;
        int r;

        if (node >= 0) {
                mask[node / 8] = (uint8_t) (1u << (node % 8));
                length = (size_t) node / 8 + 1;
        }
        r = sd_bus_message_new_method_call(units->bus, &m, SERVICE, MANAGER_PATH, MANAGER, "SetUnitProperties");
        if (r >= 0)
                r = sd_bus_message_append(m, "sb", name, true);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "AllowedMemoryNodes");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', mask, length);
        for (int i = 0; i < 3 && r >= 0; i++)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_send(units->bus, m, NULL);
}

static int queue_job(struct units *units, struct unit *unit, const char *method) {
        int r;

        r = sd_bus_call_method_async(units->bus, NULL, SERVICE, MANAGER_PATH, MANAGER, method, on_job_queued, unit,
                                     "ss", unit->name, "replace");
        if (r < 0)
                return r;
        free(unit->job);
        unit->job = NULL;
        unit->starting = strcmp(method, "StartUnit") == 0;
        unit->busy = true;
        unit->status.state = UNIT_CHANGING;
        kick(units);
        return 0;
}

/* The bus keeps the order, so the properties are set and the old failure is forgotten before the job begins. */
int units_start(struct units *units, const char *name, int node) {
        struct unit *unit = find(units, name);
        int r;

        if (!unit)
                return -ENOENT;
        r = set_memory_node(units, name, node);
        if (r < 0)
                return r;
        r = sd_bus_call_method_async(units->bus, NULL, SERVICE, MANAGER_PATH, MANAGER, "ResetFailedUnit", NULL, NULL,
                                     "s", name);
        return r < 0 ? r : queue_job(units, unit, "StartUnit");
}

int units_stop(struct units *units, const char *name) {
        struct unit *unit = find(units, name);

        return unit ? queue_job(units, unit, "StopUnit") : -ENOENT;
}

static int on_version(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct units *units = userdata;
        const char *version;

        if (!sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "v", "s", &version) >= 0)
                snprintf(units->system, sizeof(units->system), "systemd %s", version);
        return 0;
}

static int subscribe(struct units *units) {
        int r;

        r = sd_bus_match_signal_async(units->bus, NULL, SERVICE, MANAGER_PATH, MANAGER, "JobRemoved", on_job_removed,
                                      NULL, units);
        if (r >= 0)
                r = sd_bus_match_signal_async(units->bus, NULL, SERVICE, MANAGER_PATH, MANAGER, "JobNew", on_job_new,
                                              NULL, units);
        if (r >= 0)
                r = sd_bus_call_method_async(units->bus, NULL, SERVICE, MANAGER_PATH, MANAGER, "Subscribe", NULL, NULL,
                                             NULL);
        if (r >= 0)
                r = sd_bus_call_method_async(units->bus, NULL, SERVICE, MANAGER_PATH, PROPERTIES, "Get", on_version,
                                             units, "ss", MANAGER, "Version");
        return r;
}

struct units *units_free(struct units *units) {
        if (!units)
                return NULL;
        loop_unwatch(units->loop, &units->source);
        loop_disarm(units->loop, &units->timer);
        while (units->units) {
                struct unit *unit = units->units;
                units->units = unit->next;
                unit_free(unit);
        }
        sd_bus_flush_close_unref(units->bus);
        free(units);
        return NULL;
}

DEFINE_CLEANUP(struct units *, units_free)

int units_new(struct loop *loop, const struct units_handler *handler, struct units **ret) {
        _cleanup_(units_freep) struct units *units = NULL;
        int r;

        if (access("/run/systemd/system", F_OK) < 0)
                return -EOPNOTSUPP;
        units = calloc(1, sizeof(*units));
        if (!units)
                return -ENOMEM;
        units->loop = loop;
        units->handler = *handler;
        units->source = (struct source) { -1, on_bus_event, units };
        units->timer = (struct timer) { 0, process_bus, units, NULL };
        strcpy(units->system, "systemd");
        r = sd_bus_open_system(&units->bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(units->bus, CALL_TIMEOUT_USEC);
        if (r >= 0)
                r = subscribe(units);
        if (r < 0)
                return r;
        process_bus(units);
        *ret = steal_ptr(units);
        return 0;
}

const char *units_system(const struct units *units) {
        return units->system;
}
