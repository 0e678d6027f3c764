/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text in columns that are as wide as they have to be. */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define RENDER_COLUMNS_MAX 9

struct render_table {
        const char *heads[RENDER_COLUMNS_MAX]; /* borrowed; names the columns */
        bool right[RENDER_COLUMNS_MAX];        /* numbers stand to the right */
        size_t n_columns;
        char **cells; /* owned, row by row */
        size_t n_cells, n_allocated;
        bool failed; /* out of memory */
};

/* Adds the next cell; n_columns of them make a row. The text is copied. */
void render_cell(struct render_table *table, const char *text);
/* Prints all with two spaces between the columns, and empties the table. -ENOMEM. */
int render_print(struct render_table *table, FILE *f);
