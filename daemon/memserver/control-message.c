/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/control-message.h"

#include <string.h>

#include "agents/protocol/json-text.h"
#include "agents/protocol/message.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/quote.h"

DEFINE_CLEANUP(struct json_object *, json_object_put)

static const char *const control_call_table[] = {
        [CONTROL_OPEN] = "open",
        [CONTROL_GRANT] = "grant",
        [CONTROL_LOOK] = "look",
        [CONTROL_DROP] = "drop",
        [CONTROL_MIRROR] = "mirror",
        [CONTROL_UNMIRROR] = "unmirror",
        [CONTROL_PROMOTE] = "promote",
        [CONTROL_HAND_OVER] = "hand-over",
        [CONTROL_STAY] = "stay",
        [CONTROL_SPACES] = "spaces",
        [CONTROL_CLIENTS] = "clients",
        [CONTROL_LOAD] = "load",
        [CONTROL_DRAIN] = "drain",
        [CONTROL_WATCH] = "watch",
};
DEFINE_ENUM_TABLE(control_call, control_call_table)

FIELD_WORDS(control_call)
FIELD_WORDS(space_role)
FIELD_WORDS(space_event_kind)
FIELD_WORDS(copy_state)
FIELD_WORDS(label_state)

#define DEADLINE_MAX (10 * 60 * USEC_PER_SEC)

enum {
        ROW_VERSION, ROW_ID, ROW_CALL, ROW_NODE, ROW_OWNER, ROW_SPACE, ROW_ROLE, ROW_SIZE, ROW_QUOTA, ROW_TOKEN,
        ROW_SINCE, ROW_AFTER, ROW_ON, ROW_URI, ROW_DEADLINE, ROW_LOST, ROW_RATE, ROW_RELAXED, ROW_FORCE,
        ROW_PERSIST,
};

#define REQUEST struct control_request
static const struct field request_rows[] = {
        [ROW_VERSION] = INT_FIELD(REQUEST, version, 1, 65535),
        [ROW_ID] = UINT64_FIELD(REQUEST, id),
        [ROW_CALL] = WORD_FIELD(REQUEST, call, control_call),
        [ROW_NODE] = CHARS_FIELD(REQUEST, node, space_word_is_valid),
        [ROW_OWNER] = CHARS_FIELD(REQUEST, owner, space_word_is_valid),
        [ROW_SPACE] = CHARS_FIELD(REQUEST, space, space_word_is_valid),
        [ROW_ROLE] = WORD_FIELD(REQUEST, role, space_role),
        [ROW_SIZE] = BYTES_FIELD(REQUEST, size_bytes),
        [ROW_QUOTA] = BYTES_FIELD(REQUEST, quota_bytes),
        [ROW_TOKEN] = UINT64_FIELD(REQUEST, token),
        [ROW_SINCE] = BYTES_FIELD(REQUEST, since_usec),
        [ROW_AFTER] = UINT64_FIELD(REQUEST, after),
        [ROW_ON] = { FIELD_AT(REQUEST, on), .kind = FIELD_BOOL },
        [ROW_URI] = CHARS_FIELD(REQUEST, uri, text_valid),
        [ROW_DEADLINE] = { FIELD_AT(REQUEST, deadline_usec), .kind = FIELD_UINT64, .max = DEADLINE_MAX },
        [ROW_LOST] = BYTES_FIELD(REQUEST, lost_usec),
        [ROW_RATE] = BYTES_FIELD(REQUEST, rate_bytes),
        [ROW_RELAXED] = { FIELD_AT(REQUEST, relaxed), .kind = FIELD_BOOL },
        [ROW_FORCE] = { FIELD_AT(REQUEST, force), .kind = FIELD_BOOL },
        [ROW_PERSIST] = { FIELD_AT(REQUEST, persist), .kind = FIELD_BOOL },
};
static const struct fields request_fields = { request_rows, ELEMENTSOF(request_rows) };

