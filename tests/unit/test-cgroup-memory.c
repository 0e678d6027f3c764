/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Shares of memory in a tree of control groups, made of plain files: what is set where, what is noted, what is given
 * back. What the kernel makes of it is seen by tests/e2e/test_cgroups.py, with a kernel and QEMUs.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>

#include "daemon/host/memory/cgroup-limit.h"
#include "daemon/host/memory/cgroup-reclaim.h"
#include "tests/unit/cgroup-tree.h"

/* ---- finding ---------------------------------------------------------------------------------------------- */

static void the_tree_is_found_where_it_has_the_memory_controller(void) {
        char file[CGROUP_PATH_LEN], text[3 * CGROUP_PATH_LEN], found[CGROUP_PATH_LEN];

        tree_init();
        snprintf(file, sizeof(file), "%s/mountinfo", root);
        snprintf(text, sizeof(text),
                 "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                 "31 23 0:27 / %s rw shared:9 - cgroup2 cgroup2 rw\n", root);
        put("", "mountinfo", text);
        put("", "cgroup.controllers", "cpu pids\n");
        CHECK(cgroup_find_root(file, found) == -EOPNOTSUPP);
        put("", "cgroup.controllers", "cpu memory pids\n");
        CHECK(cgroup_find_root(file, found) == 0 && strcmp(found, root) == 0);
        snprintf(text, sizeof(text), "31 23 0:27 /machine.slice %s rw - cgroup2 cgroup2 rw\n", root);
        put("", "mountinfo", text); /* a part of the tree: paths in /proc would not fit */
        CHECK(cgroup_find_root(file, found) == -EOPNOTSUPP);
        CHECK(cgroup_find_root("/no/such/file", found) == -ENOENT);
        tree_deinit();
}

static void a_process_s_group_is_told_by_proc(void) {
        char file[CGROUP_PATH_LEN], path[CGROUP_PATH_LEN] = "?", text[2 * CGROUP_PATH_LEN];

        tree_init();
        snprintf(file, sizeof(file), "%s/cgroup", root);
        put("", "cgroup", "4:memory:/x\n0::/a.slice/b.scope\n");
        CHECK(cgroup_of_process(file, path) == 0 && strcmp(path, "/a.slice/b.scope") == 0);
        put("", "cgroup", "0::/\n");
        CHECK(cgroup_of_process(file, path) == 0 && path[0] == '\0');
        CHECK(!cgroup_parent(path));
        put("", "cgroup", "0::/../../outside\n");
        CHECK(cgroup_of_process(file, path) == -EOPNOTSUPP);
        put("", "cgroup", "4:memory:/x\n");
        CHECK(cgroup_of_process(file, path) == -EOPNOTSUPP);
        snprintf(text, sizeof(text), "0::/%0*d\n", CGROUP_PATH_LEN, 7);
        put("", "cgroup", text);
        CHECK(cgroup_of_process(file, path) == -EOPNOTSUPP);
        tree_deinit();
}

static void a_vm_is_the_scope_that_libvirt_made_for_it(void) {
        char directory[CGROUP_PATH_LEN], name[CGROUP_PATH_LEN];
        struct cgroup_vm found;

        tree_init();
        snprintf(name, sizeof(name), "%s%s/emulator", root, VM); /* threaded: without memory files */
        REQUIRE(mkdir(name, 0755) == 0);
        snprintf(directory, sizeof(directory), "%s/4711", root);
        REQUIRE(mkdir(directory, 0755) == 0);
        put("/4711", "cgroup", "0::" VM "/emulator\n");
        REQUIRE(cgroup_memory_find(root, directory, &found) == 0);
        CHECK_TEXT(found.leaf, VM);
        CHECK_TEXT(found.group, SCOPE);

        make_group("/all-of-them"); /* where there are no scopes, a group that is its own */
        put("/4711", "cgroup", "0::/all-of-them\n");
        put("/all-of-them", "cgroup.procs", "4711\n4712\n");
        CHECK(cgroup_memory_find(root, directory, &found) == -EBUSY);
        put("/all-of-them", "cgroup.procs", ""); /* it is in a group below, without memory files: as others may be */
        CHECK(cgroup_memory_find(root, directory, &found) == -EBUSY);
        put("/all-of-them", "cgroup.procs", "4711\n");
        REQUIRE(cgroup_memory_find(root, directory, &found) == 0);
        CHECK_TEXT(found.group, "/all-of-them");
        put("/4711", "cgroup", "0::/\n");
        CHECK(cgroup_memory_find(root, directory, &found) == -EOPNOTSUPP);
        tree_deinit();
}

/* ---- sharing ---------------------------------------------------------------------------------------------- */

static void protection_reaches_from_the_leaf_to_the_top(void) {
        struct cgroup_finding finding;

        tree_init();
        put(OTHER, "memory.low", "314572800\n"); /* 300 MiB, of which it uses 100 */
        finding = share(200, 500, CGROUP_NO_LIMIT);
        CHECK_TEXT(finding.group, SCOPE);
        CHECK(finding.capped_by[0] == '\0' && finding.low_bytes == 500 * MIB);
        CHECK(finding.high_bytes == CGROUP_NO_LIMIT && finding.bounded_by[0] == '\0');
        CHECK(mib(VM, "memory.low") == 500 && mib(SCOPE, "memory.low") == 500 && mib(VM, "memory.min") == 200);
        CHECK(mib("/machine.slice", "memory.low") == 600 && mib("/machine.slice", "memory.min") == 200);
        CHECK(mib(OTHER, "memory.low") == 300 && !noted(OTHER)); /* not ours to touch */

        share(200, 300, CGROUP_NO_LIMIT); /* less again */
        CHECK(mib(SCOPE, "memory.low") == 300 && mib("/machine.slice", "memory.low") == 400);
        tree_deinit();
}

static void two_vms_that_share_are_protected_for_both(void) {
        const struct cgroup_vm other = { OTHER, OTHER };
        const struct cgroup_share wanted = share_of(0, 400, CGROUP_NO_LIMIT);
        struct cgroup_finding finding;

        tree_init();
        share(0, 500, CGROUP_NO_LIMIT);
        CHECK(cgroup_memory_share(root, lock_file, &other, &wanted, -1, &finding) == 0); /* it uses 100 */
        CHECK(mib("/machine.slice", "memory.low") == 900);
        share(0, 500, CGROUP_NO_LIMIT);
        CHECK(mib("/machine.slice", "memory.low") == 900);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 4);
        CHECK(mib("/machine.slice", "memory.low") == 0);
        tree_deinit();
}

