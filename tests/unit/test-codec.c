/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>

#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "tests/unit/test.h"

#define SESSION "00112233445566778899aabbccddeeff"
#define HEAD "\"session\":\"" SESSION "\",\"seq\":1"

/* A message with every field set, so that what a type does not carry shows as a difference. */
static struct message full_message(enum message_type type) {
        struct message m = {
                .type = type, .session = SESSION, .seq = UINT64_MAX, .id = 7, .app = "db-1",
                .token = (UINT64_C(1) << 53) + 1,
                .bytes = INT64_MAX, .nonce = UINT64_MAX - 1, .node = -1, .result = -110, .version = 3,
                .usec = 1234567, .kind = APPLICATION_AUTO, .cause = FAILURE_MEMORY, .code = -12, .hard = true,
                .boot = "0f0e-12", .system = "systemd 252", .text = "\xc3\xa4 \"quoted\" \\ text", .n_apps = 2,
        };

        m.apps[0] = (struct application_report) { "db-1", APPLICATION_RUNNING, UINT64_MAX, INT64_MAX, 0, 0, 2 };
        m.apps[1] = (struct application_report) { "web", APPLICATION_WAITING, 0, 0, 512 * MIB, 64 * MIB, 0 };
        return m;
}

static void add_specs(struct message *m) {
        struct application_spec *s;

        m->specs = calloc(2, sizeof(struct application_spec));
        m->n_specs = 2;
        s = &m->specs[0];
        *s = (struct application_spec) { .app = "db-1", .node = 2, .memory_bytes = UINT64_C(1) << 60,
                                         .health_failures = 3,
                                         .stop_timeout_usec = 1, .health_interval_usec = 2, .health_timeout_usec = 3,
                                         .n_addresses = 1 };
        command_append(&s->run.start, "/bin/db");
        command_append(&s->run.start, "");
        command_append(&s->run.start, "a b\n\xe2\x82\xac");
        command_append(&s->run.stop, "stop");
        command_append(&s->run.health, "check");
        command_append(&s->run.canary, "canary");
        s->canary_timeout_usec = 4;
        s->addresses[0] = (struct address) { strdup("2001:db8::1/64"), strdup("eth0") };
        m->specs[1] = (struct application_spec) { .app = "web", .node = -1, .run.unit = strdup("web@1.service") };
}

static int decode(const char *line, struct message *m) {
        struct error error = ERROR_INIT;
        int r = codec_decode(line, strlen(line), m, &error);

        CHECK((r < 0) == (error.message != NULL));
        CHECK(r >= 0 || error.code == r);
        error_deinit(&error);
        return r;
}

static void every_enum_table_round_trips(void) {
        for (int i = 0; i < MESSAGE_TYPE_MAX; i++)
                CHECK((int) message_type_from_string(message_type_to_string((enum message_type) i)) == i);
        for (int i = 0; i < APPLICATION_STATE_MAX; i++)
                CHECK((int) application_state_from_string(application_state_to_string((enum application_state) i)) ==
                      i);
        CHECK(message_type_from_string("nonsense") == MESSAGE_TYPE_INVALID);
        CHECK(message_type_to_string(MESSAGE_TYPE_MAX) == NULL);
        CHECK(application_state_to_string(APPLICATION_STATE_MAX) == NULL);
}

static void every_type_encodes_to_one_line_and_reads_back_as_the_same_text(void) {
        for (int i = 0; i < MESSAGE_TYPE_MAX; i++) {
                struct message m = full_message((enum message_type) i), back = { 0 };
                _cleanup_free_ char *line = NULL, *again = NULL;

                add_specs(&m);
                REQUIRE(codec_encode(&m, &line) == 0);
                CHECK(strchr(line, '\n') == line + strlen(line) - 1);
                line[strlen(line) - 1] = 0;
                REQUIRE(decode(line, &back) == 0);
                CHECK(back.type == m.type && back.seq == m.seq);
                CHECK_TEXT(back.session, SESSION);
                REQUIRE(codec_encode(&back, &again) == 0);
                again[strlen(again) - 1] = 0;
                CHECK_TEXT(line, again);
                message_deinit(&m);
                message_deinit(&back);
        }
}

