/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Core dumps of guests among the evidence: DIRECTORY/FAILOVER-ID/core-SIDE. They are large, so that only the latest few
 * are kept and none is begun where the file system would be left with little room. libvirt writes them.
 */

#include <stdint.h>

#include "policy/policy.h"

#define EVIDENCE_DUMPS_KEPT 2
#define EVIDENCE_DUMP_SPARE_BYTES (512 * MIB) /* stay free: the store is there too */

/* Makes room for a dump of about `bytes`, by removing older ones, and tells its path, which the caller frees. Returns
 * 0, -ENOSPC, -EINVAL for an id that is no file name, -ENOMEM or another errno of the file system. Blocks: for
 * threads. */
int evidence_dump_prepare(const char *directory, const char *failover_id, enum side side, uint64_t bytes,
                          char **ret_path);
