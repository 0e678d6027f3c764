/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/protocol/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/fields.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"

#define VERSION_KEY "failover-names"

DEFINE_CLEANUP(struct json_object *, json_object_put)

static const char *const names_type_table[] = {
        [NAMES_REGISTER] = "register",
        [NAMES_RESOLVE] = "resolve",
        [NAMES_REGISTERED] = "registered",
        [NAMES_FOUND] = "found",
        [NAMES_REFUSED] = "refused",
};
DEFINE_ENUM_TABLE(names_type, names_type_table)

enum { ROW_NAME, ROW_URI, ROW_SIZE, ROW_KIND, ROW_WRITE, ROW_REASON };

#define MESSAGE struct names_message
static const struct field message_rows[] = {
        [ROW_NAME] = CHARS_FIELD(MESSAGE, name, text_is_name),
        [ROW_URI] = STRING_FIELD(MESSAGE, uri, "uri", REGION_URI_LENGTH_MAX, region_uri_is_valid),
        [ROW_SIZE] = { .name = "size", .offset = offsetof(MESSAGE, size_bytes), .kind = FIELD_UINT64,
                       .max = REGION_SIZE_MAX },
        [ROW_KIND] = INT_FIELD(MESSAGE, kind, 1, REGION_KIND_MAX),
        [ROW_WRITE] = { FIELD_AT(MESSAGE, write), .kind = FIELD_BOOL },
        [ROW_REASON] = { .name = "refused", .offset = offsetof(MESSAGE, reason), .kind = FIELD_CHARS,
                         .size = NAMES_REASON_LEN, .valid = text_valid },
};
static const struct fields message_fields = { message_rows, ELEMENTSOF(message_rows) };

#define B(name) FIELD_BIT(ROW_##name)
static const struct {
        uint64_t required, optional;
} masks[NAMES_TYPE_MAX] = {
        [NAMES_REGISTER] = { B(NAME) | B(URI) | B(SIZE), 0 },
        [NAMES_RESOLVE] = { B(NAME) | B(KIND), B(WRITE) },
        [NAMES_REGISTERED] = { B(NAME), 0 },
        [NAMES_FOUND] = { B(NAME) | B(URI) | B(SIZE), 0 },
        [NAMES_REFUSED] = { B(REASON), 0 },
};

static bool is_request(enum names_type type) {
        return type == NAMES_REGISTER || type == NAMES_RESOLVE;
}

void names_deinit(struct names_message *message) {
        if (message->uri)
                explicit_bzero(message->uri, strlen(message->uri));
        free(message->uri);
        *message = (struct names_message) { 0 };
}

static int encode_kinds(struct json_object *object, unsigned kinds) {
        struct json_object *array = json_object_new_array();
        int r = 0;

        for (int kind = 1; array && r == 0 && kind <= REGION_KIND_MAX; kind++)
                if (kinds & (1U << kind))
                        r = json_append(array, json_object_new_int(kind));
        if (r < 0) {
                json_object_put(array);
                return r;
        }
        return json_add(object, "kinds", array);
}

static int decode_kinds(struct json_object *object, unsigned *ret, struct error *error) {
        struct json_object *array;
        unsigned kinds = 0;

        if (!json_object_object_get_ex(object, "kinds", &array) || !json_object_is_type(array, json_type_array))
                return error_set(error, -EBADMSG, "kinds: is missing or not an array");
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                struct json_object *value = json_object_array_get_idx(array, i);
                int64_t kind = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;

                if (kind < 1 || kind > REGION_KIND_MAX || kinds & (1U << kind))
                        return error_set(error, -EBADMSG, "kinds: [%zu]: is not between 1 and %d, or comes twice", i,
                                         REGION_KIND_MAX);
                kinds |= 1U << kind;
        }
        if (kinds == 0)
                return error_set(error, -EBADMSG, "kinds: is empty");
        *ret = kinds;
        return 0;
}

