/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/diagnostics.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "daemon/base/cleanup.h"

/* Sets the name of the text. -ENOMEM. */
int diagnostics_set_name(struct diagnostics *d, const char *name) {
        char *copy = strdup(name);

        if (!copy)
                return -ENOMEM;
        free(d->name);
        d->name = copy;
        return 0;
}

/* Records one finding. Past DIAGNOSTICS_MAX it is counted only. -ENOMEM where it could only be counted for want
 * of memory. */
int diagnostics_add(struct diagnostics *d, unsigned line, unsigned column, bool is_warning, const char *path,
                    const char *format, ...) {
        _cleanup_free_ char *message = NULL, *path_copy = NULL;
        va_list ap;
        int r;

        if (is_warning)
                d->n_warnings++;
        else
                d->n_errors++;
        if (d->n_items >= DIAGNOSTICS_MAX)
                return 0;

        va_start(ap, format);
        r = vasprintf(&message, format, ap);
        va_end(ap);
        if (r < 0) {
                message = NULL;
                return -ENOMEM;
        }
        path_copy = strdup(path);
        if (!path_copy)
                return -ENOMEM;
        d->items[d->n_items++] = (struct diagnostic) {
                .line = line,
                .column = column,
                .is_warning = is_warning,
                .path = steal_ptr(path_copy),
                .message = steal_ptr(message),
        };
        return 0;
}

/* True where `path` is `under` or something inside it. */
static bool path_is_inside(const char *path, const char *under) {
        size_t n = strlen(under);

        return strncmp(path, under, n) == 0 && (n == 0 || path[n] == 0 || path[n] == '.' || path[n] == '[');
}

/* True where an error was kept for this key, for one inside it, or for a block that it stands in. A later check
 * uses it to stay silent about a value that could not be read. */
bool diagnostics_has_error_about(const struct diagnostics *d, const char *path) {
        for (size_t i = 0; i < d->n_items; i++) {
                const struct diagnostic *item = &d->items[i];

                if (!item->is_warning && (path_is_inside(item->path, path) || path_is_inside(path, item->path)))
                        return true;
        }
        return false;
}

static int compare_places(const void *a, const void *b) {
        const struct diagnostic *x = a, *y = b;

        if (x->line != y->line)
                return x->line < y->line ? -1 : 1;
        if (x->column != y->column)
                return x->column < y->column ? -1 : 1;
        if (x->is_warning != y->is_warning)
                return x->is_warning ? 1 : -1;
        return strcmp(x->message, y->message);
}

/* Puts the findings into the order of the text. */
void diagnostics_sort(struct diagnostics *d) {
        if (d->n_items > 1)
                qsort(d->items, d->n_items, sizeof(d->items[0]), compare_places);
}

/* One finding as a line without its newline: "FILE:LINE:COLUMN: KEY.PATH[0]: MESSAGE", with "warning: " in front
 * of the path of a warning. The caller frees it. -ENOMEM. */
int diagnostics_format(const struct diagnostics *d, size_t i, char **ret_line) {
        const struct diagnostic *item = &d->items[i];
        char place[32] = "", *line;

        if (item->line > 0)
                snprintf(place, sizeof(place), ":%u:%u", item->line, item->column);
        if (asprintf(&line, "%s%s: %s%s%s%s", d->name ? d->name : "policy", place, item->is_warning ? "warning: " : "",
                     item->path, item->path[0] ? ": " : "", item->message) < 0)
                return -ENOMEM;
        *ret_line = line;
        return 0;
}

/* Prints every finding on a line of its own, then how many more there were. -ENOMEM, or -EIO where the stream
 * failed. */
int diagnostics_print(const struct diagnostics *d, FILE *f) {
        size_t n_found = d->n_errors + d->n_warnings;
        int r;

        for (size_t i = 0; i < d->n_items; i++) {
                _cleanup_free_ char *line = NULL;

                r = diagnostics_format(d, i, &line);
                if (r < 0)
                        return r;
                fprintf(f, "%s\n", line);
        }
        if (n_found > d->n_items)
                fprintf(f, "%s: and %zu more\n", d->name ? d->name : "policy", n_found - d->n_items);
        return ferror(f) ? -EIO : 0;
}

/* Releases the findings and leaves an empty list. */
void diagnostics_deinit(struct diagnostics *d) {
        for (size_t i = 0; i < d->n_items; i++) {
                free(d->items[i].path);
                free(d->items[i].message);
        }
        free(d->name);
        *d = (struct diagnostics) { 0 };
}
