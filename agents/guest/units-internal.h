/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What units.c and unit-bound.c share. */

#include <systemd/sd-bus.h>

#include "agents/guest/units.h"

#define SERVICE "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"
#define PROPERTIES "org.freedesktop.DBus.Properties"

/* A unit's MemoryHigh=, while it is ours. A note in the run directory says so, and what it was before. */
struct unit_bound {
        uint64_t wanted_bytes;          /* 0: the unit's own */
        uint64_t done_bytes;            /* wanted when systemd was asked last */
        bool noted;
        bool failed;                    /* and the operator was told */
        uint64_t own_bytes;             /* the unit's own; UINT64_MAX: none */
        uint64_t before_bytes, set_bytes; /* what we have asked for is in force, or what was before that */
        sd_bus_slot *call;              /* under way */
        uint64_t asked_bytes;           /* wanted when that was begun */
};

struct unit {
        struct units *units;
        char *name, *path;
        sd_bus_slot *match, *call;
        struct unit_status status;
        sd_bus_slot *job_call;
        char *job;        /* object path of the job under way */
        bool starting;    /* what that job is */
        int node;         /* where it is to start */
        bool busy;        /* a job was asked for: what was known of the unit, or was asked before its end, is old */
        usec_t asked_usec; /* when, last */
        struct unit_bound bound;
        struct unit *next;
};

struct units {
        struct loop *loop;
        const char *run_dir; /* borrowed */
        struct units_handler handler;
        sd_bus *bus; /* NULL while there is none to be had */
        bool heard;  /* systemd has answered on it */
        usec_t retry_usec; /* the next wait */
        struct source source;
        struct timer timer;
        struct unit *units;
        char system[NAME_LEN];
};

/* Whether there is a bus now. */
bool units_are_reached(const struct units *units);
/* Work that was just queued is done at the next turn of the loop, not inside the caller. Without a bus the next try is
 * waited for. */
void units_kick(struct units *units);

/* Reads the note of an agent before this one. */
void unit_bound_init(struct unit *unit);
/* Forgets a call under way, whose bus is gone. */
void unit_bound_deinit(struct unit_bound *bound);
/* Watches the units for which an agent before this one has left a note. */
void units_find_bounds(struct units *units);
/* At the end: all units have their own again, and are waited for. */
void units_give_back(struct units *units);
