/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/standby-file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/whole.h"

DEFINE_CLEANUP(struct json_object *, json_object_put)

int standby_file_read(const char *dir, const char *name, const struct fields *fields, void *object,
                      struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        _cleanup_free_ char *text = NULL;
        char path[PATH_MAX];
        size_t n = 0;
        int r;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        r = whole_read_text(path, STANDBY_FILE_MAX - 1, &text, &n);
        if (r < 0)
                return error_set(error, r, "%s: %s", path, strerror(-r));
        r = json_text_parse(text, n, &json, error);
        if (r == 0)
                r = fields_decode(json, fields, fields->required, UINT64_MAX, object, error);
        if (r < 0)
                error_prefix(error, "%s", path);
        return r;
}

static int sync_directory(const char *dir) {
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int standby_file_write(const char *dir, const char *name, const struct fields *fields, const void *object, bool synced,
                       struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();
        char path[PATH_MAX];
        const char *text;
        size_t n = 0;
        int r;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        r = json ? fields_encode(json, fields, fields->required, UINT64_MAX, object) : -ENOMEM;
        text = r == 0 ? json_text_print(json, JSON_C_TO_STRING_PLAIN, &n) : NULL;
        if (r == 0 && !text)
                r = -ENOMEM;
        if (r == 0 && n >= STANDBY_FILE_MAX)
                return error_set(error, -E2BIG, "%s would have %zu bytes, and could not be read again", path, n);
        if (r == 0)
                r = whole_replace(path, text, n, 0644, synced);
        if (r == 0 && synced)
                r = sync_directory(dir);
        return r < 0 ? error_set(error, r, "%s: %s", path, strerror(-r)) : 0;
}
