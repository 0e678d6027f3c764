/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/standby-document.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "agents/protocol/fields.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"

#define TEXT_MAX (16 * KIB)

DEFINE_CLEANUP(struct json_object *, json_object_put)

FIELD_WORDS(alone_state)
FIELD_WORDS(standby_state)

static const struct field flap_rows[] = { { .name = "at_usec", .kind = FIELD_UINT64, .max = INT64_MAX } };
static const struct fields flap_fields = { flap_rows, ELEMENTSOF(flap_rows), FIELD_BIT(0) };

#define DOCUMENT struct standby_document
#define RECORD_AT(member) .name = #member, .offset = offsetof(DOCUMENT, record.member)
static const struct field rows[] = {
        CHARS_FIELD(DOCUMENT, domain, text_is_name),
        BYTES_FIELD(DOCUMENT, time_usec),
        WORD_FIELD(DOCUMENT, vm, alone_state),
        WORD_FIELD(DOCUMENT, state, standby_state),
        BYTES_FIELD(DOCUMENT, every_usec),
        BYTES_FIELD(DOCUMENT, took_usec),
        BYTES_FIELD(DOCUMENT, decided_usec),
        BYTES_FIELD(DOCUMENT, running_usec),
        BYTES_FIELD(DOCUMENT, lost_usec),
        CHARS_FIELD(DOCUMENT, doing, text_valid),
        CHARS_FIELD(DOCUMENT, text, text_valid),
        { RECORD_AT(run), .kind = FIELD_UINT64 },
        { RECORD_AT(slot), .kind = FIELD_INT, .min = 0, .max = 1 },
        { RECORD_AT(seen_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(taken_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(wanted), .kind = FIELD_BOOL },
        { RECORD_AT(wanted_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(held), .kind = FIELD_BOOL },
        { RECORD_AT(failovers), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(flaps_usec), .kind = FIELD_ARRAY, .max = POLICY_FLAPS_MAX, .size = sizeof(usec_t),
          .element = &flap_fields, .count_offset = offsetof(DOCUMENT, record.n_flaps) },
};
#undef DOCUMENT
static const struct fields document_fields = { rows, ELEMENTSOF(rows), FIELD_BIT(0) | FIELD_BIT(1) | FIELD_BIT(2) |
                                                                       FIELD_BIT(3) };

/* A regular file's text; its writer may be another user, who is not believed to keep to sizes. */
static int read_text(const char *path, char text[static TEXT_MAX], size_t *ret_n) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size >= (off_t) TEXT_MAX)
                return -EBADMSG;
        n = read(fd, text, TEXT_MAX);
        if (n < 0)
                return -errno;
        *ret_n = (size_t) n;
        return 0;
}

int standby_document_read(const char *dir, struct standby_document *ret, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct standby_document document = { 0 };
        char path[PATH_MAX], text[TEXT_MAX];
        size_t n = 0;
        int r;

        snprintf(path, sizeof(path), "%s/" STANDBY_DOCUMENT_FILE, dir);
        r = read_text(path, text, &n);
        if (r < 0)
                return error_set(error, r, "%s: %s", path, strerror(-r));
        r = json_text_parse(text, n, &json, error);
        if (r == 0)
                r = fields_decode(json, &document_fields, document_fields.required, UINT64_MAX, &document, error);
        if (r < 0) {
                error_prefix(error, "%s", path);
                return r;
        }
        *ret = document;
        return 0;
}

int standby_document_write(const char *dir, const struct standby_document *document, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();
        char path[PATH_MAX], aside[PATH_MAX + 8];
        _cleanup_close_ int fd = -1;
        const char *text;
        size_t n;
        int r;

        r = json ? fields_encode(json, &document_fields, document_fields.required, UINT64_MAX, document) : -ENOMEM;
        text = r == 0 ? json_text_print(json, JSON_C_TO_STRING_PLAIN, &n) : NULL;
        if (!text)
                return error_set(error, r < 0 ? r : -ENOMEM, "the standby's document: %s",
                                 strerror(r < 0 ? -r : ENOMEM));
        snprintf(path, sizeof(path), "%s/" STANDBY_DOCUMENT_FILE, dir);
        snprintf(aside, sizeof(aside), "%s.new", path);
        fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                r = -errno;
        else if (write(fd, text, n) != (ssize_t) n)
                r = -ENOSPC;
        else if (rename(aside, path) < 0)
                r = -errno;
        return r < 0 ? error_set(error, r, "%s: %s", path, strerror(-r)) : 0;
}
