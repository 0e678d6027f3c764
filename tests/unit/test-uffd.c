/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Where a program gets its userfaultfd from. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agents/protocol/region-list.h"
#include "agents/region/uffd.h"
#include "daemon/base/cleanup.h"
#include "tests/unit/test.h"

/* Whether this process may have one at all does not matter: the device that it was handed is marked first. */
static void an_inherited_device_is_not_handed_on(void) {
        _cleanup_close_ int device = open("/dev/null", O_RDWR), fd = -1;
        struct error error = ERROR_INIT;
        char text[16];
        bool user_only;

        REQUIRE(device >= 0 && fcntl(device, F_GETFD) == 0);
        snprintf(text, sizeof(text), "%d", device);
        REQUIRE(setenv(USERFAULTFD_VARIABLE, text, 1) == 0);
        (void) uffd_open(-1, &fd, &user_only, &error);
        CHECK(fcntl(device, F_GETFD) == FD_CLOEXEC);
        error_deinit(&error);
}

TEST_MAIN("uffd", TEST(an_inherited_device_is_not_handed_on))
