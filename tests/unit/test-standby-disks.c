/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which files of a disk become one, and what is kept of them meanwhile. */

#include <fcntl.h>
#include <stdio.h>
#include <libvirt/libvirt.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/whole.h"
#include "daemon/pages/standby-disks.h"
#include "tests/unit/test.h"

#define CHAIN_MAX 8

/* In libvirt's place, and a file system's that is full. */
static int job;
int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk, virDomainBlockJobInfoPtr info,
                                    unsigned flags);
int __wrap_statvfs(const char *path, struct statvfs *ret);
int __wrap_statvfs64(const char *path, struct statvfs *ret); /* as glibc calls it */

int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk, virDomainBlockJobInfoPtr info,
                                    unsigned flags) {
        return job;
}

int __wrap_statvfs(const char *path, struct statvfs *ret) {
        *ret = (struct statvfs) { .f_frsize = 4096 };
        return 0;
}

int __wrap_statvfs64(const char *path, struct statvfs *ret) {
        return __wrap_statvfs(path, ret);
}

static struct context_disk chain[CHAIN_MAX];

static void name_file(char file, char ret[static 32]) {
        if (file == '0' || file == '-' || file == 'x')
                snprintf(ret, 32, "%s", file == '0' ? "/d/vm.raw" : file == 'x' ? "/d/somebody's" : "/d/golden");
        else
                snprintf(ret, 32, "/d/vm.raw.standby~%c", file);
}

/* "2 1 0": overlays 2 and 1, then the VM's own file; "-" is what that rests on, "x" one of somebody's own. */
static size_t make_chain(const char *files) {
        size_t n = 0;

        for (const char *at = files; *at && n < CHAIN_MAX; at++) {
                char path[32];

                if (*at == ' ')
                        continue;
                free(chain[n].path);
                free(chain[n].format);
                name_file(*at, path);
                chain[n] = (struct context_disk) { .target = "vda", .path = strdup(path), .format = strdup("qcow2"),
                                                   .writable = n == 0, .modified_nsec = (uint64_t) *at };
                n++;
        }
        return n;
}

static void what_lies_between_the_same_checkpoints_becomes_one(void) {
        static const struct {
                const char *files, *frozen, *merge; /* "TOP BASE"; empty: nothing */
        } rows[] = {
                { "0", NULL, "" },
                { "0 -", NULL, "" },
                { "1 0", NULL, "" },
                { "1 0", "0", "" },
                { "2 1 0", NULL, "1 0" },
                { "2 1 0", "1", "1 0" },
                { "2 1 0", "0", "" },
                { "3 2 1 0", "2", "2 0" },
                { "3 2 1 0", "1", "1 0" },
                { "3 2 1 0", "0", "2 1" },
                { "4 3 2 1 0 -", "0", "3 1" },
                { "4 3 2 1 0 -", NULL, "3 0" },
                { "2 1 0 -", "-", "1 0" }, /* it was taken before somebody merged by hand */
                { "2 1 0", "3", "" },      /* the checkpoint rests on something here, nobody knows on what */
                { "2 1 0", "2", "" },      /* the VM writes what is frozen: nobody touches that */
                { "- 2 1 0", "1", "" },    /* somebody has put a file of his own before them */
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const size_t n = make_chain(rows[i].files);
                char frozen[32] = "", found[8] = "";
                struct context_merge merge;

                if (rows[i].frozen)
                        name_file(*rows[i].frozen, frozen);
                if (context_chain_plan(chain, n, rows[i].frozen ? frozen : NULL, &merge))
                        snprintf(found, sizeof(found), "%c %c", (char) merge.top->modified_nsec,
                                 (char) merge.base->modified_nsec);
                CHECK_TEXT(found, rows[i].merge);
        }
}

