/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-lane.h"

enum { PRESSURE_MEMORY, PRESSURE_IO, PRESSURE_FILES };

struct pressure {
        int fds[PRESSURE_FILES];
        usec_t total_usec[PRESSURE_FILES];
        usec_t some_usec; /* of memory */
        usec_t read_usec; /* when that was */
        bool high;        /* the last event said so */
        struct sink sink;
        void (*memory_short)(void *userdata);
        void *userdata;
        sd_event_source *timer;
};

int pressure_parse(const char *text, const char *which, usec_t *ret_total_usec) {
        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                const char *field = strstr(line, "total="), *end = strchrnul(line, '\n');
                unsigned long long total;

                if (strncmp(line, which, strlen(which)) != 0 || line[strlen(which)] != ' ')
                        continue;
                if (!field || field > end || sscanf(field, "total=%llu", &total) != 1)
                        return -ENODATA;
                *ret_total_usec = total;
                return 0;
        }
        return -ENODATA;
}

/* `ret_some_usec` may be NULL. */
static int pressure_read(int fd, usec_t *ret_full_usec, usec_t *ret_some_usec) {
        char text[512];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

        if (n < 0)
                return -errno;
        text[n] = '\0';
        if (ret_some_usec && pressure_parse(text, "some", ret_some_usec) < 0)
                *ret_some_usec = 0;
        return pressure_parse(text, "full", ret_full_usec);
}

static usec_t share_ppm(usec_t total_usec, usec_t before_usec, usec_t elapsed_usec) {
        return total_usec > before_usec ? (total_usec - before_usec) * 1000000 / elapsed_usec : 0;
}

static int on_second(sd_event_source *source, uint64_t usec, void *userdata) {
        struct pressure *pressure = userdata;
        usec_t now = lane_now(), elapsed = now - pressure->read_usec;
        uint64_t worst_ppm = 0;
        bool memory_short = false;

        for (size_t i = 0; i < PRESSURE_FILES; i++) {
                usec_t total, some = 0, ppm;

                if (pressure_read(pressure->fds[i], &total, i == PRESSURE_MEMORY ? &some : NULL) < 0 || elapsed == 0)
                        continue;
                ppm = share_ppm(total, pressure->total_usec[i], elapsed);
                pressure->total_usec[i] = total;
                if (ppm > worst_ppm)
                        worst_ppm = ppm;
                if (i != PRESSURE_MEMORY)
                        continue;
                memory_short = share_ppm(some, pressure->some_usec, elapsed) >= PRESSURE_SHORT_PPM;
                pressure->some_usec = some;
        }
        pressure->read_usec = now;
        if (worst_ppm > 1000000)
                worst_ppm = 1000000;
        if (worst_ppm >= PRESSURE_MIN_PPM || pressure->high) {
                struct event event = { .kind = EVENT_PRESSURE, .pair = NO_PAIR, .app = NO_APP, .bytes = worst_ppm };

                pressure->high = worst_ppm >= PRESSURE_MIN_PPM;
                sink_event(&pressure->sink, &event);
        }
        if (memory_short)
                pressure->memory_short(pressure->userdata);
        sd_event_source_set_time_relative(source, USEC_PER_SEC);
        return 0;
}

int pressure_new(sd_event *loop, const char *directory, const struct sink *sink, void (*memory_short)(void *userdata),
                 void *userdata, struct pressure **ret_pressure) {
        static const char *const files[] = { [PRESSURE_MEMORY] = "memory", [PRESSURE_IO] = "io" };
        struct pressure *pressure = calloc(1, sizeof(*pressure));
        char path[PATH_MAX];
        int r = 0;

        if (!pressure)
                return -ENOMEM;
        memset(pressure->fds, 0xff, sizeof(pressure->fds));
        pressure->sink = *sink;
        pressure->memory_short = memory_short;
        pressure->userdata = userdata;
        for (size_t i = 0; r >= 0 && i < PRESSURE_FILES; i++) {
                if ((size_t) snprintf(path, sizeof(path), "%s/%s", directory, files[i]) >= sizeof(path)) {
                        r = -ENAMETOOLONG;
                        break;
                }
                pressure->fds[i] = open(path, O_RDONLY | O_CLOEXEC);
                r = pressure->fds[i] < 0 ? -errno : pressure_read(pressure->fds[i], &pressure->total_usec[i],
                                                                 i == PRESSURE_MEMORY ? &pressure->some_usec : NULL);
        }
        pressure->read_usec = lane_now();
        if (r >= 0)
                r = sd_event_add_time_relative(loop, &pressure->timer, CLOCK_MONOTONIC, USEC_PER_SEC,
                                               USEC_PER_MSEC, on_second, pressure);
        if (r >= 0)
                r = sd_event_source_set_enabled(pressure->timer, SD_EVENT_ON);
        if (r < 0) {
                pressure_free(pressure);
                return r;
        }
        *ret_pressure = pressure;
        return 0;
}

struct pressure *pressure_free(struct pressure *pressure) {
        if (!pressure)
                return NULL;
        sd_event_source_disable_unref(pressure->timer);
        for (size_t i = 0; i < PRESSURE_FILES; i++)
                if (pressure->fds[i] >= 0)
                        close(pressure->fds[i]);
        free(pressure);
        return NULL;
}
