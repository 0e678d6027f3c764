/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <string.h>

#include "agents/protocol/fields.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/memserver/space-name.h"
#include "daemon/pages/context-format.h"

#define PATH_LENGTH_MAX 4096

DEFINE_CLEANUP(struct json_object *, json_object_put)
DEFINE_CLEANUP(struct context_manifest *, context_manifest_free)

FIELD_WORDS(context_disk_kind)

/* The whole of it is checked by libvirt; that it holds no NUL, by the reader of JSON. */
static int any_text(const char *text) {
        return *text != 0;
}

static int is_path(const char *text) {
        return *text == '/' && text_valid(text);
}

static int is_uuid(const char *text) {
        return strlen(text) == CONTEXT_UUID_LEN - 1 && strspn(text, "0123456789abcdef-") == CONTEXT_UUID_LEN - 1;
}

static int is_sum(const char *text) {
        return strlen(text) == CONTEXT_SUM_LEN - 1 && strspn(text, "0123456789abcdef") == CONTEXT_SUM_LEN - 1;
}

#define DISK struct context_disk
enum { ROW_TARGET, ROW_PATH, ROW_KIND, ROW_WRITABLE, ROW_SIZE, ROW_MODIFIED, ROW_FORMAT, ROW_OVERLAY, ROW_MERGING };
static const struct field disk_rows[] = {
        [ROW_TARGET] = CHARS_FIELD(DISK, target, text_valid),
        [ROW_PATH] = STRING_FIELD(DISK, path, "path", PATH_LENGTH_MAX, is_path),
        [ROW_KIND] = WORD_FIELD(DISK, kind, context_disk_kind),
        [ROW_WRITABLE] = { FIELD_AT(DISK, writable), .kind = FIELD_BOOL },
        [ROW_SIZE] = BYTES_FIELD(DISK, size_bytes),
        [ROW_MODIFIED] = UINT64_FIELD(DISK, modified_nsec),
        [ROW_FORMAT] = STRING_FIELD(DISK, format, "format", NAME_LEN, space_word_is_valid),
        [ROW_OVERLAY] = STRING_FIELD(DISK, overlay, "overlay", PATH_LENGTH_MAX, is_path),
        [ROW_MERGING] = STRING_FIELD(DISK, merging, "merging", PATH_LENGTH_MAX, is_path),
};

static int check_disk(const void *object, struct error *error) {
        const struct context_disk *disk = object;

        if ((disk->kind == CONTEXT_DISK_OTHER) != !disk->path)
                return error_set(error, -EBADMSG, "a disk has a path if and only if it is here");
        if (disk->overlay && (disk->kind != CONTEXT_DISK_FILE || !disk->format))
                return error_set(error, -EBADMSG, "only a file of a known format has an overlay");
        return 0;
}

const struct fields context_disk_fields = { disk_rows, ELEMENTSOF(disk_rows), FIELD_BIT(ROW_KIND), check_disk };

#define MANIFEST struct context_manifest
enum {
        ROW_VERSION, ROW_NAME, ROW_VM, ROW_HOST, ROW_UUID, ROW_URI, ROW_SAVED, ROW_PAUSED, ROW_CHECKPOINT, ROW_IMAGE,
        ROW_STORED, ROW_CHUNKS, ROW_SUM, ROW_DISKS, ROW_XML, N_ROWS,
};
static const struct field manifest_rows[] = {
        [ROW_VERSION] = INT_FIELD(MANIFEST, version, 1, 65535),
        [ROW_NAME] = CHARS_FIELD(MANIFEST, name, space_word_is_valid),
        [ROW_VM] = CHARS_FIELD(MANIFEST, vm, text_valid),
        [ROW_HOST] = CHARS_FIELD(MANIFEST, host, text_valid),
        [ROW_UUID] = CHARS_FIELD(MANIFEST, uuid, is_uuid),
        [ROW_URI] = STRING_FIELD(MANIFEST, uri, "uri", PATH_LENGTH_MAX, text_valid),
        [ROW_SAVED] = UINT64_FIELD(MANIFEST, saved_usec),
        [ROW_PAUSED] = { FIELD_AT(MANIFEST, paused), .kind = FIELD_BOOL },
        [ROW_CHECKPOINT] = { FIELD_AT(MANIFEST, checkpoint), .kind = FIELD_BOOL },
        [ROW_IMAGE] = { FIELD_AT(MANIFEST, image_bytes), .kind = FIELD_UINT64, .max = CONTEXT_IMAGE_MAX },
        [ROW_STORED] = { FIELD_AT(MANIFEST, stored_bytes), .kind = FIELD_UINT64, .max = 2 * CONTEXT_IMAGE_MAX },
        [ROW_CHUNKS] = UINT64_FIELD(MANIFEST, n_chunks),
        [ROW_SUM] = CHARS_FIELD(MANIFEST, sum, is_sum),
        [ROW_DISKS] = ARRAY_FIELD(MANIFEST, disks, &context_disk_fields, CONTEXT_DISKS_MAX, struct context_disk, 1),
        [ROW_XML] = STRING_FIELD(MANIFEST, xml, "xml", CONTEXT_XML_MAX, any_text),
};
#define REQUIRED (FIELD_BIT(N_ROWS) - 1 - FIELD_BIT(ROW_PAUSED) - FIELD_BIT(ROW_CHECKPOINT) - FIELD_BIT(ROW_DISKS))
static const struct fields manifest_fields = { manifest_rows, ELEMENTSOF(manifest_rows), REQUIRED, NULL };

