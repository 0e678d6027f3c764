/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Programs in a space: what is read is what was put, or nothing is. */

#include <fcntl.h>
#include <unistd.h>

#include "daemon/pages/program-image.h"
#include "tests/random.h"
#include "tests/unit/context-space.h"

#define IMAGE_BYTES (9 * PROGRAM_BLOCK_BYTES + 12345)

struct fixture {
        struct space space;
        struct context_io io;
        struct context_key key;
        unsigned char *bytes; /* the image */
        int fd;
        struct program_head head;
};

/* A program that is there. */
static void fixture_init(struct fixture *f) {
        uint64_t random = 11;

        f->key = (struct context_key) { "a key" };
        f->bytes = malloc(IMAGE_BYTES);
        f->fd = memfd_create("program", MFD_CLOEXEC);
        REQUIRE(f->bytes && f->fd >= 0);
        for (size_t i = 0; i < IMAGE_BYTES; i++)
                f->bytes[i] = (unsigned char) random_draw(&random);
        REQUIRE(write(f->fd, f->bytes, IMAGE_BYTES) == IMAGE_BYTES);
        space_init(&f->space, program_space_bytes(IMAGE_BYTES));
        f->io = io_of(&f->space);
        f->head = (struct program_head) { .name = "orders", .image_bytes = IMAGE_BYTES, .put_usec = 1795306427511000 };
        REQUIRE(program_image_put(&f->io, f->fd, &f->head, NULL, NULL) == 0);
        REQUIRE(program_image_commit(&f->io, &f->head, &f->key, NULL) == 0);
}

static void fixture_deinit(struct fixture *f) {
        free(f->bytes);
        close(f->fd);
        space_deinit(&f->space);
}

static int open_and_close(const struct context_io *io, struct error *error) {
        struct program_image image;
        int r = program_image_open(io, &image, error);

        if (r == 0)
                program_image_deinit(&image);
        return r;
}

static void any_piece_of_an_image_is_read_as_it_was_put(void) {
        unsigned char *piece = malloc(IMAGE_BYTES);
        struct program_image image;
        uint64_t random = 5;
        struct fixture f;

        fixture_init(&f);
        REQUIRE(piece && program_image_open(&f.io, &image, NULL) == 0);
        CHECK(strcmp(image.head.name, "orders") == 0 && image.head.put_usec == f.head.put_usec);
        CHECK(program_head_is_vouched_for(&image.head, &f.key));
        CHECK(program_image_verify(&image, &f.io, NULL, NULL) == 0);
        for (int i = 0; i < 300; i++) {
                uint64_t at = random_draw(&random) % IMAGE_BYTES, n = 1 + random_draw(&random) % (IMAGE_BYTES - at);

                REQUIRE(program_image_read(&image, &f.io, piece, n, at, NULL) == 0);
                CHECK(memcmp(piece, f.bytes + at, n) == 0);
        }
        program_image_deinit(&image);
        fixture_deinit(&f);
        free(piece);
}

static void a_head_or_sum_with_any_byte_damaged_is_refused(void) {
        struct fixture f;

        fixture_init(&f);
        for (uint64_t at = 0; at < PAGE_BYTES + program_sums_bytes(IMAGE_BYTES); at++) {
                f.space.bytes[at] ^= 0x10;
                CHECK(open_and_close(&f.io, NULL) == -EBADMSG);
                f.space.bytes[at] ^= 0x10;
        }
        CHECK(open_and_close(&f.io, NULL) == 0);
        fixture_deinit(&f);
}

