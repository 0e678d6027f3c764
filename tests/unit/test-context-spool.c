/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The directory in which a VM's state lies on its way. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "daemon/pages/context-spool.h"
#include "tests/unit/test.h"

static void a_spool_is_private_needs_room_and_leaves_nothing(void) {
        char parent[] = "/tmp/test-context-spool-XXXXXX";
        struct context_spool left = CONTEXT_SPOOL_INIT, spool = CONTEXT_SPOOL_INIT;
        struct error error = ERROR_INIT;
        struct stat st;

        REQUIRE(mkdtemp(parent) != NULL);
        CHECK(context_spool_open(parent, UINT64_MAX / 2, &spool, &error) == -ENOSPC);
        CHECK(strstr(error_text(&error), "--spool") != NULL);
        error_deinit(&error);
        REQUIRE(context_spool_open(parent, MIB, &left, NULL) == 0);
        close(open(left.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        REQUIRE(context_spool_open(parent, MIB, &spool, NULL) == 0);
        CHECK(access(left.path, F_OK) == 0); /* its owner lives */
        CHECK(stat(spool.directory, &st) == 0 && (st.st_mode & 0777) == 0700);
        close(left.directory_fd); /* as when it is killed */
        context_spool_close(&spool);
        REQUIRE(context_spool_open(parent, MIB, &spool, NULL) == 0);
        CHECK(access(left.directory, F_OK) < 0);
        context_spool_close(&spool);
        left.directory_fd = -1;
        context_spool_close(&left);
        CHECK(rmdir(parent) == 0);
}

static void a_directory_of_somebody_elses_is_not_swept(void) {
        static const char *const names[] = { "context-of-mine", "context-public" };
        char parent[] = "/tmp/test-context-spool-XXXXXX", path[2][128], command[64];
        struct context_spool spool = CONTEXT_SPOOL_INIT;

        REQUIRE(mkdtemp(parent) != NULL);
        for (int i = 0; i < 2; i++) {
                snprintf(path[i], sizeof(path[i]), "%s/%s", parent, names[i]);
                REQUIRE(mkdir(path[i], i == 0 ? 0700 : 0755) == 0);
                strcat(path[i], "/state");
                close(open(path[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        }
        REQUIRE(context_spool_open(parent, MIB, &spool, NULL) == 0);
        CHECK(access(path[0], F_OK) == 0 && access(path[1], F_OK) == 0);
        context_spool_close(&spool);
        snprintf(command, sizeof(command), "rm -r %s", parent);
        CHECK(system(command) == 0);
}

TEST_MAIN("context-spool",
          TEST(a_spool_is_private_needs_room_and_leaves_nothing),
          TEST(a_directory_of_somebody_elses_is_not_swept))
