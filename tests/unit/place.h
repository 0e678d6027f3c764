/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A directory of a test's own, with files in the place of the system's, and a loop that is run until it happens. */

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "policy/policy.h"
#include "tests/unit/test.h"

#define WAIT_USEC (10 * USEC_PER_SEC) /* for what has to happen */

/* A directory with a shell that is called qemu-system-x86_64, and libvirt's pid files. */
struct place {
        char dir[64], qemu[128];
        char name[NAME_LEN]; /* of a domain that nobody else on this machine has */
};

static inline void place_init(struct place *place) {
        strcpy(place->dir, "/tmp/test-process-XXXXXX");
        REQUIRE(mkdtemp(place->dir) != NULL);
        snprintf(place->qemu, sizeof(place->qemu), "%s/qemu-system-x86_64", place->dir);
        REQUIRE(symlink("/bin/sh", place->qemu) == 0);
        snprintf(place->name, sizeof(place->name), "test-%d-a", (int) getpid());
}

static inline void place_remove(const struct place *place, const char *name) {
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", place->dir, name);
        unlink(path);
}

static inline void place_deinit(struct place *place) {
        char file[NAME_LEN + 8];

        snprintf(file, sizeof(file), "%s.pid", place->name);
        place_remove(place, file);
        place_remove(place, "qemu-system-x86_64");
        place_remove(place, "memory");
        place_remove(place, "io");
        place_remove(place, "socket");
        REQUIRE(rmdir(place->dir) == 0);
}

static inline void write_file(const struct place *place, const char *name, const char *text) {
        _cleanup_fclose_ FILE *f = NULL;
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", place->dir, name);
        f = fopen(path, "we");
        REQUIRE(f && fputs(text, f) >= 0);
}

static inline int listen_unix(const struct place *place, int type, char path[108]) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        snprintf(path, 108, "%s/socket", place->dir);
        strcpy(address.sun_path, path);
        REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *) &address, sizeof(address)) == 0 && listen(fd, 4) == 0);
        return fd;
}

/* Starts failoverd-helper on an activated socket; returns its pid. */
static inline usec_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (usec_t) t.tv_sec * USEC_PER_SEC + (usec_t) t.tv_nsec / 1000;
}

/* Runs the loop until `*count` is at least `wanted`. False when that does not happen. */
static inline bool run_until(sd_event *loop, const unsigned *count, unsigned wanted) {
        usec_t end = now_usec() + WAIT_USEC;

        while (*count < wanted)
                if (now_usec() >= end || sd_event_run(loop, end - now_usec()) < 0)
                        return false;
        return true;
}