static void a_group_above_that_has_less_is_named(void) {
        struct cgroup_finding finding;
        char name[2 * CGROUP_PATH_LEN];

        tree_init();
        snprintf(name, sizeof(name), "%s/machine.slice/memory.low", root);
        REQUIRE(unlink(name) == 0 && symlink(READ_ONLY, name) == 0);
        put("/machine.slice", "memory.max", "1073741824\n");
        finding = share(0, 500, CGROUP_NO_LIMIT);
        CHECK_TEXT(finding.capped_by, "/machine.slice");
        CHECK(finding.low_bytes < MIB && mib(SCOPE, "memory.low") == 500);
        CHECK_TEXT(finding.bounded_by, "/machine.slice");
        CHECK(finding.max_bytes == 1024 * MIB);
        tree_deinit();
}

static void what_an_operator_has_set_is_never_weakened(void) {
        struct cgroup_finding finding;

        tree_init();
        put(SCOPE, "memory.low", "943718400\n"); /* 900 MiB */
        put(SCOPE, "memory.high", "157286400\n"); /* 150 MiB */
        finding = share(0, 500, 300 * MIB);
        CHECK(mib(SCOPE, "memory.low") == 900 && mib(SCOPE, "memory.high") == 150);
        CHECK(finding.high_bytes == 150 * MIB);
        tree_deinit();
}

