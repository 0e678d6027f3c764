/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A message bus of the test's own, and a fake failoverd on it, each a process that the test ends by its pid. */

#include <stdbool.h>
#include <sys/types.h>

struct private_bus {
        char directory[64];
        char address[160];
        pid_t daemon;   /* dbus-daemon */
        pid_t failoverd; /* 0: none */
};

/* Returns false, with a message printed, where there is no dbus-daemon that starts. */
bool private_bus_start(struct private_bus *bus);
/* Ends the bus and starts another at the same address; who was on it loses the connection. */
bool private_bus_restart(struct private_bus *bus);
void private_bus_stop(struct private_bus *bus);

/* Runs a fake failoverd in a child process and returns once its name is on the bus. `user`: as with --user.
 * `broken`: fake_break(). */
bool private_bus_serve(struct private_bus *bus, bool user, bool broken);
/* Ends it. False where it did not end by itself and well (a sanitizer's finding, a crash). */
bool private_bus_serve_end(struct private_bus *bus);
