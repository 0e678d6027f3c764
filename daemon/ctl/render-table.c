/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/render-table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void render_cell(struct render_table *table, const char *text) {
        if (table->n_cells == table->n_allocated) {
                size_t allocated = table->n_allocated ? 2 * table->n_allocated : 64;
                char **grown = reallocarray(table->cells, allocated, sizeof(*grown));

                if (!grown) {
                        table->failed = true;
                        return;
                }
                table->cells = grown;
                table->n_allocated = allocated;
        }
        table->cells[table->n_cells] = strdup(text);
        if (!table->cells[table->n_cells])
                table->failed = true;
        else
                table->n_cells++;
}

static void print_row(const struct render_table *table, const char *const *cells, const size_t *widths, FILE *f) {
        for (size_t c = 0; c < table->n_columns; c++) {
                bool last = c + 1 == table->n_columns;
                int width = (int) widths[c];

                if (c > 0)
                        fputs("  ", f);
                if (table->right[c])
                        fprintf(f, "%*s", width, cells[c]);
                else
                        fprintf(f, "%-*s", last ? 0 : width, cells[c]);
        }
        fputc('\n', f);
}

int render_print(struct render_table *table, FILE *f) {
        size_t widths[RENDER_COLUMNS_MAX] = { 0 }, rows = table->n_cells / table->n_columns;

        for (size_t c = 0; c < table->n_columns; c++) {
                widths[c] = strlen(table->heads[c]);
                for (size_t r = 0; r < rows; r++) {
                        size_t width = strlen(table->cells[r * table->n_columns + c]);

                        if (width > widths[c])
                                widths[c] = width;
                }
        }
        if (!table->failed) {
                print_row(table, table->heads, widths, f);
                for (size_t r = 0; r < rows; r++)
                        print_row(table, (const char *const *) &table->cells[r * table->n_columns], widths, f);
        }
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i]);
        free(table->cells);
        table->cells = NULL;
        table->n_cells = table->n_allocated = 0;
        return table->failed ? -ENOMEM : 0;
}
