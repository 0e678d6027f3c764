/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/shares.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/host/helper-client.h"
#include "daemon/host/memory/cgroup-memory.h"
#include "daemon/host/memory/page-out.h"
#include "daemon/host/memory/reclaim.h"
#include "daemon/host/process.h"

#define HELPER_USEC (10 * USEC_PER_SEC)
#define STEP_USEC (500 * USEC_PER_MSEC)
#define AGAIN_USEC (5 * USEC_PER_SEC) /* what others may have changed is looked at as often */
#define GIVE_BACK_USEC (2 * USEC_PER_SEC)
#define END_USEC USEC_PER_SEC
#define END_AGAIN_USEC (50 * USEC_PER_MSEC) /* the helper does one such work at a time, and ends one whose asker went */
#define POOL_USEC (10 * USEC_PER_SEC)
#define POOL_LEANT_USEC USEC_PER_SEC /* while something leans on the swap, which others may fill */
/* What an old user may have beside its share before it is held up for it: the manager's touches come first, and QEMU's
 * own memory moves. */
#define SLACK_BYTES (16 * MIB)

struct kept {
        struct reclaim_region region;
        uint64_t touched_bytes;
        bool able;
        struct kept *next;
};

/* One VM: what follows from all its regions, and what came of it. */
struct vm {
        struct shares_vm is;
        struct cgroup_share share, given;
        bool kept;           /* some region of it is on its way */
        bool holds;          /* it was given something that it has not given back */
        usec_t given_usec;   /* 0: not yet */
        int result;
        struct cgroup_finding finding;
        struct vm *next;
};

/* Held by its owner and its thread: whoever is the last frees it. */
struct shares {
        pthread_mutex_t lock;
        pthread_cond_t work, done;
        unsigned n_refs;
        bool ending, ended;
        usec_t end_usec;       /* ending: until then it is tried, and once more at least */
        bool end_tried;
        usec_t give_back_usec; /* when all is to be given back, before anything else; USEC_INFINITY: not */
        bool give_back_pool;   /* and the pool's limit, too */
        int give_back_result;
        char *helper_path, *lock_path, *mountinfo;
        struct pool_limit pool;
        struct kept *kept;
        struct vm *vms;
};

static void shares_unref(struct shares *shares) {
        bool last;

        pthread_mutex_lock(&shares->lock);
        last = --shares->n_refs == 0;
        pthread_mutex_unlock(&shares->lock);
        if (!last)
                return;
        while (shares->kept) {
                struct kept *next = shares->kept->next;

                free(shares->kept);
                shares->kept = next;
        }
        while (shares->vms) {
                struct vm *next = shares->vms->next;

                free(shares->vms);
                shares->vms = next;
        }
        pthread_cond_destroy(&shares->work);
        pthread_cond_destroy(&shares->done);
        pthread_mutex_destroy(&shares->lock);
        free(shares->helper_path);
        free(shares->lock_path);
        free(shares->mountinfo);
        free(shares);
}

/* ---- what each VM gets ---------------------------------------------------------------------------------- */

static struct vm *find_vm(struct shares *shares, int pair, enum side side) {
        for (struct vm *vm = shares->vms; vm; vm = vm->next)
                if (vm->is.pair == pair && vm->is.side == side)
                        return vm;
        return NULL;
}

/* With the lock held: adds up what its regions mean for each VM. */
static void add_up(struct shares *shares) {
        for (struct vm *vm = shares->vms; vm; vm = vm->next) {
                vm->kept = false;
                vm->share = (struct cgroup_share){ 0, 0, CGROUP_NO_LIMIT }; /* as it was before */
        }
        for (const struct kept *kept = shares->kept; kept; kept = kept->next)
                for (enum side side = 0; side < SIDE_MAX; side++) {
                        const struct reclaim_region *region = &kept->region;
                        struct vm *vm = find_vm(shares, region->pair, side);
                        uint64_t left = region->bytes > kept->touched_bytes ? region->bytes - kept->touched_bytes : 0;

                        if (!vm->kept)
                                vm->share = (struct cgroup_share){ vm->is.system_bytes, vm->is.managed_bytes,
                                                                   CGROUP_NO_LIMIT };
                        vm->kept = true;
                        if (side != region->from || !kept->able)
                                continue;
                        if (vm->share.high_bytes == CGROUP_NO_LIMIT)
                                vm->share.high_bytes = vm->is.managed_bytes + SLACK_BYTES;
                        vm->share.high_bytes += left;
                }
}

