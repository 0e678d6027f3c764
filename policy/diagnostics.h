/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is wrong with a text, as a bounded list: every finding has a place, the path of the key and a message
 * that names the thing, the reason and the next step. An error makes the text unusable, a warning does not.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define DIAGNOSTICS_MAX 64 /* findings kept; the rest is counted */

struct diagnostic {
        unsigned line, column; /* from 1; 0 where the text as a whole is meant */
        bool is_warning;
        char *path;    /* "pairs[0].active.base"; "" at the top */
        char *message; /* one line */
};

/* Zero-initialise; release with diagnostics_deinit(). */
struct diagnostics {
        char *name; /* of the text, as messages show it; NULL until known */
        struct diagnostic items[DIAGNOSTICS_MAX];
        size_t n_items;
        size_t n_errors, n_warnings; /* all that were found, also those not kept */
        size_t n_tolerated;          /* of the warnings: errors of a text that is not in force */
};

int diagnostics_set_name(struct diagnostics *d, const char *name);
int diagnostics_add(struct diagnostics *d, unsigned line, unsigned column, bool is_warning, const char *path,
                    const char *format, ...) __attribute__((format(printf, 6, 7)));
bool diagnostics_has_error_about(const struct diagnostics *d, const char *path);
void diagnostics_sort(struct diagnostics *d);
int diagnostics_format(const struct diagnostics *d, size_t i, char **ret_line);
int diagnostics_print(const struct diagnostics *d, FILE *f);
void diagnostics_deinit(struct diagnostics *d);
