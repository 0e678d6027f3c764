/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The list of shared regions that a program inherits. */

#include <errno.h>

#include "agents/protocol/message.h"
#include "agents/protocol/region-list.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "tests/unit/test.h"

#define URI "nbd+unix:///00112233445566778899aabbccddeeff?socket=/run/mem.sock"
#define ENTRY "{\"name\":\"orders\",\"size\":4096,\"kind\":3,\"uri\":\"" URI "\"}"

/* The document with these regions; the code, and no message where it is fine. */
static int decode_regions(const char *regions, struct region_list *ret) {
        struct error error = ERROR_INIT;
        char text[4096];
        int r;

        (void) snprintf(text, sizeof(text), "{\"failover-regions\":1,\"regions\":[%s]}\n", regions);
        r = region_list_decode(text, strlen(text), ret, &error);
        CHECK((r < 0) == (error.message != NULL) && (r >= 0 || error.code == r));
        CHECK(!error.message || !strstr(error.message, "00112233"));
        error_deinit(&error);
        return r;
}

static int refused(const char *regions) {
        struct region_list untouched = { .n_entries = 77 };
        int r = decode_regions(regions, &untouched);

        CHECK(untouched.n_entries == 77);
        return r;
}

static void what_is_written_reads_back(void) {
        struct region_entry entries[] = {
                { "orders", 256 * MIB, 3, true, 200, (char *) URI, 5000, 1000000, true, true },
                { "a.b_c-1", 1, 1, false, 0, (char *) "nbd://[::1]:10809/x", 0, 0, false, false },
        };
        const struct region_list list = { entries, 2 };
        _cleanup_free_ char *text = NULL;
        struct region_list back;

        REQUIRE(region_list_encode(&list, &text) == 0);
        REQUIRE(region_list_decode(text, strlen(text), &back, NULL) == 0);
        REQUIRE(back.n_entries == 2);
        for (size_t i = 0; i < 2; i++) {
                const struct region_entry *a = &entries[i], *b = region_list_find(&back, a->name);

                REQUIRE(b == &back.entries[i]);
                CHECK(a->size_bytes == b->size_bytes && a->kind == b->kind && a->write == b->write);
                CHECK(a->write_back_msec == b->write_back_msec && a->deadline_msec == b->deadline_msec);
                CHECK(a->bandwidth_bytes == b->bandwidth_bytes && a->epochs == b->epochs && a->reports == b->reports);
                CHECK_TEXT(b->uri, a->uri);
        }
        CHECK(!region_list_find(&back, "order"));
        region_list_deinit(&back);
}

static void keys_of_the_contract_are_these(void) {
        struct region_list list;

        REQUIRE(decode_regions("{\"name\":\"orders\",\"size\":268435456,\"kind\":3,\"write\":true,"
                               "\"write-back-ms\":200,\"uri\":\"" URI "\",\"deadline-ms\":5000,\"bandwidth\":9,"
                               "\"epochs\":true,\"new\":1}",
                               &list) == 0);
        REQUIRE(list.n_entries == 1);
        CHECK(list.entries[0].size_bytes == 256 * MIB && list.entries[0].kind == 3 && list.entries[0].write);
        CHECK(list.entries[0].write_back_msec == 200 && list.entries[0].deadline_msec == 5000);
        CHECK(list.entries[0].bandwidth_bytes == 9 && list.entries[0].epochs);
        region_list_deinit(&list);
}

static void nothing_is_a_list_too(void) {
        struct region_list list;

        REQUIRE(decode_regions("", &list) == 0);
        CHECK(list.n_entries == 0 && !region_list_find(&list, "orders"));
        region_list_deinit(&list);
}

