/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A manager with an engine made by hand, for tests of the bus and of failoverctl: pair "web" is armed, "db" is
 * unprotected, "mail" in the middle of a failover. Its clock stands still.
 */

#include "daemon/bus/bus.h"

#define FAKE_NOW (UINT64_C(50000) * USEC_PER_SEC)            /* CLOCK_BOOTTIME */
#define FAKE_WALL (UINT64_C(1795266000) * USEC_PER_SEC)      /* 2026-11-21 13:00:00 UTC */

struct fake {
        struct engine engine;
        struct host_facts facts;
        struct member_facts members[3 * SIDE_MAX];
        struct name_fact names[1];
        struct bus_interface interface;
        struct bus *bus;            /* to answer with; NULL: nothing is answered */
        sd_event *event;
        struct operator_command last_command;
        int last_pair;
        char last_text[256];        /* what apply_policy was given */
        /* a flow to be shown step by step */
        struct flow flow;
        int next_phase;
};

/* Aborts when out of memory. */
struct fake *fake_new(void);
struct fake *fake_free(struct fake *fake);

/* The hypervisor and the store do not answer; nobody is ready. */
void fake_break(struct fake *fake);
