/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Out of memory anywhere in a message's way to its line and back: the caller is told, and nothing wrong goes out. */

#include <errno.h>

#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "tests/unit/faulty-heap.h"
#include "tests/unit/test.h"

#define SESSION "00112233445566778899aabbccddeeff"

static struct message message; /* of the type that is tried */
static char *expected;         /* its line */

static void fill(enum message_type type) {
        struct application_spec *spec = calloc(1, sizeof(*spec));

        message = (struct message) {
                .type = type, .session = SESSION, .seq = 9, .id = 7, .app = "db", .token = 3, .bytes = 4096,
                .version = 1,
                .kind = APPLICATION_PLAIN, .cause = FAILURE_EXIT, .boot = "0f0e-12",
                .text = "a text \"quoted\" twice, that \"outgrows\" any short buffer",
                .n_apps = 1, .n_specs = 1, .specs = spec,
        };
        message.apps[0] = (struct application_report) { "db", APPLICATION_RUNNING, 3, 4096 };
        *spec = (struct application_spec) { .app = "db", .health_failures = 3, .n_addresses = 1 };
        command_append(&spec->run.start, "/bin/db");
        command_append(&spec->run.start, "--a \"quoted\" word that \"outgrows\" any short buffer");
        command_append(&spec->run.start, "--one that is longer than all that went before it, and would be left short");
        spec->addresses[0] = (struct address) { strdup("192.0.2.1/24"), strdup("eth0") };
}

static void encode(void) {
        _cleanup_free_ char *line = NULL;
        bool failed;
        int r;

        heap_begin(false);
        r = codec_encode(&message, &line);
        failed = heap_end();
        CHECK(r == 0 || (failed && r == -ENOMEM));
        CHECK((line == NULL) == (r < 0));
        if (line)
                CHECK_TEXT(line, expected);
}

/* What json-c would not say: a string that it could not make room for would be left short. */
static void decode(void) {
        struct error error = ERROR_INIT;
        _cleanup_free_ char *again = NULL;
        struct message back;
        bool failed;
        int r;

        heap_begin(false);
        r = codec_decode(expected, strlen(expected) - 1, &back, &error);
        failed = heap_end();
        CHECK(r == 0 || (failed && (r == -ENOMEM || r == -EBADMSG) && error.code == r));
        if (r == 0) {
                REQUIRE(codec_encode(&back, &again) == 0);
                CHECK_TEXT(again, expected);
                message_deinit(&back);
        }
        error_deinit(&error);
}

static void for_every_type(void (*run)(void)) {
        for (enum message_type type = 0; type < MESSAGE_TYPE_MAX; type++) {
                fill(type);
                expected = NULL;
                REQUIRE(codec_encode(&message, &expected) == 0);
                CHECK(heap_fail_each(run, HEAP_LACK_LARGE) > 3);
                free(expected);
                message_deinit(&message);
        }
}

static void no_line_is_sent_that_lacks_something(void) {
        for_every_type(encode);
}

static void a_good_line_is_never_taken_for_a_bad_one(void) {
        for_every_type(decode);
}

TEST_MAIN("heap-codec",
          TEST(no_line_is_sent_that_lacks_something),
          TEST(a_good_line_is_never_taken_for_a_bad_one))
