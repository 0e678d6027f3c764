/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/pages/context-image.h"
#include "tests/unit/test.h"

/* A space in memory. What was not flushed is lost with a crash. */
struct space {
        unsigned char *bytes, *kept;
        uint64_t size;
        unsigned n_writes, fail_at; /* the write that fails; 0: none */
};

static int space_read(void *userdata, void *buffer, uint64_t length, uint64_t offset) {
        struct space *space = userdata;

        REQUIRE(length <= CONTEXT_IO_MAX);
        if (offset + length > space->size)
                return -EINVAL;
        memcpy(buffer, space->bytes + offset, length);
        return 0;
}

static int space_write(void *userdata, const void *buffer, uint64_t length, uint64_t offset) {
        struct space *space = userdata;

        REQUIRE(length <= CONTEXT_IO_MAX && offset + length <= space->size);
        if (++space->n_writes == space->fail_at)
                return -ENOSPC;
        memcpy(space->bytes + offset, buffer, length);
        return 0;
}

static int space_flush(void *userdata) {
        struct space *space = userdata;

        memcpy(space->kept, space->bytes, space->size);
        return 0;
}

static void space_init(struct space *space, uint64_t size) {
        *space = (struct space) { .size = size };
        space->bytes = mmap(NULL, space->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        space->kept = mmap(NULL, space->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(space->bytes != MAP_FAILED && space->kept != MAP_FAILED);
}

static void space_deinit(struct space *space) {
        munmap(space->bytes, space->size);
        munmap(space->kept, space->size);
}

static struct context_io io_of(struct space *space) {
        return (struct context_io) { space_read, space_write, space_flush, space, space->size };
}
