/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Contexts in a space: what comes out is what went in, or nothing does. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/pages/context-disk.h"
#include "daemon/pages/context-image.h"
#include "tests/random.h"
#include "tests/unit/context-space.h"
#include "tests/unit/test.h"

#define IMAGE_BYTES (3 * MIB + 12345)

/* A file with an image: half of it packs well. */
static int make_image(unsigned char **ret) {
        int fd = memfd_create("image", MFD_CLOEXEC);
        uint64_t random = 7;
        unsigned char *bytes = calloc(1, IMAGE_BYTES);

        REQUIRE(fd >= 0 && bytes);
        for (size_t i = 0; i < IMAGE_BYTES / 2; i++)
                bytes[i] = (unsigned char) random_draw(&random);
        REQUIRE(write(fd, bytes, IMAGE_BYTES) == IMAGE_BYTES);
        *ret = bytes;
        return fd;
}

static struct context_manifest *make_manifest(void) {
        struct context_manifest *manifest = calloc(1, sizeof(*manifest));

        REQUIRE(manifest != NULL);
        manifest->version = CONTEXT_VERSION;
        strcpy(manifest->name, "night");
        strcpy(manifest->vm, "a");
        strcpy(manifest->host, "h1");
        strcpy(manifest->uuid, "4f3f2898-69e3-5a0d-820a-c4e87987dbce");
        manifest->uri = strdup("qemu:///session");
        manifest->xml = strdup("<domain>\n\t<name>a</name> \xc3\xa4 \"</domain>");
        manifest->saved_usec = 1795306427511000;
        manifest->paused = true;
        manifest->disks = calloc(2, sizeof(*manifest->disks));
        REQUIRE(manifest->disks && manifest->uri && manifest->xml);
        manifest->n_disks = 2;
        manifest->disks[0] = (struct context_disk) {
                .target = "vda", .path = strdup("/x y.raw"), .format = strdup("raw"),
                .overlay = strdup("/x y.raw.night"), .writable = true, .size_bytes = 16 * MIB,
                .modified_nsec = UINT64_MAX,
        };
        manifest->disks[1] = (struct context_disk) { .target = "vdb", .kind = CONTEXT_DISK_OTHER };
        return manifest;
}

/* A whole context, and its image. */
struct fixture {
        struct space space;
        struct context_io io;
        struct context_manifest *manifest;
        struct context_head head;
        unsigned char *image;
        int fd;
};

static void fixture_init(struct fixture *fixture) {
        space_init(&fixture->space, context_space_bytes(IMAGE_BYTES));
        fixture->io = io_of(&fixture->space);
        fixture->manifest = make_manifest();
        fixture->fd = make_image(&fixture->image);
        fixture->head = (struct context_head) { 0 };
        REQUIRE(context_image_write(&fixture->io, fixture->fd, fixture->manifest, NULL, NULL) == 0);
        REQUIRE(context_commit(&fixture->io, fixture->manifest, NULL, "", &fixture->head, NULL) == 0);
}

static void fixture_deinit(struct fixture *fixture) {
        space_deinit(&fixture->space);
        context_manifest_free(fixture->manifest);
        free(fixture->image);
        close(fixture->fd);
}

/* Opens and reads all of it; -1 for `fd`: into nothing. */
static int read_all(const struct context_io *io, int fd, struct context_manifest **ret, struct error *error) {
        struct context_manifest *manifest = NULL;
        struct context_head head;
        int r = context_open(io, &head, &manifest, error);

        if (r == 0)
                r = context_image_read(io, manifest, fd, CONTEXT_FETCH, NULL, error);
        if (r == 0 && ret)
                *ret = manifest;
        else
                context_manifest_free(manifest);
        return r;
}