static bool is_due(const struct vm *vm, usec_t now) {
        if (vm->is.pid <= 0 || (!vm->kept && !vm->holds))
                return false;
        if (!vm->given_usec || now >= vm->given_usec + AGAIN_USEC)
                return true;
        return now >= vm->given_usec + STEP_USEC && memcmp(&vm->share, &vm->given, sizeof(vm->share)) != 0;
}

/* With the lock held. A bound may have to wait for the swap; who only needs protection does not wait for that, nor does
 * one bounded VM for another for ever. A VM's first turn is for its protection alone. */
static struct vm *first_due(struct shares *shares, usec_t now) {
        struct vm *first = NULL;

        for (struct vm *vm = shares->vms; vm; vm = vm->next) {
                bool quick = !vm->given_usec || vm->share.high_bytes == CGROUP_NO_LIMIT;
                bool first_quick = first && (!first->given_usec || first->share.high_bytes == CGROUP_NO_LIMIT);

                if (!is_due(vm, now))
                        continue;
                if (!first || (quick && !first_quick) ||
                    (quick == first_quick && vm->given_usec < first->given_usec))
                        first = vm;
        }
        return first;
}

/* ---- setting it ----------------------------------------------------------------------------------------- */

static int share_own(const struct shares *shares, int pid, const struct cgroup_share *share,
                     struct cgroup_finding *ret) {
        _cleanup_close_ int pidfd = pidfd_open(pid, 0);

        if (pidfd < 0)
                return -errno;
        return cgroup_memory_share_process(shares->mountinfo, shares->lock_path, pid, pidfd, share, -1, ret);
}

static int share(const struct shares *shares, const char *domain, int pid, const struct cgroup_share *share,
                 struct cgroup_finding *ret) {
        struct helper_request request = { .op = HELPER_SHARE, .share = *share };
        struct helper_reply reply;
        int r;

        if (!shares->helper_path)
                return share_own(shares, pid, share, ret);
        snprintf(request.domain, sizeof(request.domain), "%s", domain);
        r = helper_ask(shares->helper_path, &request, HELPER_USEC, &reply, NULL);
        if (r < 0)
                return r;
        *ret = reply.finding;
        return 0;
}

static int give_back(const struct shares *shares, bool pool) {
        struct helper_request request = { .op = HELPER_GIVE_BACK, .bytes = pool };
        char root[CGROUP_PATH_LEN];
        int r;

        r = cgroup_find_root(shares->mountinfo, root);
        if (r < 0)
                return r == -EOPNOTSUPP ? 0 : r; /* there is nothing */
        if (shares->helper_path)
                return helper_ask(shares->helper_path, &request, HELPER_USEC, NULL, NULL);
        r = cgroup_memory_give_back(root, shares->lock_path, pool);
        return r < 0 ? r : 0;
}

static void describe(const struct vm *vm, char text[SHARES_TEXT_LEN]) {
        const struct cgroup_finding *f = &vm->finding;
        size_t n;

        if (vm->result < 0) {
                snprintf(text, SHARES_TEXT_LEN, "not protected: %s",
                         vm->result == -EOPNOTSUPP ? "no cgroup v2 memory controller; process_madvise alone takes pages"
                         : vm->result == -EBUSY    ? "its QEMU shares its control group with other processes"
                         : vm->result == -EAGAIN   ? "control groups are at work already; tried again"
                         : vm->result == -ENOTCONN ? "failoverd-helper does not answer"
                                                   : strerror(-vm->result));
                return;
        }
        n = (size_t) snprintf(text, SHARES_TEXT_LEN, "protected: %" PRIu64 " MiB in %.150s", f->low_bytes / MIB,
                              f->group);
        if (f->capped_by[0])
                n += (size_t) snprintf(text + n, SHARES_TEXT_LEN - n, " (of %" PRIu64 " MiB: %.100s has no more)",
                                       vm->given.low_bytes / MIB, f->capped_by);
        if (f->high_bytes != CGROUP_NO_LIMIT)
                n += (size_t) snprintf(text + n, SHARES_TEXT_LEN - n, ", at most %" PRIu64 " MiB", f->high_bytes / MIB);
        if (f->high_bytes / MIB > vm->given.high_bytes / MIB + 1)
                n += (size_t) snprintf(text + n, SHARES_TEXT_LEN - n,
                                       " (%" PRIu64 " MiB would be its share: what it has cannot be paged out so far)",
                                       vm->given.high_bytes / MIB);
        if (f->bounded_by[0])
                (void) snprintf(text + n, SHARES_TEXT_LEN - n, "; hard limit of all in %.100s: %" PRIu64 " MiB",
                                f->bounded_by, f->max_bytes / MIB);
}

