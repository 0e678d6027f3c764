/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bound of a unit's memory. systemd is asked for what is set now before it is told something else, so that what an
 * operator has set is never lost; and a note is written before that, so that an agent after this one gives it back.
 */

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agents/guest/log.h"
#include "agents/guest/units-internal.h"
#include "daemon/base/cleanup.h"

#define NOTE_SUFFIX ".memory-high"
#define STEP_BYTES (4 * MIB)             /* systemd is not told anew for less */
#define END_TIMEOUT_USEC (2 * USEC_PER_SEC) /* for each call when the agent ends */

static int note_path(const struct unit *unit, char path[static PATH_LENGTH]) {
        int n = snprintf(path, PATH_LENGTH, "%s/%s" NOTE_SUFFIX, unit->units->run_dir, unit->name);

        return n < PATH_LENGTH && !strchr(unit->name, '/') ? 0 : -ENAMETOOLONG;
}

static int note_write(const struct unit *unit) {
        const struct unit_bound *bound = &unit->bound;
        char path[PATH_LENGTH], text[96];
        int r;

        r = note_path(unit, path);
        snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", bound->own_bytes, bound->before_bytes,
                 bound->set_bytes);
        return r < 0 ? r : file_replace(text, strlen(text), path);
}

static void note_remove(struct unit *unit) {
        char path[PATH_LENGTH];

        if (note_path(unit, path) == 0)
                (void) unlink(path);
        unit->bound.noted = false;
}

void unit_bound_init(struct unit *unit) {
        struct unit_bound *bound = &unit->bound;
        char path[PATH_LENGTH], text[96];

        bound->noted = note_path(unit, path) == 0 && file_read(text, sizeof(text), "%s", path) >= 0 &&
                       sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &bound->own_bytes, &bound->before_bytes,
                              &bound->set_bytes) == 3;
}

void unit_bound_deinit(struct unit_bound *bound) {
        bound->call = sd_bus_slot_unref(bound->call);
}

/* MemoryHigh out of the answer to GetAll. -ENODATA for a unit without a control group of its own. */
static int read_high(sd_bus_message *m, uint64_t *ret) {
        const char *name;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0 && strcmp(name, "MemoryHigh") == 0)
                        return sd_bus_message_read(m, "v", "t", ret);
                if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : -ENODATA;
}

/* Whatever is in force and not from us is the unit's own. Returns what is to be set. */
static uint64_t take_current(struct unit_bound *bound, uint64_t current, uint64_t wanted) {
        if (!bound->noted || (current != bound->before_bytes && current != bound->set_bytes))
                bound->own_bytes = current;
        bound->before_bytes = current;
        bound->set_bytes = wanted > 0 && wanted < bound->own_bytes ? wanted : bound->own_bytes;
        return bound->set_bytes;
}

static void advance(struct unit *unit);

static void end_round(struct unit *unit) {
        struct unit_bound *bound = &unit->bound;

        bound->call = sd_bus_slot_unref(bound->call);
        bound->done_bytes = bound->asked_bytes;
        bound->failed = false;
        if (bound->done_bytes == 0)
                note_remove(unit);
        advance(unit);
}

/* It is tried again when somebody looks next. */
static void fail(struct unit *unit, const char *why) {
        struct unit_bound *bound = &unit->bound;

        bound->call = sd_bus_slot_unref(bound->call);
        if (!bound->failed)
                log_warning("%s: its memory limit cannot be set: %s, ignoring", unit->name, why);
        bound->failed = true;
}

static int on_set(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct unit *unit = userdata;
        const sd_bus_error *problem = sd_bus_message_get_error(m);

        if (!problem || sd_bus_error_has_name(problem, SERVICE ".NoSuchUnit")) /* what is not there has no bound */
                end_round(unit);
        else
                fail(unit, problem->message);
        return 0;
}

static int on_current(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct unit *unit = userdata;
        struct unit_bound *bound = &unit->bound;
        uint64_t current, set;
        int r;

        bound->call = sd_bus_slot_unref(bound->call);
        r = sd_bus_message_is_method_error(m, NULL) ? -sd_bus_message_get_errno(m) : read_high(m, &current);
        if (r < 0) {
                fail(unit, strerror(-r));
                return 0;
        }
        set = take_current(bound, current, bound->asked_bytes);
        if (set == current) {
                end_round(unit);
                return 0;
        }
        r = note_write(unit);
        bound->noted |= r == 0;
        if (r == 0)
                r = sd_bus_call_method_async(unit->units->bus, &bound->call, SERVICE, MANAGER_PATH, MANAGER,
                                             "SetUnitProperties", on_set, unit, "sba(sv)", unit->name, true, 1,
                                             "MemoryHigh", "t", set);
        if (r < 0)
                fail(unit, strerror(-r));
        return 0;
}

static bool is_due(const struct unit_bound *bound) {
        uint64_t wanted = bound->wanted_bytes, done = bound->done_bytes;

        if (wanted == 0)
                return bound->noted;
        return done == 0 || (wanted > done ? wanted - done : done - wanted) >= STEP_BYTES;
}

static void advance(struct unit *unit) {
        struct unit_bound *bound = &unit->bound;

        if (bound->call || !is_due(bound))
                return;
        bound->asked_bytes = bound->wanted_bytes;
        if (sd_bus_call_method_async(unit->units->bus, &bound->call, SERVICE, unit->path, PROPERTIES, "GetAll",
                                     on_current, unit, "s", "") >= 0)
                units_kick(unit->units);
}

void units_bound(struct units *units, const struct loss_share *shares, size_t n_shares) {
        for (struct unit *unit = units_are_reached(units) ? units->units : NULL; unit; unit = unit->next) {
                unit->bound.wanted_bytes = 0;
                for (size_t i = 0; i < n_shares; i++)
                        if (strcmp(shares[i].unit, unit->name) == 0)
                                unit->bound.wanted_bytes = shares[i].limit_bytes;
                advance(unit);
        }
}

void units_find_bounds(struct units *units) {
        DIR *dir = opendir(units->run_dir);
        const size_t suffix = sizeof(NOTE_SUFFIX) - 1;
        struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
                size_t n = strlen(entry->d_name);

                if (n <= suffix || strcmp(entry->d_name + n - suffix, NOTE_SUFFIX) != 0)
                        continue;
                entry->d_name[n - suffix] = 0;
                (void) units_watch(units, entry->d_name);
        }
        if (dir)
                closedir(dir);
}

/* -errno where it does not have its own; then the note stays for the next agent. */
static int give_back(struct unit *unit) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
        uint64_t current, set;
        int r;

        unit_bound_deinit(&unit->bound);
        r = sd_bus_call_method(unit->units->bus, SERVICE, unit->path, PROPERTIES, "GetAll", NULL, &answer, "s", "");
        if (r >= 0)
                r = read_high(answer, &current);
        if (r < 0)
                return r;
        set = take_current(&unit->bound, current, 0);
        if (set != current)
                r = sd_bus_call_method(unit->units->bus, SERVICE, MANAGER_PATH, MANAGER, "SetUnitProperties", NULL,
                                       NULL, "sba(sv)", unit->name, true, 1, "MemoryHigh", "t", set);
        if (r >= 0)
                note_remove(unit);
        return r;
}

void units_give_back(struct units *units) {
        if (!units_are_reached(units) || sd_bus_set_method_call_timeout(units->bus, END_TIMEOUT_USEC) < 0)
                return;
        for (struct unit *unit = units->units; unit; unit = unit->next)
                if (unit->bound.noted && give_back(unit) < 0)
                        return;
}