static void what_was_saved_is_what_is_read(void) {
        _cleanup_close_ int out = memfd_create("out", MFD_CLOEXEC);
        struct context_manifest *manifest = NULL;
        _cleanup_free_ unsigned char *got = malloc(IMAGE_BYTES);
        struct fixture f;

        fixture_init(&f);
        REQUIRE(read_all(&f.io, out, &manifest, NULL) == 0);
        REQUIRE(got && pread(out, got, IMAGE_BYTES, 0) == IMAGE_BYTES);
        CHECK(memcmp(got, f.image, IMAGE_BYTES) == 0 && lseek(out, 0, SEEK_END) == IMAGE_BYTES);
        CHECK(manifest->image_bytes == IMAGE_BYTES && manifest->n_chunks == 4);
        CHECK(manifest->stored_bytes < IMAGE_BYTES * 2 / 3);
        CHECK_TEXT(manifest->name, "night");
        CHECK_TEXT(manifest->xml, f.manifest->xml);
        CHECK(manifest->paused && !manifest->checkpoint && manifest->saved_usec == f.manifest->saved_usec);
        CHECK(context_disks_equal(manifest->disks, manifest->n_disks, f.manifest->disks, f.manifest->n_disks));
        CHECK_TEXT(manifest->disks[0].format, "raw");
        CHECK_TEXT(manifest->disks[0].overlay, "/x y.raw.night");
        CHECK(!manifest->disks[1].path && !manifest->disks[1].format && !manifest->disks[1].overlay);
        CHECK(manifest->disks[0].writable && !manifest->disks[1].writable);
        context_manifest_free(manifest);
        fixture_deinit(&f);
}

static void an_empty_image_is_one_too(void) {
        _cleanup_close_ int fd = memfd_create("empty", MFD_CLOEXEC);
        struct context_manifest *manifest = make_manifest();
        struct context_head head = { 0 };
        struct context_io io;
        struct space space;

        space_init(&space, context_space_bytes(IMAGE_BYTES));
        io = io_of(&space);
        CHECK(context_image_write(&io, fd, manifest, NULL, NULL) == 0 && manifest->n_chunks == 0);
        CHECK(context_commit(&io, manifest, NULL, "", &head, NULL) == 0 && read_all(&io, -1, NULL, NULL) == 0);
        context_manifest_free(manifest);
        space_deinit(&space);
}

/* Where it is damaged, and not in what only fills a page up, it is refused with a reason. */
static void damage_at(struct fixture *f, uint64_t at) {
        struct error error = ERROR_INIT;
        int r;

        f->space.bytes[at] ^= 0x10;
        r = read_all(&f->io, -1, NULL, &error);
        if (r != -EBADMSG) {
                printf("\nbyte %llu: %d %s\n", (unsigned long long) at, r, error_text(&error));
                CHECK(r == -EBADMSG);
        }
        f->space.bytes[at] ^= 0x10;
        error_deinit(&error);
}

/* The bytes of chunk `number` that count, from `*offset` on; moves that behind the chunk. */
static uint64_t chunk_at(struct fixture *f, uint64_t number, uint64_t *offset) {
        struct context_chunk chunk;
        uint64_t used;

        REQUIRE(context_chunk_decode(f->space.bytes + *offset, number, &chunk) == 0);
        used = CONTEXT_CHUNK_HEAD_BYTES + chunk.stored_bytes;
        *offset += context_round_up(used);
        return used;
}

static void damage_in_any_place_is_found(void) {
        const uint64_t chunk_head_used = 8 + 16 + CONTEXT_SUM_BYTES;
        uint64_t random = 3;
        uint64_t offset = PAGE_BYTES;
        struct fixture f;

        fixture_init(&f);
        for (uint64_t at = 0; at < PAGE_BYTES; at++)
                damage_at(&f, at);
        for (uint64_t at = 0; at < f.head.manifest_bytes; at++)
                damage_at(&f, f.head.manifest_offset + at);
        for (uint64_t number = 0; number < f.manifest->n_chunks; number++) {
                uint64_t from = offset, used = chunk_at(&f, number, &offset);

                for (uint64_t at = 0; at < (number == 0 ? chunk_head_used : 8); at++)
                        damage_at(&f, from + at);
                for (int i = 0; i < 20; i++)
                        damage_at(&f, from + CONTEXT_CHUNK_HEAD_BYTES +
                                              random_below(&random, (unsigned) used - CONTEXT_CHUNK_HEAD_BYTES));
                damage_at(&f, from + used - 1);
        }
        CHECK(read_all(&f.io, -1, NULL, NULL) == 0);
        fixture_deinit(&f);
}