/* One right at it would stop QEMU at each page. */
static void a_limit_stays_well_above_what_cannot_be_taken_back(void) {
        tree_init();
        CHECK(share(0, 50, 60 * MIB).high_bytes == 164 * MIB); /* memory.current and 64 MiB */
        put(VM, "memory.current", "3221225472\n");
        CHECK(share(0, 50, 60 * MIB).high_bytes == (3072 + 192) * MIB);
        put(VM, "memory.current", "10485760\n");
        CHECK(share(0, 50, 60 * MIB).high_bytes == 60 * MIB);
        CHECK(mib(VM, "memory.high") == 60 && mib(SCOPE, "memory.high") == CGROUP_NO_LIMIT);
        tree_deinit();
}

/* Whoever writes a limit below what is used waits for the swap: that must never be systemd. */
static void systemd_is_never_given_a_limit_that_it_had_to_wait_for(void) {
        const struct cgroup_vm flat = { SCOPE, SCOPE };
        const struct cgroup_share wanted = share_of(0, 0, 104 * MIB);
        struct cgroup_finding finding;

        tree_init();
        has_systemd = true;
        asked = 0;
        CHECK(share(0, 0, 104 * MIB).high_bytes == 104 * MIB && asked == 0); /* a group of libvirt's; it uses 100 */
        CHECK(cgroup_memory_share(root, lock_file, &flat, &wanted, -1, &finding) == 0);
        CHECK(asked == 1 && finding.high_bytes == 164 * MIB && mib(SCOPE, "memory.high") == 164);
        has_systemd = false;
        tree_deinit();
}

static void what_may_not_swap_is_not_bounded(void) {
        tree_init();
        CHECK(share(0, 50, 120 * MIB).high_bytes == 120 * MIB);
        put("/machine.slice", "memory.swap.max", "0\n");
        CHECK(share(0, 50, 120 * MIB).high_bytes == CGROUP_NO_LIMIT);
        put("/machine.slice", "memory.swap.max", "max\n");
        CHECK(share(0, 50, 120 * MIB).high_bytes == 120 * MIB);
        tree_deinit();
}

static void every_limit_has_its_file(void) {
        for (int i = 0; i < CGROUP_LIMIT_MAX; i++)
                CHECK((int) cgroup_limit_from_string(cgroup_limit_to_string((enum cgroup_limit) i)) == i);
        CHECK(!cgroup_limit_to_string(CGROUP_LIMIT_MAX));
}

/* It would not be given back by who stops meanwhile. */
static void nothing_is_bounded_for_who_is_gone(void) {
        const struct cgroup_share wanted = share_of(0, 50, 120 * MIB);
        const struct cgroup_vm groups = vm();
        struct cgroup_finding finding;
        int ends[2];

        tree_init();
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        CHECK(!cgroup_asker_is_gone(-1) && !cgroup_asker_is_gone(ends[0]));
        CHECK(cgroup_memory_share(root, lock_file, &groups, &wanted, ends[0], &finding) == 0);
        CHECK(mib(VM, "memory.high") == 120 && cgroup_memory_give_back(root, lock_file, true) == 3);
        close(ends[1]);
        CHECK(cgroup_asker_is_gone(ends[0]));
        CHECK(cgroup_memory_share(root, lock_file, &groups, &wanted, ends[0], &finding) == -ECANCELED);
        CHECK(mib(VM, "memory.high") == CGROUP_NO_LIMIT);
        close(ends[0]);
        tree_deinit();
}

/* As far as a request can tell: no VM is protected for more than it could have. */
static void a_share_has_to_make_sense(void) {
        struct cgroup_share wanted = share_of(200, 100, CGROUP_NO_LIMIT);
        char text[64];

        tree_init();
        CHECK(cgroup_share_check(root, &wanted) == -ERANGE);
        wanted = share_of(50, 100, 80 * MIB);
        CHECK(cgroup_share_check(root, &wanted) == -ERANGE);
        wanted = share_of(50, 100, 200 * MIB);
        CHECK(cgroup_share_check(root, &wanted) == -ENOENT);
        put("", "statm", "nonsense\n");
        CHECK(cgroup_share_check(root, &wanted) == -EBADMSG);
        snprintf(text, sizeof(text), "%lu 1 2 3\n", (unsigned long) (500 * MIB / (uint64_t) sysconf(_SC_PAGESIZE)));
        put("", "statm", text);
        CHECK(cgroup_share_check(root, &wanted) == 0 && wanted.low_bytes == 100 * MIB && wanted.min_bytes == 50 * MIB);
        wanted = share_of(50, 5000, CGROUP_NO_LIMIT);
        CHECK(cgroup_share_check(root, &wanted) == 0 && wanted.low_bytes == 500 * MIB + GIB);
        CHECK(wanted.min_bytes == 50 * MIB && wanted.high_bytes == CGROUP_NO_LIMIT);
        tree_deinit();
}

