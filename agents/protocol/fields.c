/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/protocol/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/json-text.h"
#include "policy/policy.h"

#define WORD_LENGTH_MAX 16384 /* of one word of a command */

static int encode_field(struct json_object **ret, const struct field *field, const void *object);
static int decode_field(struct json_object *json, const struct field *field, void *object, struct error *error);

static const void *at_offset(const void *object, size_t offset) {
        return (const char *) object + offset;
}

static void *inside(void *object, size_t offset) {
        return (char *) object + offset;
}

static size_t count_of(const struct field *field, const void *object) {
        const size_t *count = at_offset(object, field->count_offset);

        return *count;
}

static bool is_empty(const struct field *field, const void *object) {
        const void *at = at_offset(object, field->offset);

        switch (field->kind) {
        case FIELD_UINT64:
                return *(const uint64_t *) at == 0;
        case FIELD_INT:
                return *(const int *) at == 0;
        case FIELD_BOOL:
                return !*(const bool *) at;
        case FIELD_WORD:
                return false;
        case FIELD_CHARS:
                return *(const char *) at == 0;
        case FIELD_STRING:
                return !*(char *const *) at;
        case FIELD_COMMAND:
                return ((const struct command *) at)->n_words == 0;
        case FIELD_ARRAY:
                return count_of(field, object) == 0;
        }
        return false;
}