static void values_survive_the_round_trip(void) {
        struct message m = full_message(MESSAGE_START), back;
        _cleanup_free_ char *line = NULL;

        REQUIRE(codec_encode(&m, &line) == 0);
        line[strlen(line) - 1] = 0;
        REQUIRE(decode(line, &back) == 0);
        CHECK(back.token == (UINT64_C(1) << 53) + 1 && back.bytes == INT64_MAX && back.node == -1 && back.id == 7);
        CHECK_TEXT(back.app, "db-1");
        message_deinit(&back);
}

static void failures_and_reports_survive_the_round_trip(void) {
        struct message m = full_message(MESSAGE_FAILED), back;
        char *line = NULL;

        REQUIRE(codec_encode(&m, &line) == 0);
        line[strlen(line) - 1] = 0;
        REQUIRE(decode(line, &back) == 0);
        CHECK(back.cause == FAILURE_MEMORY && back.code == -12 && back.hard);
        CHECK_TEXT(back.text, m.text);
        free(line);

        m = full_message(MESSAGE_HELLO);
        REQUIRE(codec_encode(&m, &line) == 0);
        line[strlen(line) - 1] = 0;
        REQUIRE(decode(line, &back) == 0);
        REQUIRE(back.n_apps == 2);
        CHECK(back.apps[0].token == UINT64_MAX && back.apps[0].bytes == INT64_MAX);
        CHECK(back.apps[1].state == APPLICATION_WAITING);
        CHECK(back.apps[0].node_bytes == 0);
        CHECK(back.apps[1].node_bytes == 512 * MIB && back.apps[1].spare_bytes == 64 * MIB);
        CHECK(back.apps[0].missed_checks == 2 && back.apps[1].missed_checks == 0);
        CHECK_TEXT(back.system, "systemd 252");
        free(line);
}

static void specs_survive_the_round_trip(void) {
        struct message m = full_message(MESSAGE_CONFIGURE), back;
        _cleanup_free_ char *line = NULL;

        add_specs(&m);
        REQUIRE(codec_encode(&m, &line) == 0);
        line[strlen(line) - 1] = 0;
        REQUIRE(decode(line, &back) == 0);
        REQUIRE(back.n_specs == 2);
        REQUIRE(back.specs[0].run.start.n_words == 3 && back.specs[0].n_addresses == 1);
        CHECK_TEXT(back.specs[0].run.start.words[2], "a b\n\xe2\x82\xac");
        CHECK(back.specs[0].run.start.words[3] == NULL);
        CHECK(!back.specs[0].run.unit && back.specs[0].health_failures == 3 && back.specs[0].node == 2);
        CHECK(back.specs[0].run.canary.n_words == 1 && back.specs[0].canary_timeout_usec == 4);
        CHECK_TEXT(back.specs[0].addresses[0].cidr, "2001:db8::1/64");
        CHECK_TEXT(back.specs[1].run.unit, "web@1.service");
        CHECK(back.specs[1].run.start.n_words == 0 && back.specs[1].node == -1);
        message_deinit(&m);
        message_deinit(&back);
}

static void only_the_keys_of_a_type_are_sent(void) {
        struct message m = full_message(MESSAGE_HEALTHY);
        _cleanup_free_ char *line = NULL;

        m.token = 5;
        m.seq = 1;
        REQUIRE(codec_encode(&m, &line) == 0);
        CHECK_TEXT(line, "{\"type\":\"healthy\"," HEAD ",\"app\":\"db-1\",\"token\":5}\n");
}

static void unknown_keys_are_ignored(void) {
        struct message m;

        REQUIRE(decode("{\"type\":\"ping\"," HEAD
                       ",\"nonce\":18446744073709551615,\"later\":{\"x\":[1.5,null]},\"app\":5}",
                       &m) == 0);
        CHECK(m.nonce == UINT64_MAX);
        CHECK(m.app[0] == 0);
}

