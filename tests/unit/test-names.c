/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What programs and the name server say to each other. */

#include <errno.h>

#include "agents/protocol/names.h"
#include "daemon/base/cleanup.h"
#include "tests/unit/test.h"

#define URI "nbd+unix:///00112233445566778899aabbccddeeff?socket=/run/mem.sock"

static int decode(const char *line, struct names_message *ret) {
        struct error error = ERROR_INIT;
        int r = names_decode(line, strlen(line), ret, &error);

        CHECK((r < 0) == (error.message != NULL) && (r >= 0 || error.code == r));
        CHECK(!error.message || !strstr(error.message, "00112233"));
        error_deinit(&error);
        return r;
}

static void every_enum_table_round_trips(void) {
        for (int i = 0; i < NAMES_TYPE_MAX; i++)
                CHECK((int) names_type_from_string(names_type_to_string((enum names_type) i)) == i);
        CHECK(!names_type_to_string(NAMES_TYPE_MAX) && (int) names_type_from_string("x") == NAMES_TYPE_INVALID);
}

static void lines_are_those_of_the_contract(void) {
        static const struct {
                struct names_message message;
                const char *line;
        } cases[] = {
                { { .type = NAMES_REGISTER, .name = "orders", .uri = (char *) URI, .size_bytes = 4096, .kinds = 0x1e },
                  "{\"failover-names\":1,\"register\":{\"name\":\"orders\",\"uri\":\"" URI "\",\"size\":4096,"
                  "\"kinds\":[1,2,3,4]}}\n" },
                { { .type = NAMES_RESOLVE, .name = "orders", .kind = 3, .write = true },
                  "{\"failover-names\":1,\"resolve\":{\"name\":\"orders\",\"kind\":3,\"write\":true}}\n" },
                { { .type = NAMES_RESOLVE, .name = "orders", .kind = 1 },
                  "{\"failover-names\":1,\"resolve\":{\"name\":\"orders\",\"kind\":1}}\n" },
                { { .type = NAMES_REGISTERED, .name = "orders" }, "{\"registered\":{\"name\":\"orders\"}}\n" },
                { { .type = NAMES_FOUND, .name = "orders", .uri = (char *) URI, .size_bytes = 4096 },
                  "{\"found\":{\"name\":\"orders\",\"uri\":\"" URI "\",\"size\":4096}}\n" },
                { { .type = NAMES_REFUSED, .reason = "no such \"name\"" }, "{\"refused\":\"no such \\\"name\\\"\"}\n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *line = NULL;
                struct names_message back;

                REQUIRE(names_encode(&cases[i].message, &line) == 0);
                CHECK_TEXT(line, cases[i].line);
                REQUIRE(names_decode(line, strlen(line) - 1, &back, NULL) == 0);
                CHECK(back.type == cases[i].message.type && back.kinds == cases[i].message.kinds);
                CHECK(back.kind == cases[i].message.kind && back.write == cases[i].message.write);
                CHECK(back.size_bytes == cases[i].message.size_bytes);
                CHECK_TEXT(back.name, cases[i].message.name);
                CHECK_TEXT(back.reason, cases[i].message.reason);
                CHECK(!back.uri == !cases[i].message.uri && (!back.uri || strcmp(back.uri, URI) == 0));
                names_deinit(&back);
        }
}

static void a_reason_is_made_printable(void) {
        const struct names_message message = { .type = NAMES_REFUSED, .reason = "a\x1b[1mb" };
        _cleanup_free_ char *line = NULL;

        REQUIRE(names_encode(&message, &line) == 0);
        CHECK_TEXT(line, "{\"refused\":\"a?[1mb\"}\n");
}

static void what_is_malformed_is_refused(void) {
        static const struct {
                int code;
                const char *line;
        } bad[] = {
                { -EBADMSG, "" },
                { -EBADMSG, "[]" },
                { -EOPNOTSUPP, "{}" },
                { -EOPNOTSUPP, "{\"failover-names\":1,\"delete\":{}}" },
                { -EBADMSG, "{\"resolve\":{\"name\":\"a\",\"kind\":1}}" },
                { -EPROTONOSUPPORT, "{\"failover-names\":2,\"resolve\":{}}" },
                { -EBADMSG, "{\"failover-names\":1,\"resolve\":1}" },
                { -EBADMSG, "{\"failover-names\":1,\"resolve\":{\"name\":\"a\"}}" },
                { -EBADMSG, "{\"failover-names\":1,\"resolve\":{\"name\":\"a/b\",\"kind\":1}}" },
                { -EBADMSG, "{\"failover-names\":1,\"resolve\":{\"name\":\"a\",\"kind\":5}}" },
                { -EBADMSG, "{\"registered\":{\"name\":\"a\"},\"refused\":\"b\"}" },
                { -EBADMSG, "{\"refused\":7}" },
                { -EBADMSG, "{\"found\":{\"name\":\"a\",\"uri\":\"" URI "\",\"size\":0}}" },
                { -EBADMSG, "{\"found\":{\"name\":\"a\",\"uri\":\"file:///etc\",\"size\":1}}" },
                { -EBADMSG, "{\"failover-names\":1,\"register\":{\"name\":\"a\",\"uri\":\"" URI "\",\"size\":1}}" },
                { -EBADMSG, "{\"failover-names\":1,\"register\":{\"name\":\"a\",\"uri\":\"" URI "\",\"size\":1,"
                            "\"kinds\":[]}}" },
                { -EBADMSG, "{\"failover-names\":1,\"register\":{\"name\":\"a\",\"uri\":\"" URI "\",\"size\":1,"
                            "\"kinds\":[1,1]}}" },
                { -EBADMSG, "{\"failover-names\":1,\"register\":{\"name\":\"a\",\"uri\":\"" URI "\",\"size\":1,"
                            "\"kinds\":[0]}}" },
                { -EBADMSG, "{\"failover-names\":1,\"register\":{\"name\":\"a\",\"uri\":\"" URI "\",\"size\":1,"
                            "\"kinds\":[\"1\"]}}" },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                struct names_message untouched = { .size_bytes = 77 };

                CHECK(decode(bad[i].line, &untouched) == bad[i].code);
                CHECK(untouched.size_bytes == 77);
        }
}

static void lines_have_a_limit(void) {
        char line[NAMES_LINE_MAX + 1], uri[REGION_URI_LENGTH_MAX + 2] = "nbd://host/";
        struct names_message message = { .type = NAMES_REGISTER, .size_bytes = REGION_SIZE_MAX, .kinds = 0x1e,
                                         .uri = uri };
        char *text = NULL;

        memset(line, ' ', sizeof(line));
        CHECK(names_decode(line, NAMES_LINE_MAX, &message, NULL) == -E2BIG);
        memset(message.name, 'n', NAME_LEN - 1);
        memset(uri + strlen(uri), '"', REGION_URI_LENGTH_MAX - strlen(uri)); /* two bytes each on the line */
        REQUIRE(names_encode(&message, &text) == 0);
        CHECK(strlen(text) <= NAMES_LINE_MAX);
        free(text);
        uri[REGION_URI_LENGTH_MAX] = 'x';
        CHECK(names_encode(&message, &text) == -EINVAL);
}

TEST_MAIN("names", TEST(every_enum_table_round_trips), TEST(lines_are_those_of_the_contract),
          TEST(a_reason_is_made_printable), TEST(what_is_malformed_is_refused), TEST(lines_have_a_limit))
