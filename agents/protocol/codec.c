/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/quote.h"
#include "agents/protocol/codec.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/fields.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"

/*
 * json-text.c turns the line into an object; what stands in it is checked by the tables below: one row a field,
 * one row a message type.
 */

#define CIDR_LENGTH_MAX 49 /* an IPv6 address with an IPv4 tail and its prefix length */
#define LINK_LENGTH_MAX 15 /* IFNAMSIZ less the NUL */
#define UNIT_LENGTH_MAX 255
#define NODE_MAX 1023

DEFINE_CLEANUP(struct json_object *, json_object_put)

static int only(const char *string, const char *allowed) {
        if (!*string)
                return 0;
        for (; *string; string++)
                if (!isalnum((unsigned char) *string) && !strchr(allowed, *string))
                        return 0;
        return 1;
}

static int valid_hex(const char *string) {
        return *string && strspn(string, "0123456789abcdef") == strlen(string);
}

static int valid_boot(const char *string) {
        return *string && strspn(string, "0123456789abcdef-") == strlen(string);
}

static int valid_unit(const char *string) {
        return only(string, ":_.\\@-");
}

static int valid_cidr(const char *string) {
        return *string && strspn(string, "0123456789abcdefABCDEF:./") == strlen(string);
}

static int valid_link(const char *string) {
        return only(string, "_.:@-") && strcmp(string, ".") != 0 && strcmp(string, "..") != 0;
}

FIELD_WORDS(application_kind)
FIELD_WORDS(application_state)
FIELD_WORDS(failure_cause)

static const struct field address_rows[] = {
        STRING_FIELD(struct address, cidr, "cidr", CIDR_LENGTH_MAX, valid_cidr),
        STRING_FIELD(struct address, link, "link", LINK_LENGTH_MAX, valid_link),
};
static const struct fields address_fields = { address_rows, ELEMENTSOF(address_rows), FIELD_BIT(0) | FIELD_BIT(1) };

static const struct field report_rows[] = {
        CHARS_FIELD(struct application_report, app, text_is_name),
        WORD_FIELD(struct application_report, state, application_state),
        UINT64_FIELD(struct application_report, token),
        BYTES_FIELD(struct application_report, bytes),
        BYTES_FIELD(struct application_report, node_bytes),
        BYTES_FIELD(struct application_report, spare_bytes),
        INT_FIELD(struct application_report, missed_checks, 0, 100),
};
static const struct fields report_fields = {
        report_rows, ELEMENTSOF(report_rows), FIELD_BIT(0) | FIELD_BIT(1) | FIELD_BIT(2)
};

#define SPEC struct application_spec

static const struct field spec_rows[] = {
        CHARS_FIELD(SPEC, app, text_is_name),
        INT_FIELD(SPEC, node, -1, NODE_MAX),
        BYTES_FIELD(SPEC, memory_bytes),
        BYTES_FIELD(SPEC, stop_timeout_usec),
        BYTES_FIELD(SPEC, health_interval_usec),
        BYTES_FIELD(SPEC, health_timeout_usec),
        INT_FIELD(SPEC, health_failures, 0, 100),
        /* from here on they may be missing */
        STRING_FIELD(SPEC, run.unit, "unit", UNIT_LENGTH_MAX, valid_unit),
        COMMAND_FIELD(SPEC, run.start, "start"),
        COMMAND_FIELD(SPEC, run.stop, "stop"),
        COMMAND_FIELD(SPEC, run.health, "health"),
        BYTES_FIELD(SPEC, health_grace_usec),
        COMMAND_FIELD(SPEC, run.canary, "canary"),
        BYTES_FIELD(SPEC, canary_timeout_usec),
        ARRAY_FIELD(SPEC, addresses, &address_fields, POLICY_RESOURCES_MAX, struct address, 0),
};

static int check_spec(const void *object, struct error *error) {
        const struct application_spec *spec = object;

        if (!spec->run.unit == (spec->run.start.n_words == 0))
                return error_set(error, -EBADMSG, "needs either a unit or a start command");
        return 0;
}

