/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Disks of a VM whose context is saved or resumed, and the overlays that keep them as they were. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/pages/context-disk.h"
#include "daemon/pages/context-overlay.h"
#include "tests/unit/test.h"

static char directory[] = "/tmp/test-context-disk-XXXXXX";

static void make_disk(const char *path, char fill) {
        _cleanup_fclose_ FILE *f = fopen(path, "we");

        REQUIRE(f && fputc(fill, f) == fill && fflush(f) == 0 && ftruncate(fileno(f), 8192) == 0);
}

static void disks_that_changed_or_are_in_use_are_refused(void) {
        char path[64], backing[64], xml[512];
        struct timespec times[2] = { { 100, 0 }, { 100, 5 } };
        struct context_disk *disks = NULL;
        struct error error = ERROR_INIT;
        struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1 };
        _cleanup_close_ int user = -1;
        size_t n = 0;

        REQUIRE(mkdtemp(directory) != NULL);
        snprintf(path, sizeof(path), "%s/disk", directory);
        snprintf(backing, sizeof(backing), "%s/base", directory);
        make_disk(path, 'x');
        make_disk(backing, 'y');
        snprintf(xml, sizeof(xml),
                 "<domain><devices><disk type='file'><source file='%s'/><backingStore type='file'><format type='raw'/>"
                 "<source file='%s'/><backingStore/></backingStore><target dev='vda'/></disk>"
                 "<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk></devices></domain>", path,
                 backing);
        REQUIRE(context_disks_look(xml, &disks, &n, NULL) == 0);
        REQUIRE(n == 2);
        CHECK(disks[0].writable && !disks[1].writable && disks[0].size_bytes == 8192);
        CHECK_TEXT(disks[1].path, backing);
        CHECK(context_disks_check(disks, n, NULL, 0, false, NULL) == 0);

        user = open(path, O_RDWR | O_CLOEXEC);
        REQUIRE(user >= 0 && fcntl(user, F_OFD_SETLK, &lock) == 0);
        CHECK(context_disks_check(disks, n, NULL, 0, false, &error) == -EBUSY);
        CHECK(strstr(error_text(&error), "disk vda") != NULL);
        CHECK(context_disks_check(disks, n, disks, n, false, NULL) == 0); /* its own VM's */
        lock.l_type = F_UNLCK;
        REQUIRE(fcntl(user, F_OFD_SETLK, &lock) == 0);
        CHECK(context_disks_check(disks, n, NULL, 0, false, NULL) == 0);

        REQUIRE(utimensat(AT_FDCWD, backing, times, 0) == 0);
        CHECK(context_disks_check(disks, n, NULL, 0, true, &error) == -ESTALE);
        CHECK(strstr(error_text(&error), backing) != NULL);
        REQUIRE(unlink(backing) == 0);
        CHECK(context_disks_check(disks, n, NULL, 0, true, NULL) == -ENOENT);
        error_deinit(&error);
        context_disks_free(disks, n);
        REQUIRE(unlink(path) == 0 && rmdir(directory) == 0);
}

static void what_nobody_can_look_at_needs_a_word(void) {
        static const char xml[] = "<domain><devices><disk type='network'><source protocol='nbd' name='x'/>"
                                  "<target dev='vdb'/></disk></devices></domain>";
        struct context_disk *disks = NULL;
        struct error error = ERROR_INIT;
        size_t n = 0;

        REQUIRE(context_disks_look(xml, &disks, &n, NULL) == 0 && n == 1);
        CHECK(disks[0].kind == CONTEXT_DISK_OTHER);
        CHECK(context_disks_may_save(xml, disks, n, false, NULL) == -EPERM);
        CHECK(context_disks_may_save(xml, disks, n, true, NULL) == 0);
        CHECK(context_disks_check(disks, n, NULL, 0, false, &error) == -EPERM);
        CHECK(strstr(error_text(&error), "--force") != NULL);
        CHECK(context_disks_check(disks, n, NULL, 0, true, NULL) == 0);
        error_deinit(&error);
        context_disks_free(disks, n);
}

/* ---- overlays ---- */

static size_t file_size(const char *path) {
        struct stat st;

        return stat(path, &st) == 0 ? (size_t) st.st_size : 0;
}