static void a_vm_whose_group_is_gone_is_an_error(void) {
        const struct cgroup_vm gone = { "/machine.slice/gone.scope", "/machine.slice/gone.scope" };
        const struct cgroup_share wanted = share_of(0, 500, CGROUP_NO_LIMIT);
        struct cgroup_finding finding;

        tree_init();
        CHECK(cgroup_memory_share(root, lock_file, &gone, &wanted, -1, &finding) == -ENOENT);
        CHECK(mib("/machine.slice", "memory.low") == 0);
        tree_deinit();
}

/* What a path ends in says nothing below a unit that is delegated: names are free there. */
static void only_slices_lead_to_a_unit_of_the_system(void) {
        static const char *const foreign[] = {
                "/user.slice/user-1000.slice/user@1000.service/ssh.service",
                "/user.slice/user-1000.slice/user@1000.service/system.slice",
                "/machine.slice/machine-lxc.scope/system.slice/ssh.service",
                "/by-hand/system.slice",
        };
        const char *unit;

        CHECK(cgroup_unit_of_path("/machine.slice", &unit) == 0 && unit && strcmp(unit, "machine.slice") == 0);
        CHECK(cgroup_unit_of_path(SCOPE, &unit) == 0 && unit && strcmp(unit, strrchr(SCOPE, '/') + 1) == 0);
        CHECK(cgroup_unit_of_path("/user.slice/user-1000.slice/user@1000.service", &unit) == 0 && unit);
        CHECK(cgroup_unit_of_path(VM, &unit) == 0 && !unit);
        CHECK(cgroup_unit_of_path("", &unit) == 0 && !unit);
        for (unsigned i = 0; i < ELEMENTSOF(foreign); i++)
                CHECK(cgroup_unit_of_path(foreign[i], &unit) == -EPERM && !unit);
}

/* ---- giving back ------------------------------------------------------------------------------------------ */

static void everything_is_as_before_when_it_is_given_back(void) {
        tree_init();
        put("/machine.slice", "memory.low", "10485760\n");
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 0); /* nothing was given */
        share(200, 500, 400 * MIB);
        share(200, 600, 300 * MIB); /* the second note still tells of the first beginning */
        CHECK(noted(VM) && noted(SCOPE) && noted("/machine.slice"));
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 3);
        CHECK(mib("/machine.slice", "memory.low") == 10 && mib("/machine.slice", "memory.min") == 0);
        CHECK(mib(SCOPE, "memory.low") == 0 && mib(VM, "memory.low") == 0 && mib(VM, "memory.min") == 0);
        CHECK(mib(SCOPE, "memory.high") == CGROUP_NO_LIMIT);
        CHECK(!noted(VM) && !noted(SCOPE) && !noted("/machine.slice"));
        tree_deinit();
}

static void what_an_operator_sets_meanwhile_stays(void) {
        tree_init();
        share(0, 500, 300 * MIB);
        put(SCOPE, "memory.low", "734003200\n"); /* 700 MiB */
        CHECK(share(0, 600, 300 * MIB).low_bytes == 600 * MIB);
        CHECK(mib(SCOPE, "memory.low") == 700);
        put(SCOPE, "memory.high", "max\n");
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 3);
        CHECK(mib(SCOPE, "memory.low") == 700 && mib(SCOPE, "memory.high") == CGROUP_NO_LIMIT);
        CHECK(mib("/machine.slice", "memory.low") == 0);
        tree_deinit();
}