#define B(name) FIELD_BIT(ROW_##name)
#define NAMED (B(NODE) | B(OWNER) | B(SPACE))
static const struct {
        uint64_t required, optional;
} request_masks[] = {
        [CONTROL_OPEN] = { NAMED | B(SIZE) | B(TOKEN), B(ROLE) | B(QUOTA) | B(PERSIST) },
        [CONTROL_GRANT] = { NAMED | B(TOKEN), 0 },
        [CONTROL_LOOK] = { NAMED, B(ROLE) },
        [CONTROL_DROP] = { NAMED | B(TOKEN), 0 },
        [CONTROL_MIRROR] = { NAMED | B(URI), B(DEADLINE) | B(RATE) | B(RELAXED) | B(TOKEN) },
        [CONTROL_UNMIRROR] = { NAMED, B(TOKEN) },
        [CONTROL_PROMOTE] = { NAMED | B(TOKEN), B(LOST) | B(FORCE) },
        [CONTROL_HAND_OVER] = { NAMED | B(URI), B(DEADLINE) | B(RATE) },
        [CONTROL_STAY] = { NAMED, 0 },
        [CONTROL_SPACES] = { 0, NAMED },
        [CONTROL_CLIENTS] = { 0, B(NODE) | B(OWNER) | B(SINCE) },
        [CONTROL_LOAD] = { 0, 0 },
        [CONTROL_DRAIN] = { B(ON), 0 },
        [CONTROL_WATCH] = { 0, B(AFTER) },
};

#define NAME_ROWS(type) \
        CHARS_FIELD(type, node, space_word_is_valid), CHARS_FIELD(type, owner, space_word_is_valid)

#define STATUS struct space_status
#define REPORT_FIELD(key, member) { .name = key, .offset = offsetof(STATUS, report.member), .kind = FIELD_UINT64 }
static const struct field space_rows[] = {
        NAME_ROWS(STATUS), CHARS_FIELD(STATUS, space, space_word_is_valid), WORD_FIELD(STATUS, role, space_role),
        UINT64_FIELD(STATUS, size_bytes), UINT64_FIELD(STATUS, held_bytes), UINT64_FIELD(STATUS, quota_bytes),
        UINT64_FIELD(STATUS, token), UINT64_FIELD(STATUS, connections), WORD_FIELD(STATUS, mirror, copy_state),
        WORD_FIELD(STATUS, hand_over, copy_state), UINT64_FIELD(STATUS, filled_bytes),
        WORD_FIELD(STATUS, copy, label_state), { FIELD_AT(STATUS, persist), .kind = FIELD_BOOL },
        UINT64_FIELD(STATUS, silent_usec), UINT64_FIELD(STATUS, epochs), UINT64_FIELD(STATUS, epoch_age_usec),
        UINT64_FIELD(STATUS, staged_bytes), CHARS_FIELD(STATUS, writer, text_valid),
        CHARS_FIELD(STATUS, text, text_valid), UINT64_FIELD(STATUS, mirror_session),
        UINT64_FIELD(STATUS, hand_over_session), UINT64_FIELD(STATUS, session), BYTES_FIELD(STATUS, capacity_bytes),
        UINT64_FIELD(STATUS, saved_bytes), UINT64_FIELD(STATUS, returned_bytes), UINT64_FIELD(STATUS, report_age_usec),
        CHARS_FIELD(STATUS, client, text_valid), REPORT_FIELD("client_resident_bytes", resident_bytes),
        REPORT_FIELD("client_dirty_bytes", dirty_bytes), REPORT_FIELD("client_faults", faults),
        REPORT_FIELD("client_fetched_bytes", fetched_bytes), REPORT_FIELD("client_written_bytes", written_bytes),
        REPORT_FIELD("client_errors", errors),
};
#undef STATUS
#define N_MAY_BE_MISSING 20
#define MAY_BE_MISSING (~UINT64_C(0) << (ELEMENTSOF(space_rows) - N_MAY_BE_MISSING))
const struct fields space_status_fields = { space_rows, ELEMENTSOF(space_rows), ~MAY_BE_MISSING };

#define STATUS struct client_status
static const struct field client_rows[] = {
        NAME_ROWS(STATUS), UINT64_FIELD(STATUS, held_bytes), UINT64_FIELD(STATUS, quota_bytes),
        UINT64_FIELD(STATUS, span_usec), UINT64_FIELD(STATUS, saved_bytes), UINT64_FIELD(STATUS, saved_pages),
        UINT64_FIELD(STATUS, returned_bytes), UINT64_FIELD(STATUS, returned_pages),
};
#undef STATUS
const struct fields client_status_fields = { client_rows, ELEMENTSOF(client_rows), UINT64_MAX };

