/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

#include "policy/policy.h"

#define SNIPPET_CELL_BYTES (4 * MIB)  /* boot memory of each application's guest node: QEMU takes no empty one */
#define SNIPPET_BLOCK_BYTES (2 * MIB) /* virtio-mem block; the extent is a multiple of it */
#define AGENT_CHANNEL_NAME "org.failover1.agent.0"
#define DISKS_NAMESPACE "urn:failover1:disks" /* of the element in <metadata> that holds the disks */

int application_guest_node(size_t application);
int policy_print_domain_snippet(const struct pair_policy *pair, enum side side, FILE *f);