static void chunks_in_another_order_or_of_another_context_are_found(void) {
        uint64_t first = PAGE_BYTES, second = PAGE_BYTES, third;
        struct error error = ERROR_INIT;
        struct fixture f;

        fixture_init(&f);
        (void) chunk_at(&f, 0, &second);
        third = second;
        (void) chunk_at(&f, 1, &third);
        memcpy(f.space.bytes + second, f.space.bytes + first, third - second);
        CHECK(read_all(&f.io, -1, NULL, &error) == -EBADMSG);
        CHECK(strstr(error_text(&error), "chunk 1") != NULL);
        error_deinit(&error);
        fixture_deinit(&f);
}

/* As a space is that has lost its end, or pages in the middle. */
static void a_truncated_one_is_found_wherever_it_ends(void) {
        struct error error = ERROR_INIT;
        struct fixture f;
        uint64_t end;

        fixture_init(&f);
        end = f.head.manifest_offset + context_round_up(f.head.manifest_bytes);
        for (uint64_t at = 0, step; at < end; at += step) {
                unsigned char page[PAGE_BYTES];
                int r;

                step = at + 32 * PAGE_BYTES < f.head.manifest_offset ? 32 * PAGE_BYTES : PAGE_BYTES;
                memcpy(page, f.space.bytes + at, PAGE_BYTES);
                memset(f.space.bytes + at, 0, PAGE_BYTES);
                r = read_all(&f.io, -1, NULL, NULL);
                memcpy(f.space.bytes + at, page, PAGE_BYTES);
                CHECK(r == (at == 0 ? -ENODATA : -EBADMSG));
                f.io.size_bytes = at;
                CHECK(read_all(&f.io, -1, NULL, NULL) == -EBADMSG);
                f.io.size_bytes = f.space.size;
        }
        f.io.size_bytes = f.head.manifest_offset;
        CHECK(read_all(&f.io, -1, NULL, &error) == -EBADMSG);
        CHECK(strstr(error_text(&error), "truncated") != NULL);
        error_deinit(&error);
        fixture_deinit(&f);
}

static void another_version_is_named(void) {
        struct error error = ERROR_INIT;
        struct fixture f;

        fixture_init(&f);
        f.manifest->version = CONTEXT_VERSION + 1;
        REQUIRE(context_commit(&f.io, f.manifest, NULL, "", &f.head, NULL) == 0);
        CHECK(read_all(&f.io, -1, NULL, &error) == -EPROTONOSUPPORT);
        CHECK_TEXT(error_text(&error), "its description: it is of version 2, and this program knows version 1");
        error_deinit(&error);
        fixture_deinit(&f);
}

static void a_save_cut_off_anywhere_leaves_none_or_the_one_before(void) {
        unsigned n;

        for (n = 1; n < 100; n++) {
                struct context_manifest *manifest = make_manifest();
                struct context_head head = { 0 };
                unsigned char *image;
                struct context_io io;
                struct space space;
                int fd = make_image(&image), r;

                space_init(&space, context_space_bytes(IMAGE_BYTES));
                space.fail_at = n;
                io = io_of(&space);
                r = context_image_write(&io, fd, manifest, NULL, NULL);
                if (r == 0)
                        r = context_commit(&io, manifest, NULL, "", &head, NULL);
                memcpy(space.bytes, space.kept, space.size); /* power is lost */
                CHECK(r == 0 || r == -ENOSPC);
                CHECK(read_all(&io, -1, NULL, NULL) == (r == 0 ? 0 : -ENODATA));
                context_manifest_free(manifest);
                space_deinit(&space);
                free(image);
                close(fd);
                if (r == 0)
                        break;
        }
        CHECK(n == 7); /* four chunks, the manifest, the head, and none fails */
}