static void disk_deinit(struct context_disk *disk) {
        free(disk->path);
        free(disk->format);
        free(disk->overlay);
        free(disk->merging);
}

void context_disks_free(struct context_disk *disks, size_t n) {
        for (size_t i = 0; disks && i < n; i++)
                disk_deinit(&disks[i]);
        free(disks);
}

static bool copy_text(const char *text, char **ret) {
        *ret = text ? strdup(text) : NULL;
        return *ret || !text;
}

int context_disks_copy(const struct context_disk *disks, size_t n, struct context_disk **ret) {
        struct context_disk *copy = calloc(n + 1, sizeof(*copy));
        bool whole = copy;

        for (size_t i = 0; i < n && whole; i++) {
                copy[i] = disks[i];
                whole = copy_text(disks[i].path, &copy[i].path);
                whole = copy_text(disks[i].format, &copy[i].format) && whole;
                whole = copy_text(disks[i].overlay, &copy[i].overlay) && whole;
                whole = copy_text(disks[i].merging, &copy[i].merging) && whole;
        }
        if (!whole) {
                context_disks_free(copy, n);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

struct context_manifest *context_manifest_free(struct context_manifest *manifest) {
        if (!manifest)
                return NULL;
        context_disks_free(manifest->disks, manifest->n_disks);
        free(manifest->uri);
        free(manifest->xml);
        free(manifest);
        return NULL;
}

int context_manifest_encode(const struct context_manifest *manifest, char **ret, size_t *ret_length) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();
        const char *text;
        size_t length;
        int r = json ? fields_encode(json, &manifest_fields, REQUIRED, UINT64_MAX, manifest) : -ENOMEM;

        if (r < 0)
                return r;
        text = json_text_print(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
        if (!text)
                return -ENOMEM;
        if (length > CONTEXT_MANIFEST_MAX)
                return -E2BIG;
        *ret = strdup(text);
        if (!*ret)
                return -ENOMEM;
        *ret_length = length;
        return 0;
}

/* Another version may have other fields: what it is, is said before anything else is looked at. */
static int check_version(struct json_object *json, struct error *error) {
        struct context_manifest version = { 0 };
        int r = fields_decode(json, &manifest_fields, FIELD_BIT(ROW_VERSION), FIELD_BIT(ROW_VERSION), &version, error);

        if (r == 0 && version.version != CONTEXT_VERSION)
                return error_set(error, -EPROTONOSUPPORT, "it is of version %d, and this program knows version %d",
                                 version.version, CONTEXT_VERSION);
        return r;
}

int context_manifest_decode(const char *text, size_t length, struct context_manifest **ret, struct error *error) {
        _cleanup_(context_manifest_freep) struct context_manifest *manifest = calloc(1, sizeof(*manifest));
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        int r;

        if (!manifest)
                return error_set(error, -ENOMEM, "out of memory");
        r = json_text_parse(text, length, &json, error);
        if (r == 0)
                r = check_version(json, error);
        if (r == 0)
                r = fields_decode(json, &manifest_fields, REQUIRED, UINT64_MAX, manifest, error);
        if (r < 0)
                return r;
        if (manifest->n_chunks != (manifest->image_bytes + CONTEXT_CHUNK_BYTES - 1) / CONTEXT_CHUNK_BYTES)
                return error_set(error, -EBADMSG, "its chunks do not add up to its image");
        *ret = steal_ptr(manifest);
        return 0;
}
