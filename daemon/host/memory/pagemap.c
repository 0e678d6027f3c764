/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/pagemap.h"

#include <errno.h>
#include <unistd.h>

/* Documentation/admin-guide/mm/pagemap.rst: one 64-bit word a page. */
#define PAGE_PRESENT (UINT64_C(1) << 63)
#define WORDS 8192 /* looked at in one read */

int pagemap_count(int fd, uint64_t first, uint64_t n_pages, uint64_t *ret) {
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
