/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* In front of json-c's parser, for programs with a faulty heap. */

#include <json-c/json.h>

#include "tests/unit/faulty-heap.h"

/* json-c 0.16 takes a key that it could not copy for a string: the program ends there, as it does anywhere when it is
 * out of memory. */
struct json_object *__real_json_tokener_parse_ex(struct json_tokener *tokener, const char *text, int length);
struct json_object *__wrap_json_tokener_parse_ex(struct json_tokener *tokener, const char *text, int length);
struct json_object *__wrap_json_tokener_parse_ex(struct json_tokener *tokener, const char *text, int length) {
        struct json_object *json;

        heap_spare(HEAP_SPARE_NEW);
        json = __real_json_tokener_parse_ex(tokener, text, length);
        heap_spare(HEAP_SPARE_NONE);
        return json;
}
