/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/units.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <systemd/sd-bus.h>

#include "agents/guest/log.h"
#include "agents/guest/unit-properties.h"
#include "agents/guest/units-internal.h"
#include "daemon/base/cleanup.h"

#define OWNER_CHANGED \
        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',interface='org.freedesktop.DBus'," \
        "member='NameOwnerChanged',arg0='" SERVICE "'"
#define CALL_TIMEOUT_USEC (90 * USEC_PER_SEC)
#define RETRY_MIN_USEC (50 * USEC_PER_MSEC) /* doubled at each try */
#define RETRY_MAX_USEC (5 * USEC_PER_SEC)

/*
 * The bus is the guest's, and may go away under us: dbus restarted, or systemd, which leaves it while it executes
 * itself anew. What was known of the units is old then, and is no failure of theirs. Once systemd is on the bus again
 * everything is read anew, and a job whose end was not seen is asked for once more, which on a unit that is where it
 * should be does nothing.
 */

static struct unit *find(const struct units *units, const char *name) {
        for (struct unit *unit = units->units; unit; unit = unit->next)
                if (strcmp(unit->name, name) == 0)
                        return unit;
        return NULL;
}

bool units_are_reached(const struct units *units) {
        return units->bus && sd_bus_is_open(units->bus) > 0;
}

void units_kick(struct units *units) {
        if (units->bus)
                loop_arm(units->loop, &units->timer, loop_now());
}