static void an_overlay_is_told_by_its_name_alone(void) {
        CHECK(context_chain_own_length("/d/x.raw.standby~12") == strlen("/d/x.raw"));
        CHECK(context_chain_is_overlay("/d/x.standby~1"));
        CHECK(!context_chain_is_overlay("/d/x") && !context_chain_is_overlay(NULL));
        CHECK(!context_chain_is_overlay("/d/x.standby~") && !context_chain_is_overlay("/d/x.standby~1.lost-1"));
        CHECK(!context_chain_is_overlay("/d/x.standby~1234567890"));
        CHECK(context_chain_own_length("/d/x.standby~1.standby~2") == strlen("/d/x.standby~1"));
}

static int count(const char *overlay, unsigned number, void *userdata) {
        *(unsigned *) userdata += number;
        return 0;
}

static void make_file(const char *directory, const char *name) {
        char path[128];
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        REQUIRE(fd >= 0);
}

static void the_next_overlay_has_a_number_that_no_file_has(void) {
        static const char *const names[] = { "a", "a.standby~3", "a.standby~20", "ab.standby~90",
                                             "a.standby~7.lost-1" };
        char directory[] = "/tmp/test-standby-disks-XXXXXX", path[64], name[CONTEXT_CHAIN_NAME_LEN], command[64];
        struct context_disk disk = { .target = "vda", .path = path, .writable = true };
        unsigned sum = 0;

        REQUIRE(mkdtemp(directory) != NULL);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                make_file(directory, names[i]);
        snprintf(path, sizeof(path), "%s/a.standby~3", directory);
        REQUIRE(context_chain_name(&disk, 1, name, NULL) == 0);
        CHECK_TEXT(name, "standby~21");
        CHECK(context_chain_scan(path, count, &sum) == 0 && sum == 23);
        disk.writable = false;
        REQUIRE(context_chain_name(&disk, 1, name, NULL) == 0);
        CHECK_TEXT(name, "standby~1");
        snprintf(command, sizeof(command), "rm -r %s", directory);
        CHECK(system(command) == 0);
        disk.writable = true;
        CHECK(context_chain_name(&disk, 1, name, NULL) == -ENOENT);
}

static void write_file(const char *directory, const char *name, size_t size, size_t written) {
        static const char bytes[65536] = "x";
        char path[128];
        _cleanup_close_ int fd = -1;

        make_file(directory, name);
        snprintf(path, sizeof(path), "%s/%s", directory, name);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        REQUIRE(fd >= 0 && whole_write(fd, bytes, written) == 0 && ftruncate(fd, (off_t) size) == 0 && fsync(fd) == 0);
}

/* What is done to the files is asked for before anything is given up. */
static void a_merge_that_cannot_be_begun_or_has_no_room_is_refused_before(void) {
        static const struct {
                const char *format;
                size_t written; /* of the file behind, which has 64 KiB */
                int job, r;
        } rows[] = {
                { "raw", 65536, 0, 0 },        /* it does not grow */
                { "raw", 0, 0, -ENOSPC },
                { "qcow2", 65536, 0, -ENOSPC },
                { "raw", 65536, 1, -EBUSY },
                { "raw", 65536, -1, -EBUSY },  /* libvirt does not say */
                { NULL, 65536, 0, -ENOTSUP },
        };
        char directory[] = "/tmp/test-standby-disks-XXXXXX", base[64], overlay[64], command[64];
        const struct context_vm vm = { .name = "a" };

        REQUIRE(mkdtemp(directory) != NULL);
        snprintf(base, sizeof(base), "%s/a", directory);
        snprintf(overlay, sizeof(overlay), "%s/a.standby~1", directory);
        write_file(directory, "a.standby~1", 65536, 65536);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const struct context_disk files[] = {
                        { .target = "vda", .path = overlay },
                        { .target = "vda", .path = base, .format = (char *) rows[i].format },
                };
                const struct context_merge merge = { .base = &files[1], .top = &files[0] };

                (void) unlink(base);
                write_file(directory, "a", 65536, rows[i].written);
                job = rows[i].job;
                CHECK(context_chain_check(&vm, files, &merge, NULL) == rows[i].r);
                CHECK(context_chain_check(&vm, files, NULL, NULL) == (job ? -EBUSY : 0)); /* there is none */
        }
        job = 0;
        snprintf(command, sizeof(command), "rm -r %s", directory);
        CHECK(system(command) == 0);
}

