/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/ctl/ctl.h"

/* A VM that stands alone, as it is in "vms" of the status: for people. */
void status_vm_print(const struct ctl *ctl, struct json_object *vm);
/* Whether it could go on now, as it is in "vms" of the check. */
void status_vm_print_check(const struct ctl *ctl, struct json_object *vm);