int fields_encode(struct json_object *json, const struct fields *fields, uint64_t required, uint64_t mask,
                  const void *object) {
        for (size_t i = 0; i < fields->n; i++) {
                const struct field *field = &fields->field[i];
                struct json_object *value = NULL;
                int r;

                if (!(mask & FIELD_BIT(i)) || (!(required & FIELD_BIT(i)) && is_empty(field, object)))
                        continue;
                r = encode_field(&value, field, object);
                if (r < 0)
                        return r;
                r = json_add(json, field->name, value);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int encode_command(struct json_object *array, const struct command *command) {
        for (size_t i = 0; i < command->n_words; i++) {
                int r = json_append(array, json_object_new_string(command->words[i]));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int encode_elements(struct json_object *array, const struct field *field, const void *object) {
        const void *at = at_offset(object, field->offset);
        const char *elements = field->owned ? *(char *const *) at : at;

        for (size_t i = 0; i < count_of(field, object); i++) {
                struct json_object *value = json_object_new_object();
                int r = json_append(array, value);
                if (r < 0)
                        return r;
                r = fields_encode(value, field->element, field->element->required, UINT64_MAX,
                                  elements + i * field->size);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int encode_array(struct json_object **ret, const struct field *field, const void *object) {
        struct json_object *array = json_object_new_array();
        int r;

        if (!array)
                return -ENOMEM;
        if (field->kind == FIELD_COMMAND)
                r = encode_command(array, at_offset(object, field->offset));
        else
                r = encode_elements(array, field, object);
        if (r < 0) {
                json_object_put(array);
                return r;
        }
        *ret = array;
        return 0;
}

static int encode_field(struct json_object **ret, const struct field *field, const void *object) {
        const void *at = at_offset(object, field->offset);
        const char *word;

        switch (field->kind) {
        case FIELD_UINT64:
                *ret = json_object_new_uint64(*(const uint64_t *) at);
                break;
        case FIELD_INT:
                *ret = json_object_new_int64(*(const int *) at);
                break;
        case FIELD_BOOL:
                *ret = json_object_new_boolean(*(const bool *) at);
                break;
        case FIELD_WORD:
                word = field->to_string(*(const int *) at);
                if (!word)
                        return -EINVAL;
                *ret = json_object_new_string(word);
                break;
        case FIELD_CHARS:
                *ret = json_object_new_string(at);
                break;
        case FIELD_STRING:
                *ret = json_object_new_string(*(char *const *) at ?: "");
                break;
        case FIELD_COMMAND:
        case FIELD_ARRAY:
                return encode_array(ret, field, object);
        }
        return *ret ? 0 : -ENOMEM;
}

static int bad(struct error *error, struct json_object *json, const char *expected) {
        return error_set(error, -EBADMSG, "expected %s, not %s", expected,
                         json_type_to_name(json_object_get_type(json)));
}

static int decode_uint64(struct json_object *json, const struct field *field, uint64_t *ret, struct error *error) {
        uint64_t value;

        if (!json_object_is_type(json, json_type_int))
                return bad(error, json, "a whole number");
        if (json_object_get_int64(json) < 0)
                return error_set(error, -EBADMSG, "is negative");
        value = json_object_get_uint64(json);
        if (field->max > 0 && value > field->max)
                return error_set(error, -EBADMSG, "is more than %" PRIu64, field->max);
        *ret = value;
        return 0;
}

static int decode_int(struct json_object *json, const struct field *field, int *ret, struct error *error) {
        int64_t value;

        if (!json_object_is_type(json, json_type_int))
                return bad(error, json, "a whole number");
        value = json_object_get_int64(json);
        if (value < field->min || value > (int64_t) field->max)
                return error_set(error, -EBADMSG, "is not between %" PRId64 " and %" PRIu64, field->min, field->max);
        *ret = (int) value;
        return 0;
}

/* The string of `json`, whole: JSON can carry a NUL, C strings cannot. */
static int get_string(struct json_object *json, size_t length_max, const char **ret, struct error *error) {
        const char *string;
        size_t length;

        if (!json_object_is_type(json, json_type_string))
                return bad(error, json, "a string");
        string = json_object_get_string(json);
        length = (size_t) json_object_get_string_len(json);
        if (strlen(string) != length)
                return error_set(error, -EBADMSG, "holds a NUL character");
        if (length > length_max)
                return error_set(error, -EBADMSG, "is longer than %zu bytes", length_max);
        *ret = string;
        return 0;
}

static int decode_string(struct json_object *json, const struct field *field, void *at, struct error *error) {
        size_t length_max = field->kind == FIELD_CHARS ? field->size - 1 : (size_t) field->max;
        const char *string;
        int r;

        r = get_string(json, length_max, &string, error);
        if (r < 0)
                return r;
        if (!field->valid(string))
                return error_set(error, -EBADMSG, "holds characters that are not allowed there, or is empty");
        if (field->kind == FIELD_CHARS) {
                memcpy(at, string, strlen(string) + 1);
                return 0;
        }
        *(char **) at = strdup(string);
        return *(char **) at ? 0 : error_set(error, -ENOMEM, "out of memory");
}

static int decode_word(struct json_object *json, const struct field *field, int *ret, struct error *error) {
        const char *string;
        int r, value;

        r = get_string(json, NAME_LEN, &string, error);
        if (r < 0)
                return r;
        value = field->from_string(string);
        if (value < 0)
                return error_set(error, -EBADMSG, "is an unknown word");
        *ret = value;
        return 0;
}

static int decode_command(struct json_object *json, struct command *command, struct error *error) {
        const char *word;
        int r;

        if (!json_object_is_type(json, json_type_array))
                return bad(error, json, "an array of words");
        if (json_object_array_length(json) > POLICY_WORDS_MAX)
                return error_set(error, -EBADMSG, "has more than %d words", POLICY_WORDS_MAX);
        for (size_t i = 0; i < json_object_array_length(json); i++) {
                r = get_string(json_object_array_get_idx(json, i), WORD_LENGTH_MAX, &word, error);
                if (r == 0 && i == 0 && *word == 0)
                        r = error_set(error, -EBADMSG, "a command has to begin with a program");
                if (r == 0) {
                        r = command_append(command, word);
                        if (r < 0)
                                error_set(error, r, "%s", strerror(-r));
                }
                if (r < 0) {
                        error_prefix(error, "[%zu]", i);
                        return r;
                }
        }
        return 0;
}

static int decode_array(struct json_object *json, const struct field *field, void *object, struct error *error) {
        size_t n, *count = inside(object, field->count_offset);
        void *at = inside(object, field->offset);
        char *elements = at;

        if (!json_object_is_type(json, json_type_array))
                return bad(error, json, "an array");
        n = json_object_array_length(json);
        if (n > field->max)
                return error_set(error, -EBADMSG, "has more than %" PRIu64 " elements", field->max);
        if (field->owned && n > 0) {
                elements = calloc(n, field->size);
                *(char **) at = elements;
                if (!elements)
                        return error_set(error, -ENOMEM, "out of memory");
        }
        for (size_t i = 0; i < n; i++) {
                int r;

                *count = i + 1; /* so that a half-filled element is released too */
                r = fields_decode(json_object_array_get_idx(json, i), field->element, field->element->required,
                                  UINT64_MAX, elements + i * field->size, error);
                if (r < 0) {
                        error_prefix(error, "[%zu]", i);
                        return r;
                }
        }
        return 0;
}

static int decode_field(struct json_object *json, const struct field *field, void *object, struct error *error) {
        void *at = inside(object, field->offset);

        switch (field->kind) {
        case FIELD_UINT64:
                return decode_uint64(json, field, at, error);
        case FIELD_INT:
                return decode_int(json, field, at, error);
        case FIELD_BOOL:
                if (!json_object_is_type(json, json_type_boolean))
                        return bad(error, json, "true or false");
                *(bool *) at = json_object_get_boolean(json);
                return 0;
        case FIELD_WORD:
                return decode_word(json, field, at, error);
        case FIELD_CHARS:
        case FIELD_STRING:
                return decode_string(json, field, at, error);
        case FIELD_COMMAND:
                return decode_command(json, at, error);
        case FIELD_ARRAY:
                return decode_array(json, field, object, error);
        }
        return -EBADMSG;
}

int fields_decode(struct json_object *json, const struct fields *fields, uint64_t required, uint64_t mask,
                  void *object, struct error *error) {
        if (!json_object_is_type(json, json_type_object))
                return bad(error, json, "an object");
        for (size_t i = 0; i < fields->n; i++) {
                const struct field *field = &fields->field[i];
                struct json_object *value;
                int r;

                if (!(mask & FIELD_BIT(i)))
                        continue;
                if (!json_object_object_get_ex(json, field->name, &value)) {
                        if (required & FIELD_BIT(i))
                                return error_set(error, -EBADMSG, "%s: is missing", field->name);
                        continue;
                }
                r = decode_field(value, field, object, error);
                if (r < 0) {
                        error_prefix(error, "%s", field->name);
                        return r;
                }
        }
        return fields->check ? fields->check(object, error) : 0;
}
