/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/usage-reader.h"

#include "daemon/host/memory/pagemap.h"

int usage_read(int pagemap_fd, uint64_t start, uint64_t region_bytes, enum side side, bool only_empty,
               struct usage *usage) {
        bool changed = !usage->known[side];

        for (unsigned i = 0; i < usage->n_extents; i++) {
                uint64_t at = i * usage->extent_bytes, count;
                uint64_t bytes = at + usage->extent_bytes > region_bytes ? region_bytes - at : usage->extent_bytes;
                int r;

                if (only_empty && usage->known[side] && usage->pages[side][i] > 0)
                        continue;
                r = pagemap_count(pagemap_fd, (start + at) / USAGE_PAGE_BYTES, bytes / USAGE_PAGE_BYTES, &count);
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
