/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A bundle for support: what failoverd shows, its policy and its journal, what it kept of failovers and decisions not
 * to act, secrets left out. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "daemon/base/whole.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/redact.h"

#define COLLECT_MAX (8 * MIB) /* most that one program may contribute */
#define KEPT_MAX (16 * MIB)   /* that one file may */
#define KEPT_LATEST 8         /* failovers, and decisions not to act, whose files are put in */
#define PATH_LEN 4096

struct bundle {
        const char *directory;
        int fd;
        unsigned n_failed;
};

static void write_part(struct bundle *bundle, const char *name, const char *text) {
        _cleanup_free_ char *clean = redact(text);
        _cleanup_close_ int fd = openat(bundle->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        int r = !clean ? -ENOMEM : fd < 0 ? -errno : whole_write(fd, clean, strlen(clean));

        if (r < 0) {
                fprintf(stderr, "failoverctl: %s/%s: %s\n", bundle->directory, name, strerror(-r));
                bundle->n_failed++;
        }
}

/* What a program prints, at most COLLECT_MAX; a message where it cannot be run. The caller frees. */
static char *collect(const char *const *argv) {
        posix_spawn_file_actions_t actions;
        _cleanup_fclose_ FILE *in = NULL;
        char *text = NULL;
        size_t used = 0;
        int pipes[2], status, r;
        pid_t pid;

        if (pipe2(pipes, O_CLOEXEC) < 0)
                return NULL;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
        posix_spawn_file_actions_adddup2(&actions, pipes[1], STDERR_FILENO);
        r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *) argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        close(pipes[1]);
        in = fdopen(pipes[0], "r");
        if (r != 0 || !in) {
                if (!in)
                        close(pipes[0]);
                return asprintf(&text, "%s could not be run: %s\n", argv[0], strerror(r ? r : errno)) < 0 ? NULL : text;
        }
        text = malloc(COLLECT_MAX + 1);
        if (text) {
                used = fread(text, 1, COLLECT_MAX, in);
                text[used] = 0;
        }
        fclose(steal_ptr(in));
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return text;
}

static void write_program(struct bundle *bundle, const char *name, const char *const *argv) {
        _cleanup_free_ char *text = collect(argv);

        write_part(bundle, name, text ? text : "out of memory\n");
}

/* One of the daemon's documents. A part that cannot be had must not cost the others. */
static void write_answer(struct ctl *ctl, struct bundle *bundle, const char *name, const char *method, bool history) {
        _cleanup_free_ char *text = NULL;
        int r = history ? ctl_read(ctl, method, &text, "su", "", (uint32_t) 200) : ctl_read(ctl, method, &text, NULL);

        if (r == CTL_OK)
                write_part(bundle, name, text);
        else
                bundle->n_failed++;
}

/* A file that failoverd kept. One that may not be read, or is gone, is no reason to have no bundle. */
static void write_kept(struct bundle *bundle, const char *directory, const char *of, const char *file) {
        char path[PATH_LEN], name[256];
        _cleanup_free_ char *text = NULL;

        snprintf(path, sizeof(path), "%.3800s/%.200s", directory, file);
        snprintf(name, sizeof(name), "%.100s-%.100s", of, file);
        if (strchr(of, '/') || strchr(file, '/') || ctl_read_file(path, KEPT_MAX, &text) != CTL_OK)
                return;
        write_part(bundle, name, text);
}

/* What was kept of the latest failovers. */
static void write_evidence(struct ctl *ctl, struct bundle *bundle) {
        _cleanup_json_ struct json_object *all = NULL;

        if (ctl_read_json(ctl, "GetHistory", &all, "su", "", (uint32_t) KEPT_LATEST) != CTL_OK)
                return;
        for (size_t i = 0; i < get_count(all, "flows") && i < KEPT_LATEST; i++) {
                _cleanup_json_ struct json_object *one = NULL;
                const char *id = get_text(get_item(all, "flows", i), "id", "");

                if (ctl_read_json(ctl, "GetHistory", &one, "su", id, (uint32_t) 1) != CTL_OK)
                        continue;
                for (size_t k = 0; k < get_count(one, "evidence.files"); k++)
                        write_kept(bundle, get_text(one, "evidence.directory", ""), id,
                                   get_text(get_item(one, "evidence.files", k), "name", ""));
        }
}

