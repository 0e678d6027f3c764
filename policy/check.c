/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/check.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "daemon/base/cleanup.h"

__attribute__((format(printf, 4, 0)))
static void report(struct check *c, bool is_warning, const char *path, const char *format, va_list ap) {
        const struct node *node = node_locate(c->root, path);
        _cleanup_free_ char *message = NULL;

        if (vasprintf(&message, format, ap) < 0) {
                message = NULL;
                c->error = -ENOMEM;
                return;
        }
        if (diagnostics_add(c->d, node->line, node->column, is_warning, path, "%s", message) < 0)
                c->error = -ENOMEM;
}

/* Reports an error about the key at `path`, at its place, or at the nearest place where it could stand. What is unfit
 * in a policy that is in force is a warning: this check may be younger than the policy, and failovers that worked
 * before an upgrade are to work after it. */
void check_error(struct check *c, const char *path, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        report(c, c->in_force, path, format, ap);
        va_end(ap);
        if (c->in_force)
                c->d->n_tolerated++;
}

/* The same for what nothing could work with, in force or not: a name that stands for two things or for none, a size
 * that cannot be counted in extents or pages, nothing to start. */
void check_broken(struct check *c, const char *path, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        report(c, false, path, format, ap);
        va_end(ap);
}

/* The same for a warning: the policy is usable, and likely not what was meant. */
void check_warning(struct check *c, const char *path, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        report(c, true, path, format, ap);
        va_end(ap);
}

/* False where the value at `path`, one inside it, or a block that it stands in is known to be wrong or missing. */
bool check_usable(const struct check *c, const char *path) {
        return !diagnostics_has_error_about(c->d, path);
}

/* Formats a path. Returns `buffer`. */
const char *check_path(char buffer[static NODE_PATH_LEN], const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        vsnprintf(buffer, NODE_PATH_LEN, format, ap);
        va_end(ap);
        return buffer;
}

static void check_uri(struct check *c) {
        const char *uri = c->policy->hypervisor_uri;
        char quoted[QUOTE_LEN];

        if (check_usable(c, "hypervisor") && (!strstr(uri, "://") || strpbrk(uri, " \t\n")))
                check_error(c, "hypervisor", "\"%s\" is no libvirt URI; write one such as qemu:///system",
                            text_quote(uri, strlen(uri), quoted));
}

/* Checks what no single value shows: one name twice, sums, contradictions. Findings go to `d`; returns 0 also with
 * findings, or -ENOMEM. */
int policy_check(const struct policy *policy, const struct node *root, bool in_force, struct diagnostics *d) {
        struct check c = { .policy = policy, .root = root, .d = d, .in_force = in_force };

        if (root->kind != NODE_MAPPING)
                return 0;
        check_uri(&c);
        for (size_t i = 0; i < policy->n_pairs; i++) {
                check_pair_times(&c, i);
                for (size_t j = 0; j < policy->pairs[i].n_applications; j++)
                        check_application(&c, i, j);
        }
        check_names(&c);
        check_servers(&c);
        check_vms(&c);
        check_memory(&c);
        for (size_t i = 0; i < policy->n_pairs; i++)
                check_commands(&c, i);
        return c.error;
}
