/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A drawing of memory in two rights (N): extents as cells, the manager's colour, hatching where another VM uses them.
 * Text for a terminal or a pipe, and SVG; both of the same cells. Of a space with more extents than there are cells,
 * a cell shows what most of its extents are.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MAP_UNKNOWN UINT64_MAX
#define MAP_UNASKED (UINT64_MAX - 1) /* a place says nothing of where memory is */

/* Neighbouring extents with the same manager and user. */
struct map_range {
        uint64_t start_bytes, end_bytes;
        const char *manager;     /* borrowed; NULL: nobody */
        const char *user;        /* borrowed; NULL: nobody */
        bool leaving;            /* the user, which is another, is being made to release it */
        uint64_t resident_bytes; /* of the user, in memory now; spread evenly over the range. MAP_UNKNOWN: not known; or
                                  * MAP_UNASKED */
};

struct map_space {
        const char *title; /* borrowed: "region db of pair web" */
        uint64_t extent_bytes;
        const struct map_range *ranges; /* borrowed; sorted, from 0, without a gap */
        size_t n_ranges;
};

/* VMs in the order in which they appear, up to so many with a letter and a colour of their own. */
#define MAP_VMS_MAX 26

/* Draws the spaces, and a legend with what each VM has. `width`: columns of the terminal; at least 40 are used.
 * -ENOMEM, -EINVAL where a space's ranges are not as above. */
int memory_map_print(const struct map_space *spaces, size_t n_spaces, unsigned width, bool color, FILE *f);
/* The same as an SVG document of its own, in UTF-8. */
int memory_map_svg(const struct map_space *spaces, size_t n_spaces, FILE *f);
