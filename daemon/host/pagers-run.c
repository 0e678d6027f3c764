/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/pagers-internal.h"
#include "daemon/host/unit.h"

#define LOG_MAX (1 << 20)

void pagers_reap(struct pagers *pagers) {
        for (size_t i = 0; i < pagers->n_children;)
                if (waitpid(pagers->children[i], NULL, WNOHANG) != 0)
                        pagers->children[i] = pagers->children[--pagers->n_children];
                else
                        i++;
}

void pagers_bound_log(const struct pagers *pagers, const char *name) {
        char path[PATH_MAX];
        struct stat st;

        if (pagers_path(pagers, name, "log", path) == 0 && stat(path, &st) == 0 && st.st_size > LOG_MAX)
                (void) truncate(path, 0); /* its writer appends */
}

/* What failoverd was told by systemd and by others (secrets, loader settings) is not for a process that outlives it. */
static bool is_inherited(const char *variable) {
        static const char *const kept[] = { "PATH=", "HOME=", "USER=",   "LANG=",           "LC_",
                                            "TZ=",   "TERM=", "TMPDIR=", "XDG_RUNTIME_DIR=" };

        for (size_t i = 0; i < ELEMENTSOF(kept); i++)
                if (strncmp(variable, kept[i], strlen(kept[i])) == 0)
                        return true;
        return false;
}

/* The strings stay the environment's; the caller frees the array. NULL: out of memory. */
static char **child_environment(void) {
        size_t n = 0, kept = 0;
        char **environment;

        while (environ[n])
                n++;
        environment = calloc(n + 1, sizeof(*environment));
        for (size_t i = 0; environment && i < n; i++)
                if (is_inherited(environ[i]))
                        environment[kept++] = environ[i];
        return environment;
}

/* A session of its own, so that no signal to failoverd's reaches it; signals as they are for a new program. */
static int spawn(char *const argv[], const char *log_path, pid_t *ret) {
        _cleanup_free_ char **environment = child_environment();
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attributes;
        sigset_t none, all;
        int r;

        if (!environment)
                return -ENOMEM;
        sigemptyset(&none);
        sigfillset(&all);
        r = posix_spawn_file_actions_init(&files);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r != 0) {
                posix_spawn_file_actions_destroy(&files);
                return -r;
        }
        r = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_addopen(&files, 1, log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND,
                                                     0600);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(&files, 1, 2);
        if (r == 0)
                r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                                  POSIX_SPAWN_SETSIGDEF);
        if (r == 0)
                r = posix_spawnattr_setsigmask(&attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(&attributes, &all);
        if (r == 0)
                r = posix_spawnp(ret, argv[0], &files, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&files);
        return -r;
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
        r = spawn(argv, log, &pid);
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
