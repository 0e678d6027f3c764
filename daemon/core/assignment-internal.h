/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/core/assignment.h"

static inline bool assignment_kind_is_range(enum assignment_kind kind) {
        return kind == ASSIGN_RANGE || kind == ASSIGN_EXTEND_RANGE || kind == ASSIGN_RELEASE_RANGE;
}
