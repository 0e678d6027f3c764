/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/ctl/memory-map.h"

#define MAP_NOBODY (-1)
#define MAP_OTHERS MAP_VMS_MAX /* all VMs that have no letter */

/* What one VM has in all spaces. */
struct map_vm {
        const char *name;
        uint64_t managed_bytes, used_bytes;
        uint64_t borrowed_bytes; /* used and not managed */
        uint64_t resident_bytes; /* MAP_UNKNOWN: not of all of it; MAP_UNASKED */
};

struct map_legend {
        struct map_vm vms[MAP_VMS_MAX + 1];
        int n_vms;      /* with a letter */
        bool has_others;
};

struct map_cell {
        uint64_t start_bytes, end_bytes;
        int manager, user; /* in the legend, or MAP_NOBODY */
        bool leaving;
        uint64_t resident_bytes; /* or MAP_UNKNOWN, MAP_UNASKED */
};

struct map_grid {
        struct map_cell *cells; /* owned */
        size_t n_cells, n_columns;
        uint64_t cell_bytes;
};

/* The VMs of all spaces with what they have. -EINVAL where a space's ranges are not sorted, from 0, without a gap and
 * in whole extents. */
int map_legend_make(const struct map_space *spaces, size_t n_spaces, struct map_legend *ret);
/* What is known of a sum; what is not makes it unknown, and what was not asked adds nothing. */
uint64_t map_add_resident(uint64_t sum_bytes, uint64_t bytes);
/* "100MiB in memory", or that it is not known; nothing where it was not asked. */
void map_put_resident(uint64_t bytes, FILE *f);
/* ": manages 1GiB, uses ..." */
void map_put_amounts(const struct map_vm *vm, FILE *f);
/* "A" to "Z", "#" for all others, "." for nobody. */
char map_letter(int vm);

/* A space in rows of `n_columns` cells, at most `n_rows` of them: a cell is an extent, or as many more, by powers of
 * two, as are needed for that. -ENOMEM. */
int map_grid_make(const struct map_space *space, const struct map_legend *legend, size_t n_columns, size_t n_rows,
                  struct map_grid *ret);
void map_grid_deinit(struct map_grid *grid);
