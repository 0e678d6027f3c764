/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What failoverd asks of failoverd-helper, on a unix socket of type SOCK_SEQPACKET: one request, one reply, then
 * the helper closes. Both ends are of one build, so the structs go as they are; HELPER_MAGIC rises when they
 * change.
 */

#include <stdint.h>

#include "daemon/host/memory/cgroup-memory.h"
#include "daemon/host/memory/cgroup-pool.h"
#include "policy/policy.h"

#define HELPER_MAGIC UINT32_C(0x66616905)

enum helper_op {
        HELPER_OPEN, /* reply with a pidfd (SCM_RIGHTS) */
        HELPER_KILL, /* SIGKILL */
        HELPER_STOP, /* SIGSTOP */
        HELPER_CONT, /* SIGCONT */
        HELPER_LOOK, /* reply with its page map (SCM_RIGHTS), and where the region of `app` is in it */
        HELPER_PAGE_OUT, /* the kernel pages a part of the region of `app` out: `offset`, `bytes` in whole pages. With
                          * no bytes: could it? */
        HELPER_SHARE, /* its control group gets `share` of the host's memory; reply with `finding` */
        HELPER_GIVE_BACK, /* every control group that has got one is as before; without `bytes` but for hard limits of
                           * pools. No domain. Reply: how many */
        HELPER_LIMIT, /* the control group called `app` above its own gets the hard limit `bytes`, UINT64_MAX is none;
                       * reply with `pool` */
        HELPER_OP_MAX,
        HELPER_OP_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(helper_op); /* "open", "kill", "stop", "cont", "look", "page-out", "share", "give-back", "limit" */

struct helper_request {
        uint32_t magic;
        uint32_t op; /* enum helper_op */
        char domain[NAME_LEN]; /* ends with NUL */
        char app[NAME_LEN];    /* the same */
        uint64_t offset, bytes;
        struct cgroup_share share;
};

struct helper_reply {
        uint32_t magic;
        int32_t result; /* 0 or a negative errno, those of process_find() among them */
        int32_t pid;
        uint64_t start, bytes; /* HELPER_LOOK: the region's place in the process. HELPER_GIVE_BACK: `bytes`
                                * is how many groups */
        struct cgroup_finding finding; /* HELPER_SHARE */
        struct cgroup_pool pool;       /* HELPER_LIMIT */
};
