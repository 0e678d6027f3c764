/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/diagnostics.h"
#include "policy/node.h"
#include "policy/policy.h"

int policy_check(const struct policy *policy, const struct node *root, bool in_force, struct diagnostics *d);

/* The checks, one noun a file. They read the model and use the tree for places only. A check stays silent where a
 * value that it rests on could not be read: that has been reported already. */
struct check {
        const struct policy *policy;
        const struct node *root;
        struct diagnostics *d;
        bool in_force; /* it worked until now: what is only unfit is told, and no reason to refuse it */
        int error; /* -ENOMEM once memory ran out */
};

void check_memory(struct check *c); /* extents, floors, the pool's sum */
void check_names(struct check *c);  /* what may occur once only */
void check_pair_times(struct check *c, size_t pair);
void check_servers(struct check *c); /* memory servers and who overflows to them */
/* The memory server that the list at `names` has in place `i`, which `path` is of: its index, or -ENOENT after a report
 * where it is unknown or stood there before, or where nothing is known of it. */
int check_server_name(struct check *c, const char (*names)[NAME_LEN], size_t i, const char *path);
void check_vms(struct check *c); /* VMs that stand alone */
void check_application(struct check *c, size_t pair, size_t application);
void check_commands(struct check *c, size_t pair);

void check_error(struct check *c, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
void check_broken(struct check *c, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
void check_warning(struct check *c, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool check_usable(const struct check *c, const char *path);
const char *check_path(char buffer[static NODE_PATH_LEN], const char *format, ...)
        __attribute__((format(printf, 2, 3)));
