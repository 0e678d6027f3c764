/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/pagers.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/whole.h"
#include "daemon/host/alive.h"
#include "daemon/host/children/pager-parameters.h"
#include "daemon/host/children/pagers-internal.h"
#include "daemon/host/children/spawn-apart.h"
#include "daemon/host/process.h"
#include "daemon/host/store/store-files.h"

#define SUFFIX ".conf"
#define TEXT_MAX (64 * KIB)                /* of a configuration or status */
#define FRESH_USEC (4 * USEC_PER_SEC)      /* a status is written once a second */

DEFINE_CLEANUP(struct json_object *, json_object_put)

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

/* ---- paths ----------------------------------------------------------------------------------------------- */

static int conf_path(const struct pagers *pagers, const char *name, char ret[static PATH_MAX]) {
        return snprintf(ret, PATH_MAX, "%s/%s" SUFFIX, pagers->conf_dir, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int pagers_path(const struct pagers *pagers, const char *name, const char *file, char ret[static PATH_MAX]) {
        return snprintf(ret, PATH_MAX, "%s/%s/%s", pagers->run_dir, name, file) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int pagers_socket(const struct pagers *pagers, const char *name, char ret[static PAGER_PATH_LEN]) {
        return snprintf(ret, PAGER_PATH_LEN, "%s/%s/nbd", pagers->run_dir, name) < PAGER_PATH_LEN ? 0 : -ENAMETOOLONG;
}

const char *pagers_where(const struct pagers *pagers, const char *name, char buffer[static PAGER_WHERE_LEN]) {
        if (pagers->user)
                snprintf(buffer, PAGER_WHERE_LEN, "%s/%s/log", pagers->run_dir, name);
        else
                snprintf(buffer, PAGER_WHERE_LEN, "journalctl -u failover-pager@%s.service", name);
        return buffer;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

int pagers_new(sd_event *loop, const struct pagers_options *options, struct pagers **ret, struct error *error) {
        struct pagers *pagers = calloc(1, sizeof(*pagers));
        int r;

        if (!pagers)
                return error_set(error, -ENOMEM, "out of memory");
        pagers->loop = sd_event_ref(loop);
        pagers->user = options->user;
        pagers->nbdkit = strdup(options->nbdkit);
        pagers->plugin = strdup(options->plugin);
        if (asprintf(&pagers->conf_dir, "%s/pagers", options->runtime_dir) < 0)
                pagers->conf_dir = NULL;
        pagers->run_dir = strdup(options->user && pagers->conf_dir ? pagers->conf_dir : options->service_dir);
        if (!pagers->nbdkit || !pagers->plugin || !pagers->conf_dir || !pagers->run_dir) {
                pagers_free(pagers);
                return error_set(error, -ENOMEM, "out of memory");
        }
        r = directory_prepare(pagers->conf_dir);
        if (r < 0) {
                error_set(error, r, "%s: %s", pagers->conf_dir, strerror(-r));
                pagers_free(pagers);
                return r;
        }
        *ret = pagers;
        return 0;
}

struct pagers *pagers_free(struct pagers *pagers) {
        if (!pagers)
                return NULL;
        free(pagers->conf_dir);
        free(pagers->run_dir);
        free(pagers->nbdkit);
        free(pagers->plugin);
        sd_event_unref(pagers->loop);
        free(pagers);
        return NULL;
}

/* ---- what there is --------------------------------------------------------------------------------------- */

/* Who holds its lock, as alive_holder(): a pager that a guest has its pages with must not be taken for dead because
 * that cannot be told. */
static int holder(const struct pagers *pagers, const char *name) {
        char path[PATH_MAX];
        int r = pagers_path(pagers, name, "alive", path);

        return r < 0 ? r : alive_holder(path);
}

static const char *get_string(struct json_object *json, const char *key) {
        struct json_object *value;

        return json_object_object_get_ex(json, key, &value) && json_object_is_type(value, json_type_string)
                       ? json_object_get_string(value)
                       : "";
}

static uint64_t get_number(struct json_object *json, const char *key) {
        struct json_object *value;

        return json_object_object_get_ex(json, key, &value) ? json_object_get_uint64(value) : 0;
}

/* The first runs of lost bytes, as many as there is room for. */
static void read_lost(struct json_object *json, char ret[static PAGER_LOST_LEN]) {
        struct json_object *runs;
        size_t at = 0, n_runs;

        if (!json_object_object_get_ex(json, "lost", &runs) || !json_object_is_type(runs, json_type_array))
                return;
        n_runs = json_object_array_length(runs);
        for (size_t i = 0; i < n_runs; i++) {
                struct json_object *run = json_object_array_get_idx(runs, i);
                const uint64_t begin = get_number(run, "offset"), length = get_number(run, "length");
                char text[64];
                int n = snprintf(text, sizeof(text), "%s%" PRIu64 "-%" PRIu64, i == 0 ? "KiB " : ", ", begin / KIB,
                                 (begin + length) / KIB - 1);

                if (at + (size_t) n + sizeof(", ...") > PAGER_LOST_LEN) {
                        strcpy(ret + at, i == 0 ? "" : ", ...");
                        return;
                }
                strcpy(ret + at, text);
                at += (size_t) n;
        }
}

static void read_status(const struct pagers *pagers, const char *name, struct pager_status *ret) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct error error = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        usec_t told, now;
        char path[PATH_MAX];
        const char *state;
        size_t n = 0;

        if (pagers_path(pagers, name, "status", path) < 0)
                return;
        if (whole_read_text(path, TEXT_MAX, &text, &n) < 0)
                return;
        while (n > 0 && text[n - 1] == '\n')
                n--;
        if (n == 0 || json_text_parse(text, n, &json, &error) < 0) {
                error_deinit(&error);
                return;
        }
        told = get_number(json, "boottime_usec"); /* the host's other clock may be set */
        now = clock_usec(told ? CLOCK_BOOTTIME : CLOCK_REALTIME);
        if (told == 0)
                told = get_number(json, "time_usec");
        state = get_string(json, "state");
        /* One that does not tell its clients may have any. */
        ret->fresh = json_object_object_get_ex(json, "clients", NULL) && told <= now + FRESH_USEC &&
                     told + FRESH_USEC >= now;
        ret->recovering = strcmp(state, "recovering") == 0;
        ret->serving = ret->recovering || strcmp(state, "serving") == 0;
        ret->held_bytes = get_number(json, "held_bytes");
        ret->lost_bytes = get_number(json, "lost_bytes");
        read_lost(json, ret->lost);
        ret->capacity_bytes = get_number(json, "capacity_bytes");
        ret->clients = (unsigned) get_number(json, "clients");
        ret->waiting = (unsigned) get_number(json, "waiting");
        snprintf(ret->text, sizeof(ret->text), "%s", get_string(json, "text"));
        text_clean(ret->text);
}

void pagers_look(struct pagers *pagers, const char *name, const char *parameters, struct pager_status *ret) {
        _cleanup_free_ char *text = NULL;
        char path[PATH_MAX];
        size_t n = 0;
        int r;

        *ret = (struct pager_status) { 0 };
        spawn_apart_reap(pagers->children, &pagers->n_children);
        if (pagers->user)
                pagers_bound_log(pagers, name);
        r = conf_path(pagers, name, path);
        if (r == 0)
                r = whole_read_text(path, TEXT_MAX, &text, &n);
        if (r != -ENOENT)
                ret->configured = true;
        if (r >= 0) {
                ret->current = parameters && strcmp(text, parameters) == 0;
                ret->bearable = parameters && pager_parameters_bear(text, parameters);
        } else if (r != -ENOENT && r != -EBADMSG) /* what cannot be ours is written anew */
                ret->known = r;
        r = holder(pagers, name);
        if (r < 0)
                ret->known = r;
        ret->pid = r > 0 ? r : 0;
        ret->alive = r > 0;
        if (ret->alive)
                read_status(pagers, name, ret);
}

int pagers_list(struct pagers *pagers, void (*found)(void *userdata, const char *name), void *userdata) {
        _cleanup_(closedirp) DIR *dir = opendir(pagers->conf_dir);
        struct dirent *entry;
        char name[PAGER_NAME_LEN];

        if (!dir)
                return -errno;
        while ((entry = readdir(dir))) {
                size_t n = strlen(entry->d_name);

                if (n <= strlen(SUFFIX) || n - strlen(SUFFIX) >= sizeof(name) || entry->d_name[0] == '.' ||
                    strcmp(entry->d_name + n - strlen(SUFFIX), SUFFIX) != 0)
                        continue;
                snprintf(name, sizeof(name), "%.*s", (int) (n - strlen(SUFFIX)), entry->d_name);
                found(userdata, name);
        }
        return 0;
}

/* ---- what is done ---------------------------------------------------------------------------------------- */

int pagers_configure(struct pagers *pagers, const char *name, const char *parameters) {
        char path[PATH_MAX];
        int r = conf_path(pagers, name, path);

        return r < 0 ? r : whole_replace(path, parameters, strlen(parameters), 0600, false);
}

int pagers_start(struct pagers *pagers, const char *name) {
        char path[PATH_MAX];
        int r = conf_path(pagers, name, path);

        if (r < 0)
                return r;
        return pagers->user ? pagers_spawn(pagers, name, path) : pagers_ask_unit(pagers, "StartUnit", name);
}

/* The pidfd is opened before the lock is asked for again: so it is the process that has the lock. */
static int end_process(struct pagers *pagers, const char *name) {
        int pid = holder(pagers, name);
        _cleanup_close_ int pidfd = pid > 0 ? (int) syscall(SYS_pidfd_open, pid, 0) : -1;

        if (pid <= 0)
                return pid;
        if (pidfd < 0)
                return -errno;
        return holder(pagers, name) == pid ? process_signal(pidfd, SIGTERM) : -EAGAIN;
}

int pagers_end(struct pagers *pagers, const char *name) {
        return pagers->user ? end_process(pagers, name) : pagers_ask_unit(pagers, "StopUnit", name);
}

/* The configuration last: as long as it is there, somebody comes back for the rest. */
int pagers_forget(struct pagers *pagers, const char *name) {
        static const char *const files[] = { "nbd", "status", "status.new", "alive", "log" };
        char path[PATH_MAX];
        int r = holder(pagers, name);

        if (r != 0)
                return r < 0 ? r : -EBUSY;
        for (size_t i = 0; pagers->user && i < ELEMENTSOF(files); i++)
                if (pagers_path(pagers, name, files[i], path) == 0)
                        (void) unlink(path);
        if (pagers->user && snprintf(path, sizeof(path), "%s/%s", pagers->run_dir, name) < (int) sizeof(path))
                (void) rmdir(path);
        r = conf_path(pagers, name, path);
        if (r < 0)
                return r;
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
