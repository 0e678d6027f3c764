/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The map as text. A cell is two characters, so that it says all without colours too: the manager and the user. */

#include <ctype.h>
#include <errno.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/memory-map-internal.h"

#define ROWS_MAX 16
#define LABEL_WIDTH 10
#define WIDTH_MIN 40
#define COLUMNS_MAX 64

/* As many cells a row as fit, a power of two, so that rows begin at round addresses. */
static size_t columns_of(unsigned width) {
        size_t columns = COLUMNS_MAX;

        if (width < WIDTH_MIN)
                width = WIDTH_MIN;
        while (LABEL_WIDTH + 2 + 2 * columns > width)
                columns /= 2;
        return columns;
}

/* Of the managers. The VMs after these share them, and are told by their letters. */
static const int backgrounds[] = { 43, 46, 42, 45, 44, 41 };

static void begin_color(int manager, FILE *f) {
        if (manager == MAP_NOBODY)
                fputs("\033[2m", f);
        else
                fprintf(f, "\033[30;%dm", backgrounds[(size_t) manager % ELEMENTSOF(backgrounds)]);
}

/* Without colours "AB": A manages, B uses; "Ab": B is being made to release it. With colours the manager is the
 * background, and where another uses it, it is hatched: "/B", or "xB" where B is being made to release it. */
static void put_cell(const struct map_cell *cell, bool color, FILE *f) {
        char manager = map_letter(cell->manager), user = map_letter(cell->user);
        bool differs = cell->user != MAP_NOBODY && cell->user != cell->manager;

        if (color && differs)
                manager = cell->leaving ? 'x' : '/';
        else if (color && cell->manager < (int) ELEMENTSOF(backgrounds))
                manager = ' ';
        if (color && cell->user == cell->manager)
                user = ' ';
        if (!color && cell->leaving)
                user = (char) tolower(user);
        fputc(manager, f);
        fputc(user, f);
}

static void print_row(const struct map_cell *cells, size_t n, bool color, FILE *f) {
        char label[UNITS_TEXT_MAX];

        fprintf(f, "%*s  ", LABEL_WIDTH, size_format(label, cells[0].start_bytes));
        for (size_t i = 0; i < n; i++) {
                bool begins = i == 0 || cells[i].manager != cells[i - 1].manager;

                if (color && begins)
                        begin_color(cells[i].manager, f);
                put_cell(&cells[i], color, f);
                if (color && (i + 1 == n || cells[i + 1].manager != cells[i].manager))
                        fputs("\033[0m", f);
        }
        fputc('\n', f);
}

static int print_space(const struct map_space *space, const struct map_legend *legend, size_t n_columns, bool color,
                       FILE *f) {
        _cleanup_(map_grid_deinit) struct map_grid grid = { 0 };
        char cell[UNITS_TEXT_MAX];
        int r = map_grid_make(space, legend, n_columns, ROWS_MAX, &grid);

        if (r < 0)
                return r;
        fprintf(f, "%s, a cell is %s\n", space->title, size_format(cell, grid.cell_bytes));
        for (size_t i = 0; i < grid.n_cells; i += n_columns)
                print_row(&grid.cells[i], grid.n_cells - i < n_columns ? grid.n_cells - i : n_columns, color, f);
        fputc('\n', f);
        return 0;
}

static void print_vm(const struct map_legend *legend, int i, bool color, FILE *f) {
        const struct map_vm *vm = &legend->vms[i];

        if (color)
                begin_color(i, f);
        fprintf(f, "%c%s  %s", map_letter(i), color ? "\033[0m" : "", vm->name);
        map_put_amounts(vm, f);
        fputc('\n', f);
}

int memory_map_print(const struct map_space *spaces, size_t n_spaces, unsigned width, bool color, FILE *f) {
        struct map_legend legend;
        int r = map_legend_make(spaces, n_spaces, &legend);

        for (size_t i = 0; i < n_spaces && r == 0; i++)
                r = print_space(&spaces[i], &legend, columns_of(width), color, f);
        if (r < 0)
                return r;
        for (int i = 0; i < legend.n_vms; i++)
                print_vm(&legend, i, color, f);
        if (legend.has_others)
                print_vm(&legend, MAP_OTHERS, color, f);
        if (color)
                fputs("colour: who manages it; \"/B\": B uses it instead, \"xB\": and is being made to release it\n"
                      "\" .\": nobody uses it\n", f);
        else
                fputs("\"AB\": A manages it, B uses it; \"Ab\": and B is being made to release it; \".\": nobody\n", f);
        return 0;
}