/* In the log: the first time, and when something else keeps it from being as wanted. What no VM of this host can have
 * is told as how memory is taken back here (EVENT_RECLAIM). */
static void log_change(const struct vm *vm, int before, const char *capped_before) {
        char text[SHARES_TEXT_LEN];

        if (vm->result == -EOPNOTSUPP)
                return;
        if (vm->given_usec && vm->result == before && strcmp(vm->finding.capped_by, capped_before) == 0)
                return;
        describe(vm, text);
        fprintf(stderr, "%s: memory while a region changes hands: %s\n", vm->is.domain, text);
}

/* With the lock held, which it lets go meanwhile. VMs are only freed with all. */
static void give_share(struct shares *shares, struct vm *vm) {
        struct cgroup_share wanted = vm->share;
        struct cgroup_finding finding = { 0 };
        struct vm before = *vm;
        int r;

        if (!vm->given_usec)
                wanted.high_bytes = CGROUP_NO_LIMIT;
        vm->holds = true;
        pthread_mutex_unlock(&shares->lock);
        r = share(shares, before.is.domain, before.is.pid, &wanted, &finding);
        pthread_mutex_lock(&shares->lock);
        vm->given = wanted;
        vm->result = r;
        vm->finding = finding;
        if (before.kept)
                log_change(vm, before.result, before.finding.capped_by);
        else
                vm->holds = r < 0 && r != -ESRCH && r != -ENOENT && r != -EOPNOTSUPP; /* gone, and its groups */
        vm->given_usec = clock_usec(CLOCK_MONOTONIC);
}

/* All of it, where nothing is on its way; what is wanted meanwhile is given anew at once. With the lock held, as
 * above. */
static void give_all_back(struct shares *shares) {
        bool pool = shares->give_back_pool || shares->ending;
        int r;

        shares->give_back_usec = USEC_INFINITY;
        shares->give_back_pool = false;
        for (struct vm *vm = shares->vms; vm; vm = vm->next) {
                vm->given_usec = 0;
                vm->holds = false;
        }
        pthread_mutex_unlock(&shares->lock);
        r = give_back(shares, pool);
        if (r < 0 && r != shares->give_back_result)
                fprintf(stderr, "memory limits of VMs' control groups cannot be given back: %s; tried again every "
                                "%d s, and when failoverd starts\n",
                        strerror(-r), (int) (GIVE_BACK_USEC / USEC_PER_SEC));
        shares->give_back_result = r;
        pthread_mutex_lock(&shares->lock);
        if (r < 0 && !shares->ending && shares->give_back_usec == USEC_INFINITY)
                shares->give_back_usec = clock_usec(CLOCK_MONOTONIC) + GIVE_BACK_USEC;
        if (r < 0 && shares->ending && (!shares->end_tried || clock_usec(CLOCK_MONOTONIC) < shares->end_usec)) {
                shares->end_tried = true;
                condition_wait(&shares->work, &shares->lock, END_AGAIN_USEC);
                shares->give_back_usec = 0;
        }
        if (pool) {
                shares->give_back_pool |= r < 0;
                shares->pool.next_usec = 0;
        }
}

/* ---- the pool's limit ------------------------------------------------------------------------------------ */

static size_t list_vms(const struct shares *shares, struct pool_limit_vm **ret) {
        size_t n = 0;

        for (const struct vm *vm = shares->vms; vm; vm = vm->next)
                n++;
        *ret = calloc(n + 1, sizeof(**ret));
        n = 0;
        for (const struct vm *vm = shares->vms; *ret && vm; vm = vm->next)
                if (vm->is.pid > 0) {
                        (*ret)[n].pid = vm->is.pid;
                        memcpy((*ret)[n++].domain, vm->is.domain, sizeof(vm->is.domain));
                }
        return n;
}

