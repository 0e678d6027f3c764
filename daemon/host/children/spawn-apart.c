/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/spawn-apart.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

/* What failoverd was told by systemd and by others (secrets, loader settings) is not for a process that outlives it. */
static bool is_inherited(const char *variable) {
        static const char *const kept[] = { "PATH=", "HOME=", "USER=",   "LANG=",           "LC_",
                                            "TZ=",   "TERM=", "TMPDIR=", "XDG_RUNTIME_DIR=",
                                            "XDG_CACHE_HOME=" };

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

int spawn_apart(char *const argv[], const char *log_path, pid_t *ret) {
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

void spawn_apart_reap(pid_t *pids, size_t *n) {
        for (size_t i = 0; i < *n;)
                if (waitpid(pids[i], NULL, WNOHANG) != 0)
                        pids[i] = pids[--*n];
                else
                        i++;
}