/* The note comes first: the value may still be the one before it, or the one before that. */
static void a_crash_between_note_and_value_leaves_nothing_behind(void) {
        tree_init();
        share(0, 500, CGROUP_NO_LIMIT);
        share(0, 600, CGROUP_NO_LIMIT);
        put(SCOPE, "memory.low", "524288000\n"); /* 500 MiB: the second was noted, not written */
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 3);
        CHECK(mib(SCOPE, "memory.low") == 0);

        share(0, 500, CGROUP_NO_LIMIT);
        put(SCOPE, "memory.low", "0\n"); /* noted, and nothing written at all */
        CHECK(share(0, 500, CGROUP_NO_LIMIT).low_bytes == 500 * MIB);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 3);
        CHECK(mib(SCOPE, "memory.low") == 0);
        tree_deinit();
}

/* It answers before it has done it: what it has in hand would come after the note is gone, and stay. */
static void systemd_is_told_to_give_back_what_it_has_not_given_yet(void) {
        static const char note[] = "0 0 0 0 1 0 0 524288000 0 0 0 0 "; /* memory.low: 0 before, 500 MiB now */
        char name[2 * CGROUP_PATH_LEN];

        tree_init();
        snprintf(name, sizeof(name), "%s%s", root, SCOPE);
        REQUIRE(setxattr(name, NOTE, note, strlen(note), 0) == 0);
        has_systemd = true;
        asked = 0;
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 1);
        CHECK(asked == 1 && mib(SCOPE, "memory.low") == 0 && !noted(SCOPE));

        REQUIRE(setxattr(name, NOTE, note, strlen(note), 0) == 0);
        asked = 0;
        CHECK(share(0, 0, CGROUP_NO_LIMIT).low_bytes == 0); /* nor where a share is nothing again */
        CHECK(asked == 1);
        put(SCOPE, "memory.low", "524288000\n"); /* had it come all the same, it would be known */
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 1);
        CHECK(mib(SCOPE, "memory.low") == 0);
        has_systemd = false;
        tree_deinit();
}

static void a_note_that_nobody_can_read_is_left_alone(void) {
        const struct cgroup_share wanted = share_of(0, 500, CGROUP_NO_LIMIT);
        const struct cgroup_vm groups = vm();
        struct cgroup_finding finding;
        char name[2 * CGROUP_PATH_LEN];

        tree_init();
        snprintf(name, sizeof(name), "%s%s", root, SCOPE);
        REQUIRE(setxattr(name, NOTE, "1 2 nonsense", 12, 0) == 0);
        CHECK(cgroup_memory_share(root, lock_file, &groups, &wanted, -1, &finding) == -EBADMSG);
        CHECK(mib(SCOPE, "memory.low") == 0);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == -EBADMSG && noted(SCOPE));
        tree_deinit();
}

/* Whoever a group is delegated to may write there: files, groups, and notes. This one says memory.low was 1 MiB. */
static void a_note_that_somebody_else_may_have_written_is_not_believed(void) {
        static const char forged[] = "0 0 0 0 1 1048576 0 524288000 0 0 0 0 ";
        const struct cgroup_share wanted = share_of(0, 600, CGROUP_NO_LIMIT);
        const struct cgroup_vm foreign = { "/user.slice/delegated", "/user.slice/delegated" };
        struct cgroup_finding finding;
        char name[2 * CGROUP_PATH_LEN], below[3 * CGROUP_PATH_LEN];

        tree_init();
        make_group("/user.slice");
        make_group("/user.slice/delegated");
        make_group("/user.slice/delegated/below");
        put("/user.slice/delegated", "memory.low", "524288000\n"); /* 500 MiB, as if we had given it */
        put("/user.slice/delegated/below", "memory.low", "524288000\n");
        snprintf(name, sizeof(name), "%s/user.slice/delegated", root);
        snprintf(below, sizeof(below), "%s/below", name);
        REQUIRE(setxattr(name, NOTE, forged, strlen(forged), 0) == 0);
        REQUIRE(setxattr(below, NOTE, forged, strlen(forged), 0) == 0);

        REQUIRE(chmod(name, 0777) == 0); /* ours, and everybody's to write */
        CHECK(cgroup_memory_share(root, lock_file, &foreign, &wanted, -1, &finding) == -EPERM);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 1); /* the one below, which is */
        CHECK(mib("/user.slice/delegated", "memory.low") == 500);
        CHECK(mib("/user.slice/delegated/below", "memory.low") == 1);

        if (geteuid() == 0) { /* only root can give a directory away */
                put("/user.slice/delegated/below", "memory.low", "524288000\n");
                REQUIRE(setxattr(below, NOTE, forged, strlen(forged), 0) == 0);
                REQUIRE(chmod(name, 0700) == 0 && chown(name, 65534, 65534) == 0);
                CHECK(cgroup_memory_share(root, lock_file, &foreign, &wanted, -1, &finding) == -EPERM);
                CHECK(cgroup_memory_give_back(root, lock_file, true) == 0); /* nor is what lies below */
                CHECK(mib("/user.slice/delegated", "memory.low") == 500);
                CHECK(mib("/user.slice/delegated/below", "memory.low") == 500);
        }
        tree_deinit();
}

