/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ranges into cells. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/memory-map-internal.h"

static int find_vm(const struct map_legend *legend, const char *name) {
        if (!name)
                return MAP_NOBODY;
        for (int i = 0; i < legend->n_vms; i++)
                if (strcmp(legend->vms[i].name, name) == 0)
                        return i;
        return MAP_OTHERS;
}

static struct map_vm *add_vm(struct map_legend *legend, const char *name) {
        int i = find_vm(legend, name);

        if (i == MAP_NOBODY)
                return NULL;
        if (i == MAP_OTHERS && legend->n_vms < MAP_VMS_MAX) {
                i = legend->n_vms++;
                legend->vms[i].name = name;
                legend->vms[i].resident_bytes = MAP_UNASKED;
        } else if (i == MAP_OTHERS) {
                legend->has_others = true;
                legend->vms[i].name = "all others";
        }
        return &legend->vms[i];
}

static bool same_vm(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_sound(const struct map_space *space) {
        uint64_t at = 0;

        for (size_t i = 0; i < space->n_ranges; i++) {
                const struct map_range *range = &space->ranges[i];

                if (range->start_bytes != at || range->end_bytes <= at || space->extent_bytes == 0 ||
                    range->end_bytes % space->extent_bytes != 0)
                        return false;
                at = range->end_bytes;
        }
        return true;
}

int map_legend_make(const struct map_space *spaces, size_t n_spaces, struct map_legend *ret) {
        struct map_legend legend = { 0 };

        for (size_t s = 0; s < n_spaces; s++) {
                if (!is_sound(&spaces[s]))
                        return -EINVAL;
                for (size_t i = 0; i < spaces[s].n_ranges; i++) {
                        const struct map_range *range = &spaces[s].ranges[i];
                        uint64_t bytes = range->end_bytes - range->start_bytes;
                        struct map_vm *manager = add_vm(&legend, range->manager), *user = add_vm(&legend, range->user);

                        if (manager)
                                manager->managed_bytes += bytes;
                        if (!user)
                                continue;
                        user->used_bytes += bytes;
                        user->borrowed_bytes += same_vm(range->manager, range->user) ? 0 : bytes;
                        user->resident_bytes = map_add_resident(user->resident_bytes, range->resident_bytes);
                }
        }
        for (int i = 0; i < legend.n_vms; i++)
                if (legend.vms[i].used_bytes == 0)
                        legend.vms[i].resident_bytes = 0;
        *ret = legend;
        return 0;
}

uint64_t map_add_resident(uint64_t sum_bytes, uint64_t bytes) {
        if (sum_bytes == MAP_UNASKED || bytes == MAP_UNASKED)
                return sum_bytes == MAP_UNASKED ? bytes : sum_bytes;
        return sum_bytes == MAP_UNKNOWN || bytes == MAP_UNKNOWN ? MAP_UNKNOWN : sum_bytes + bytes;
}

void map_put_resident(uint64_t bytes, FILE *f) {
        char text[FORMAT_MAX];

        if (bytes == MAP_UNKNOWN)
                fputs(", in memory: not known", f);
        else if (bytes != MAP_UNASKED)
                fprintf(f, ", %s in memory", format_mib(text, (int64_t) bytes));
}

void map_put_amounts(const struct map_vm *vm, FILE *f) {
        char managed[FORMAT_MAX], used[FORMAT_MAX], borrowed[FORMAT_MAX];

        fprintf(f, ": manages %s, uses %s", format_mib(managed, (int64_t) vm->managed_bytes),
                format_mib(used, (int64_t) vm->used_bytes));
        if (vm->borrowed_bytes > 0)
                fprintf(f, " (%s without managing it)", format_mib(borrowed, (int64_t) vm->borrowed_bytes));
        map_put_resident(vm->resident_bytes, f);
}

char map_letter(int vm) {
        if (vm == MAP_NOBODY)
                return '.';
        return vm == MAP_OTHERS ? '#' : (char) ('A' + vm);
}

static uint64_t overlap(const struct map_range *range, uint64_t start, uint64_t end) {
        uint64_t from = range->start_bytes > start ? range->start_bytes : start;
        uint64_t to = range->end_bytes < end ? range->end_bytes : end;

        return to > from ? to - from : 0;
}

static bool looks_alike(const struct map_range *a, const struct map_range *b) {
        return same_vm(a->manager, b->manager) && same_vm(a->user, b->user) && a->leaving == b->leaving;
}

/* Fills a cell from the ranges that reach into it, of which `first` is the first. What looks alike counts together. */
static void fill_cell(const struct map_space *space, const struct map_legend *legend, size_t first,
                      struct map_cell *cell) {
        const struct map_range *ranges = space->ranges, *shown = &ranges[first];
        uint64_t most = 0;
        size_t last = first;

        cell->resident_bytes = MAP_UNASKED;

        while (last < space->n_ranges && ranges[last].start_bytes < cell->end_bytes)
                last++;
        for (size_t i = first; i < last; i++) {
                uint64_t bytes = overlap(&ranges[i], cell->start_bytes, cell->end_bytes), alike = 0;
                uint64_t length = ranges[i].end_bytes - ranges[i].start_bytes, resident = ranges[i].resident_bytes;

                if (resident < MAP_UNASKED)
                        resident = (uint64_t) ((__uint128_t) resident * bytes / length);
                cell->resident_bytes = map_add_resident(cell->resident_bytes, resident);
                if (most > (cell->end_bytes - cell->start_bytes) / 2)
                        continue;
                for (size_t k = i; k < last; k++)
                        if (looks_alike(&ranges[i], &ranges[k]))
                                alike += overlap(&ranges[k], cell->start_bytes, cell->end_bytes);
                if (alike > most) {
                        most = alike;
                        shown = &ranges[i];
                }
        }
        cell->manager = find_vm(legend, shown->manager);
        cell->user = find_vm(legend, shown->user);
        cell->leaving = shown->leaving;
}

int map_grid_make(const struct map_space *space, const struct map_legend *legend, size_t n_columns, size_t n_rows,
                  struct map_grid *ret) {
        uint64_t size_bytes = space->n_ranges ? space->ranges[space->n_ranges - 1].end_bytes : 0;
        struct map_grid grid = { .n_columns = n_columns, .cell_bytes = space->extent_bytes };

        while (size_bytes > 0 && (size_bytes - 1) / grid.cell_bytes >= n_columns * n_rows)
                grid.cell_bytes *= 2;
        grid.n_cells = size_bytes ? (size_bytes - 1) / grid.cell_bytes + 1 : 0;
        grid.cells = calloc(grid.n_cells + 1, sizeof(*grid.cells));
        if (!grid.cells)
                return -ENOMEM;
        for (size_t i = 0, first = 0; i < grid.n_cells; i++) {
                struct map_cell *cell = &grid.cells[i];

                cell->start_bytes = i * grid.cell_bytes;
                cell->end_bytes = size_bytes - cell->start_bytes > grid.cell_bytes ? cell->start_bytes + grid.cell_bytes
                                                                                   : size_bytes;
                while (space->ranges[first].end_bytes <= cell->start_bytes)
                        first++;
                fill_cell(space, legend, first, cell);
        }
        *ret = grid;
        return 0;
}

void map_grid_deinit(struct map_grid *grid) {
        free(grid->cells);
        *grid = (struct map_grid) { 0 };
}
