/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/protocol/region-list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/fields.h"
#include "agents/protocol/json-text.h"
#include "agents/protocol/message.h"
#include "daemon/base/cleanup.h"

#define VERSION_KEY "failover-regions"

DEFINE_CLEANUP(struct json_object *, json_object_put)

int region_uri_is_valid(const char *uri) {
        return strncmp(uri, "nbd", 3) == 0 && strstr(uri, "://") && !strchr(uri, ' ') && text_valid(uri);
}

#define ENTRY struct region_entry
#define MSEC_ROW(member, key) \
        { .name = key, .offset = offsetof(ENTRY, member), .kind = FIELD_UINT64, .max = REGION_MSEC_MAX }
static const struct field entry_rows[] = {
        CHARS_FIELD(ENTRY, name, text_is_name),
        { .name = "size", .offset = offsetof(ENTRY, size_bytes), .kind = FIELD_UINT64, .max = REGION_SIZE_MAX },
        INT_FIELD(ENTRY, kind, 1, REGION_KIND_MAX),
        STRING_FIELD(ENTRY, uri, "uri", REGION_URI_LENGTH_MAX, region_uri_is_valid),
        /* from here on they may be missing */
        { FIELD_AT(ENTRY, write), .kind = FIELD_BOOL },
        MSEC_ROW(write_back_msec, "write-back-ms"),
        MSEC_ROW(deadline_msec, "deadline-ms"),
        { .name = "bandwidth", .offset = offsetof(ENTRY, bandwidth_bytes), .kind = FIELD_UINT64, .max = INT64_MAX },
        { FIELD_AT(ENTRY, epochs), .kind = FIELD_BOOL },
        { FIELD_AT(ENTRY, reports), .kind = FIELD_BOOL },
};

static int check_entry(const void *object, struct error *error) {
        const ENTRY *entry = object;

        if (entry->size_bytes == 0)
                return error_set(error, -EBADMSG, "size: is 0");
        if (entry->write_back_msec > 0 && entry->kind < 3)
                return error_set(error, -EBADMSG, "write-back-ms: kinds 1 and 2 write through");
        return 0;
}
static const struct fields entry_fields = { entry_rows, ELEMENTSOF(entry_rows), FIELD_BIT(4) - 1, check_entry };

struct document {
        int version;
        struct region_entry *regions;
        size_t n_regions;
};
static const struct field document_rows[] = {
        { .name = VERSION_KEY, .offset = offsetof(struct document, version), .kind = FIELD_INT, .min = 1,
          .max = 65535 },
        ARRAY_FIELD(struct document, regions, &entry_fields, REGION_LIST_MAX, struct region_entry, 1),
};
static const struct fields document_fields = { document_rows, ELEMENTSOF(document_rows), FIELD_BIT(0) | FIELD_BIT(1) };

const struct region_entry *region_list_find(const struct region_list *list, const char *name) {
        for (size_t i = 0; i < list->n_entries; i++)
                if (strcmp(list->entries[i].name, name) == 0)
                        return &list->entries[i];
        return NULL;
}

void region_list_deinit(struct region_list *list) {
        for (size_t i = 0; i < list->n_entries; i++) {
                char *uri = list->entries[i].uri;

                if (uri)
                        explicit_bzero(uri, strlen(uri));
                free(uri);
        }
        free(list->entries);
        *list = (struct region_list) { 0 };
}

/* Its entries, each as itself: one that came twice finds another. */
static int check_names(const struct region_list *list, struct error *error) {
        for (size_t i = 0; i < list->n_entries; i++)
                if (region_list_find(list, list->entries[i].name) != &list->entries[i])
                        return error_set(error, -EBADMSG, "regions: [%zu]: name: \"%s\" comes twice", i,
                                         list->entries[i].name);
        return 0;
}

int region_list_decode(const char *text, size_t length, struct region_list *ret, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct document document = { 0 };
        struct region_list list;
        int r;

        while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\0'))
                length--; /* of a file, or of a sealed descriptor that was made in whole pages */
        if (length + 1 > MESSAGE_LINE_MAX)
                return error_set(error, -E2BIG, "is longer than %d bytes", MESSAGE_LINE_MAX);
        r = json_text_parse(text, length, &json, error);
        if (r < 0)
                return r;
        r = fields_decode(json, &document_fields, FIELD_BIT(0), FIELD_BIT(0), &document, error);
        if (r == 0 && document.version != REGION_LIST_VERSION)
                r = error_set(error, -EPROTONOSUPPORT, VERSION_KEY ": version %d is not known here", document.version);
        if (r == 0)
                r = fields_decode(json, &document_fields, document_fields.required, UINT64_MAX, &document, error);
        list = (struct region_list) { document.regions, document.n_regions };
        if (r == 0)
                r = check_names(&list, error);
        if (r < 0) {
                region_list_deinit(&list);
                return r;
        }
        *ret = list;
        return 0;
}

int region_list_encode(const struct region_list *list, char **ret) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();
        struct document document = { REGION_LIST_VERSION, list->entries, list->n_entries };
        _cleanup_free_ char *line = NULL;
        struct region_list again;
        int r;

        if (!json)
                return -ENOMEM;
        r = fields_encode(json, &document_fields, document_fields.required, UINT64_MAX, &document);
        if (r == 0)
                r = json_text_line(json, &line);
        if (r == 0)
                r = region_list_decode(line, strlen(line), &again, NULL);
        if (r < 0)
                return r == -EBADMSG ? -EINVAL : r;
        region_list_deinit(&again);
        *ret = steal_ptr(line);
        return 0;
}
