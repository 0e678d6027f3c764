/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The words of what is said on control sockets, for those too who only ask. */

#include "daemon/memserver/copy.h"
#include "daemon/memserver/space.h"

static const char *const space_role_table[] = {
        [SPACE_PRIMARY] = "primary",
        [SPACE_MIRROR] = "mirror",
};
DEFINE_ENUM_TABLE(space_role, space_role_table)

static const char *const copy_state_table[] = {
        [COPY_NONE] = "none",         [COPY_CONNECTING] = "connecting", [COPY_FILLING] = "filling",
        [COPY_COMPLETE] = "complete", [COPY_LOST] = "lost",             [COPY_REPLACED] = "replaced",
};
DEFINE_ENUM_TABLE(copy_state, copy_state_table)
