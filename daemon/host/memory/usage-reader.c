/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/usage-reader.h"

#include <errno.h>
#include <unistd.h>

/* Documentation/admin-guide/mm/pagemap.rst: one 64-bit word a page. */
#define PAGE_PRESENT (UINT64_C(1) << 63)
#define WORDS 8192 /* looked at in one read */

/* Resident pages in `n_pages` from page `first` on. */
static int count_pages(int fd, uint64_t first, uint64_t n_pages, uint64_t *ret) {
        uint64_t words[WORDS], count = 0;

        while (n_pages > 0) {
                size_t want = n_pages < WORDS ? (size_t) n_pages : WORDS;
                ssize_t n = pread(fd, words, want * sizeof(*words), (off_t) (first * sizeof(*words)));

                if (n < 0)
                        return -errno;
                if (n < (ssize_t) sizeof(*words))
                        return -ESRCH; /* an ended process has no address space any more */
                n /= (ssize_t) sizeof(*words);
                for (ssize_t i = 0; i < n; i++)
                        count += (words[i] & PAGE_PRESENT) != 0;
                first += (uint64_t) n;
                n_pages -= (uint64_t) n;
        }
        *ret = count;
        return 0;
}

int usage_read(int pagemap_fd, uint64_t start, uint64_t region_bytes, enum side side, bool only_empty,
               struct usage *usage) {
        bool changed = !usage->known[side];

        for (unsigned i = 0; i < usage->n_extents; i++) {
                uint64_t at = i * usage->extent_bytes, count;
                uint64_t bytes = at + usage->extent_bytes > region_bytes ? region_bytes - at : usage->extent_bytes;
                int r;

                if (only_empty && usage->known[side] && usage->pages[side][i] > 0)
                        continue;
                r = count_pages(pagemap_fd, (start + at) / USAGE_PAGE_BYTES, bytes / USAGE_PAGE_BYTES, &count);
                if (r < 0) {
                        usage->known[side] = false;
                        return r;
                }
                if (count > UINT16_MAX)
                        count = UINT16_MAX;
                changed |= usage->pages[side][i] != count;
                usage->pages[side][i] = (uint16_t) count;
        }
        usage->known[side] = true;
        return changed;
}
