/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/bus/facts.h"
#include "daemon/bus/json-build.h"

/* "vms": those of the policy that stand alone, and what their standbys have told. Either may be NULL. */
void json_put_vms(struct json_builder *builder, struct json_object *root, const struct policy *policy,
                  const struct host_facts *facts);
/* "vms" of `check`: whether they could go on now; all of them, or one (`domain`, else NULL). */
void json_put_vm_checks(struct json_builder *builder, struct json_object *root, const struct policy *policy,
                        const struct host_facts *facts, const char *domain);
