/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/children/pagers-internal.h"
#include "daemon/host/children/spawn-apart.h"
#include "daemon/host/unit.h"

#define LOG_MAX (1 << 20)

void pagers_bound_log(const struct pagers *pagers, const char *name) {
        char path[PATH_MAX];
        struct stat st;

        if (pagers_path(pagers, name, "log", path) == 0 && stat(path, &st) == 0 && st.st_size > LOG_MAX)
                (void) truncate(path, 0); /* its writer appends */
}

/* A socket of which nobody has the lock was left behind (plugin.c): nbdkit would not take its place. Two that are
 * started at once fight for the lock, and one of them ends. */
int pagers_spawn(struct pagers *pagers, const char *name, const char *conf_path) {
        char dir[PATH_MAX], log[PATH_MAX], status[PATH_MAX + 16], alive[PATH_MAX + 16], socket[PAGER_PATH_LEN];
        char parameters[PATH_MAX + 16], *plugin = pagers->plugin;
        char *argv[] = { pagers->nbdkit, (char *) "--foreground", (char *) "--newstyle", (char *) "--unix", socket,
                         plugin, parameters, status, alive, NULL };
        struct pager_status now;
        pid_t pid;
        int r;

        r = pagers_socket(pagers, name, socket);
        if (r >= 0)
                r = pagers_path(pagers, name, "log", log);
        if (r < 0)
                return r;
        if (pagers->n_children == PAGER_CHILDREN_MAX)
                return -EAGAIN;
        pagers_look(pagers, name, NULL, &now);
        if (now.known < 0 || now.alive)
                return now.known < 0 ? now.known : -EEXIST;
        snprintf(dir, sizeof(dir), "%.*s", (int) (strrchr(log, '/') - log), log);
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return -errno;
        (void) unlink(socket);
        snprintf(parameters, sizeof(parameters), "parameters=%s", conf_path);
        snprintf(status, sizeof(status), "status=%s/status", dir);
        snprintf(alive, sizeof(alive), "alive=%s/alive", dir);
        r = spawn_apart(argv, log, &pid);
        if (r < 0)
                return r;
        pagers->children[pagers->n_children++] = pid;
        return 0;
}

static void on_asked(void *userdata, const char *error) {
        if (error)
                fprintf(stderr, "a pager's unit: %s, ignoring\n", error);
}

int pagers_ask_unit(struct pagers *pagers, const char *method, const char *name) {
        char unit[PAGER_NAME_LEN + 32];

        snprintf(unit, sizeof(unit), "failover-pager@%s.service", name);
        return unit_ask(pagers->loop, false, method, unit, on_asked, NULL);
}
