/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/units.h"

#include <errno.h>
#include <stddef.h>

int units_new(struct loop *loop, const char *run_dir, const struct units_handler *handler, struct units **ret) {
        return -EOPNOTSUPP;
}

struct units *units_free(struct units *units) {
        return NULL;
}

const char *units_system(const struct units *units) {
        return NULL;
}

int units_watch(struct units *units, const char *unit) {
        return -EOPNOTSUPP;
}

const struct unit_status *units_status(const struct units *units, const char *unit) {
        return NULL;
}

int units_check(const struct units *units, const char *unit) {
        return -EOPNOTSUPP;
}

int units_start(struct units *units, const char *unit, int node) {
        return -EOPNOTSUPP;
}

int units_stop(struct units *units, const char *unit) {
        return -EOPNOTSUPP;
}

void units_bound(struct units *units, const struct loss_share *shares, size_t n_shares) {
}