/* The tree can be opened, and so locked, by everybody. */
static void nobody_else_can_hold_up_the_work(void) {
        const struct cgroup_share wanted = share_of(0, 500, CGROUP_NO_LIMIT);
        const struct cgroup_vm groups = vm();
        struct cgroup_finding finding;
        int fd;

        tree_init();
        fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(fd >= 0 && flock(fd, LOCK_EX) == 0);
        CHECK(share(0, 500, CGROUP_NO_LIMIT).low_bytes == 500 * MIB);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 3);
        close(fd);
        REQUIRE(chmod(lock_file, 0644) == 0); /* as one that somebody else could lock */
        CHECK(cgroup_memory_share(root, lock_file, &groups, &wanted, -1, &finding) == -EPERM);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == -EPERM);
        tree_deinit();
}

/* One that is stuck in the kernel must not hold up those that come later for good. */
static void work_that_is_going_on_is_not_waited_for_for_good(void) {
        int fd;

        tree_init();
        fd = open(lock_file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        REQUIRE(fd >= 0 && flock(fd, LOCK_EX) == 0);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == -EAGAIN);
        close(fd);
        CHECK(cgroup_memory_give_back(root, lock_file, true) == 0);
        tree_deinit();
}

int main(void) {
        static const struct test tests[] = {
                TEST(the_tree_is_found_where_it_has_the_memory_controller),
                TEST(a_process_s_group_is_told_by_proc),
                TEST(a_vm_is_the_scope_that_libvirt_made_for_it),
                TEST(protection_reaches_from_the_leaf_to_the_top),
                TEST(two_vms_that_share_are_protected_for_both),
                TEST(a_group_above_that_has_less_is_named),
                TEST(what_an_operator_has_set_is_never_weakened),
                TEST(a_limit_stays_well_above_what_cannot_be_taken_back),
                TEST(systemd_is_never_given_a_limit_that_it_had_to_wait_for),
                TEST(what_may_not_swap_is_not_bounded),
                TEST(every_limit_has_its_file),
                TEST(nothing_is_bounded_for_who_is_gone),
                TEST(a_share_has_to_make_sense),
                TEST(a_vm_whose_group_is_gone_is_an_error),
                TEST(everything_is_as_before_when_it_is_given_back),
                TEST(what_an_operator_sets_meanwhile_stays),
                TEST(a_crash_between_note_and_value_leaves_nothing_behind),
                TEST(systemd_is_told_to_give_back_what_it_has_not_given_yet),
                TEST(a_note_that_nobody_can_read_is_left_alone),
                TEST(a_note_that_somebody_else_may_have_written_is_not_believed),
                TEST(nobody_else_can_hold_up_the_work),
                TEST(work_that_is_going_on_is_not_waited_for_for_good),
                TEST(only_slices_lead_to_a_unit_of_the_system),
        };

        return tree_test_run("cgroup-memory", tests, ELEMENTSOF(tests));
}
