/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A tree of control groups, made of plain files: a VM of libvirt's in a scope of systemd's, another one, and the slice
 * above both. A program that includes this is linked with --wrap=cgroup_unit,--wrap=cgroup_set_unit.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "daemon/host/memory/cgroup-memory.h"
#include "tests/unit/test.h"

#define SCOPE "/machine.slice/machine-qemu\\x2d1\\x2da.scope"
#define VM SCOPE "/libvirt"
#define OTHER "/machine.slice/machine-qemu\\x2d2\\x2db.scope"
#define READ_ONLY "/proc/sys/kernel/ngroups_max" /* a number that nobody can write */
#define NOTE "user.failoverd.memory"

static char root[CGROUP_PATH_LEN - 128], lock_file[CGROUP_PATH_LEN];

/* systemd's place: where `has_systemd` is set, units are its own, and what it is told is written at once. */
static unsigned asked;
static bool has_systemd;

int __wrap_cgroup_unit(const char *tree, const char *path, const char **ret_unit);
int __wrap_cgroup_set_unit(const char *unit, const char *property, uint64_t value);

int __wrap_cgroup_unit(const char *tree, const char *path, const char **ret_unit) {
        *ret_unit = NULL;
        return has_systemd ? cgroup_unit_of_path(path, ret_unit) : 0;
}

int __wrap_cgroup_set_unit(const char *unit, const char *property, uint64_t value) {
        CHECK(strcmp(property, "MemoryLow") == 0 || strcmp(property, "MemoryMin") == 0 ||
              strcmp(property, "MemoryHigh") == 0 || strcmp(property, "MemoryMax") == 0);
        asked++;
        return cgroup_write(root, strcmp(unit, "machine.slice") == 0 ? "/machine.slice" : SCOPE,
                            strcmp(property, "MemoryLow") == 0   ? "memory.low"
                            : strcmp(property, "MemoryMin") == 0 ? "memory.min"
                            : strcmp(property, "MemoryMax") == 0 ? "memory.max"
                                                                 : "memory.high", value);
}

static inline void put(const char *path, const char *file, const char *text) {
        char name[2 * CGROUP_PATH_LEN];
        FILE *f;

        snprintf(name, sizeof(name), "%s%s/%s", root, path, file);
        f = fopen(name, "we");
        REQUIRE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static inline void make_group(const char *path) {
        char name[2 * CGROUP_PATH_LEN];

        snprintf(name, sizeof(name), "%s%s", root, path);
        REQUIRE(mkdir(name, 0755) == 0);
        put(path, "cgroup.procs", "");
        put(path, "memory.min", "0\n");
        put(path, "memory.low", "0\n");
        put(path, "memory.high", "max\n");
        put(path, "memory.max", "max\n");
        put(path, "memory.current", "104857600\n");
}

static inline void tree_init(void) {
        snprintf(root, sizeof(root), "%s/test-cgroup-XXXXXX", P_tmpdir);
        REQUIRE(mkdtemp(root) != NULL);
        snprintf(lock_file, sizeof(lock_file), "%s/lock", root);
        make_group("/machine.slice");
        make_group(SCOPE);
        make_group(VM);
        make_group(OTHER);
}

static inline void tree_deinit(void) {
        char command[CGROUP_PATH_LEN];

        snprintf(command, sizeof(command), "rm -rf '%s'", root);
        CHECK(system(command) == 0);
}

static inline uint64_t mib(const char *path, const char *file) {
        uint64_t value = 0;

        CHECK(cgroup_read(root, path, file, &value) == 0);
        return value == CGROUP_NO_LIMIT ? value : value / MIB;
}

static inline bool noted(const char *path) {
        char name[2 * CGROUP_PATH_LEN];

        snprintf(name, sizeof(name), "%s%s", root, path);
        return getxattr(name, NOTE, NULL, 0) > 0;
}

static inline struct cgroup_vm vm(void) {
        return (struct cgroup_vm) { .leaf = VM, .group = SCOPE };
}

static inline struct cgroup_share share_of(unsigned min_mib, unsigned low_mib, uint64_t high_bytes) {
        return (struct cgroup_share) { min_mib * MIB, low_mib * MIB, high_bytes };
}

static inline struct cgroup_finding share(unsigned min_mib, unsigned low_mib, uint64_t high_bytes) {
        const struct cgroup_share wanted = share_of(min_mib, low_mib, high_bytes);
        const struct cgroup_vm groups = vm();
        struct cgroup_finding finding = { 0 };

        CHECK(cgroup_memory_share(root, lock_file, &groups, &wanted, -1, &finding) == 0);
        return finding;
}

/* Runs them, or says why they cannot run here. */
static inline int tree_test_run(const char *name, const struct test *tests, unsigned n_tests) {
        snprintf(root, sizeof(root), "%s/test-cgroup-XXXXXX", P_tmpdir);
        if (!mkdtemp(root))
                return EXIT_FAILURE;
        if (setxattr(root, NOTE, "", 0, 0) < 0) {
                printf("skipped: the file system of " P_tmpdir " has no extended attributes of users\n");
                rmdir(root);
                return 77;
        }
        rmdir(root);
        return test_run(name, tests, n_tests);
}
