/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A page that the spill file does not give back as it was is lost here, but not at a mirror that has all pages. It is
 * read there, and written here anew, where that can be; so a broken disk costs nobody a page as long as one holder of
 * it lives. Without such a mirror it is an I/O error, until all of the page is written.
 */

#include <errno.h>
#include <string.h>

#include "daemon/memserver/copy.h"
#include "daemon/memserver/space.h"

/* A page, or a part of it. */
static int read_part(struct space *space, char *to, uint64_t length, uint64_t offset) {
        const uint64_t begin = offset / PAGE_BYTES * PAGE_BYTES;
        char page[PAGE_BYTES];
        int r = page_space_read(space->pages, to, length, offset);

        if (r != -EIO)
                return r;
        r = copy_read_back(space->mirror, page, PAGE_BYTES, begin);
        if (r < 0)
                return r;
        memcpy(to, page + (offset - begin), length);
        (void) page_space_write(space->pages, page, PAGE_BYTES, begin); /* what takes nothing stays as it is */
        return 0;
}

int space_read_mended(struct space *space, void *buffer, uint64_t length, uint64_t offset) {
        char *to = buffer;
        int r = 0;

        for (uint64_t n; length > 0 && r == 0; to += n, offset += n, length -= n) {
                n = PAGE_BYTES - offset % PAGE_BYTES;
                if (n > length)
                        n = length;
                r = read_part(space, to, n, offset);
        }
        return r;
}

int space_mend(struct space *space, uint64_t length, uint64_t offset) {
        uint64_t at = offset / PAGE_BYTES * PAGE_BYTES;
        char page[PAGE_BYTES];
        int r = 0;

        for (; at < offset + length && r == 0; at += PAGE_BYTES)
                r = read_part(space, page, PAGE_BYTES, at);
        return r;
}