static void padding_at_the_end_is_ignored(void) {
        static const char text[] = "{\"failover-regions\":1,\"regions\":[" ENTRY "]}\n\0\0";
        struct region_list list;

        REQUIRE(region_list_decode(text, sizeof(text), &list, NULL) == 0);
        CHECK(list.n_entries == 1);
        region_list_deinit(&list);
        CHECK(region_list_decode("\n\n", 2, &list, NULL) == -EBADMSG);
        CHECK(region_list_decode("", 0, &list, NULL) == -EBADMSG);
}

static void what_is_malformed_is_refused(void) {
        static const char *const bad[] = {
                "{}", "1", ENTRY "," ENTRY,
                "{\"name\":\"../x\",\"size\":4096,\"kind\":3,\"uri\":\"" URI "\"}",
                "{\"name\":\"\",\"size\":4096,\"kind\":3,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":0,\"kind\":3,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":-1,\"kind\":3,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":70368744177665,\"kind\":3,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":0,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":5,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":3}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":3,\"uri\":\"http://x/\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":3,\"uri\":\"nbd:x\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":3,\"uri\":\"nbd://x/a b\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":3,\"uri\":\"nbd://x/\\u001b[1m\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":2,\"write-back-ms\":1,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":3,\"write\":1,\"uri\":\"" URI "\"}",
                "{\"name\":\"a\",\"size\":4096,\"kind\":3,\"deadline-ms\":86400001,\"uri\":\"" URI "\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                CHECK(refused(bad[i]) == -EBADMSG);
}

static void there_is_a_limit_to_all_that_comes(void) {
        _cleanup_free_ char *text = malloc(MESSAGE_LINE_MAX + 2);
        struct region_entry entries[REGION_LIST_MAX + 1];
        struct region_list list = { entries, REGION_LIST_MAX }, back;
        char uri[REGION_URI_LENGTH_MAX + 2] = "nbd://host/", names[REGION_LIST_MAX + 1][NAME_LEN];
        char *line = NULL;

        REQUIRE(text != NULL);
        memset(uri + strlen(uri), 'x', REGION_URI_LENGTH_MAX - strlen(uri));
        for (size_t i = 0; i <= REGION_LIST_MAX; i++) {
                entries[i] = (struct region_entry) { .size_bytes = REGION_SIZE_MAX, .kind = 4, .write = true,
                                                     .write_back_msec = REGION_MSEC_MAX, .uri = uri, .epochs = true,
                                                     .reports = true,
                                                     .deadline_msec = REGION_MSEC_MAX, .bandwidth_bytes = INT64_MAX };
                memset(names[i], 'n', NAME_LEN - 1);
                (void) snprintf(entries[i].name, NAME_LEN, "%zu-%.*s", i, NAME_LEN - 4, names[i]);
        }
        REQUIRE(region_list_encode(&list, &line) == 0);
        CHECK(strlen(line) <= MESSAGE_LINE_MAX);
        free(line);
        list.n_entries++;
        CHECK(region_list_encode(&list, &line) == -EINVAL);
        list.n_entries = 1;
        uri[REGION_URI_LENGTH_MAX] = 'x';
        CHECK(region_list_encode(&list, &line) == -EINVAL);
        memset(text, ' ', MESSAGE_LINE_MAX);
        CHECK(region_list_decode(text, MESSAGE_LINE_MAX, &back, NULL) == -E2BIG);
}

static void another_version_is_named_as_such(void) {
        static const char text[] = "{\"failover-regions\":2,\"regions\":\"new\"}";
        struct error error = ERROR_INIT;
        struct region_list list;

        CHECK(region_list_decode(text, strlen(text), &list, &error) == -EPROTONOSUPPORT);
        CHECK(error.message && strstr(error.message, "version 2"));
        error_deinit(&error);
}

TEST_MAIN("region-list", TEST(what_is_written_reads_back), TEST(keys_of_the_contract_are_these),
          TEST(nothing_is_a_list_too), TEST(padding_at_the_end_is_ignored), TEST(what_is_malformed_is_refused),
          TEST(there_is_a_limit_to_all_that_comes), TEST(another_version_is_named_as_such))