static void unknown_types_are_told_from_malformed_lines(void) {
        struct message m;

        CHECK(decode("{\"type\":\"later\"," HEAD "}", &m) == -EOPNOTSUPP);
        CHECK(decode("{\"type\":\"\"," HEAD "}", &m) == -EOPNOTSUPP);
}

#define PING(rest) "{\"type\":\"ping\"," HEAD "," rest "}"
#define RESULT(rest) "{\"type\":\"result\"," HEAD ",\"id\":1," rest "}"
#define START(app, token, node, bytes) \
        "{\"type\":\"start\"," HEAD ",\"id\":1,\"app\":" app ",\"token\":" token ",\"node\":" node ",\"bytes\":" bytes \
        "}"
#define SPEC(rest) \
        "{\"type\":\"configure\"," HEAD ",\"specs\":[{\"app\":\"a\",\"node\":0,\"memory_bytes\":1," \
        "\"stop_timeout_usec\":1,\"health_interval_usec\":1,\"health_timeout_usec\":1,\"health_failures\":1" rest "}]}"
#define HELLO(apps) "{\"type\":\"hello\"," HEAD ",\"version\":1,\"boot\":\"a-b\",\"bytes\":1,\"apps\":" apps "}"

static const char *const good[] = {
        PING("\"nonce\":1"), RESULT("\"result\":-22"), START("\"a\"", "1", "0", "0"), SPEC(",\"start\":[\"x\"]"),
        HELLO("[]"), " " PING("\"nonce\":1") "\t \r",
};

