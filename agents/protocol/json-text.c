/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/quote.h"
#include "agents/protocol/json-text.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/message.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/utf8.h"

/*
 * json-c 0.16 is kind, also in strict mode: it takes NaN, overlong UTF-8 and "\u0000", lets the last of two
 * equal keys win and turns a number that is too large into the largest. One pass over the bytes refuses these
 * before it, and a count of the keys after it finds the one that came twice.
 */

DEFINE_CLEANUP(struct json_object *, json_object_put)
DEFINE_CLEANUP(struct json_tokener *, json_tokener_free)

/* utf8_length(), and 0 for control characters, those of the upper half included. */
static size_t printable_length(const unsigned char *p, size_t n) {
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && n > 1 && p[1] < 0xa0))
                return 0;
        return utf8_length(p, n);
}

int text_valid(const char *string) {
        size_t left = strlen(string);

        while (left > 0) {
                size_t n = printable_length((const unsigned char *) string, left);
                if (n == 0)
                        return 0;
                string += n;
                left -= n;
        }
        return 1;
}

int text_is_name(const char *string) {
        if (!isalnum((unsigned char) *string))
                return 0;
        for (; *string; string++)
                if (!isalnum((unsigned char) *string) && !strchr("_.-", *string))
                        return 0;
        return 1;
}

void text_clean(char *text) {
        size_t left = strlen(text);

        while (left > 0) {
                size_t n = printable_length((const unsigned char *) text, left);
                if (n == 0) {
                        *text = '?';
                        n = 1;
                }
                text += n;
                left -= n;
        }
}

/* One character inside a string. Returns the bytes to step over, 0 for what may not stand there. */
static size_t scan_quoted(const char *p, size_t n) {
        if (*p == '\\')
                return n < 2 || (n > 5 && memcmp(p, "\\u0000", 6) == 0) ? 0 : 2;
        if ((unsigned char) *p < 0x20)
                return 0;
        return utf8_length((const unsigned char *) p, n);
}

/* A run of digits. Returns its length, 0 where it is a number past 64 bits. */
static size_t scan_digits(const char *p, size_t n) {
        uint64_t value = 0;
        size_t i;

        for (i = 0; i < n && isdigit((unsigned char) p[i]); i++)
                if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
                    __builtin_add_overflow(value, (uint64_t) (p[i] - '0'), &value))
                        return 0;
        return i;
}

/* Counts the colons outside strings: as many as there are keys. */
static int scan(const char *line, size_t length, size_t *ret_colons, struct error *error) {
        char buffer[QUOTE_LEN];
        size_t colons = 0, step;
        bool quoted = false;

        for (size_t i = 0; i < length; i += step) {
                step = 1;
                if (line[i] == '"')
                        quoted = !quoted;
                else if (quoted)
                        step = scan_quoted(line + i, length - i);
                else if (isdigit((unsigned char) line[i]))
                        step = scan_digits(line + i, length - i);
                else if (line[i] == ':')
                        colons++;
                else if (line[i] == 0 || !strchr("{}[],-+.eEtruefalsn \t\r", line[i]))
                        step = 0;
                if (step == 0)
                        return error_set(error, -EBADMSG, "byte %zu: not allowed: \"%s\"", i,
                                         text_quote(line + i, length - i, buffer));
        }
        *ret_colons = colons;
        return 0;
}

/* Recursion is bounded by the depth that the tokener accepts. */
static size_t count_keys(struct json_object *json) {
        size_t n = 0;

        if (json_object_is_type(json, json_type_object)) {
                json_object_object_foreach(json, key, value) {
                        (void) key;
                        n += 1 + count_keys(value);
                }
        } else if (json_object_is_type(json, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(json); i++)
                        n += count_keys(json_object_array_get_idx(json, i));
        }
        return n;
}

/* json-c 0.16 goes on where its buffer could not grow, and a string is left short: half of a command to be executed. A
 * string as long as the line, which is seen to be whole, makes room for all that come. */
static int make_room(struct json_tokener *tokener, size_t length) {
        static const char blanks[] = "                                                                ";
        _cleanup_(json_object_putp) struct json_object *json = NULL;

        (void) json_tokener_parse_ex(tokener, "\"", 1);
        for (size_t left = length, n; left > 0; left -= n) {
                n = left < sizeof(blanks) - 1 ? left : sizeof(blanks) - 1;
                (void) json_tokener_parse_ex(tokener, blanks, (int) n);
        }
        json = json_tokener_parse_ex(tokener, "\"", 1);
        if (!json || (size_t) json_object_get_string_len(json) != length)
                return -ENOMEM;
        json_tokener_reset(tokener);
        return 0;
}

int json_text_parse(const char *line, size_t length, struct json_object **ret, struct error *error) {
        _cleanup_(json_tokener_freep) struct json_tokener *tokener = json_tokener_new_ex(MESSAGE_DEPTH_MAX);
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        char buffer[QUOTE_LEN];
        size_t colons = 0, at;
        int r;

        if (!tokener)
                return error_set(error, -ENOMEM, "out of memory");
        r = scan(line, length, &colons, error);
        if (r < 0)
                return r;
        r = make_room(tokener, length);
        if (r < 0)
                return error_set(error, r, "out of memory");
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        json = json_tokener_parse_ex(tokener, line, (int) length);
        at = json_tokener_get_parse_end(tokener);
        if (json_tokener_get_error(tokener) == json_tokener_continue)
                return error_set(error, -EBADMSG, "byte %zu: ends too early", length);
        if (json_tokener_get_error(tokener) != json_tokener_success)
                return error_set(error, -EBADMSG, "byte %zu: %s: \"%s\"", at,
                                 json_tokener_error_desc(json_tokener_get_error(tokener)),
                                 text_quote(line + at, length - at, buffer));
        if (!json_object_is_type(json, json_type_object))
                return error_set(error, -EBADMSG, "is not an object");
        if (count_keys(json) != colons)
                return error_set(error, -EBADMSG, "has a key twice");
        *ret = steal_ptr(json);
        return 0;
}

const char *json_text_print(struct json_object *json, int flags, size_t *ret_length) {
        const char *text;
        size_t length;

        errno = 0; /* json-c 0.16 goes on where its buffer could not grow; what the heap said is still to be seen */
        text = json_object_to_json_string_length(json, flags, &length);
        if (!text || errno == ENOMEM)
                return NULL;
        if (ret_length)
                *ret_length = length;
        return text;
}

int json_text_line(struct json_object *json, char **ret_line) {
        const char *text;
        size_t length;
        char *line;

        text = json_text_print(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
        if (!text)
                return -ENOMEM;
        if (length + 1 > MESSAGE_LINE_MAX)
                return -E2BIG;
        line = malloc(length + 2);
        if (!line)
                return -ENOMEM;
        memcpy(line, text, length);
        line[length] = '\n';
        line[length + 1] = 0;
        *ret_line = line;
        return 0;
}

int json_add(struct json_object *json, const char *key, struct json_object *value) {
        if (value && json_object_object_add(json, key, value) == 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

int json_append(struct json_object *array, struct json_object *value) {
        if (value && json_object_array_add(array, value) == 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}