static const struct fields spec_fields = {
        spec_rows, ELEMENTSOF(spec_rows), FIELD_BIT(7) - 1, check_spec
};

enum {
        ROW_SESSION, ROW_SEQ, ROW_ID, ROW_APP, ROW_TOKEN, ROW_BYTES, ROW_NONCE, ROW_NODE, ROW_RESULT, ROW_VERSION,
        ROW_KIND, ROW_CAUSE, ROW_CODE, ROW_HARD, ROW_BOOT, ROW_SYSTEM, ROW_TEXT, ROW_APPS, ROW_SPECS, ROW_USEC,
        ROW_REGIONS,
};

#define MESSAGE struct message

static const struct field message_rows[] = {
        [ROW_SESSION] = CHARS_FIELD(MESSAGE, session, valid_hex),
        [ROW_SEQ] = UINT64_FIELD(MESSAGE, seq),
        [ROW_ID] = UINT64_FIELD(MESSAGE, id),
        [ROW_APP] = CHARS_FIELD(MESSAGE, app, text_is_name),
        [ROW_TOKEN] = UINT64_FIELD(MESSAGE, token),
        [ROW_BYTES] = BYTES_FIELD(MESSAGE, bytes),
        [ROW_NONCE] = UINT64_FIELD(MESSAGE, nonce),
        [ROW_NODE] = INT_FIELD(MESSAGE, node, -1, NODE_MAX),
        [ROW_RESULT] = INT_FIELD(MESSAGE, result, -4095, 0),
        [ROW_VERSION] = INT_FIELD(MESSAGE, version, 1, 65535),
        [ROW_KIND] = WORD_FIELD(MESSAGE, kind, application_kind),
        [ROW_CAUSE] = WORD_FIELD(MESSAGE, cause, failure_cause),
        [ROW_CODE] = INT_FIELD(MESSAGE, code, -4095, 4095),
        [ROW_HARD] = { FIELD_AT(MESSAGE, hard), .kind = FIELD_BOOL },
        [ROW_BOOT] = CHARS_FIELD(MESSAGE, boot, valid_boot),
        [ROW_SYSTEM] = CHARS_FIELD(MESSAGE, system, text_valid),
        [ROW_TEXT] = CHARS_FIELD(MESSAGE, text, text_valid),
        [ROW_APPS] = ARRAY_FIELD(MESSAGE, apps, &report_fields, POLICY_APPLICATIONS_MAX, struct application_report, 0),
        [ROW_USEC] = BYTES_FIELD(MESSAGE, usec),
        [ROW_REGIONS] = STRING_FIELD(MESSAGE, regions, "regions", REGIONS_TEXT_MAX, text_valid),
        [ROW_SPECS] = ARRAY_FIELD(MESSAGE, specs, &spec_fields, POLICY_APPLICATIONS_MAX, struct application_spec, 1),
};
static const struct fields message_fields = { message_rows, ELEMENTSOF(message_rows) };

#define B(name) FIELD_BIT(ROW_##name)

