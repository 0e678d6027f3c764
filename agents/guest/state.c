/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/state.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "daemon/base/cleanup.h"

#define SUFFIX ".state"
#define FORMAT "failover-agent 1\n"

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

static int path_of(char path[PATH_LENGTH], const char *run_dir, const char *app) {
        int n = snprintf(path, PATH_LENGTH, "%s/%s" SUFFIX, run_dir, app);

        return n < 0 || n >= PATH_LENGTH ? -ENAMETOOLONG : 0;
}

int state_write(const char *run_dir, const char *app, const struct state_record *record) {
        char path[PATH_LENGTH], text[1024], printable[MESSAGE_TEXT_LEN];
        const char *state = application_state_to_string(record->state), *cause = failure_cause_to_string(record->cause);
        int r, n;

        if (!state || !cause)
                return -EINVAL;
        r = path_of(path, run_dir, app);
        if (r < 0)
                return r;
        snprintf(printable, sizeof(printable), "%s", record->text);
        for (char *p = printable; *p; p++)
                if (*p == '\n')
                        *p = ' ';
        n = snprintf(text, sizeof(text),
                     FORMAT "%s %s\ntoken %" PRIu64 "\npid %d %" PRIu64 "\nregion %d %" PRIu64
                            "\ncode %d %d\ntext %s\nend\n",
                     state, cause, record->token, record->pid, record->start_time, record->node, record->bytes,
                     record->code, record->hard, printable);
        if (n < 0 || n >= (int) sizeof(text))
                return -EINVAL;
        return file_replace(text, (size_t) n, path);
}

int state_read(const char *run_dir, const char *app, struct state_record *ret) {
        char path[PATH_LENGTH], text[1024], state[32], cause[32];
        struct state_record record = { 0 };
        int r, hard, at = 0;
        char *end;

        r = path_of(path, run_dir, app);
        if (r < 0)
                return r;
        r = file_read(text, sizeof(text), "%s", path);
        if (r < 0)
                return r;
        if (r < 4 || strcmp(text + r - 4, "\nend") != 0)
                return -EBADMSG;
        text[r - 4] = 0;
        if (sscanf(text,
                   FORMAT "%31s %31s token %" SCNu64 " pid %d %" SCNu64 " region %d %" SCNu64 " code %d %d text%n",
                   state, cause, &record.token, &record.pid, &record.start_time, &record.node, &record.bytes,
                   &record.code, &hard, &at) != 9 ||
            at == 0)
                return -EBADMSG;
        record.state = application_state_from_string(state);
        record.cause = failure_cause_from_string(cause);
        if ((int) record.state < 0 || (int) record.cause < 0 || record.pid < 0 || (hard != 0 && hard != 1))
                return -EBADMSG;
        record.hard = hard;
        end = text + at;
        snprintf(record.text, sizeof(record.text), "%s", *end == ' ' ? end + 1 : end);
        *ret = record;
        return 0;
}

int state_remove(const char *run_dir, const char *app) {
        char path[PATH_LENGTH];
        int r;

        r = path_of(path, run_dir, app);
        if (r < 0)
                return r;
        return unlink(path) < 0 ? -errno : 0;
}

int state_list(const char *run_dir, char (*ret_apps)[NAME_LEN], size_t n_max) {
        _cleanup_(closedirp) DIR *dir = opendir(run_dir);
        struct dirent *entry;
        size_t n = 0;

        if (!dir)
                return -errno;
        while (n < n_max && (entry = readdir(dir))) {
                size_t length = strlen(entry->d_name), suffix = sizeof(SUFFIX) - 1;

                if (length <= suffix || length - suffix >= NAME_LEN ||
                    strcmp(entry->d_name + length - suffix, SUFFIX) != 0)
                        continue;
                memcpy(ret_apps[n], entry->d_name, length - suffix);
                ret_apps[n++][length - suffix] = 0;
        }
        return (int) n;
}
