/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/pool-limit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/helper-client.h"

#define HELPER_USEC (10 * USEC_PER_SEC)

bool pool_limit_holds(const struct pool_limit *limit) {
        return limit->group[0] && limit->known && limit->result >= 0 && !limit->outside[0] &&
               limit->found.max_bytes <= limit->bytes;
}

void pool_limit_describe(const struct pool_limit *limit, char text[POOL_LIMIT_TEXT_LEN]) {
        const struct cgroup_pool *found = &limit->found;

        text[0] = '\0';
        if (!limit->group[0])
                return;
        if (!limit->known)
                snprintf(text, POOL_LIMIT_TEXT_LEN, "no VM is in %s yet", limit->group);
        else if (limit->result < 0)
                snprintf(text, POOL_LIMIT_TEXT_LEN, "no hard limit in %s: %s", limit->group,
                         limit->result == -EXDEV        ? "no VM is in a control group below one of this name; name it "
                                                          "in its domain (<resource><partition>)"
                         : limit->result == -ENOSPC     ? "there is no swap, or it may not swap: the kernel would kill"
                         : limit->result == -EOPNOTSUPP ? "no cgroup v2 memory controller"
                         : limit->result == -EAGAIN     ? "control groups are at work already; tried again"
                         : limit->result == -ENOTCONN   ? "failoverd-helper does not answer"
                                                        : strerror(-limit->result));
        else if (limit->outside[0])
                snprintf(text, POOL_LIMIT_TEXT_LEN, "the hard limit of %s does not hold for %s, which is not in it",
                         limit->group, limit->outside);
        else if (found->max_bytes > limit->bytes)
                snprintf(text, POOL_LIMIT_TEXT_LEN, "%" PRIu64 " MiB in %s for now (%" PRIu64 " MiB would be its "
                         "limit: what is above cannot be paged out so far)", found->max_bytes / MIB, limit->group,
                         limit->bytes / MIB);
        else if (found->max_bytes < limit->bytes)
                snprintf(text, POOL_LIMIT_TEXT_LEN, "%" PRIu64 " MiB in %.100s, which is less than the pool's %" PRIu64
                         " MiB", found->max_bytes / MIB, found->capped_by[0] ? found->capped_by : found->group,
                         limit->bytes / MIB);
        else
                snprintf(text, POOL_LIMIT_TEXT_LEN, "%" PRIu64 " MiB in %.150s", found->max_bytes / MIB, found->group);
}

static int give(const struct pool_limit *limit, const char *helper_path, const char *lock_path, const char *mountinfo,
                const struct pool_limit_vm *vm, uint64_t bytes, struct cgroup_pool *ret) {
        struct helper_request request = { .op = HELPER_LIMIT, .bytes = bytes };
        struct helper_reply reply;
        int r;

        if (!helper_path) {
                _cleanup_close_ int pidfd = pidfd_open(vm->pid, 0);

                if (pidfd < 0)
                        return -errno;
                return cgroup_pool_limit_process(mountinfo, lock_path, vm->pid, pidfd, limit->group, bytes, -1, ret);
        }
        memcpy(request.domain, vm->domain, sizeof(request.domain));
        memcpy(request.app, limit->group, sizeof(request.app));
        r = helper_ask(helper_path, &request, HELPER_USEC, &reply, NULL);
        if (r >= 0)
                *ret = reply.pool;
        return r;
}

/* The first VM that the group is not above. */
static void find_outside(struct pool_limit *limit, const struct pool_limit_vm *vms, size_t n_vms) {
        char file[32], path[CGROUP_PATH_LEN];

        limit->outside[0] = '\0';
        for (size_t i = 0; i < n_vms; i++) {
                int r;

                snprintf(file, sizeof(file), "/proc/%d/cgroup", vms[i].pid);
                r = cgroup_pool_find(file, limit->group, path);
                if (r == -ENOENT || r == -ESRCH)
                        continue; /* it has just ended */
                if (r < 0 || strcmp(path, limit->found.group) != 0) {
                        memcpy(limit->outside, vms[i].domain, sizeof(limit->outside));
                        return;
                }
        }
}

void pool_limit_give(struct pool_limit *limit, const char *helper_path, const char *lock_path, const char *mountinfo,
                     const struct pool_limit_vm *vms, size_t n_vms, uint64_t swap_bytes) {
        uint64_t bytes = swap_bytes > 0 ? limit->bytes : CGROUP_NO_LIMIT;

        limit->known = n_vms > 0;
        limit->result = -EXDEV;
        for (size_t i = 0; i < n_vms && (limit->result == -EXDEV || limit->result == -ESRCH); i++)
                limit->result = give(limit, helper_path, lock_path, mountinfo, &vms[i], bytes, &limit->found);
        if (limit->result >= 0 && swap_bytes == 0)
                limit->result = -ENOSPC;
        if (limit->result >= 0)
                find_outside(limit, vms, n_vms);
}
