/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One input is a stream of bytes as a hostile guest may send it: split into lines, each decoded; what decodes
 * must encode again to a line that decodes, and encodes to the same text. */
static void check_line(const char *line, size_t length) {
        struct error error = ERROR_INIT;
        struct message message, again;
        char *first, *second;

        if (codec_decode(line, length, &message, &error) < 0) {
                assert(error.code < 0 && error.message);
                error_deinit(&error);
                return;
        }
        if (codec_encode(&message, &first) == 0) {
                int r = codec_decode(first, strlen(first) - 1, &again, NULL);
                assert(r == 0);
                r = codec_encode(&again, &second);
                assert(r == 0 && strcmp(first, second) == 0);
                free(first);
                free(second);
                message_deinit(&again);
        }
        message_deinit(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct line_reader reader = { 0 };
        const char *line;
        size_t length;
        int r;

        while (size > 0) {
                size_t n = line_reader_push(&reader, (const char *) data, size);

                assert(n > 0);
                data += n;
                size -= n;
                while ((r = line_reader_next(&reader, &line, &length)) != 0)
                        if (r > 0)
                                check_line(line, length);
        }
        line_reader_deinit(&reader);
        return 0;
}