/* A checkpoint that goes with the file 1, before 2 is written. */
static void take(struct standby_disks *disks, struct context_manifest *manifest, uint64_t saved_usec) {
        *manifest = (struct context_manifest) { .disks = chain, .n_disks = make_chain("1 0 -"),
                                                .saved_usec = saved_usec };
        chain[0].overlay = strdup("/d/vm.raw.standby~2");
        REQUIRE(standby_disks_add(disks, manifest) == 0);
        free(chain[0].overlay);
        chain[0].overlay = NULL;
}

/* Each point where the program or the VM may end in the midst of a merge, kept and read again. */
static void both_ends_of_a_merge_are_kept_until_it_is_known_which_one_it_came_to(void) {
        char directory[] = "/tmp/test-standby-disks-XXXXXX", command[64];
        struct standby_disks disks = { 0 };
        struct context_manifest manifest;
        struct context_merge merge;
        size_t n;

        REQUIRE(mkdtemp(directory) != NULL);
        REQUIRE(standby_disks_load(directory, &disks, NULL) == 0 && disks.n_frozen == 0);
        take(&disks, &manifest, 7);
        n = make_chain("2 1 0 -");
        REQUIRE(context_chain_plan(chain, n, standby_disks_frozen_path(disks.frozen, "vda"), &merge));
        REQUIRE(standby_disks_merging(disks.frozen, &merge) == 0);
        REQUIRE(standby_disks_keep(directory, &disks, NULL) == 0);
        standby_disks_deinit(&disks);
        REQUIRE(standby_disks_load(directory, &disks, NULL) == 0 && disks.n_frozen == 1);
        REQUIRE(standby_disks_find(&disks, 7) != NULL);

        /* It goes on from where it was, and nobody asks what the file is like that is being written. */
        CHECK_TEXT(standby_disks_frozen_path(disks.frozen, "vda"), "/d/vm.raw.standby~1");
        CHECK(disks.frozen->n_disks == 2 && !context_chain_find(disks.frozen->disks, 2, "/d/vm.raw"));
        CHECK(!standby_disks_merged(disks.frozen, chain, n));
        REQUIRE(context_chain_plan(chain, n, standby_disks_frozen_path(disks.frozen, "vda"), &merge));
        REQUIRE(standby_disks_merging(disks.frozen, &merge) == 0); /* begun anew */
        n = make_chain("3 - 0");
        CHECK(!standby_disks_merged(disks.frozen, chain, 2)); /* of a chain without either, nothing is known */

        n = make_chain("2 0 -");
        REQUIRE(standby_disks_merged(disks.frozen, chain, n));
        CHECK(!standby_disks_merged(disks.frozen, chain, n));
        CHECK_TEXT(standby_disks_frozen_path(disks.frozen, "vda"), "/d/vm.raw");
        CHECK(disks.frozen->n_disks == 2 && disks.frozen->disks[0].writable && disks.frozen->disks[0].format);
        CHECK(disks.frozen->disks[0].modified_nsec == '0' && !disks.frozen->disks[0].merging);
        CHECK(!context_chain_plan(chain, n, standby_disks_frozen_path(disks.frozen, "vda"), &merge));
        standby_disks_deinit(&disks);
        snprintf(command, sizeof(command), "rm -r %s", directory);
        CHECK(system(command) == 0);
}

/* It is noted that the checkpoint's file, 1, is about to be merged into the VM's own. The chain's sources. */
static size_t begin_merge(struct standby_disks *disks) {
        const size_t n = make_chain("2 1 0 -");
        struct context_merge merge;

        REQUIRE(context_chain_plan(chain, n, standby_disks_frozen_path(disks->frozen, "vda"), &merge));
        REQUIRE(standby_disks_merging(disks->frozen, &merge) == 0 && disks->frozen->n_disks == 2);
        return n;
}