/* The object of a type, in `json` already where it has one. */
static int encode_body(struct json_object *json, const struct names_message *message) {
        uint64_t required = masks[message->type].required, mask = required | masks[message->type].optional;
        struct json_object *body = json;
        int r;

        if (message->type != NAMES_REFUSED) {
                body = json_object_new_object();
                r = json_add(json, names_type_to_string(message->type), body);
                if (r < 0)
                        return r;
        }
        r = fields_encode(body, &message_fields, required, mask, message);
        if (r == 0 && message->type == NAMES_REGISTER)
                r = encode_kinds(body, message->kinds);
        return r;
}

int names_encode(const struct names_message *message, char **ret) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();
        struct names_message printable = *message, again; /* borrows the URI */
        _cleanup_free_ char *line = NULL;
        int r = 0;

        if (!names_type_to_string(message->type))
                return -EINVAL;
        text_clean(printable.reason);
        if (!json)
                return -ENOMEM;
        if (is_request(message->type))
                r = json_add(json, VERSION_KEY, json_object_new_int(NAMES_VERSION));
        if (r == 0)
                r = encode_body(json, &printable);
        if (r == 0)
                r = json_text_line(json, &line);
        if (r == 0)
                r = names_decode(line, strlen(line) - 1, &again, NULL);
        if (r < 0)
                return r == -EBADMSG ? -EINVAL : r;
        names_deinit(&again);
        *ret = steal_ptr(line);
        return 0;
}

static int check_version(struct json_object *json, struct error *error) {
        struct json_object *value;

        if (!json_object_object_get_ex(json, VERSION_KEY, &value) || !json_object_is_type(value, json_type_int))
                return error_set(error, -EBADMSG, VERSION_KEY ": is missing or not a number");
        if (json_object_get_int64(value) != NAMES_VERSION)
                return error_set(error, -EPROTONOSUPPORT, VERSION_KEY ": version %lld is not known here",
                                 (long long) json_object_get_int64(value));
        return 0;
}

/* The one key that says what it is, and its value. */
static int find_type(struct json_object *json, enum names_type *ret, struct json_object **ret_body,
                     struct error *error) {
        unsigned n = 0;

        for (int type = 0; type < NAMES_TYPE_MAX; type++) {
                struct json_object *value;

                if (!json_object_object_get_ex(json, names_type_to_string((enum names_type) type), &value))
                        continue;
                *ret = (enum names_type) type;
                *ret_body = type == NAMES_REFUSED ? json : value;
                n++;
        }
        if (n == 0)
                return error_set(error, -EOPNOTSUPP, "is no request or answer of a name server");
        return n == 1 ? 0 : error_set(error, -EBADMSG, "is several requests or answers at once");
}

static int decode_body(struct json_object *body, struct names_message *message, struct error *error) {
        uint64_t required = masks[message->type].required;
        uint64_t mask = required | masks[message->type].optional;
        int r = fields_decode(body, &message_fields, required, mask, message, error);

        if (r == 0 && required & B(SIZE) && message->size_bytes == 0)
                r = error_set(error, -EBADMSG, "size: is 0");
        if (r == 0 && message->type == NAMES_REGISTER)
                r = decode_kinds(body, &message->kinds, error);
        if (r < 0)
                error_prefix(error, "%s", names_type_to_string(message->type));
        return r;
}

int names_decode(const char *line, size_t length, struct names_message *ret, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct names_message message = { 0 };
        struct json_object *body = NULL;
        int r;

        if (length + 1 > NAMES_LINE_MAX)
                return error_set(error, -E2BIG, "is longer than %d bytes", NAMES_LINE_MAX);
        r = json_text_parse(line, length, &json, error);
        if (r == 0)
                r = find_type(json, &message.type, &body, error);
        if (r == 0 && is_request(message.type))
                r = check_version(json, error);
        if (r == 0)
                r = decode_body(body, &message, error);
        if (r < 0) {
                names_deinit(&message);
                return r;
        }
        *ret = message;
        return 0;
}
