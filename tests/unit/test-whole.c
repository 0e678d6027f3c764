/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/whole.h"
#include "tests/unit/test.h"

static char dir[64], file[80], other[80];

static void begin(void) {
        strcpy(dir, "/tmp/test-whole-XXXXXX");
        REQUIRE(mkdtemp(dir) != NULL);
        snprintf(file, sizeof(file), "%s/file", dir);
        snprintf(other, sizeof(other), "%s/other", dir);
}

static void end(void) {
        unlink(file);
        unlink(other);
        CHECK(rmdir(dir) == 0); /* nothing else is left in it */
}

static void what_replaces_a_file_is_read_back(void) {
        _cleanup_free_ char *text = NULL;
        struct stat st;
        size_t n = 42;

        begin();
        REQUIRE(whole_replace(file, "a longer text than this", 23, 0600, false) == 0);
        REQUIRE(whole_replace(file, "a \0 text", 8, 0600, true) == 0);
        CHECK(stat(file, &st) == 0 && (st.st_mode & 07777) == 0600);
        REQUIRE(whole_read_text(file, 8, &text, &n) == 0);
        CHECK(n == 8 && memcmp(text, "a \0 text", 9) == 0);
        end();
}

static void an_empty_file_has_an_empty_text(void) {
        _cleanup_free_ char *text = NULL;
        size_t n = 42;

        begin();
        REQUIRE(whole_replace(file, "", 0, 0600, false) == 0);
        REQUIRE(whole_read_text(file, 0, &text, &n) == 0);
        CHECK(n == 0 && text[0] == 0);
        end();
}

static void a_file_that_cannot_be_replaced_stays(void) {
        _cleanup_free_ char *text = NULL;
        char aside[96];
        size_t n = 0;

        begin();
        REQUIRE(whole_replace(file, "old", 3, 0600, false) == 0);
        snprintf(aside, sizeof(aside), "%s.new", file);
        REQUIRE(symlink(other, aside) == 0);
        CHECK(whole_replace(file, "new", 3, 0600, false) == -ELOOP);
        CHECK(access(other, F_OK) < 0);
        REQUIRE(whole_read_text(file, 8, &text, &n) == 0);
        CHECK_TEXT(text, "old");
        unlink(aside);
        end();
}

static void only_a_regular_file_within_the_bound_is_read(void) {
        char *text = NULL;
        size_t n = 42;

        begin();
        CHECK(whole_read_text(file, 8, &text, &n) == -ENOENT);
        REQUIRE(whole_replace(other, "123456789", 9, 0600, false) == 0);
        CHECK(whole_read_text(other, 8, &text, &n) == -EBADMSG);
        REQUIRE(symlink(other, file) == 0);
        CHECK(whole_read_text(file, 9, &text, &n) == -ELOOP);
        unlink(file);
        REQUIRE(mkfifo(file, 0600) == 0);
        CHECK(whole_read_text(file, 8, &text, &n) == -EBADMSG); /* nobody writes into it: it must not be waited for */
        CHECK(whole_read_text(dir, 8, &text, &n) == -EBADMSG);
        CHECK(text == NULL && n == 42);
        end();
}

TEST_MAIN("whole",
          TEST(what_replaces_a_file_is_read_back),
          TEST(an_empty_file_has_an_empty_text),
          TEST(a_file_that_cannot_be_replaced_stays),
          TEST(only_a_regular_file_within_the_bound_is_read))