/* Somebody does by hand what the manual says of a VM that stands alone no more, or what he likes. */
static void a_file_that_somebody_else_has_merged_into_is_not_what_the_checkpoint_goes_with(void) {
        static const struct {
                const char *files;
                bool merged, refused;
        } rows[] = {
                { "2 1 0 -", false, false },
                { "2 0 -", true, false },
                { "0 -", true, true },  /* with what was written since */
                { "x 0 -", true, true }, /* the same, and after that an overlay of his own */
                { "x", true, true },     /* it lies elsewhere, and nobody knows what became of these */
                { "3", false, false },   /* of a chain without either, nothing is known */
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct standby_disks disks = { 0 };
                struct context_manifest manifest;
                const struct context_disk *file;
                size_t n;

                take(&disks, &manifest, 7);
                (void) begin_merge(&disks);
                n = make_chain(rows[i].files);
                CHECK(standby_disks_merged(disks.frozen, chain, n) == rows[i].merged);
                if (rows[i].refused) {
                        CHECK_TEXT(standby_disks_frozen_path(disks.frozen, "vda"), "/d/vm.raw.standby~1"); /* kept */
                        file = context_chain_find(disks.frozen->disks, disks.frozen->n_disks, "/d/vm.raw");
                        REQUIRE(file && disks.frozen->n_disks == 3);
                        CHECK(file->size_bytes == 0 && file->modified_nsec == 0 && !disks.frozen->disks[0].merging);
                        CHECK_TEXT(file->target, "vda");
                }
                standby_disks_deinit(&disks);
        }
}

static void a_merge_that_has_failed_lets_nobody_change_the_file_behind_unseen(void) {
        struct standby_disks disks = { 0 };
        struct context_manifest manifest;
        const struct context_disk *file;
        size_t n;

        take(&disks, &manifest, 7);
        CHECK(!standby_disks_unmerged(disks.frozen, chain, make_chain("2 1 0 -"))); /* there was none */
        n = begin_merge(&disks);
        chain[2].modified_nsec = 99; /* it was written, as far as it came */
        chain[2].size_bytes = 5;
        REQUIRE(standby_disks_unmerged(disks.frozen, chain, n) && disks.frozen->n_disks == 3);
        file = context_chain_find(disks.frozen->disks, 3, "/d/vm.raw");
        REQUIRE(file && file->modified_nsec == 99 && file->size_bytes == 5 && !file->writable);
        CHECK_TEXT(standby_disks_frozen_path(disks.frozen, "vda"), "/d/vm.raw.standby~1");
        CHECK(!disks.frozen->disks[0].merging && !standby_disks_unmerged(disks.frozen, chain, n));

        (void) begin_merge(&disks); /* anew */
        n = make_chain("2 0 -");
        CHECK(!standby_disks_unmerged(disks.frozen, chain, n) && standby_disks_merged(disks.frozen, chain, n));
        standby_disks_deinit(&disks);
}

static void what_is_written_since_the_checkpoint_is_merged_without_it(void) {
        struct standby_disks disks = { 0 };
        struct context_manifest manifest;
        struct context_merge merge;
        size_t n;

        take(&disks, &manifest, 7);
        n = make_chain("4 3 2 1 0");
        merge = (struct context_merge) { .base = &chain[2], .top = &chain[1] };
        REQUIRE(n == 5 && standby_disks_merging(disks.frozen, &merge) == 0);
        CHECK(!disks.frozen->disks[0].merging && disks.frozen->n_disks == 3);
        standby_disks_deinit(&disks);
}