/* With the lock held, which it lets go meanwhile. In the log: the first time, and whenever it is another. */
static void limit_pool(struct shares *shares) {
        struct pool_limit limit = shares->pool;
        char before[POOL_LIMIT_TEXT_LEN], now[POOL_LIMIT_TEXT_LEN];
        _cleanup_free_ struct pool_limit_vm *vms = NULL;
        size_t n_vms = list_vms(shares, &vms);
        struct pool_swap swap = { .free_bytes = page_out_swap_bytes() };

        for (const struct kept *kept = shares->kept; kept; kept = kept->next)
                swap.leant_bytes += kept->region.bytes;
        shares->pool.next_usec = clock_usec(CLOCK_MONOTONIC) + (shares->kept ? POOL_LEANT_USEC : POOL_USEC);
        if (!vms)
                return; /* out of memory: tried again */
        pthread_mutex_unlock(&shares->lock);
        pool_limit_give(&limit, shares->helper_path, shares->lock_path, shares->mountinfo, vms, n_vms, &swap);
        pthread_mutex_lock(&shares->lock);
        if (strcmp(limit.group, shares->pool.group) != 0 || limit.bytes != shares->pool.bytes)
                return; /* another is wanted meanwhile */
        pool_limit_describe(&shares->pool, before);
        limit.next_usec = shares->pool.next_usec;
        shares->pool = limit;
        pool_limit_describe(&shares->pool, now);
        if (strcmp(before, now) != 0)
                fprintf(stderr, "hard limit of the pool: %s\n", now);
}

static void wait_for_work(struct shares *shares, usec_t now) {
        if (shares->kept || shares->give_back_usec != USEC_INFINITY)
                condition_wait(&shares->work, &shares->lock, STEP_USEC);
        else if (shares->pool.group[0])
                condition_wait(&shares->work, &shares->lock, shares->pool.next_usec - now);
        else
                (void) pthread_cond_wait(&shares->work, &shares->lock);
}

static void *run(void *userdata) {
        struct shares *shares = userdata;

        pthread_mutex_lock(&shares->lock);
        while (!shares->ending || shares->give_back_usec == 0) {
                usec_t now = clock_usec(CLOCK_MONOTONIC);
                struct vm *due;

                if (now >= shares->give_back_usec) {
                        give_all_back(shares);
                        continue;
                }
                add_up(shares);
                due = first_due(shares, now);
                if (due)
                        give_share(shares, due);
                else if (shares->pool.group[0] && now >= shares->pool.next_usec)
                        limit_pool(shares);
                else
                        wait_for_work(shares, now);
        }
        shares->ended = true;
        pthread_cond_signal(&shares->done);
        pthread_mutex_unlock(&shares->lock);
        shares_unref(shares);
        return NULL;
}

/* ---- the owner's side ------------------------------------------------------------------------------------ */

int shares_new(const char *helper_path, const char *lock_path, const char *mountinfo, struct shares **ret) {
        struct shares *shares = calloc(1, sizeof(*shares));
        int r = 0;

        if (!shares)
                return -ENOMEM;
        pthread_mutex_init(&shares->lock, NULL);
        condition_init(&shares->work);
        condition_init(&shares->done);
        shares->n_refs = 2;
        shares->give_back_usec = 0;
        shares->give_back_pool = true;
        shares->mountinfo = strdup(mountinfo);
        shares->lock_path = strdup(lock_path);
        shares->helper_path = helper_path ? strdup(helper_path) : NULL;
        if (!shares->mountinfo || !shares->lock_path || (helper_path && !shares->helper_path))
                r = -ENOMEM;
        if (r >= 0)
                r = thread_start(run, shares);
        if (r < 0) {
                shares->n_refs = 1;
                shares_unref(shares);
                return r;
        }
        *ret = shares;
        return 0;
}

void shares_end(struct shares *shares) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + END_USEC;

        pthread_mutex_lock(&shares->lock);
        shares->ending = true;
        shares->end_usec = until;
        if (shares->kept || shares->pool.group[0] || shares->give_back_usec != USEC_INFINITY)
                shares->give_back_usec = 0;
        pthread_cond_signal(&shares->work);
        while (!shares->ended && clock_usec(CLOCK_MONOTONIC) < until)
                condition_wait(&shares->done, &shares->lock, END_USEC);
        pthread_mutex_unlock(&shares->lock);
}

struct shares *shares_free(struct shares *shares) {
        if (!shares)
                return NULL;
        shares_end(shares);
        shares_unref(shares);
        return NULL;
}

/* With the lock held: NULL when out of memory. */
static struct vm *make_vm(struct shares *shares, int pair, enum side side) {
        struct vm *vm = find_vm(shares, pair, side);