static void overlays_take_the_place_of_old_ones_and_give_it_back(void) {
        char parent[] = "/tmp/test-context-disk-XXXXXX", command[64];
        struct context_disk disks[2] = {
                { .target = "vda", .writable = true, .format = strdup("raw") },
                { .target = "vdb", .writable = true, .format = strdup("raw") },
        };
        struct context_manifest manifest = { .disks = disks, .n_disks = 2 };
        struct context_overlays overlays;
        _cleanup_free_ char *lost = NULL;

        REQUIRE(mkdtemp(parent) != NULL);
        for (int i = 0; i < 2; i++) {
                REQUIRE(asprintf(&disks[i].path, "%s/disk%d", parent, i) > 0);
                make_disk(disks[i].path, 'x');
        }
        REQUIRE(context_overlays_name(disks, 2, "now", NULL) == 0);
        CHECK(context_overlays_check(disks, 2, NULL) == 0);
        make_disk(disks[0].overlay, 'y'); /* 8192 bytes, as no empty overlay has */
        CHECK(context_overlays_check(disks, 2, NULL) == -EEXIST);
        REQUIRE(asprintf(&lost, "%s.lost-1", disks[0].overlay) > 0);

        REQUIRE(context_overlays_put(&manifest, &overlays, NULL) == 0);
        CHECK(file_size(lost) == 8192 && file_size(disks[0].overlay) > 8192 && file_size(disks[1].overlay) > 8192);
        context_overlays_take_back(&manifest, &overlays);
        context_overlays_deinit(&overlays);
        CHECK(file_size(lost) == 0 && file_size(disks[0].overlay) == 8192 && file_size(disks[1].overlay) == 0);

        REQUIRE(unlink(disks[1].path) == 0); /* the second one fails */
        CHECK(context_overlays_put(&manifest, &overlays, NULL) == -EIO);
        CHECK(file_size(lost) == 0 && file_size(disks[0].overlay) == 8192 && file_size(disks[1].overlay) == 0);

        disks[1].kind = CONTEXT_DISK_BLOCK;
        CHECK(context_overlays_name(&disks[1], 1, "now", NULL) == -ENOTSUP);
        for (int i = 0; i < 2; i++) {
                free(disks[i].path);
                free(disks[i].format);
                free(disks[i].overlay);
        }
        snprintf(command, sizeof(command), "rm -r %s", parent);
        CHECK(system(command) == 0);
}

/* A standby's are called after the VM's own file, however many there were. */
static void names_of_overlays_do_not_grow(void) {
        struct context_disk disk = { .target = "vda", .path = strdup("/d/x.raw.standby~7"), .format = strdup("qcow2"),
                                     .writable = true };

        REQUIRE(context_overlays_name(&disk, 1, "standby~8", NULL) == 0);
        CHECK_TEXT(disk.overlay, "/d/x.raw.standby~8");
        REQUIRE(context_overlays_name(&disk, 1, "night", NULL) == 0);
        CHECK_TEXT(disk.overlay, "/d/x.raw.night");
        free(disk.path);
        free(disk.format);
        free(disk.overlay);
}

static void a_vm_with_swapped_memory_on_servers_is_not_saved(void) {
        static const char xml[] = "<domain><devices><disk type='network'><source protocol='nbd' name='x'/>"
                                  "<target dev='vdb'/><serial>failover-1</serial><alias name='ua--overflow'/></disk>"
                                  "</devices></domain>";

        CHECK(context_disks_may_save(xml, NULL, 0, true, NULL) == -EBUSY);
}

static void no_overlay_is_followed_but_those_beside_the_disks_of_the_xml(void) {
        static const char xml[] = "<domain><devices><disk type='file'><source file='/x y.raw'/><target dev='vda'/>"
                                  "</disk></devices></domain>";
        struct context_disk disk = {
                .target = "vda", .path = strdup("/x y.raw"), .overlay = strdup("/x y.raw.night"), .writable = true,
        };
        struct context_manifest manifest = { .name = "night", .xml = strdup(xml), .disks = &disk, .n_disks = 1 };

        CHECK(context_overlays_trust(&manifest, NULL) == 0);
        free(disk.overlay);
        disk.overlay = strdup("/x y.raw.standby~7"); /* of a VM that stands alone */
        CHECK(context_overlays_trust(&manifest, NULL) == 0);
        free(disk.overlay);
        disk.overlay = strdup("/x y.raw.standby~7/../../etc/shadow");
        CHECK(context_overlays_trust(&manifest, NULL) == -EPERM);
        free(disk.overlay);
        disk.overlay = strdup("/etc/shadow");
        CHECK(context_overlays_trust(&manifest, NULL) == -EPERM);
        free(disk.path);
        free(disk.overlay);
        disk.path = strdup("/etc/shadow");
        disk.overlay = strdup("/etc/shadow.night");
        CHECK(context_overlays_trust(&manifest, NULL) == -EPERM);
        free(disk.path);
        free(disk.overlay);
        free(manifest.xml);
}

TEST_MAIN("context-disk",
          TEST(disks_that_changed_or_are_in_use_are_refused),
          TEST(what_nobody_can_look_at_needs_a_word),
          TEST(overlays_take_the_place_of_old_ones_and_give_it_back),
          TEST(names_of_overlays_do_not_grow),
          TEST(a_vm_with_swapped_memory_on_servers_is_not_saved),
          TEST(no_overlay_is_followed_but_those_beside_the_disks_of_the_xml))
