/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "agents/guest/state.h"
#include "tests/unit/test.h"

static char directory[32];

static void set_up(void) {
        strcpy(directory, "/tmp/test-state-XXXXXX");
        REQUIRE(mkdtemp(directory) != NULL);
}

static void tear_down(void) {
        char command[64];

        snprintf(command, sizeof(command), "rm -rf %s", directory);
        CHECK(system(command) == 0);
}

static const struct state_record full = {
        .state = APPLICATION_FAILED, .token = UINT64_MAX, .pid = 4711, .start_time = UINT64_MAX - 1, .node = -1,
        .bytes = UINT64_C(1) << 60, .cause = FAILURE_MEMORY, .code = -12, .hard = true, .text = " two  words, end\t%d ",
};

static void check_equal(const struct state_record *a, const struct state_record *b) {
        CHECK(a->state == b->state && a->token == b->token && a->pid == b->pid && a->start_time == b->start_time);
        CHECK(a->node == b->node && a->bytes == b->bytes && a->cause == b->cause && a->code == b->code &&
              a->hard == b->hard);
        CHECK_TEXT(a->text, b->text);
}

static void every_state_and_cause_reads_back_as_written(void) {
        struct state_record record = full, back;

        set_up();
        for (int state = 0; state < APPLICATION_STATE_MAX; state++)
                for (int cause = 0; cause < FAILURE_CAUSE_MAX; cause++) {
                        record.state = (enum application_state) state;
                        record.cause = (enum failure_cause) cause;
                        REQUIRE(state_write(directory, "app", &record) == 0);
                        REQUIRE(state_read(directory, "app", &back) == 0);
                        check_equal(&record, &back);
                }
        record = (struct state_record) { 0 };
        REQUIRE(state_write(directory, "app", &record) == 0);
        REQUIRE(state_read(directory, "app", &back) == 0);
        check_equal(&record, &back);
        tear_down();
}

static void a_line_break_in_the_text_cannot_forge_a_record(void) {
        struct state_record record = full, back;

        set_up();
        strcpy(record.text, "x\nend\ntoken 1");
        REQUIRE(state_write(directory, "app", &record) == 0);
        REQUIRE(state_read(directory, "app", &back) == 0);
        CHECK(back.token == UINT64_MAX);
        CHECK_TEXT(back.text, "x end token 1");
        tear_down();
}

static void a_file_torn_anywhere_is_refused_and_the_output_untouched(void) {
        char path[64], text[1024];
        struct state_record back = { .token = 42 };
        int n;

        set_up();
        REQUIRE(state_write(directory, "app", &full) == 0);
        snprintf(path, sizeof(path), "%s/app.state", directory);
        n = file_read(text, sizeof(text), "%s", path);
        REQUIRE(n > 50);
        for (int i = 0; i < n; i++) {
                REQUIRE(file_replace(text, (size_t) i, path) == 0);
                CHECK(state_read(directory, "app", &back) == -EBADMSG);
        }
        CHECK(back.token == 42);
        REQUIRE(file_replace("state=running\nend\n", 18, path) == 0);
        CHECK(state_read(directory, "app", &back) == -EBADMSG);
        tear_down();
}

static void an_unfinished_write_leaves_the_old_record(void) {
        struct state_record back;
        char path[64];

        set_up();
        REQUIRE(state_write(directory, "app", &full) == 0);
        snprintf(path, sizeof(path), "%s/app.state.new", directory);
        REQUIRE(file_replace("half", 4, path) == 0); /* as a crash before the rename leaves it */
        REQUIRE(state_read(directory, "app", &back) == 0);
        check_equal(&full, &back);
        tear_down();
}

static void only_records_are_listed(void) {
        char names[4][NAME_LEN], path[64];

        set_up();
        CHECK(state_list(directory, names, 4) == 0);
        REQUIRE(state_write(directory, "one", &full) == 0);
        snprintf(path, sizeof(path), "%s/configuration.json", directory);
        REQUIRE(file_replace("x", 1, path) == 0);
        REQUIRE(state_list(directory, names, 4) == 1);
        CHECK_TEXT(names[0], "one");
        REQUIRE(state_write(directory, "two", &full) == 0);
        CHECK(state_list(directory, names, 1) == 1);
        CHECK(state_list(directory, names, 4) == 2);
        CHECK(state_remove(directory, "one") == 0);
        CHECK(state_list(directory, names, 4) == 1);
        CHECK(state_remove(directory, "one") == -ENOENT);
        tear_down();
}

TEST_MAIN("agent-state",
          TEST(every_state_and_cause_reads_back_as_written),
          TEST(a_line_break_in_the_text_cannot_forge_a_record),
          TEST(a_file_torn_anywhere_is_refused_and_the_output_untouched),
          TEST(an_unfinished_write_leaves_the_old_record),
          TEST(only_records_are_listed))