/* What each type must have, and what it may have beside that. Every message has session and seq. */
static const struct {
        uint64_t required, optional;
} message_masks[MESSAGE_TYPE_MAX] = {
        [MESSAGE_WELCOME] = { B(VERSION) },
        [MESSAGE_CONFIGURE] = { B(SPECS) },
        [MESSAGE_PING] = { B(NONCE) },
        [MESSAGE_ATTACH] = { B(ID) | B(APP) | B(NODE) | B(BYTES) },
        [MESSAGE_DETACH] = { B(ID) | B(APP) | B(NODE) | B(BYTES) },
        [MESSAGE_START] = { B(ID) | B(APP) | B(TOKEN) | B(NODE) | B(BYTES), B(REGIONS) },
        [MESSAGE_STOP] = { B(ID) | B(APP) },
        [MESSAGE_RESTART] = { B(ID) | B(APP) | B(TOKEN), B(REGIONS) },
        [MESSAGE_GRANT] = { B(ID) | B(APP) | B(BYTES) },
        [MESSAGE_REFUSE] = { B(ID), B(APP) | B(TEXT) },
        [MESSAGE_CHECK] = { B(ID) | B(APP) },
        [MESSAGE_TOUCH] = { B(ID) | B(APP) | B(NODE) | B(BYTES) },
        [MESSAGE_CANARY] = { B(ID) | B(APP) },
        [MESSAGE_FAULT] = { B(ID) | B(TEXT), B(APP) },
        [MESSAGE_MANAGES] = { B(APP) | B(NODE) | B(BYTES), B(TEXT) },
        [MESSAGE_ANSWER] = { B(ID) | B(RESULT), B(TEXT) },
        [MESSAGE_OVERFLOW] = { B(TEXT) },
        [MESSAGE_ROOM] = { B(TEXT) | B(BYTES) },
        [MESSAGE_HELLO] = { B(VERSION) | B(BOOT) | B(BYTES) | B(APPS), B(SYSTEM) | B(TEXT) },
        [MESSAGE_PONG] = { B(NONCE) | B(APPS), B(BYTES) },
        [MESSAGE_REQUEST] = { B(ID) | B(APP) | B(BYTES) },
        [MESSAGE_USES] = { B(APP) | B(NODE) | B(BYTES) | B(KIND) },
        [MESSAGE_RESULT] = { B(ID) | B(RESULT), B(APP) | B(TEXT) | B(BYTES) | B(CODE) | B(USEC) },
        [MESSAGE_FAILED] = { B(APP) | B(TOKEN) | B(CAUSE) | B(CODE) | B(HARD), B(TEXT) },
        [MESSAGE_HEALTHY] = { B(APP) | B(TOKEN) },
        [MESSAGE_GOING] = { B(TEXT) },
        [MESSAGE_ASK] = { B(ID) | B(TEXT) },
};

static uint64_t required_of(enum message_type type) {
        return message_masks[type].required | B(SESSION) | B(SEQ);
}

static uint64_t mask_of(enum message_type type) {
        return required_of(type) | message_masks[type].optional;
}

int codec_encode(const struct message *message, char **ret_line) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();
        struct message printable = *message; /* borrows the specs */
        const char *word = message_type_to_string(message->type);
        struct json_object *type;
        int r;

        if (!word)
                return -EINVAL;
        type = json_object_new_string(word);
        if (!json || !type || json_object_object_add(json, "type", type) < 0) {
                json_object_put(type);
                return -ENOMEM;
        }
        text_clean(printable.text);
        text_clean(printable.system);
        r = fields_encode(json, &message_fields, required_of(message->type), mask_of(message->type), &printable);
        if (r < 0)
                return r;
        return json_text_line(json, ret_line);
}

static int decode_type(struct json_object *json, enum message_type *ret, struct error *error) {
        char buffer[QUOTE_LEN];
        struct json_object *value;
        const char *word;
        size_t length;

        if (!json_object_object_get_ex(json, "type", &value) || !json_object_is_type(value, json_type_string))
                return error_set(error, -EBADMSG, "type: is missing or not a string");
        word = json_object_get_string(value);
        length = (size_t) json_object_get_string_len(value);
        if (message_type_from_string(word) < 0)
                return error_set(error, -EOPNOTSUPP, "type: unknown type \"%s\"", text_quote(word, length, buffer));
        *ret = message_type_from_string(word);
        return 0;
}

int codec_decode(const char *line, size_t length, struct message *ret, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct message message = { 0 };
        int r;

        if (length + 1 > MESSAGE_LINE_MAX)
                return error_set(error, -E2BIG, "is longer than %d bytes", MESSAGE_LINE_MAX);
        r = json_text_parse(line, length, &json, error);
        if (r < 0)
                return r;
        r = decode_type(json, &message.type, error);
        if (r < 0)
                return r;
        r = fields_decode(json, &message_fields, required_of(message.type), mask_of(message.type), &message, error);
        if (r < 0) {
                error_prefix(error, "%s", message_type_to_string(message.type));
                message_deinit(&message);
                return r;
        }
        *ret = message;
        return 0;
}
