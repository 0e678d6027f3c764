/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Out of memory anywhere in the page store: the caller is told. Once a space is there, saving allocates nothing. */

#include <errno.h>
#include <sys/mman.h>

#include "daemon/base/units.h"
#include "daemon/memserver/page-store.h"
#include "tests/unit/faulty-heap.h"
#include "tests/unit/test.h"

void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
        return heap_meet() ? MAP_FAILED : __real_mmap64(at, size, protection, flags, fd, offset);
}

static void save_and_drop(struct page_space *space) {
        char page[PAGE_BYTES] = "x";

        for (uint64_t i = 0; i < 16; i++)
                CHECK(page_space_write(space, page, sizeof(page), i * PAGE_BYTES) == 0);
        CHECK(page_space_write(space, page, sizeof(page), 16 * PAGE_BYTES) == -ENOSPC);
        CHECK(page_space_trim(space, MIB, 0) == 0 && page_space_pages(space) == 0);
}

static void use_a_store(void) {
        struct page_store_options options = { .memory_bytes = 16 * PAGE_BYTES };
        struct page_store *store = NULL;
        struct page_space *space = NULL;
        int r;

        heap_begin(false);
        r = page_store_new(&options, &store);
        if (r == 0) {
                r = page_space_new(store, MIB, 0, NULL, &space);
                if (r == 0)
                        save_and_drop(space);
        }
        CHECK(r == 0 ? !heap_end() : heap_end() && r == -ENOMEM && !space);
        if (space)
                page_space_free(space);
        if (store)
                page_store_free(store);
}

static void every_allocation_may_fail_and_saving_needs_none(void) {
        CHECK(heap_fail_each(use_a_store, HEAP_LACK_LARGE) == 6); /* the store, its four tables, the space */
}

TEST_MAIN("heap-pages",
          TEST(every_allocation_may_fail_and_saving_needs_none))