static void a_second_commit_replaces_the_first_or_leaves_it(void) {
        for (unsigned n = 1; n < 4; n++) {
                struct context_manifest *manifest = NULL;
                struct fixture f;
                int r;

                fixture_init(&f);
                f.manifest->disks[0].modified_nsec = 5;
                f.space.fail_at = f.space.n_writes + n;
                r = context_commit(&f.io, f.manifest, NULL, "", &f.head, NULL);
                memcpy(f.space.bytes, f.space.kept, f.space.size);
                CHECK((r == 0) == (n == 3));
                REQUIRE(read_all(&f.io, -1, &manifest, NULL) == 0);
                CHECK(manifest && manifest->disks &&
                      manifest->disks[0].modified_nsec == (r == 0 ? 5 : UINT64_MAX));
                context_manifest_free(manifest);
                fixture_deinit(&f);
        }
}

static void who_was_about_to_resume_it_is_remembered(void) {
        struct context_manifest *manifest = NULL;
        struct context_head head;
        struct fixture f;

        fixture_init(&f);
        REQUIRE(context_mark(&f.io, &f.head, "on h2", NULL) == 0);
        memcpy(f.space.bytes, f.space.kept, f.space.size);
        REQUIRE(context_open(&f.io, &head, &manifest, NULL) == 0);
        CHECK(head.state == CONTEXT_CLAIMED);
        CHECK_TEXT(head.holder, "on h2");
        context_manifest_free(manifest);
        REQUIRE(context_mark(&f.io, &f.head, "", NULL) == 0 && context_open(&f.io, &head, &manifest, NULL) == 0);
        CHECK(head.state == CONTEXT_SAVED && *head.holder == 0);
        context_manifest_free(manifest);
        fixture_deinit(&f);
}

static void a_state_larger_than_its_space_is_refused(void) {
        struct context_manifest *manifest = make_manifest();
        struct error error = ERROR_INIT;
        unsigned char *image;
        struct context_io io;
        struct space space;
        int fd = make_image(&image);

        space_init(&space, context_space_bytes(IMAGE_BYTES));
        io = io_of(&space);
        io.size_bytes = context_space_bytes(0);
        CHECK(context_image_write(&io, fd, manifest, NULL, &error) == -ENOSPC);
        CHECK(strstr(error_text(&error), "larger than was to be expected") != NULL);
        error_deinit(&error);
        context_manifest_free(manifest);
        space_deinit(&space);
        free(image);
        close(fd);
}

static int give_up(void *userdata, enum context_phase phase, uint64_t done_bytes, uint64_t total_bytes) {
        unsigned *calls = userdata;

        CHECK(phase == CONTEXT_FETCH && total_bytes == IMAGE_BYTES && done_bytes == ++*calls * MIB);
        return *calls == 2;
}

static void it_can_be_given_up_between_chunks(void) {
        unsigned calls = 0;
        const struct context_progress progress = { give_up, &calls };
        struct fixture f;

        fixture_init(&f);
        CHECK(context_image_read(&f.io, f.manifest, -1, CONTEXT_FETCH, &progress, NULL) == -ECANCELED && calls == 2);
        fixture_deinit(&f);
}