/* Names of decisions end with their time; those of several pairs stand one after another. */
static int later_first(const struct dirent **a, const struct dirent **b) {
        const char *x = strrchr((*a)->d_name, '-'), *y = strrchr((*b)->d_name, '-');

        return strcmp(y ? y : "", x ? x : "");
}

static int is_visible(const struct dirent *entry) {
        return entry->d_name[0] != '.';
}

/* The latest recordings of decisions not to act. */
static void write_decisions(struct ctl *ctl, struct bundle *bundle) {
        _cleanup_json_ struct json_object *status = NULL;
        const char *directory;
        struct dirent **names = NULL;
        int n;

        if (ctl_read_json(ctl, "Describe", &status, NULL) != CTL_OK)
                return;
        directory = get_text(status, "failoverd.decisions", NULL);
        n = directory ? scandir(directory, &names, is_visible, later_first) : 0;
        for (int i = 0; i < n; i++) {
                char path[PATH_LEN];

                snprintf(path, sizeof(path), "%.3700s/%.255s", directory, names[i]->d_name);
                if (i < KEPT_LATEST)
                        write_kept(bundle, path, names[i]->d_name, "events");
                free(names[i]);
        }
        free(names);
}

static void write_all(struct ctl *ctl, struct bundle *bundle) {
        const char *journal[] = { "journalctl",
                                  ctl->user ? "--user-unit=failoverd" : "--unit=failoverd",
                                  "--lines=5000",
                                  "--no-pager",
                                  "--output=short-precise",
                                  NULL };
        const char *unit[] = {
                "systemctl", ctl->user ? "--user" : "--system", "status", "--no-pager", "failoverd", NULL
        };
        const char *versions[] = { "uname", "-a", NULL };

        write_answer(ctl, bundle, "status.json", "Describe", false);
        write_answer(ctl, bundle, "table.json", "DescribeTable", false);
        write_answer(ctl, bundle, "history.json", "GetHistory", true);
        write_answer(ctl, bundle, "policy.yaml", "ShowPolicy", false);
        write_answer(ctl, bundle, "metrics.txt", "Metrics", false);
        write_program(bundle, "journal.txt", journal);
        write_program(bundle, "unit.txt", unit);
        write_program(bundle, "host.txt", versions);
        write_evidence(ctl, bundle);
        write_decisions(ctl, bundle);
}

/* Packs the directory into DIRECTORY.tar and removes it. */
static int pack(const char *directory) {
        _cleanup_free_ char *tar = NULL, *said = NULL, *parent = strdup(directory);
        const char *argv[] = {
                "tar", "--create", "--file", NULL, "--remove-files", "--directory", ".", "--", NULL, NULL
        };
        char *slash = parent ? strrchr(parent, '/') : NULL;

        if (!parent || asprintf(&tar, "%s.tar", directory) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        if (slash) {
                *slash = 0;
                argv[6] = slash == parent ? "/" : parent;
        }
        argv[3] = tar;
        argv[8] = slash ? slash + 1 : parent;
        said = collect(argv);
        if (!said || *said)
                return ctl_fail(CTL_FAILED, "the parts are in %s, tar has not packed them: %s", directory,
                                said ? said : "out of memory");
        printf("Wrote %s. What looks like a secret was left out; look into it before you send it.\n", tar);
        return CTL_OK;
}

int verb_report(struct ctl *ctl) {
        struct bundle bundle = { .fd = -1 };
        char name[64], stamp[32];
        time_t now = time(NULL);
        struct tm local;
        int r;

        if (!localtime_r(&now, &local) || strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &local) == 0)
                return ctl_fail(CTL_FAILED, "the time cannot be told");
        snprintf(name, sizeof(name), "failover-report-%s", stamp);
        bundle.directory = ctl->output ? ctl->output : name;
        if (mkdir(bundle.directory, 0700) < 0)
                return ctl_fail(CTL_FAILED, "%s cannot be made: %s", bundle.directory, strerror(errno));
        bundle.fd = open(bundle.directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (bundle.fd < 0)
                return ctl_fail(CTL_FAILED, "%s: %s", bundle.directory, strerror(errno));
        write_all(ctl, &bundle);
        close(bundle.fd);
        r = pack(bundle.directory);
        if (r == CTL_OK && bundle.n_failed > 0)
                return ctl_fail(CTL_FAILED, "%u parts are missing from it", bundle.n_failed);
        return r;
}