static const char *const malformed[] = {
        "",
        " ",
        "x",
        "{",
        "}",
        "[]",
        "null",
        "1",
        "\"ping\"",
        "{}",
        "{\"type\":1}",
        "{\"type\":null}",
        "{\"type\":[\"ping\"]}",
        "{\"type\":\"ping\"}",
        "{\"type\":\"ping\",\"seq\":1,\"nonce\":1}",
        "{\"type\":\"ping\",\"session\":\"" SESSION "\",\"nonce\":1}",
        "{\"type\":\"ping\",\"session\":\"\",\"seq\":1,\"nonce\":1}",
        "{\"type\":\"ping\",\"session\":\"xyz\",\"seq\":1,\"nonce\":1}",
        "{\"type\":\"ping\",\"session\":\"" SESSION "0\",\"seq\":1,\"nonce\":1}",
        PING("\"x\":1"),
        PING("\"nonce\":null"),
        PING("\"nonce\":\"1\""),
        PING("\"nonce\":1.0"),
        PING("\"nonce\":1e3"),
        PING("\"nonce\":-1"),
        PING("\"nonce\":18446744073709551616"),
        PING("\"nonce\":99999999999999999999999999999"),
        PING("\"nonce\":NaN"),
        PING("\"nonce\":1,\"x\":NaN"),
        PING("\"nonce\":1,\"x\":Infinity"),
        PING("\"nonce\":1,\"x\":-Infinity"),
        PING("\"nonce\":true"),
        PING("\"nonce\":[1]"),
        PING("\"nonce\":1,\"nonce\":1"),
        PING("\"nonce\":1,\"nonc\\u0065\":2"),
        PING("\"nonce\":1,\"x\":{\"a\":1,\"a\":1}"),
        PING("\"nonce\":1,"),
        PING("\"nonce\":1") "x",
        PING("\"nonce\":1") "{}",
        PING("\"nonce\":1,\"x\":\"\\u0000\""),
        PING("\"nonce\":1,\"type\\u0000\":1"),
        PING("\"nonce\":1,\"x\":\"\xff\""),
        PING("\"nonce\":1,\"x\":\"\xc0\xaf\""),
        PING("\"nonce\":1,\"x\":\"\t\""),
        PING("'nonce':1"),
        PING("\"nonce\":1/**/"),
        PING("nonce:1"),
        PING("\"nonce\":1,\"x\":[[[[[[[[[[[[1]]]]]]]]]]]]"),
        PING("\"nonce\":01x"),
        PING("\"nonce\":+1"),
        PING("\"nonce\":1,\"x\":\"\\x\""),
        PING("\"nonce\":1,\"x\":TRUE"),
        RESULT("\"result\":1"),
        RESULT("\"result\":-5000"),
        RESULT("\"result\":-99999999999999999999"),
        RESULT("\"result\":0,\"text\":\"a\\u001b[2J\""),
        RESULT("\"result\":0,\"text\":\"a\\u009b\""),
        RESULT("\"result\":0,\"text\":\"\\n\""),
        RESULT("\"result\":0,\"text\":1"),
        RESULT("\"result\":0,\"app\":\"\""),
        RESULT("\"result\":0,\"bytes\":9223372036854775808"),
        START("\"../a\"", "1", "0", "0"),
        START("\"a b\"", "1", "0", "0"),
        START("\"-a\"", "1", "0", "0"),
        START("1", "1", "0", "0"),
        START("\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "1", "0", "0"),
        START("\"a\"", "1", "-2", "0"),
        START("\"a\"", "1", "1024", "0"),
        START("\"a\"", "1", "4294967296", "0"),
        START("\"a\"", "-1", "0", "0"),
        SPEC(""),
        SPEC(",\"start\":[]"),
        SPEC(",\"start\":[\"\"]"),
        SPEC(",\"start\":\"x\""),
        SPEC(",\"start\":[1]"),
        SPEC(",\"start\":[\"x\"],\"unit\":\"x.service\""),
        SPEC(",\"unit\":\"\""),
        SPEC(",\"unit\":\"a/b.service\""),
        SPEC(",\"unit\":5"),
        SPEC(",\"unit\":\"x\",\"addresses\":[1]"),
        SPEC(",\"unit\":\"x\",\"addresses\":[{\"cidr\":\"1.2.3.4/8\"}]"),
        SPEC(",\"unit\":\"x\",\"addresses\":[{\"cidr\":\"1.2.3.4/8\",\"link\":\"../x\"}]"),
        SPEC(",\"unit\":\"x\",\"addresses\":[{\"cidr\":\"1.2.3.4/8\",\"link\":\"abcdefghijklmnop\"}]"),
        SPEC(",\"unit\":\"x\",\"addresses\":[{\"cidr\":\"host/8\",\"link\":\"lo\"}]"),
        SPEC(",\"unit\":\"x\",\"addresses\":{}"),
        "{\"type\":\"configure\"," HEAD ",\"specs\":{}}",
        "{\"type\":\"configure\"," HEAD ",\"specs\":[null]}",
        "{\"type\":\"configure\"," HEAD "}",
        HELLO("{}"),
        HELLO("[1]"),
        HELLO("[{\"app\":\"a\",\"state\":\"dancing\",\"token\":1}]"),
        HELLO("[{\"app\":\"a\",\"token\":1}]"),
        HELLO("[{\"app\":\"a\",\"state\":1,\"token\":1}]"),
        HELLO("[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]"),
        "{\"type\":\"hello\"," HEAD ",\"version\":0,\"boot\":\"a\",\"bytes\":1,\"apps\":[]}",
        "{\"type\":\"hello\"," HEAD ",\"version\":1,\"boot\":\"A;\",\"bytes\":1,\"apps\":[]}",
        "{\"type\":\"failed\"," HEAD ",\"app\":\"a\",\"token\":1,\"cause\":\"mood\",\"code\":1,\"hard\":true}",
        "{\"type\":\"failed\"," HEAD ",\"app\":\"a\",\"token\":1,\"cause\":\"exit\",\"code\":1,\"hard\":1}",
        "{\"type\":\"uses\"," HEAD ",\"app\":\"a\",\"node\":1,\"bytes\":1,\"kind\":\"cold\"}",
};

static void the_frames_of_the_malformed_lines_are_good(void) {
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                struct message m = { 0 };
                int r = decode(good[i], &m);

                CHECK(r == 0);
                if (r < 0)
                        printf("\n    refused: %s\n", good[i]);
                message_deinit(&m);
        }
}

static void malformed_lines_are_refused_and_the_output_untouched(void) {
        struct message m;

        memset(&m, 0x5a, sizeof(m));
        for (size_t i = 0; i < ELEMENTSOF(malformed); i++) {
                int r = decode(malformed[i], &m);

                CHECK(r == -EBADMSG);
                if (r != -EBADMSG)
                        printf("\n    %d for: %s\n", r, malformed[i]);
        }
        for (size_t i = 0; i < sizeof(m); i++)
                REQUIRE(((const unsigned char *) &m)[i] == 0x5a);
}