static void a_damaged_block_is_an_error_for_who_reads_it_and_nobody_else(void) {
        struct error error = ERROR_INIT;
        struct program_image image;
        unsigned char byte;
        struct fixture f;

        fixture_init(&f);
        f.space.bytes[program_image_offset(IMAGE_BYTES) + 5 * PROGRAM_BLOCK_BYTES + 7] ^= 1;
        REQUIRE(program_image_open(&f.io, &image, NULL) == 0);
        for (uint64_t block = 0; block < program_blocks(IMAGE_BYTES); block++)
                CHECK(program_image_read(&image, &f.io, &byte, 1, block * PROGRAM_BLOCK_BYTES, NULL) ==
                      (block == 5 ? -EBADMSG : 0));
        CHECK(program_image_verify(&image, &f.io, NULL, &error) == -EBADMSG);
        CHECK(strstr(error_text(&error), "bytes 327680 to 393215") != NULL);
        error_deinit(&error);
        program_image_deinit(&image);
        fixture_deinit(&f);
}

static void a_truncated_space_is_refused(void) {
        struct error error = ERROR_INIT;
        struct fixture f;

        fixture_init(&f);
        f.io.size_bytes -= PAGE_BYTES;
        CHECK(open_and_close(&f.io, &error) == -EBADMSG);
        CHECK(strstr(error_text(&error), "truncated") != NULL);
        error_deinit(&error);
        f.io.size_bytes = PAGE_BYTES / 2;
        CHECK(open_and_close(&f.io, NULL) == -EBADMSG);
        fixture_deinit(&f);
}

static void a_put_that_was_cut_off_at_any_write_is_no_program(void) {
        struct fixture f;
        unsigned writes;

        fixture_init(&f);
        writes = f.space.n_writes;
        for (unsigned n = 1; n <= writes; n++) {
                memset(f.space.bytes, 0, f.space.size);
                f.space.n_writes = 0;
                f.space.fail_at = n;
                CHECK((program_image_put(&f.io, f.fd, &f.head, NULL, NULL) < 0 ? -ENOSPC
                       : program_image_commit(&f.io, &f.head, &f.key, NULL)) == -ENOSPC);
                CHECK(open_and_close(&f.io, NULL) == -ENODATA);
        }
        fixture_deinit(&f);
}

static void only_its_key_vouches_for_a_head_and_for_all_of_it(void) {
        const struct context_key other = { "another key" };
        struct program_head head;
        struct fixture f;

        fixture_init(&f);
        CHECK(program_head_is_vouched_for(&f.head, &f.key) && !program_head_is_vouched_for(&f.head, &other));
        head = f.head;
        head.name[0] = 'O';
        CHECK(!program_head_is_vouched_for(&head, &f.key));
        head = f.head;
        head.image_bytes--;
        CHECK(!program_head_is_vouched_for(&head, &f.key));
        head = f.head;
        head.put_usec++;
        CHECK(!program_head_is_vouched_for(&head, &f.key));
        head = f.head;
        head.sums[31] ^= 1;
        CHECK(!program_head_is_vouched_for(&head, &f.key));
        fixture_deinit(&f);
}

static void a_head_that_says_what_cannot_be_is_refused(void) {
        unsigned char page[PAGE_BYTES];
        struct program_head head, read;
        struct fixture f;

        fixture_init(&f);
        head = f.head;
        head.image_bytes = PROGRAM_IMAGE_MAX + 1;
        program_head_encode(&head, page);
        CHECK(program_head_decode(page, &read, NULL) == -EBADMSG);
        head.image_bytes = 0;
        program_head_encode(&head, page);
        CHECK(program_head_decode(page, &read, NULL) == -EBADMSG);
        head = f.head;
        strcpy(head.name, "../orders");
        program_head_encode(&head, page);
        CHECK(program_head_decode(page, &read, NULL) == -EBADMSG);
        fixture_deinit(&f);
}

TEST_MAIN("program",
          TEST(any_piece_of_an_image_is_read_as_it_was_put),
          TEST(a_head_or_sum_with_any_byte_damaged_is_refused),
          TEST(a_damaged_block_is_an_error_for_who_reads_it_and_nobody_else),
          TEST(a_truncated_space_is_refused),
          TEST(a_put_that_was_cut_off_at_any_write_is_no_program),
          TEST(only_its_key_vouches_for_a_head_and_for_all_of_it),
          TEST(a_head_that_says_what_cannot_be_is_refused))
