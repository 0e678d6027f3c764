/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A region's memory in one QEMU: what of it is touched, and having parts of it paged out. Where the QEMU belongs to
 * another user, failoverd-helper opens or does it. Both may take long. */

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"

struct reclaim_region;
struct usage;

/* All zero: not open. */
struct region_view {
        bool open;
        int pagemap_fd;
        uint64_t start, bytes; /* of the region in the process's addresses */
};

void region_view_close(struct region_view *view);
/* Looks at one side's memory (usage_read()), and opens the view before where it is not open; what cannot be looked at
 * is opened anew next time. True if something is otherwise than before, or not known any more. `helper_path` is NULL
 * where QEMUs are this user's own. */
bool region_view_look(struct region_view *view, const char *helper_path, const struct reclaim_region *region,
                      enum side side, bool only_empty, struct usage *usage);
/* Has the kernel page a part of the old user's memory out. -ERANGE where the region has no such part, -ESRCH and other
 * errnos where there is no such QEMU, or of page_out() and helper_ask(). */
int region_page_out(const char *helper_path, const struct reclaim_region *region, uint64_t offset, uint64_t bytes);