static void every_truncation_and_changed_byte_is_survived(void) {
        struct message m = full_message(MESSAGE_CONFIGURE), back = { 0 };
        _cleanup_free_ char *line = NULL;
        size_t n;

        add_specs(&m);
        REQUIRE(codec_encode(&m, &line) == 0);
        n = strlen(line) - 1;
        for (size_t i = 0; i < n; i++)
                CHECK(codec_decode(line, i, &back, NULL) == -EBADMSG);
        for (size_t i = 0; i < n; i++)
                for (int bit = 0; bit < 8; bit++) {
                        line[i] = (char) (line[i] ^ (1 << bit));
                        if (codec_decode(line, n, &back, NULL) == 0)
                                message_deinit(&back);
                        line[i] = (char) (line[i] ^ (1 << bit));
                }
        message_deinit(&m);
}

static void errors_say_where_and_quote_little(void) {
        struct error error = ERROR_INIT;
        struct message m;
        const char *bad = SPEC(",\"start\":[\"x\",5]");
        char noise[200];

        CHECK(codec_decode(bad, strlen(bad), &m, &error) == -EBADMSG);
        CHECK_TEXT(error_text(&error), "configure: specs: [0]: start: [1]: expected a string, not int");
        memset(noise, 'Z', sizeof(noise));
        noise[3] = 27;
        CHECK(codec_decode(noise, sizeof(noise), &m, &error) == -EBADMSG);
        CHECK(strlen(error_text(&error)) < 80);
        CHECK(strchr(error_text(&error), 27) == NULL);
        error_deinit(&error);
}

static void a_nul_byte_in_the_line_is_refused(void) {
        struct message m;
        static const char line[] = PING("\"nonce\":1") "\0" PING("\"nonce\":2");

        CHECK(codec_decode(line, sizeof(line) - 1, &m, NULL) == -EBADMSG);
}

static void long_lines_are_refused_both_ways(void) {
        struct message m = full_message(MESSAGE_CONFIGURE);
        _cleanup_free_ char *word = malloc(16001), *line = malloc(MESSAGE_LINE_MAX);

        add_specs(&m);
        memset(word, 'w', 16000);
        word[16000] = 0;
        for (int i = 0; i < 5; i++)
                REQUIRE(command_append(&m.specs[0].run.start, word) == 0);
        char *ret = NULL;
        CHECK(codec_encode(&m, &ret) == -E2BIG);
        CHECK(ret == NULL);
        memset(line, ' ', MESSAGE_LINE_MAX);
        CHECK(codec_decode(line, MESSAGE_LINE_MAX, &m, NULL) == -E2BIG);
        message_deinit(&m);
}

static void what_a_program_printed_does_not_keep_a_report_from_being_sent(void) {
        struct message m = full_message(MESSAGE_FAILED), back;
        _cleanup_free_ char *line = NULL;

        strcpy(m.text, "a\nb\x1b[1m\xff\xc3");
        REQUIRE(codec_encode(&m, &line) == 0);
        line[strlen(line) - 1] = 0;
        REQUIRE(decode(line, &back) == 0);
        CHECK_TEXT(back.text, "a?b?[1m??");
}

static void lines_are_split_however_the_bytes_arrive(void) {
        static const char stream[] = "one\n\ntwo three\nrest";
        const char *line;
        size_t length;

        for (size_t step = 1; step < sizeof(stream); step++) {
                struct line_reader reader = { 0 };
                char seen[64] = "";

                for (size_t at = 0; at < sizeof(stream) - 1; at += step) {
                        size_t n = sizeof(stream) - 1 - at < step ? sizeof(stream) - 1 - at : step;
                        REQUIRE(line_reader_push(&reader, stream + at, n) == n);
                        while (line_reader_next(&reader, &line, &length) == 1) {
                                strncat(seen, line, length);
                                strcat(seen, "|");
                        }
                }
                CHECK_TEXT(seen, "one||two three|");
                line_reader_deinit(&reader);
        }
}

