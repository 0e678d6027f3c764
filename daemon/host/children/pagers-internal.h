/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What pagers.c (what there is) and pagers-run.c (how one is started) share. */

#include <limits.h>
#include <sys/types.h>

#include "daemon/host/children/pagers.h"

#define PAGER_CHILDREN_MAX 256 /* of this failoverd that have not been waited for */

struct pagers {
        sd_event *loop;
        bool user;
        char *conf_dir, *run_dir, *nbdkit, *plugin;
        pid_t children[PAGER_CHILDREN_MAX];
        size_t n_children;
};

int pagers_path(const struct pagers *pagers, const char *name, const char *file, char ret[static PATH_MAX]);
/* Starts it as a child. */
int pagers_spawn(struct pagers *pagers, const char *name, const char *conf_path);
/* Empties its log where that has grown large. */
void pagers_bound_log(const struct pagers *pagers, const char *name);
/* "StartUnit" or "StopUnit"; what goes wrong later is logged. */
int pagers_ask_unit(struct pagers *pagers, const char *method, const char *name);
