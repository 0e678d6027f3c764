/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the stand-in hypervisor and the stand-in guests agree on. */

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define STAND_IN_NAME_LEN 64
#define STAND_IN_BASE_KIB (192 * 1024)
#define STAND_IN_REGION_KIB (128 * 1024)

static inline struct sockaddr_un stand_in_address(const char *directory, const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", directory, name);
        return address;
}

/* The application of a domain's pair: "db-p000" of p000-a. */
static inline void stand_in_app(const char *domain, char app[static STAND_IN_NAME_LEN]) {
        snprintf(app, STAND_IN_NAME_LEN, "db-%.4s", domain);
}

/* Where libvirt would keep a domain's pid, with XDG_RUNTIME_DIR the directory. */
static inline void stand_in_pid_path(const char *directory, const char *domain, char path[static 256]) {
        snprintf(path, 256, "%s/libvirt/qemu/run/%s.pid", directory, domain);
}