static void a_line_of_a_mebibyte_is_reported_once_and_costs_only_itself(void) {
        _cleanup_free_ char *big = malloc(1024 * 1024);
        static const char tail[] = "\nafter\n";
        struct line_reader reader = { 0 };
        int too_big = 0, lines = 0;
        const char *line;
        size_t length;

        memset(big, 'x', 1024 * 1024);
        for (int part = 0; part < 2; part++) {
                const char *bytes = part == 0 ? big : tail;
                size_t left = part == 0 ? 1024 * 1024 : sizeof(tail) - 1;

                while (left > 0) {
                        size_t n = line_reader_push(&reader, bytes, left);
                        int r;

                        REQUIRE(n > 0);
                        bytes += n;
                        left -= n;
                        while ((r = line_reader_next(&reader, &line, &length)) != 0) {
                                if (r == -E2BIG)
                                        too_big++;
                                else {
                                        lines++;
                                        CHECK(length == 5 && memcmp(line, "after", 5) == 0);
                                }
                        }
                }
        }
        CHECK(too_big == 1);
        CHECK(lines == 1);
        line_reader_deinit(&reader);
}

static void the_longest_line_allowed_passes_whole(void) {
        _cleanup_free_ char *bytes = malloc(MESSAGE_LINE_MAX);
        struct line_reader reader = { 0 };
        const char *line;
        size_t length;

        memset(bytes, 'y', MESSAGE_LINE_MAX);
        bytes[MESSAGE_LINE_MAX - 1] = '\n';
        REQUIRE(line_reader_push(&reader, bytes, MESSAGE_LINE_MAX) == MESSAGE_LINE_MAX);
        CHECK(line_reader_push(&reader, "more", 4) == 0);
        CHECK(line_reader_next(&reader, &line, &length) == 1 && length == MESSAGE_LINE_MAX - 1);
        CHECK(line_reader_next(&reader, &line, &length) == 0);
        line_reader_deinit(&reader);
}

static void a_descriptor_is_read_to_its_end(void) {
        _cleanup_close_ int out = -1;
        struct line_reader reader = { 0 };
        const char *line;
        size_t length;
        int fd[2];

        REQUIRE(pipe2(fd, O_CLOEXEC | O_NONBLOCK) == 0);
        out = fd[0];
        CHECK(line_reader_fill(&reader, out) == -EAGAIN);
        CHECK(write(fd[1], "ab\nc", 4) == 4);
        close(fd[1]);
        CHECK(line_reader_fill(&reader, out) == 4);
        CHECK(line_reader_next(&reader, &line, &length) == 1 && length == 2);
        CHECK(line_reader_next(&reader, &line, &length) == 0);
        CHECK(line_reader_fill(&reader, out) == 0);
        line_reader_deinit(&reader);
}

TEST_MAIN("codec",
          TEST(every_enum_table_round_trips),
          TEST(every_type_encodes_to_one_line_and_reads_back_as_the_same_text),
          TEST(values_survive_the_round_trip),
          TEST(failures_and_reports_survive_the_round_trip),
          TEST(specs_survive_the_round_trip),
          TEST(only_the_keys_of_a_type_are_sent),
          TEST(unknown_keys_are_ignored),
          TEST(unknown_types_are_told_from_malformed_lines),
          TEST(the_frames_of_the_malformed_lines_are_good),
          TEST(malformed_lines_are_refused_and_the_output_untouched),
          TEST(every_truncation_and_changed_byte_is_survived),
          TEST(errors_say_where_and_quote_little),
          TEST(a_nul_byte_in_the_line_is_refused),
          TEST(long_lines_are_refused_both_ways),
          TEST(what_a_program_printed_does_not_keep_a_report_from_being_sent),
          TEST(lines_are_split_however_the_bytes_arrive),
          TEST(a_line_of_a_mebibyte_is_reported_once_and_costs_only_itself),
          TEST(the_longest_line_allowed_passes_whole),
          TEST(a_descriptor_is_read_to_its_end))
