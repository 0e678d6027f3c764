/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Orders to systemd, over a bus without one: what matters is that each is answered, and that a bus that went away is
 * not the end of it. */

#include <stdlib.h>
#include <string.h>

#include "daemon/base/units.h"
#include "daemon/host/unit.h"
#include "tests/unit/private-bus.h"
#include "tests/unit/test.h"

struct answer {
        unsigned n;
        bool refused;
};

static void on_done(void *userdata, const char *error) {
        struct answer *answer = userdata;

        answer->n++;
        answer->refused = error != NULL;
}

static void run_until(sd_event *loop, const struct answer *answer, unsigned n) {
        for (int i = 0; i < 1000 && answer->n < n; i++)
                REQUIRE(sd_event_run(loop, 10 * USEC_PER_MSEC) >= 0);
}

static void an_order_is_answered_also_after_the_bus_was_away(void) {
        struct answer answer = { 0 };
        struct private_bus bus;
        sd_event *loop = NULL;

        REQUIRE(private_bus_start(&bus));
        REQUIRE(setenv("DBUS_SESSION_BUS_ADDRESS", bus.address, 1) == 0);
        REQUIRE(sd_event_new(&loop) >= 0);
        REQUIRE(unit_ask(loop, true, "StartUnit", "a.service", on_done, &answer) == 0);
        run_until(loop, &answer, 1);
        CHECK(answer.n == 1 && answer.refused); /* nobody is there who starts units */

        REQUIRE(unit_ask(loop, true, "StartUnit", "b.service", on_done, &answer) == 0);
        REQUIRE(private_bus_restart(&bus));
        while (sd_event_run(loop, 0) > 0) /* until all is heard of the bus that has ended */
                continue;
        CHECK(answer.n == 2 && answer.refused);

        REQUIRE(unit_ask(loop, true, "StartUnit", "c.service", on_done, &answer) == 0);
        run_until(loop, &answer, 3);
        CHECK(answer.n == 3 && answer.refused);
        sd_event_unref(loop);
        private_bus_stop(&bus);
}

TEST_MAIN("unit-ask", TEST(an_order_is_answered_also_after_the_bus_was_away))
