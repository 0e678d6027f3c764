/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A systemd unit as the application of agent-host.h's agent. Needs root and a running systemd whose runtime directory
 * may be written to, as in a container. */

#include "tests/unit/agent-host.h"

#define UNIT_DIR "/run/systemd/system"

static inline bool cannot_run(void) {
        if (access(UNIT_DIR, W_OK) == 0 && access("/run/dbus/system_bus_socket", W_OK) == 0)
                return false;
        printf("skipped: no systemd here that units could be given to ");
        return true;
}

static inline void put_unit(const struct host *host, const char *text) {
        char path[160];
        FILE *file;

        snprintf(path, sizeof(path), UNIT_DIR "/%s.service", host->app);
        file = fopen(path, "w");
        REQUIRE(file != NULL);
        CHECK(fputs(text, file) >= 0);
        CHECK(fclose(file) == 0);
        CHECK(system("systemctl daemon-reload") == 0);
}

static inline void remove_unit(const struct host *host) {
        char command[256];

        snprintf(command, sizeof(command), "systemctl stop %s; rm -f " UNIT_DIR "/%s.service; systemctl daemon-reload",
                 host->app, host->app);
        CHECK(system(command) == 0);
}

static inline void configure_unit(struct host *host) {
        struct application_spec spec = { .node = -1, .stop_timeout_usec = 500 * USEC_PER_MSEC, .memory_bytes = MIB };
        char unit[128];

        memcpy(spec.app, host->app, sizeof(spec.app));
        snprintf(unit, sizeof(unit), "%s.service", host->app);
        spec.run.unit = strdup(unit);
        host_configure(host, spec);
}

/* The unit's properties come a moment after the configuration. */
static inline int check_until_answered(struct host *host, int wanted) {
        usec_t deadline = loop_now() + DEADLINE_USEC;

        do {
                uint64_t id = host_send(host, (struct message) { .type = MESSAGE_CHECK });
                do
                        host_expect(host, MESSAGE_RESULT);
                while (host->last.id != id);
        } while (host->last.result != wanted && loop_now() < deadline);
        return host->last.result;
}

static inline int unit_is(const struct host *host, const char *state) {
        char command[256];

        snprintf(command, sizeof(command), "test \"$(systemctl is-active %s)\" = %s", host->app, state);
        return system(command) == 0;
}

/* The application is that unit, and the agent knows it. */
static inline void have_unit(struct host *host, const char *text) {
        put_unit(host, text);
        configure_unit(host);
        CHECK(check_until_answered(host, 0) == 0);
}
