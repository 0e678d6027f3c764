/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The map as an SVG document. Cells of one row that look alike are one shape; each tells its range when pointed at. */

#include <errno.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/memory-map-internal.h"

#define COLUMNS 64
#define COLUMNS_MIN 8
#define ROWS_MAX 32
#define MAP_PX 768 /* width of a row of cells */
#define CELL_PX 18 /* their height */
#define ROW_PX (CELL_PX + 2)
#define LEFT_PX 90
#define LINE_PX 24
#define MARGIN_PX 10
#define SWATCH_PX 40
#define WIDTH_PX (LEFT_PX + MAP_PX + MARGIN_PX)

/* Distinguishable also by those who see few colours (Okabe and Ito). Later VMs share them: the titles tell. */
static const char *const palette[] = { "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7" };

static const char *fill_of(int vm) {
        return vm == MAP_NOBODY ? "#ffffff" : palette[(size_t) vm % ELEMENTSOF(palette)];
}

/* Text for XML; what XML cannot hold is "?". */
static void put_text(const char *text, FILE *f) {
        for (; *text; text++)
                switch (*text) {
                case '<':
                        fputs("&lt;", f);
                        break;
                case '>':
                        fputs("&gt;", f);
                        break;
                case '&':
                        fputs("&amp;", f);
                        break;
                case '"':
                        fputs("&quot;", f);
                        break;
                default:
                        fputc(*text >= 0x20 && *text < 0x7f ? *text : '?', f);
                }
}

static const char *name_of(const struct map_legend *legend, int vm) {
        return vm == MAP_NOBODY ? "nobody" : legend->vms[vm].name;
}

/* Hatching in the colour of each user, thin, so that the manager's colour is what is seen first; with black lines
 * across it where that user has to release. */
static void put_patterns(const struct map_legend *legend, FILE *f) {
        fputs("<defs>\n", f);
        for (int i = 0; i <= MAP_VMS_MAX; i++) {
                if (i >= legend->n_vms && !(i == MAP_OTHERS && legend->has_others))
                        continue;
                for (int leaving = 0; leaving < 2; leaving++)
                        fprintf(f, "<pattern id=\"%s-%d\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\" "
                                   "patternTransform=\"rotate(45)\"><path d=\"M2,0 V8\" stroke=\"%s\" "
                                   "stroke-width=\"2.5\"/>%s</pattern>\n", leaving ? "leaves" : "uses", i, fill_of(i),
                                leaving ? "<path d=\"M0,4 H8\" stroke=\"#000000\"/>" : "");
        }
        fputs("</defs>\n", f);
}

static void put_box(int x, int y, int width, int manager, int user, bool leaving, FILE *f) {
        bool differs = user != MAP_NOBODY && user != manager;

        fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\" fill-opacity=\"%s\" "
                   "stroke=\"#666666\" stroke-width=\"0.5\"/>", x, y, width, CELL_PX, fill_of(manager),
                user == MAP_NOBODY ? "0.35" : "1");
        if (differs)
                fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"url(#%s-%d)\"/>", x, y, width,
                        CELL_PX, leaving ? "leaves" : "uses", user);
}

static bool looks_alike(const struct map_cell *a, const struct map_cell *b) {
        return a->manager == b->manager && a->user == b->user && a->leaving == b->leaving;
}

/* `n` cells that look alike, each `width` wide. */
static void put_run(const struct map_legend *legend, const struct map_cell *cells, size_t n, int x, int width, int y,
                    FILE *f) {
        char start[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX];
        uint64_t resident_bytes = MAP_UNASKED;

        for (size_t i = 0; i < n; i++)
                resident_bytes = map_add_resident(resident_bytes, cells[i].resident_bytes);
        fputs("<g><title>", f);
        fprintf(f, "%s-%s: managed by ", size_format(start, cells[0].start_bytes),
                size_format(end, cells[n - 1].end_bytes));
        put_text(name_of(legend, cells[0].manager), f);
        fputs(", used by ", f);
        put_text(name_of(legend, cells[0].user), f);
        fputs(cells[0].leaving ? ", which is being made to release it" : "", f);
        map_put_resident(resident_bytes, f);
        fputs("</title>", f);
        put_box(x, y, (int) n * width, cells[0].manager, cells[0].user, cells[0].leaving, f);
        fputs("</g>\n", f);
}

static void put_row(const struct map_legend *legend, const struct map_cell *cells, size_t n, int width, int y,
                    FILE *f) {
        char label[UNITS_TEXT_MAX];

        fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", LEFT_PX - 6, y + CELL_PX - 5,
                size_format(label, cells[0].start_bytes));
        for (size_t i = 0, run; i < n; i += run) {
                for (run = 1; i + run < n && looks_alike(&cells[i], &cells[i + run]);)
                        run++;
                put_run(legend, &cells[i], run, LEFT_PX + (int) i * width, width, y, f);
        }
        fputs("<path d=\"", f);
        for (size_t i = 1; i < n; i++)
                fprintf(f, "M%d,%dv%d", LEFT_PX + (int) i * width, y, CELL_PX);
        fputs("\" stroke=\"#666666\" stroke-width=\"0.3\"/>\n", f);
}

