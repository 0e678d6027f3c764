/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(const char *text, size_t length) {
        struct error error = ERROR_INIT;
        struct region_list list, again;
        char *first, *second;

        if (region_list_decode(text, length, &list, &error) < 0) {
                assert(error.code < 0 && error.message);
                error_deinit(&error);
                return;
        }
        if (region_list_encode(&list, &first) == 0) {
                int r = region_list_decode(first, strlen(first), &again, NULL);
                assert(r == 0 && again.n_entries == list.n_entries);
                r = region_list_encode(&again, &second);
                assert(r == 0 && strcmp(first, second) == 0);
                free(first);
                free(second);
                region_list_deinit(&again);
        }
        region_list_deinit(&list);
}

static void check_message(const char *line, size_t length) {
        struct error error = ERROR_INIT;
        struct names_message message, again;
        char *first, *second;

        if (names_decode(line, length, &message, &error) < 0) {
                assert(error.code < 0 && error.message);
                error_deinit(&error);
                return;
        }
        if (names_encode(&message, &first) == 0) {
                int r = names_decode(first, strlen(first) - 1, &again, NULL);
                assert(r == 0 && again.type == message.type);
                r = names_encode(&again, &second);
                assert(r == 0 && strcmp(first, second) == 0);
                free(first);
                free(second);
                names_deinit(&again);
        }
        names_deinit(&message);
}

/* One input is a list of regions as a program finds it, or a line to or from the name server: whatever decodes encodes
 * to a text that decodes, and encodes to the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        check_list((const char *) data, size);
        check_message((const char *) data, size);
        return 0;
}