static void manifests_that_cannot_be_are_refused(void) {
        static const char *const cases[][2] = {
                { "", "" },
                { "{}", "version: is missing" },
                { "{\"version\":1}", "name: is missing" },
                { "{\"version\":9,\"name\":7}", "it is of version 9, and this program knows version 1" },
                { "[1]", "is not an object" },
        };
        _cleanup_free_ char *text = NULL;
        struct context_manifest *manifest = make_manifest(), *got = NULL;
        struct error error = ERROR_INIT;
        size_t length;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int r = context_manifest_decode(cases[i][0], strlen(cases[i][0]), &got, &error);
                CHECK(r == -EBADMSG || r == -EPROTONOSUPPORT);
                CHECK(strstr(error_text(&error), cases[i][1]) != NULL);
        }
        memset(manifest->sum, 'a', CONTEXT_SUM_LEN - 1);
        manifest->image_bytes = IMAGE_BYTES;
        manifest->stored_bytes = 1;
        manifest->n_chunks = 3;
        REQUIRE(context_manifest_encode(manifest, &text, &length) == 0);
        CHECK(context_manifest_decode(text, length, &got, &error) == -EBADMSG);
        CHECK_TEXT(error_text(&error), "its chunks do not add up to its image");
        error_deinit(&error);
        context_manifest_free(manifest);
}

/* ---- whose it is ---- */

static bool vouches(const struct context_key *key, const struct context_head *head) {
        return context_key_vouches(key, head->manifest_sum, head->seal);
}

static void a_context_is_vouched_for_by_the_key_that_it_was_saved_with(void) {
        char parent[] = "/tmp/test-context-XXXXXX", path[2][64], command[64];
        struct context_key keys[2], again;
        struct context_head head;
        struct fixture f;
        struct stat st;

        REQUIRE(mkdtemp(parent) != NULL);
        for (int i = 0; i < 2; i++) {
                snprintf(path[i], sizeof(path[i]), "%s/%d/context.key", parent, i);
                REQUIRE(context_key_load(path[i], &keys[i], NULL) == 0);
        }
        CHECK(stat(path[0], &st) == 0 && (st.st_mode & 07777) == 0600);
        CHECK(context_key_load(path[0], &again, NULL) == 0 && memcmp(&again, &keys[0], sizeof(again)) == 0);
        fixture_init(&f);
        CHECK(!vouches(&keys[0], &f.head)); /* nobody's */
        REQUIRE(context_commit(&f.io, f.manifest, &keys[0], "", &f.head, NULL) == 0);
        REQUIRE(context_mark(&f.io, &f.head, "on h2", NULL) == 0);
        REQUIRE(context_head_decode(f.space.bytes, &head, NULL) == 0);
        CHECK(vouches(&keys[0], &head) && !vouches(&keys[1], &head));
        head.manifest_sum[0] ^= 1; /* another manifest */
        CHECK(!vouches(&keys[0], &head));
        fixture_deinit(&f);

        REQUIRE(chmod(path[0], 0640) == 0);
        CHECK(context_key_load(path[0], &again, NULL) == -EPERM);
        REQUIRE(truncate(path[1], 5) == 0);
        CHECK(context_key_load(path[1], &again, NULL) == -EBADMSG);
        snprintf(command, sizeof(command), "rm -r %s", parent);
        CHECK(system(command) == 0);
}

TEST_MAIN("context",
          TEST(what_was_saved_is_what_is_read),
          TEST(an_empty_image_is_one_too),
          TEST(damage_in_any_place_is_found),
          TEST(chunks_in_another_order_or_of_another_context_are_found),
          TEST(a_truncated_one_is_found_wherever_it_ends),
          TEST(another_version_is_named),
          TEST(a_save_cut_off_anywhere_leaves_none_or_the_one_before),
          TEST(a_second_commit_replaces_the_first_or_leaves_it),
          TEST(who_was_about_to_resume_it_is_remembered),
          TEST(a_state_larger_than_its_space_is_refused),
          TEST(it_can_be_given_up_between_chunks),
          TEST(manifests_that_cannot_be_are_refused),
          TEST(a_context_is_vouched_for_by_the_key_that_it_was_saved_with))