static size_t rows_of(const struct map_grid *grid) {
        return (grid->n_cells + grid->n_columns - 1) / grid->n_columns;
}

static int height_of(const struct map_grid *grid) {
        return 2 * LINE_PX + (int) rows_of(grid) * ROW_PX;
}

/* Draws a space below `y` and returns where it ends. */
static int put_space(const struct map_space *space, const struct map_legend *legend, const struct map_grid *grid, int y,
                     FILE *f) {
        char cell[UNITS_TEXT_MAX];

        fprintf(f, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">", MARGIN_PX, y + LINE_PX - 6);
        put_text(space->title, f);
        fprintf(f, ", a cell is %s</text>\n", size_format(cell, grid->cell_bytes));
        for (size_t row = 0; row < rows_of(grid); row++) {
                size_t first = row * grid->n_columns, left = grid->n_cells - first;

                put_row(legend, &grid->cells[first], left < grid->n_columns ? left : grid->n_columns,
                        MAP_PX / (int) grid->n_columns, y + LINE_PX + (int) row * ROW_PX, f);
        }
        return y + height_of(grid);
}

static void put_legend_line(int y, int manager, int user, bool leaving, FILE *f) {
        put_box(MARGIN_PX, y, SWATCH_PX, manager, user, leaving, f);
        fprintf(f, "<text x=\"%d\" y=\"%d\">", 2 * MARGIN_PX + SWATCH_PX, y + CELL_PX - 5);
}

static int put_vm(const struct map_legend *legend, int i, int y, FILE *f) {
        const struct map_vm *vm = &legend->vms[i];

        put_legend_line(y, i, i, false, f);
        put_text(vm->name, f);
        map_put_amounts(vm, f);
        fputs("</text>\n", f);
        return y + LINE_PX;
}

static int n_legend_lines(const struct map_legend *legend) {
        return legend->n_vms + legend->has_others + (legend->n_vms ? 3 : 0);
}

static void put_legend(const struct map_legend *legend, int y, FILE *f) {
        for (int i = 0; i < legend->n_vms; i++)
                y = put_vm(legend, i, y, f);
        if (legend->has_others)
                y = put_vm(legend, MAP_OTHERS, y, f);
        if (legend->n_vms == 0)
                return;
        put_legend_line(y, 0, MAP_NOBODY, false, f);
        fputs("managed, and used by nobody</text>\n", f);
        put_legend_line(y + LINE_PX, MAP_NOBODY, 0, false, f);
        fputs("used by that VM, managed by the colour behind</text>\n", f);
        put_legend_line(y + 2 * LINE_PX, MAP_NOBODY, 0, true, f);
        fputs("the same, and that VM is being made to release it</text>\n", f);
}

static void put_document(const struct map_space *spaces, size_t n_spaces, const struct map_legend *legend,
                         const struct map_grid *grids, FILE *f) {
        int height = MARGIN_PX, y = MARGIN_PX;

        for (size_t i = 0; i < n_spaces; i++)
                height += height_of(&grids[i]);
        height += n_legend_lines(legend) * LINE_PX + MARGIN_PX;
        fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                   "font-family=\"sans-serif\" font-size=\"12\">\n<title>Memory: who manages it, who uses it</title>\n",
                WIDTH_PX, height, WIDTH_PX, height);
        put_patterns(legend, f);
        fprintf(f, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", WIDTH_PX, height);
        for (size_t i = 0; i < n_spaces; i++)
                y = put_space(&spaces[i], legend, &grids[i], y, f);
        put_legend(legend, y, f);
        fputs("</svg>\n", f);
}

int memory_map_svg(const struct map_space *spaces, size_t n_spaces, FILE *f) {
        _cleanup_free_ struct map_grid *grids = calloc(n_spaces + 1, sizeof(*grids));
        struct map_legend legend;
        int r = grids ? map_legend_make(spaces, n_spaces, &legend) : -ENOMEM;

        for (size_t i = 0; i < n_spaces && r == 0; i++) {
                r = map_grid_make(&spaces[i], &legend, COLUMNS, ROWS_MAX, &grids[i]);
                /* few cells are wide ones */
                while (r == 0 && grids[i].n_columns > COLUMNS_MIN && grids[i].n_columns / 2 >= grids[i].n_cells)
                        grids[i].n_columns /= 2;
        }
        if (r == 0)
                put_document(spaces, n_spaces, &legend, grids, f);
        for (size_t i = 0; grids && i < n_spaces; i++)
                map_grid_deinit(&grids[i]);
        return r;
}
