/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/standbys.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/alive.h"
#include "daemon/host/children/spawn-apart.h"
#include "daemon/host/store/store-files.h"
#include "daemon/host/unit.h"

struct standbys {
        sd_event *loop;
        bool user;
        char *dir, *state_dir, *program, *policy_path;
        pid_t children[POLICY_VMS_MAX]; /* that have not been waited for */
        size_t n_children;
};

int standbys_new(sd_event *loop, const struct standbys_options *options, struct standbys **ret, struct error *error) {
        struct standbys *standbys = calloc(1, sizeof(*standbys));
        int r = 0;

        if (!standbys)
                return error_set(error, -ENOMEM, "out of memory");
        standbys->loop = sd_event_ref(loop);
        standbys->user = options->user;
        standbys->program = strdup(options->program);
        standbys->policy_path = strdup(options->policy_path);
        if (asprintf(&standbys->dir, options->user ? "%s/standbys" : "%s",
                     options->user ? options->runtime_dir : options->service_dir) < 0)
                standbys->dir = NULL;
        if (asprintf(&standbys->state_dir, "%s/standbys", options->user ? options->state_dir : "") < 0)
                standbys->state_dir = NULL;
        if (!standbys->program || !standbys->state_dir || !standbys->policy_path || !standbys->dir)
                r = -ENOMEM;
        if (r == 0 && options->user)
                r = directory_prepare(standbys->dir);
        if (r == 0 && options->user)
                r = directory_prepare(standbys->state_dir);
        if (r < 0) {
                error_set(error, r, "standbys: %s", strerror(-r));
                standbys_free(standbys);
                return r;
        }
        *ret = standbys;
        return 0;
}

struct standbys *standbys_free(struct standbys *standbys) {
        if (!standbys)
                return NULL;
        free(standbys->dir);
        free(standbys->state_dir);
        free(standbys->program);
        free(standbys->policy_path);
        sd_event_unref(standbys->loop);
        free(standbys);
        return NULL;
}

static int spawn(struct standbys *standbys, const char *domain, const char *dir) {
        char log[PATH_MAX + 8], state[PATH_MAX];
        char *argv[] = { standbys->program, (char *) "--policy", standbys->policy_path, (char *) "--dir",
                         (char *) dir, (char *) "--state", state, (char *) domain, NULL };
        pid_t pid;
        int r;

        if (standbys->n_children == POLICY_VMS_MAX)
                return -EAGAIN;
        if (snprintf(state, sizeof(state), "%s/%s", standbys->state_dir, domain) >= (int) sizeof(state))
                return -ENAMETOOLONG;
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return -errno;
        snprintf(log, sizeof(log), "%s/log", dir);
        r = spawn_apart(argv, log, &pid);
        if (r == 0)
                standbys->children[standbys->n_children++] = pid;
        return r;
}

static void on_asked(void *userdata, const char *error) {
        if (error)
                fprintf(stderr, "a standby's unit: %s, ignoring\n", error);
}

int standbys_holder(const struct standbys *standbys, const char *domain) {
        char path[PATH_MAX];

        if (snprintf(path, sizeof(path), "%s/%s/" STANDBY_ALIVE_FILE, standbys->dir, domain) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        return alive_holder(path);
}

int standbys_keep(struct standbys *standbys, const char *domain) {
        char dir[PATH_MAX], unit[NAME_LEN + 32];
        int r;

        spawn_apart_reap(standbys->children, &standbys->n_children);
        if (snprintf(dir, sizeof(dir), "%s/%s", standbys->dir, domain) >= (int) sizeof(dir))
                return -ENAMETOOLONG;
        r = standbys_holder(standbys, domain);
        if (r != 0)
                return r < 0 ? r : 0;
        if (standbys->user)
                return spawn(standbys, domain, dir);
        snprintf(unit, sizeof(unit), "failover-standby@%s.service", domain);
        return unit_ask(standbys->loop, false, "StartUnit", unit, on_asked, NULL);
}

int standbys_read(const struct standbys *standbys, const char *domain, struct standby_document *ret) {
        struct standby_document document;
        char dir[PATH_MAX];
        int r;

        if (snprintf(dir, sizeof(dir), "%s/%s", standbys->dir, domain) >= (int) sizeof(dir))
                return -ENAMETOOLONG;
        r = standby_document_read(dir, &document, NULL);
        if (r == 0 && strcmp(document.domain, domain) != 0)
                r = -EBADMSG;
        if (r == 0)
                *ret = document;
        return r;
}

int standbys_read_events(const struct standbys *standbys, const char *domain, struct stat *seen,
                         struct standby_events *ret) {
        char dir[PATH_MAX], path[PATH_MAX + sizeof(STANDBY_EVENTS_FILE)];
        struct stat st;
        int r;

        if (snprintf(dir, sizeof(dir), "%s/%s", standbys->dir, domain) >= (int) sizeof(dir))
                return -ENAMETOOLONG;
        snprintf(path, sizeof(path), "%s/" STANDBY_EVENTS_FILE, dir);
        if (stat(path, &st) < 0)
                return -errno;
        /* Each one is a new file. */
        if (st.st_ino == seen->st_ino && memcmp(&st.st_mtim, &seen->st_mtim, sizeof(st.st_mtim)) == 0)
                return 0;
        r = standby_events_read(dir, domain, ret, NULL);
        *seen = st; /* what cannot be read is not read again and again */
        return r < 0 ? r : 1;
}
