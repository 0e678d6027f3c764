/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "agents/guest/units.h"
#include "daemon/base/cleanup.h"
#include "tests/unit/private-bus.h"
#include "tests/unit/test.h"

/* Units of a guest whose system bus goes away: a real dbus-daemon that is restarted, and on it a process that answers
 * as systemd does, since no test may restart the bus of the machine that it runs on. tests/e2e/test_mixed.py has the
 * real systemd. */

#define UNIT "db.service"
#define UNIT_PATH "/org/freedesktop/systemd1/unit/db_2eservice"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define TICK_USEC (2 * USEC_PER_MSEC)
#define DEADLINE_USEC (20 * USEC_PER_SEC)

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);

/* This guest has systemd. */
int __wrap_access(const char *path, int mode) {
        return strcmp(path, "/run/systemd/system") == 0 ? 0 : __real_access(path, mode);
}

/* What systemd knows, and what was asked of it; outlives the process. */
struct facts {
        char active[16];
        bool jobs_hang;
        unsigned n_starts, n_stops, n_asked;
};

struct world {
        struct private_bus bus;
        struct facts *facts;
        pid_t systemd;
        struct loop *loop;
        struct units *units;
        struct timer tick;
        bool (*wanted)(const struct world *world);
        usec_t deadline_usec;
        unsigned n_down;    /* how often it was told that the unit is inactive or has failed */
        unsigned n_done;    /* jobs that ended */
        int result;         /* of the last */
};

/* ---- systemd ---- */

static int tell_changed(sd_bus *bus) {
        return sd_bus_emit_properties_changed(bus, UNIT_PATH, "org.freedesktop.systemd1.Unit", "ActiveState", NULL);
}

static int run_job(sd_bus_message *m, struct facts *facts, const char *active) {
        sd_bus *bus = sd_bus_message_get_bus(m);
        char job[64];
        uint32_t id = facts->n_starts + facts->n_stops;
        int r;

        snprintf(job, sizeof(job), MANAGER_PATH "/job/%u", id);
        r = sd_bus_reply_method_return(m, "o", job);
        if (r < 0 || facts->jobs_hang)
                return r;
        snprintf(facts->active, sizeof(facts->active), "%s", active);
        r = tell_changed(bus);
        return r < 0 ? r : sd_bus_emit_signal(bus, MANAGER_PATH, "org.freedesktop.systemd1.Manager", "JobRemoved",
                                              "uoss", id, job, UNIT, "done");
}

static int on_start_unit(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct facts *facts = userdata;

        facts->n_starts++;
        return run_job(m, facts, "active");
}

static int on_stop_unit(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        struct facts *facts = userdata;

        facts->n_stops++;
        return run_job(m, facts, "inactive");
}

static int on_other(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(m, NULL);
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "252");
}

static int get_active(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                      void *userdata, sd_bus_error *error) {
        struct facts *facts = userdata;

        facts->n_asked++;
        return sd_bus_message_append(reply, "s", facts->active);
}

static int get_loaded(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                      void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "loaded");
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Subscribe", NULL, NULL, on_other, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("StartUnit", "ss", "o", on_start_unit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("StopUnit", "ss", "o", on_stop_unit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ResetFailedUnit", "s", NULL, on_other, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SetUnitProperties", "sba(sv)", NULL, on_other, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END
};

static const sd_bus_vtable unit_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("ActiveState", "s", get_active, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LoadState", "s", get_loaded, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END
};

static int serve(struct facts *facts) {
        sd_event *event = NULL;
        sd_bus *bus = NULL;
        int r;

        r = sd_event_new(&event);
        if (r >= 0)
                r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(bus, true);
        if (r >= 0)
                r = sd_bus_add_object_vtable(bus, NULL, MANAGER_PATH, "org.freedesktop.systemd1.Manager",
                                             manager_vtable, facts);
        if (r >= 0)
                r = sd_bus_add_object_vtable(bus, NULL, UNIT_PATH, "org.freedesktop.systemd1.Unit", unit_vtable, facts);
        if (r >= 0)
                r = sd_bus_request_name(bus, "org.freedesktop.systemd1", 0);
        if (r >= 0)
                r = sd_bus_attach_event(bus, event, 0);
        if (r >= 0)
                r = sd_event_loop(event);
        return r < 0 ? 1 : 0;
}

