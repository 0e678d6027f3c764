/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/pool-limit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/helper-client.h"
#include "daemon/host/memory/cgroup-reclaim.h"
#include "daemon/host/memory/page-out.h"

#define HELPER_USEC (10 * USEC_PER_SEC)

bool pool_limit_holds(const struct pool_limit *limit) {
        return limit->group[0] && limit->known && limit->result >= 0 && !limit->outside[0] &&
               limit->found.max_bytes <= limit->bytes;
}

/* As far as groups allow, where that is known. */
static uint64_t swap_left(const struct pool_limit *limit, uint64_t free_bytes) {
        return limit->found.group[0] && limit->found.swap_left_bytes < free_bytes ? limit->found.swap_left_bytes
                                                                                  : free_bytes;
}

uint64_t pool_limit_swap_bytes(const struct pool_limit *limit, uint64_t free_bytes) {
        return swap_left(limit, free_bytes) + (pool_limit_holds(limit) ? limit->found.swapped_bytes : 0);
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
                         : limit->result == -ENOSPC     ? "the swap left to it does not take what leans on "
                                                          "it (swapon adds some): the kernel would kill"
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

/* The first VM that the group is not above; and which of them may swap least, since they may have limits of their
 * own. */
static void look_at_vms(struct pool_limit *limit, const char *mountinfo, const struct pool_limit_vm *vms,
                        size_t n_vms) {
        char file[32], path[CGROUP_PATH_LEN], root[CGROUP_PATH_LEN];
        bool has_root = cgroup_find_root(mountinfo, root) >= 0;

        limit->outside[0] = '\0';
        for (size_t i = 0; i < n_vms; i++) {
                uint64_t left;
                int r;

                snprintf(file, sizeof(file), "/proc/%d/cgroup", vms[i].pid);
                if (has_root && cgroup_of_process(file, path) >= 0) {
                        left = cgroup_swap_left(root, path);
                        if (left < limit->found.swap_left_bytes)
                                limit->found.swap_left_bytes = left;
                }
                r = cgroup_pool_find(file, limit->group, path);
                if (r == -ENOENT || r == -ESRCH)
                        continue; /* it has just ended */
                if (!limit->outside[0] && (r < 0 || strcmp(path, limit->found.group) != 0))
                        memcpy(limit->outside, vms[i].domain, sizeof(limit->outside));
        }
}

/* Once taken away it comes back a little later, so that it does not come and go. */
static bool swap_suffices(const struct pool_limit *limit, const struct pool_swap *swap, bool has_limit) {
        uint64_t wanted = PAGE_OUT_SWAP_LEAST_BYTES * (has_limit ? 1 : 2);

        if (swap->leant_bytes > limit->found.swapped_bytes)
                wanted += swap->leant_bytes - limit->found.swapped_bytes;
        return swap_left(limit, swap->free_bytes) >= wanted;
}

static void give_bytes(struct pool_limit *limit, const char *helper_path, const char *lock_path, const char *mountinfo,
                       const struct pool_limit_vm *vms, size_t n_vms, uint64_t bytes) {
        limit->result = -EXDEV;
        for (size_t i = 0; i < n_vms && (limit->result == -EXDEV || limit->result == -ESRCH); i++)
                limit->result = give(limit, helper_path, lock_path, mountinfo, &vms[i], bytes, &limit->found);
        if (limit->result >= 0)
                look_at_vms(limit, mountinfo, vms, n_vms);
}

void pool_limit_give(struct pool_limit *limit, const char *helper_path, const char *lock_path, const char *mountinfo,
                     const struct pool_limit_vm *vms, size_t n_vms, const struct pool_swap *swap) {
        bool has_limit = limit->known && limit->result >= 0;

        limit->known = n_vms > 0;
        if (has_limit || swap_suffices(limit, swap, false)) { /* in force: what is swapped is seen anew first */
                give_bytes(limit, helper_path, lock_path, mountinfo, vms, n_vms, limit->bytes);
                if (limit->result >= 0 ? swap_suffices(limit, swap, true) : limit->result != -ENOSPC)
                        return;
        }
        give_bytes(limit, helper_path, lock_path, mountinfo, vms, n_vms, CGROUP_NO_LIMIT);
        if (limit->result >= 0)
                limit->result = -ENOSPC;
}