#define STATUS struct load_status
static const struct field load_rows[] = {
        UINT64_FIELD(STATUS, memory_bytes), UINT64_FIELD(STATUS, memory_used_bytes), UINT64_FIELD(STATUS, spill_bytes),
        UINT64_FIELD(STATUS, spill_used_bytes), UINT64_FIELD(STATUS, spill_errors), UINT64_FIELD(STATUS, table_bytes),
        UINT64_FIELD(STATUS, spaces), UINT64_FIELD(STATUS, clients), { FIELD_AT(STATUS, draining), .kind = FIELD_BOOL },
        UINT64_FIELD(STATUS, latest_event), UINT64_FIELD(STATUS, identity),
};
#undef STATUS
const struct fields load_status_fields = { load_rows, ELEMENTSOF(load_rows), UINT64_MAX };

#define STATUS struct event_status
static const struct field event_rows[] = {
        UINT64_FIELD(STATUS, number), UINT64_FIELD(STATUS, age_usec), WORD_FIELD(STATUS, kind, space_event_kind),
        NAME_ROWS(STATUS), CHARS_FIELD(STATUS, space, space_word_is_valid), CHARS_FIELD(STATUS, text, text_valid),
};
#undef STATUS
const struct fields event_status_fields = { event_rows, ELEMENTSOF(event_rows), UINT64_MAX };

static int decode_call(struct json_object *json, struct control_request *request, struct error *error) {
        char buffer[QUOTE_LEN];
        struct json_object *value;
        const char *word;

        if (!json_object_object_get_ex(json, "call", &value) || !json_object_is_type(value, json_type_string))
                return error_set(error, -EBADMSG, "call: is missing or not a string");
        word = json_object_get_string(value);
        request->call = control_call_from_string(word);
        if ((int) request->call < 0)
                return error_set(error, -EOPNOTSUPP, "call: unknown call \"%s\"",
                                 text_quote(word, (size_t) json_object_get_string_len(value), buffer));
        return 0;
}

int control_decode(const char *line, size_t length, struct control_request *ret, struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct control_request request = { 0 };
        int r;

        *ret = request;
        r = json_text_parse(line, length, &json, error);
        if (r < 0)
                return r;
        r = fields_decode(json, &request_fields, B(VERSION) | B(ID), B(VERSION) | B(ID), &request, error);
        ret->id = request.id;
        if (r < 0)
                return r;
        if (request.version != CONTROL_VERSION)
                return error_set(error, -EPROTONOSUPPORT, "version: this server speaks version %d", CONTROL_VERSION);
        r = decode_call(json, &request, error);
        if (r < 0)
                return r;
        r = fields_decode(json, &request_fields, request_masks[request.call].required,
                          request_masks[request.call].required | request_masks[request.call].optional, &request, error);
        if (r < 0) {
                error_prefix(error, "%s", control_call_to_string(request.call));
                return r;
        }
        *ret = request;
        return 0;
}

static int new_answer(uint64_t id, struct json_object **ret) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();

        if (!json || json_add(json, "id", json_object_new_uint64(id)) < 0)
                return -ENOMEM;
        *ret = steal_ptr(json);
        return 0;
}

int control_encode_item(uint64_t id, const char *what, const struct fields *fields, const void *object, char **ret) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        struct json_object *item = json_object_new_object();
        int r = new_answer(id, &json);

        if (r < 0) {
                json_object_put(item);
                return r;
        }
        r = json_add(json, what, item);
        if (r == 0)
                r = fields_encode(item, fields, fields->required, UINT64_MAX, object);
        return r < 0 ? r : json_text_line(json, ret);
}

int control_encode_capability(uint64_t id, const char *capability, char **ret) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        int r = new_answer(id, &json);

        if (r == 0)
                r = json_add(json, "capability", json_object_new_string(capability));
        return r < 0 ? r : json_text_line(json, ret);
}

int control_encode_result(uint64_t id, int result, const char *text, char **ret) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        int r = new_answer(id, &json);

        if (r == 0)
                r = json_add(json, "result", json_object_new_int(result));
        if (r == 0 && text)
                r = json_add(json, "text", json_object_new_string(text));
        return r < 0 ? r : json_text_line(json, ret);
}