static void start_systemd(struct world *world) {
        REQUIRE((world->systemd = fork()) >= 0);
        if (world->systemd == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(serve(world->facts));
        }
}

static void end_systemd(struct world *world) {
        kill(world->systemd, SIGKILL);
        REQUIRE(waitpid(world->systemd, NULL, 0) == world->systemd);
}

/* ---- the guest ---- */

static void on_changed(void *userdata, const char *unit, const struct unit_status *status) {
        struct world *world = userdata;

        CHECK_TEXT(unit, UNIT);
        world->n_down += status->state == UNIT_INACTIVE || status->state == UNIT_FAILED;
}

static void on_done(void *userdata, const char *unit, bool start, int result, const char *text) {
        struct world *world = userdata;

        world->n_done++;
        world->result = result;
}

static void on_going(void *userdata, const char *text) {
}

static void on_tick(void *userdata) {
        struct world *world = userdata;

        if (world->wanted(world) || loop_now() >= world->deadline_usec)
                loop_quit(world->loop);
        else
                loop_arm(world->loop, &world->tick, loop_now() + TICK_USEC);
}

static bool until(struct world *world, bool (*wanted)(const struct world *world)) {
        world->wanted = wanted;
        world->deadline_usec = loop_now() + DEADLINE_USEC;
        loop_arm(world->loop, &world->tick, loop_now());
        CHECK(loop_run(world->loop) == 0);
        return wanted(world);
}

static bool is(const struct world *world, enum unit_state state) {
        const struct unit_status *status = units_status(world->units, UNIT);

        return units_check(world->units, UNIT) == 0 && status->state == state;
}

static bool is_active(const struct world *world) {
        return is(world, UNIT_ACTIVE);
}

static bool is_inactive(const struct world *world) {
        return is(world, UNIT_INACTIVE);
}

static bool has_failed(const struct world *world) {
        return is(world, UNIT_FAILED);
}

static bool is_away(const struct world *world) {
        return units_check(world->units, UNIT) == -ENOTCONN;
}

static bool is_asked_to_start(const struct world *world) {
        return world->facts->n_starts > 0;
}

static bool is_done(const struct world *world) {
        return world->n_done > 0;
}

static void set_active(struct world *world, const char *active) {
        snprintf(world->facts->active, sizeof(world->facts->active), "%s", active);
}

