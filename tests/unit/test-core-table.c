/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/core/table.h"
#include "tests/unit/test.h"

static const struct holder ACTIVE = { .pair = 0, .side = SIDE_A }, STANDBY = { .pair = 0, .side = SIDE_B };

static uint64_t sum(const struct table *table) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < table->n_rows; i++)
                bytes += table->rows[i].usage_bytes;
        return bytes;
}

/* The row of that name; an empty one with kind REGION_KIND_INVALID where there is none. */
static struct region row(const struct table *table, const char *name) {
        for (size_t i = 0; i < table->n_rows; i++)
                if (strcmp(table->rows[i].name, name) == 0)
                        return table->rows[i];
        return (struct region) { .kind = REGION_KIND_INVALID };
}

static uint64_t mib(const struct table *table, const char *name) {
        return row(table, name).usage_bytes / MIB;
}

/* State A of the document: 256 MB, no part of it reserve. */
static void make_state_a(struct table *table) {
        REQUIRE(table_init(table, 256 * MIB, 32 * MIB, 0) == 0);
        REQUIRE(table_add_vm(table, ACTIVE, "active OS", 160 * MIB, 0) == 0);
        REQUIRE(table_add_vm(table, STANDBY, "standby OS", 32 * MIB, 0) == 0);
}

static void worked_example_appears_exactly(void) {
        struct table t;

        make_state_a(&t);
        CHECK(mib(&t, "active OS") == 160 && mib(&t, "standby OS") == 32 && mib(&t, "monitor") == 32 &&
              mib(&t, "unused") == 32);
        CHECK(row(&t, "application A").kind == REGION_KIND_INVALID);

        /* B: A's 128 came out of what the active VM held; its agent told. */
        CHECK(table_carve(&t, ACTIVE, 32 * MIB, 0, "application A", 128 * MIB, STANDBY) == 0);
        CHECK(mib(&t, "active OS") == 32 && mib(&t, "application A") == 128 && mib(&t, "unused") == 32);
        CHECK(holder_equal(row(&t, "application A").user, ACTIVE));
        CHECK(holder_equal(row(&t, "application A").target, STANDBY));

        /* C: B did not fit, its agent asked, the monitor gave its unused 32. */
        CHECK(table_carve(&t, ACTIVE, 32 * MIB, 1, "application B", 32 * MIB, HOLDER_MONITOR) == -ENOSPC);
        CHECK(table_grant(&t, ACTIVE, 32 * MIB) == 0);
        CHECK(table_carve(&t, ACTIVE, 32 * MIB, 1, "application B", 32 * MIB, HOLDER_MONITOR) == 0);
        CHECK(mib(&t, "application B") == 32 && mib(&t, "unused") == 0 && mib(&t, "active OS") == 32);
        CHECK(holder_equal(row(&t, "application B").target, HOLDER_MONITOR));
        CHECK(holder_equal(row(&t, "active OS").target, ACTIVE));
        CHECK(sum(&t) == 256 * MIB);

        /* Nothing is left to give. */
        CHECK(table_grant(&t, ACTIVE, 1) == -ENOSPC);
        table_deinit(&t);
}

static void failure_of_the_active_system_moves_each_region_to_its_target(void) {
        struct table t;

        make_state_a(&t);
        REQUIRE(table_carve(&t, ACTIVE, 32 * MIB, 0, "application A", 128 * MIB, STANDBY) == 0);
        REQUIRE(table_grant(&t, ACTIVE, 32 * MIB) == 0);
        REQUIRE(table_carve(&t, ACTIVE, 32 * MIB, 1, "application B", 32 * MIB, HOLDER_MONITOR) == 0);
        table_move(&t, table_find_application(&t, ACTIVE, 0), STANDBY, ACTIVE);
        table_give_back(&t, table_find_application(&t, ACTIVE, 1));
        table_check(&t);
        CHECK(table_find_application(&t, ACTIVE, 0) == NULL);
        CHECK(holder_equal(row(&t, "application A").user, STANDBY));
        CHECK(row(&t, "application B").kind == REGION_KIND_INVALID && mib(&t, "unused") == 32);
        CHECK(sum(&t) == 256 * MIB);
        table_deinit(&t);
}

static void lost_memory_is_replaced_by_the_reserve_then_by_unused(void) {
        struct table t;

        REQUIRE(table_init(&t, 256 * MIB, 32 * MIB, 16 * MIB) == 0);
        REQUIRE(table_add_vm(&t, ACTIVE, "active OS", 160 * MIB, 0) == 0);
        REQUIRE(table_carve(&t, ACTIVE, 32 * MIB, 0, "application A", 128 * MIB, STANDBY) == 0);
        CHECK(table_replace_lost(&t, table_find_application(&t, ACTIVE, 0), 32 * MIB) == 32 * MIB);
        CHECK(mib(&t, "application A") == 128 && mib(&t, "reserve") == 0 && mib(&t, "unused") == 32);
        CHECK(t.governed_bytes == 224 * MIB && sum(&t) == 224 * MIB);
        /* More than there is to replace it with: the region is smaller, and the table says so. */
        CHECK(table_replace_lost(&t, table_find_application(&t, ACTIVE, 0), 64 * MIB) == 32 * MIB);
        CHECK(mib(&t, "application A") == 96 && mib(&t, "unused") == 0);
        /* And no more is lost than the region has. */
        CHECK(table_replace_lost(&t, table_find_application(&t, ACTIVE, 0), 128 * MIB) == 0);
        CHECK(mib(&t, "application A") == 0 && t.governed_bytes == 64 * MIB && sum(&t) == 64 * MIB);
        table_deinit(&t);
}