static void heard(struct units *units) {
        if (!units->heard && units->retry_usec > RETRY_MIN_USEC)
                log_notice("systemd is seen again on the system bus");
        units->retry_usec = RETRY_MIN_USEC;
        units->heard = true;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct unit *unit = userdata;
        struct unit_status status = unit->status;
        int r;

        unit->call = sd_bus_slot_unref(unit->call);
        if (sd_bus_message_is_method_error(m, NULL)) {
                if (units_are_reached(unit->units))
                        log_warning("%s: systemd does not tell its properties: %s", unit->name,
                                    sd_bus_message_get_error(m)->message);
                return 0;
        }
        r = unit_properties_read(m, &status);
        if (r < 0) {
                log_warning("%s: cannot read its properties: %s", unit->name, strerror(-r));
                return 0;
        }
        if (unit->busy)
                status.state = UNIT_CHANGING;
        heard(unit->units);
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

/* Whether this error says that nobody has decided about the job: it is asked for again once systemd is there. */
static bool nobody_answers(const struct unit *unit, sd_bus_message *m) {
        if (!units_are_reached(unit->units) || sd_bus_message_is_method_error(m, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_message_is_method_error(m, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return true;
        /* The bus has no answer of a systemd that left it, sd-bus none in time of one that hangs. */
        return sd_bus_message_is_method_error(m, SD_BUS_ERROR_NO_REPLY) &&
               loop_now() - unit->asked_usec < CALL_TIMEOUT_USEC;
}

static int on_job_queued(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct unit *unit = userdata;
        const char *job;

        unit->job_call = sd_bus_slot_unref(unit->job_call);
        if (sd_bus_message_is_method_error(m, NULL)) {
                if (nobody_answers(unit, m))
                        return 0;
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

/* What it has on the bus goes with the bus. */
static void unit_disconnect(struct unit *unit) {
        unit->match = sd_bus_slot_unref(unit->match);
        unit->call = sd_bus_slot_unref(unit->call);
        unit->job_call = sd_bus_slot_unref(unit->job_call);
        unit_bound_deinit(&unit->bound);
        free(unit->job);
        unit->job = NULL;
}

static struct unit *unit_free(struct unit *unit) {
        if (!unit)
                return NULL;
        unit_disconnect(unit);
        free(unit->name);
        free(unit->path);
        free(unit);
        return NULL;
}

DEFINE_CLEANUP(struct unit *, unit_free)

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

/* The bus keeps the order, so the properties are set and the old failure is forgotten before the job begins. */
static int send_job(struct unit *unit) {
        struct units *units = unit->units;
        int r = 0;

        unit->job_call = sd_bus_slot_unref(unit->job_call);
        free(unit->job);
        unit->job = NULL;
        unit->asked_usec = loop_now();
        if (unit->starting) {
                r = set_memory_node(units, unit->name, unit->node);
                if (r >= 0)
                        r = sd_bus_call_method_async(units->bus, NULL, SERVICE, MANAGER_PATH, MANAGER,
                                                     "ResetFailedUnit", NULL, NULL, "s", unit->name);
        }
        return r < 0 ? r : sd_bus_call_method_async(units->bus, &unit->job_call, SERVICE, MANAGER_PATH, MANAGER,
                                                    unit->starting ? "StartUnit" : "StopUnit", on_job_queued, unit,
                                                    "ss", unit->name, "replace");
}

/* Without a bus it waits for the next one; who asked for it has a deadline of its own. */
static int queue_job(struct unit *unit, bool start) {
        int r;

        unit->starting = start;
        r = units_are_reached(unit->units) ? send_job(unit) : 0;
        if (r < 0 && units_are_reached(unit->units))
                return r;
        unit->busy = true;
        unit->status.state = UNIT_CHANGING;
        units_kick(unit->units);
        return 0;
}

int units_start(struct units *units, const char *name, int node) {
        struct unit *unit = find(units, name);

        if (!unit)
                return -ENOENT;
        unit->node = node;
        return queue_job(unit, true);
}

int units_stop(struct units *units, const char *name) {
        struct unit *unit = find(units, name);

        return unit ? queue_job(unit, false) : -ENOENT;
}

/* systemd loads a unit when its path is asked for, so there is no call to load it. */
static int unit_connect(struct unit *unit) {
        int r = sd_bus_match_signal_async(unit->units->bus, &unit->match, SERVICE, unit->path, PROPERTIES,
                                          "PropertiesChanged", on_properties_changed, NULL, unit);

        return r < 0 ? r : refresh(unit);
}

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
        r = sd_bus_path_encode(MANAGER_PATH "/unit", name, &unit->path);
        if (r >= 0 && units_are_reached(units))
                r = unit_connect(unit);
        if (r < 0 && (r == -ENOMEM || units_are_reached(units)))
                return r;
        unit_bound_init(unit);
        unit->next = units->units;
        units->units = steal_ptr(unit);
        units_kick(units);
        return 0;
}

const struct unit_status *units_status(const struct units *units, const char *name) {
        const struct unit *unit = units ? find(units, name) : NULL;

        return unit ? &unit->status : NULL;
}

static int on_version(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct units *units = userdata;
        const char *version;

        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "v", "s", &version) < 0)
                return 0;
        snprintf(units->system, sizeof(units->system), "systemd %s", version);
        heard(units);
        return 0;
}

/* Asks systemd to tell what happens, and who it is. */
static int introduce(struct units *units) {
        int r;

        r = sd_bus_call_method_async(units->bus, NULL, SERVICE, MANAGER_PATH, MANAGER, "Subscribe", NULL, NULL, NULL);
        return r < 0 ? r : sd_bus_call_method_async(units->bus, NULL, SERVICE, MANAGER_PATH, PROPERTIES, "Get",
                                                    on_version, units, "ss", MANAGER, "Version");
}

/* Until systemd is heard again nothing is known of any unit. */
static void forget(struct units *units) {
        units->heard = false;
        for (struct unit *unit = units->units; unit; unit = unit->next)
                unit->status.state = unit->busy ? UNIT_CHANGING : UNIT_UNKNOWN;
}

/* systemd has left the bus, or come to it: what it did meanwhile was told to nobody. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct units *units = userdata;
        const char *name, *old, *owner;
        int r;

        if (sd_bus_message_read(m, "sss", &name, &old, &owner) < 0)
                return 0;
        if (!owner[0]) {
                log_notice("systemd has left the system bus: until it is back, units of applications are not seen");
                forget(units);
                return 0;
        }
        r = introduce(units);
        for (struct unit *unit = units->units; unit && r >= 0; unit = unit->next) {
                r = refresh(unit);
                if (r >= 0 && unit->busy)
                        r = send_job(unit);
        }
        if (r < 0)
                sd_bus_close(units->bus); /* a new connection asks for all of it again */
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
                r = sd_bus_add_match_async(units->bus, NULL, OWNER_CHANGED, on_owner_changed, NULL, units);
        return r < 0 ? r : introduce(units);
}

static void disconnect(struct units *units, int error) {
        if (units->heard || units->retry_usec == RETRY_MIN_USEC)
                log_warning("the system bus cannot be reached (%s): until it can, units of applications are not seen",
                            strerror(-error));
        forget(units);
        loop_unwatch(units->loop, &units->source);
        for (struct unit *unit = units->units; unit; unit = unit->next)
                unit_disconnect(unit);
        units->bus = sd_bus_close_unref(units->bus);
        loop_arm(units->loop, &units->timer, loop_now() + units->retry_usec);
        units->retry_usec = units->retry_usec * 2 < RETRY_MAX_USEC ? units->retry_usec * 2 : RETRY_MAX_USEC;
}

static int connect_bus(struct units *units) {
        int r = sd_bus_open_system(&units->bus);

        if (r >= 0)
                r = sd_bus_set_method_call_timeout(units->bus, CALL_TIMEOUT_USEC);
        if (r >= 0)
                r = subscribe(units);
        for (struct unit *unit = units->units; unit && r >= 0; unit = unit->next) {
                r = unit_connect(unit);
                if (r >= 0 && unit->busy)
                        r = send_job(unit);
        }
        return r;
}

/* Lets sd-bus do its work, then waits for what it says it waits for. */
static void process_bus(void *userdata) {
        struct units *units = userdata;
        uint64_t timeout;
        int r = units->bus ? 0 : connect_bus(units);

        if (r >= 0)
                do
                        r = sd_bus_process(units->bus, NULL);
                while (r > 0);
        if (r >= 0)
                r = sd_bus_get_events(units->bus);
        if (r >= 0)
                r = loop_watch(units->loop, &units->source, sd_bus_get_fd(units->bus),
                               (r & POLLIN ? EPOLLIN : 0u) | (r & POLLOUT ? EPOLLOUT : 0u));
        if (r < 0) {
                disconnect(units, r);
                return;
        }
        loop_disarm(units->loop, &units->timer);
        /* sd-bus counts on CLOCK_MONOTONIC; a turn of the loop too many does no harm. */
        if (sd_bus_get_timeout(units->bus, &timeout) > 0 && timeout != UINT64_MAX)
                loop_arm(units->loop, &units->timer, loop_now() + USEC_PER_SEC);
}

static void on_bus_event(void *userdata, uint32_t events) {
        process_bus(userdata);
}

struct units *units_free(struct units *units) {
        if (!units)
                return NULL;
        loop_unwatch(units->loop, &units->source);
        loop_disarm(units->loop, &units->timer);
        units_give_back(units);
        while (units->units) {
                struct unit *unit = units->units;
                units->units = unit->next;
                unit_free(unit);
        }
        if (units->bus)
                sd_bus_flush_close_unref(units->bus);
        free(units);
        return NULL;
}

int units_new(struct loop *loop, const char *run_dir, const struct units_handler *handler, struct units **ret) {
        struct units *units;

        if (access("/run/systemd/system", F_OK) < 0)
                return -EOPNOTSUPP;
        units = calloc(1, sizeof(*units));
        if (!units)
                return -ENOMEM;
        units->loop = loop;
        units->run_dir = run_dir;
        units->handler = *handler;
        units->source = (struct source) { -1, on_bus_event, units };
        units->timer = (struct timer) { 0, process_bus, units, NULL };
        units->retry_usec = RETRY_MIN_USEC;
        strcpy(units->system, "systemd");
        units_find_bounds(units);
        process_bus(units);
        *ret = units;
        return 0;
}

const char *units_system(const struct units *units) {
        return units->system;
}

int units_check(const struct units *units, const char *name) {
        const struct unit_status *status;

        if (!units)
                return -EOPNOTSUPP;
        status = units_status(units, name);
        if (!units->heard)
                return -ENOTCONN;
        return status && status->loaded ? 0 : -ENOENT;
}