static void begin(struct world *world, const char *active) {
        const struct units_handler handler = { on_changed, on_done, on_going, world };

        *world = (struct world) { .tick = { 0, on_tick, world, NULL } };
        world->facts = mmap(NULL, sizeof(*world->facts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(world->facts != MAP_FAILED);
        set_active(world, active);
        REQUIRE(private_bus_start(&world->bus));
        setenv("DBUS_SYSTEM_BUS_ADDRESS", world->bus.address, 1);
        start_systemd(world);
        REQUIRE(loop_new(&world->loop) == 0);
        REQUIRE(units_new(world->loop, "/nonexistent", &handler, &world->units) == 0);
        REQUIRE(units_watch(world->units, UNIT) == 0);
}

static void end(struct world *world) {
        units_free(world->units);
        loop_free(world->loop);
        end_systemd(world);
        private_bus_stop(&world->bus);
        munmap(world->facts, sizeof(*world->facts));
}

/* The bus is another one; systemd comes to it when the test says so. */
static void restart_bus(struct world *world) {
        end_systemd(world);
        REQUIRE(private_bus_restart(&world->bus));
}

static void a_lost_bus_is_no_failure_of_a_unit_and_the_next_one_is_found(void) {
        struct world world;

        begin(&world, "active");
        CHECK(until(&world, is_active));
        restart_bus(&world);
        CHECK(until(&world, is_away));
        CHECK(units_status(world.units, UNIT)->state == UNIT_UNKNOWN);
        start_systemd(&world);
        CHECK(until(&world, is_active));
        CHECK(world.n_down == 0);
        CHECK_TEXT(units_system(world.units), "systemd 252");
        end(&world);
}

static void a_unit_that_failed_while_the_bus_was_away_is_told_of_when_it_is_back(void) {
        struct world world;

        begin(&world, "active");
        CHECK(until(&world, is_active));
        restart_bus(&world);
        set_active(&world, "failed");
        CHECK(until(&world, is_away));
        CHECK(world.n_down == 0);
        start_systemd(&world);
        CHECK(until(&world, has_failed));
        CHECK(world.n_down > 0);
        end(&world);
}

static void a_start_whose_end_was_not_seen_is_asked_for_again(void) {
        struct world world;

        begin(&world, "inactive");
        CHECK(until(&world, is_inactive));
        world.facts->jobs_hang = true;
        CHECK(units_start(world.units, UNIT, -1) == 0);
        CHECK(until(&world, is_asked_to_start));
        restart_bus(&world);
        CHECK(until(&world, is_away));
        CHECK(world.n_done == 0);
        world.facts->jobs_hang = false;
        start_systemd(&world);
        CHECK(until(&world, is_done) && world.result == 0);
        CHECK(until(&world, is_active));
        CHECK(world.facts->n_starts >= 2);
        end(&world);
}

static void what_is_asked_for_while_there_is_no_bus_is_done_when_there_is_one(void) {
        struct world world;

        begin(&world, "active");
        CHECK(until(&world, is_active));
        restart_bus(&world);
        CHECK(until(&world, is_away));
        CHECK(units_start(world.units, UNIT, 1) == 0);
        CHECK(units_stop(world.units, UNIT) == 0); /* the last that was asked for */
        start_systemd(&world);
        CHECK(until(&world, is_done) && world.result == 0);
        CHECK(until(&world, is_inactive));
        CHECK(world.facts->n_starts == 0);
        end(&world);
}

static void a_systemd_that_comes_back_to_the_same_bus_is_asked_anew(void) {
        struct world world;

        begin(&world, "active");
        CHECK(until(&world, is_active));
        end_systemd(&world);
        CHECK(until(&world, is_away)); /* the bus is there, and nobody on it who could start a unit */
        set_active(&world, "failed");
        start_systemd(&world);
        CHECK(until(&world, has_failed));
        end(&world);
}

static void an_agent_that_is_up_before_the_bus_finds_it(void) {
        const struct units_handler handler = { on_changed, on_done, on_going, NULL };
        struct units_handler mine = handler;
        struct world world;

        begin(&world, "active");
        units_free(world.units);
        setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
        mine.userdata = &world;
        REQUIRE(units_new(world.loop, "/nonexistent", &mine, &world.units) == 0);
        CHECK(units_watch(world.units, UNIT) == 0);
        CHECK(is_away(&world));
        setenv("DBUS_SYSTEM_BUS_ADDRESS", world.bus.address, 1);
        CHECK(until(&world, is_active));
        end(&world);
}

TEST_MAIN("agent-bus",
          TEST(a_lost_bus_is_no_failure_of_a_unit_and_the_next_one_is_found),
          TEST(a_unit_that_failed_while_the_bus_was_away_is_told_of_when_it_is_back),
          TEST(a_start_whose_end_was_not_seen_is_asked_for_again),
          TEST(what_is_asked_for_while_there_is_no_bus_is_done_when_there_is_one),
          TEST(a_systemd_that_comes_back_to_the_same_bus_is_asked_anew),
          TEST(an_agent_that_is_up_before_the_bus_finds_it))
