/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/ctl/ctl.h"

/* A VM that stands alone, as it is in "vms" of the status: for people. */
void status_vm_print(const struct ctl *ctl, struct json_object *vm);
