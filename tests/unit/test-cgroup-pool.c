/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The hard limit of the group above all VMs. */

#include <errno.h>

#include "daemon/host/memory/cgroup-pool.h"
#include "daemon/host/memory/cgroup-reclaim.h"
#include "tests/unit/cgroup-tree.h"

static struct cgroup_pool limit_pool(uint64_t bytes) {
        struct cgroup_pool pool = { 0 };

        CHECK(cgroup_pool_limit(root, lock_file, "/machine.slice", bytes, -1, &pool) == 0);
        return pool;
}

static void the_pool_s_group_is_found_above_a_vm_by_its_name(void) {
        char file[2 * CGROUP_PATH_LEN], path[CGROUP_PATH_LEN];

        tree_init();
        snprintf(file, sizeof(file), "%s/cgroup", root);
        CHECK(cgroup_pool_find(file, "machine.slice", path) == -ENOENT);
        put("", "cgroup", "0::" VM "\n");
        REQUIRE(cgroup_pool_find(file, "machine.slice", path) == 0);
        CHECK_TEXT(path, "/machine.slice");
        CHECK(cgroup_pool_find(file, "slice", path) == -EXDEV);
        CHECK(cgroup_pool_find(file, "libvirt", path) == -EXDEV); /* its own */
        tree_deinit();
}

static void a_pool_has_its_hard_limit_until_that_is_given_back_too(void) {
        struct cgroup_pool pool;

        tree_init();
        pool = limit_pool(300 * MIB);
        CHECK_TEXT(pool.group, "/machine.slice");
        CHECK(pool.max_bytes == 300 * MIB && pool.capped_by[0] == '\0' && mib("/machine.slice", "memory.max") == 300);
        share(50, 100, CGROUP_NO_LIMIT);
        CHECK(cgroup_memory_give_back(root, lock_file, false) == 3);
        CHECK(mib("/machine.slice", "memory.max") == 300 && noted("/machine.slice") && !noted(SCOPE));
        CHECK(mib("/machine.slice", "memory.low") == 0);
        share(50, 100, CGROUP_NO_LIMIT);
        CHECK(limit_pool(CGROUP_NO_LIMIT).max_bytes == CGROUP_NO_LIMIT && mib("/machine.slice", "memory.low") == 100);
        limit_pool(300 * MIB);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 3);
        CHECK(mib("/machine.slice", "memory.max") == CGROUP_NO_LIMIT && !noted("/machine.slice"));
        tree_deinit();
}

/* The kernel kills where a group cannot get below its limit. */
static void a_pool_is_not_limited_to_less_than_what_cannot_be_paged_out(void) {
        struct cgroup_pool pool;

        tree_init();
        CHECK(limit_pool(60 * MIB).max_bytes == 164 * MIB); /* memory.current and 64 MiB */
        put("/machine.slice", "memory.current", "31457280\n");
        CHECK(limit_pool(60 * MIB).max_bytes == 60 * MIB);
        put("/machine.slice", "memory.swap.max", "0\n");
        CHECK(cgroup_pool_limit(root, lock_file, "/machine.slice", 50 * MIB, -1, &pool) == -ENOSPC);
        CHECK(limit_pool(CGROUP_NO_LIMIT).max_bytes == CGROUP_NO_LIMIT);
        tree_deinit();
}

static void a_pool_s_swap_is_counted_up_the_tree(void) {
        struct cgroup_pool pool;

        tree_init();
        pool = limit_pool(300 * MIB);
        CHECK(pool.swapped_bytes == 0 && pool.swap_left_bytes == CGROUP_NO_LIMIT); /* the kernel counts none */
        put("/machine.slice", "memory.swap.current", "31457280\n");
        put("/machine.slice", "memory.swap.max", "max\n");
        pool = limit_pool(300 * MIB);
        CHECK(pool.swapped_bytes == 30 * MIB && pool.swap_left_bytes == CGROUP_NO_LIMIT);
        put("/machine.slice", "memory.swap.max", "104857600\n"); /* 100 MiB */
        CHECK(limit_pool(300 * MIB).swap_left_bytes == 70 * MIB);
        put(SCOPE, "memory.swap.max", "20971520\n"); /* 20 MiB, of which it has more */
        put(SCOPE, "memory.swap.current", "31457280\n");
        CHECK(cgroup_swap_left(root, SCOPE) == 0 && limit_pool(300 * MIB).swap_left_bytes == 70 * MIB);
        put(SCOPE, "memory.swap.max", "max\n");
        CHECK(cgroup_swap_left(root, VM) == 70 * MIB);
        tree_deinit();
}

static void an_operator_s_hard_limits_count_too(void) {
        struct cgroup_pool pool;

        tree_init();
        put("/machine.slice", "memory.max", "209715200\n"); /* 200 MiB */
        CHECK(limit_pool(300 * MIB).max_bytes == 200 * MIB && mib("/machine.slice", "memory.max") == 200);
        put("/machine.slice", "memory.max", "max\n");
        CHECK(limit_pool(300 * MIB).max_bytes == 300 * MIB);
        REQUIRE(cgroup_pool_limit(root, lock_file, SCOPE, 400 * MIB, -1, &pool) == 0);
        CHECK_TEXT(pool.capped_by, "/machine.slice");
        CHECK(pool.max_bytes == 300 * MIB && mib(SCOPE, "memory.max") == 400);
        put("/machine.slice", "memory.max", "262144000\n"); /* set meanwhile */
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 2);
        CHECK(mib("/machine.slice", "memory.max") == 250 && mib(SCOPE, "memory.max") == CGROUP_NO_LIMIT);
        tree_deinit();
}

int main(void) {
        static const struct test tests[] = {
                TEST(the_pool_s_group_is_found_above_a_vm_by_its_name),
                TEST(a_pool_has_its_hard_limit_until_that_is_given_back_too),
                TEST(a_pool_is_not_limited_to_less_than_what_cannot_be_paged_out),
                TEST(a_pool_s_swap_is_counted_up_the_tree),
                TEST(an_operator_s_hard_limits_count_too),
        };

        return tree_test_run("cgroup-pool", tests, ELEMENTSOF(tests));
}