/* With the longest that can be in it, and one that counts beside the one that is taken. */
static void what_fits_can_be_read_again(void) {
        char directory[] = "/tmp/test-standby-disks-XXXXXX", command[64], path[1024];
        struct standby_disks disks = { 0 };
        struct context_disk *sources = calloc(CONTEXT_DISKS_MAX, sizeof(*sources));
        struct context_manifest manifest = { .disks = sources };
        struct error error = ERROR_INIT;
        size_t n = 0;

        REQUIRE(sources && mkdtemp(directory) != NULL);
        memset(path, '/', sizeof(path) - 1); /* which JSON may write as two */
        path[sizeof(path) - 1] = 0;
        for (; n < CONTEXT_DISKS_MAX && standby_disks_fit(sources, n, NULL) == 0; n++)
                sources[n] = (struct context_disk) { .target = "vda", .path = path, .format = (char *) "qcow2",
                                                     .overlay = path, .merging = path, .writable = true,
                                                     .size_bytes = UINT64_MAX / 2,
                                                     .modified_nsec = UINT64_MAX / 2 };
        CHECK(n > 20 && n < CONTEXT_DISKS_MAX && standby_disks_fit(sources, n, &error) == -E2BIG);
        error_deinit(&error);
        manifest.n_disks = n - 1;
        for (manifest.saved_usec = 1; manifest.saved_usec <= 2; manifest.saved_usec++)
                REQUIRE(standby_disks_add(&disks, &manifest) == 0);
        CHECK(standby_disks_keep(directory, &disks, NULL) == 0);
        standby_disks_deinit(&disks);
        CHECK(standby_disks_load(directory, &disks, NULL) == 0 && disks.n_frozen == 2);
        for (manifest.saved_usec = 3; manifest.saved_usec <= 4; manifest.saved_usec++)
                REQUIRE(standby_disks_add(&disks, &manifest) == 0);
        CHECK(standby_disks_keep(directory, &disks, &error) == -E2BIG); /* what could not be read is not written, */
        error_deinit(&error);
        standby_disks_deinit(&disks);
        CHECK(standby_disks_load(directory, &disks, NULL) == 0 && disks.n_frozen == 2); /* and what was there stays */
        standby_disks_deinit(&disks);
        free(sources);
        snprintf(command, sizeof(command), "rm -r %s", directory);
        CHECK(system(command) == 0);
}

static void checkpoints_that_do_not_count_are_forgotten(void) {
        struct standby_disks disks = { 0 };
        struct context_manifest manifest;

        for (uint64_t i = 1; i <= 6; i++)
                take(&disks, &manifest, i);
        CHECK(disks.n_frozen == 4 && !standby_disks_find(&disks, 2) && standby_disks_find(&disks, 3));
        standby_disks_forget(&disks, 5);
        CHECK(disks.n_frozen == 1 && standby_disks_find(&disks, 5));
        standby_disks_forget(&disks, 0);
        CHECK(disks.n_frozen == 0);
        manifest.n_disks = 0;
        CHECK(standby_disks_add(&disks, &manifest) == 0 && disks.n_frozen == 0);
        standby_disks_deinit(&disks);
        for (size_t i = 0; i < CHAIN_MAX; i++) {
                free(chain[i].path);
                free(chain[i].format);
        }
}

TEST_MAIN("standby-disks",
          TEST(what_lies_between_the_same_checkpoints_becomes_one), TEST(an_overlay_is_told_by_its_name_alone),
          TEST(the_next_overlay_has_a_number_that_no_file_has),
          TEST(a_merge_that_cannot_be_begun_or_has_no_room_is_refused_before),
          TEST(both_ends_of_a_merge_are_kept_until_it_is_known_which_one_it_came_to),
          TEST(a_file_that_somebody_else_has_merged_into_is_not_what_the_checkpoint_goes_with),
          TEST(a_merge_that_has_failed_lets_nobody_change_the_file_behind_unseen),
          TEST(what_is_written_since_the_checkpoint_is_merged_without_it),
          TEST(what_fits_can_be_read_again), TEST(checkpoints_that_do_not_count_are_forgotten))