        if (!vm) {
                vm = calloc(1, sizeof(*vm));
                if (!vm)
                        return NULL;
                vm->is.pair = pair;
                vm->is.side = side;
                vm->next = shares->vms;
                shares->vms = vm;
        }
        return vm;
}

int shares_set_vm(struct shares *shares, const struct shares_vm *is) {
        struct vm *vm;

        pthread_mutex_lock(&shares->lock);
        vm = make_vm(shares, is->pair, is->side);
        if (vm) {
                if (vm->is.pid != is->pid || strcmp(vm->is.domain, is->domain) != 0) {
                        vm->given_usec = 0;
                        shares->pool.next_usec = 0;
                        pthread_cond_signal(&shares->work);
                }
                vm->is = *is;
        }
        pthread_mutex_unlock(&shares->lock);
        return vm ? 0 : -ENOMEM;
}

static struct kept *find_kept(struct shares *shares, int pair, int app) {
        for (struct kept *kept = shares->kept; kept; kept = kept->next)
                if (kept->region.pair == pair && kept->region.app == app)
                        return kept;
        return NULL;
}

int shares_keep(struct shares *shares, const struct reclaim_region *region, uint64_t touched_bytes, bool able) {
        struct kept *kept;
        int r = 0;

        pthread_mutex_lock(&shares->lock);
        kept = find_kept(shares, region->pair, region->app);
        if (!make_vm(shares, region->pair, SIDE_A) || !make_vm(shares, region->pair, SIDE_B))
                r = -ENOMEM;
        if (r >= 0 && !kept) {
                kept = calloc(1, sizeof(*kept));
                if (kept) {
                        kept->next = shares->kept;
                        shares->kept = kept;
                        shares->pool.next_usec = 0; /* does the swap take what leans on it? */
                } else
                        r = -ENOMEM;
                pthread_cond_signal(&shares->work);
        }
        if (r >= 0) {
                kept->region = *region;
                kept->touched_bytes = touched_bytes;
                kept->able = able;
        }
        pthread_mutex_unlock(&shares->lock);
        return r;
}

void shares_forget(struct shares *shares, int pair, int app) {
        pthread_mutex_lock(&shares->lock);
        for (struct kept **at = &shares->kept; *at; at = &(*at)->next)
                if ((*at)->region.pair == pair && (*at)->region.app == app) {
                        struct kept *gone = *at;

                        *at = gone->next;
                        free(gone);
                        if (!shares->kept)
                                shares->give_back_usec = 0;
                        pthread_cond_signal(&shares->work);
                        break;
                }
        pthread_mutex_unlock(&shares->lock);
}

void shares_set_pool(struct shares *shares, const char *group, uint64_t bytes) {
        pthread_mutex_lock(&shares->lock);
        if (strcmp(shares->pool.group, group) != 0 || shares->pool.bytes != bytes) {
                if (shares->pool.group[0] && strcmp(shares->pool.group, group) != 0) {
                        shares->give_back_pool = true;
                        shares->give_back_usec = 0;
                }
                shares->pool = (struct pool_limit){ .bytes = bytes };
                snprintf(shares->pool.group, sizeof(shares->pool.group), "%s", group);
                pthread_cond_signal(&shares->work);
        }
        pthread_mutex_unlock(&shares->lock);
}

uint64_t shares_pool(struct shares *shares, char text[POOL_LIMIT_TEXT_LEN], uint64_t *ret_swap_bytes) {
        uint64_t bytes;

        pthread_mutex_lock(&shares->lock);
        pool_limit_describe(&shares->pool, text);
        bytes = pool_limit_holds(&shares->pool) ? shares->pool.found.max_bytes : 0;
        if (ret_swap_bytes)
                *ret_swap_bytes = pool_limit_swap_bytes(&shares->pool, page_out_swap_bytes());
        pthread_mutex_unlock(&shares->lock);
        return bytes;
}

void shares_describe(struct shares *shares, int pair, enum side side, char text[SHARES_TEXT_LEN]) {
        const struct vm *vm;

        text[0] = '\0';
        pthread_mutex_lock(&shares->lock);
        vm = find_vm(shares, pair, side);
        if (vm && vm->kept && vm->given_usec)
                describe(vm, text);
        pthread_mutex_unlock(&shares->lock);
}

int shares_possible(const struct shares *shares) {
        char root[CGROUP_PATH_LEN];

        return cgroup_find_root(shares->mountinfo, root);
}