/* A rehearsal's memory is the standby's, says what it is, and comes to the same whichever way it ends. */
static void memory_of_a_rehearsal_is_shown_as_what_it_is(void) {
        struct region *region;
        struct table t;

        make_state_a(&t);
        REQUIRE(table_carve(&t, ACTIVE, 32 * MIB, 0, "A", 128 * MIB, STANDBY) == 0);
        CHECK(table_carve_rehearsal(&t, STANDBY, 32 * MIB, 0, "A", 32 * MIB) == -ENOSPC);
        REQUIRE(table_grant(&t, STANDBY, 32 * MIB) == 0);
        REQUIRE(table_carve_rehearsal(&t, STANDBY, 32 * MIB, 0, "A", 32 * MIB) == 0);
        CHECK(table_carve_rehearsal(&t, STANDBY, 0, 0, "A", MIB) == -EEXIST);
        CHECK(table_carve(&t, STANDBY, 0, 0, "A", MIB, ACTIVE) == -EEXIST);

        /* It is no application's region, and the application's own stays where it is. */
        region = table_find_rehearsal(&t, STANDBY, 0);
        REQUIRE(region != NULL);
        CHECK(region->kind == REGION_REHEARSAL && region->usage_bytes == 32 * MIB &&
              holder_equal(region->target, HOLDER_MONITOR));
        CHECK(mib(&t, "A (rehearsal)") == 32 && table_find_application(&t, STANDBY, 0) == NULL);
        CHECK(table_find_rehearsal(&t, ACTIVE, 0) == NULL && mib(&t, "A") == 128);

        table_shrink(&t, region, 16 * MIB);
        CHECK(mib(&t, "A (rehearsal)") == 16 && mib(&t, "unused") == 16 && sum(&t) == 256 * MIB);
        /* A failover takes what is plugged by then: late memory of the standby's system. */
        table_join_system(&t, table_find_rehearsal(&t, STANDBY, 0));
        CHECK(table_find_rehearsal(&t, STANDBY, 0) == NULL && mib(&t, "standby OS") == 48);
        table_move(&t, table_find_application(&t, ACTIVE, 0), STANDBY, ACTIVE);
        table_check(&t);
        CHECK(table_find_application(&t, STANDBY, 0) != NULL && sum(&t) == 256 * MIB);

        REQUIRE(table_carve_rehearsal(&t, STANDBY, 32 * MIB, 1, "B", 16 * MIB) == 0);
        table_shrink(&t, table_find_rehearsal(&t, STANDBY, 1), 16 * MIB);
        CHECK(table_find_rehearsal(&t, STANDBY, 1) == NULL && mib(&t, "unused") == 32 && mib(&t, "standby OS") == 32);
        table_deinit(&t);
}

static void what_does_not_fit_is_refused_and_changes_nothing(void) {
        struct table t;

        CHECK(table_init(&t, 64 * MIB, 65 * MIB, 0) == -ENOSPC);
        make_state_a(&t);
        CHECK(table_add_vm(&t, ACTIVE, "again", MIB, 0) == -EEXIST);
        CHECK(table_add_vm(&t, (struct holder){ .pair = 1 }, "third", 33 * MIB, 0) == -ENOSPC);
        CHECK(table_add_vm(&t, (struct holder){ .pair = 1 }, "third", 32 * MIB, MIB) == -ENOSPC);
        CHECK(table_release(&t, STANDBY, 33 * MIB) == -ENOSPC);
        CHECK(table_carve(&t, ACTIVE, 32 * MIB, 0, "A", 129 * MIB, STANDBY) == -ENOSPC);
        CHECK(table_carve(&t, ACTIVE, 32 * MIB, 0, "A", 128 * MIB, STANDBY) == 0);
        CHECK(table_carve(&t, ACTIVE, 32 * MIB, 0, "A", 0, STANDBY) == -EEXIST);
        CHECK(sum(&t) == 256 * MIB && mib(&t, "unused") == 32);
        table_deinit(&t);
}

TEST_MAIN("core-table", TEST(worked_example_appears_exactly),
          TEST(failure_of_the_active_system_moves_each_region_to_its_target),
          TEST(lost_memory_is_replaced_by_the_reserve_then_by_unused),
          TEST(memory_of_a_rehearsal_is_shown_as_what_it_is), TEST(what_does_not_fit_is_refused_and_changes_nothing))
