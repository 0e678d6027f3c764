/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/reclaim.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/core/handover.h"
#include "daemon/core/update.h"
#include "daemon/host/helper-client.h"
#include "daemon/host/memory/page-out.h"
#include "daemon/host/memory/region-view.h"

#define LOOK_USEC (20 * USEC_PER_MSEC)
#define LOOK_MAX_USEC USEC_PER_SEC
#define OLD_USER_USEC (250 * USEC_PER_MSEC)
#define ABILITY_USEC (10 * USEC_PER_SEC)
#define SWAP_USEC USEC_PER_SEC /* the same for the swap alone, which others may fill */
#define HELPER_USEC (10 * USEC_PER_SEC)
#define RESULTS_MAX 256 /* looks that the loop has not taken yet; more are dropped, the next one tells as much */

struct follow {
        struct reclaim_region region;
        struct usage usage;
        struct region_view views[SIDE_MAX];
        bool at_work;         /* the looking thread has it: it alone touches usage and views */
        bool dropped;         /* forgotten meanwhile */
        usec_t next_usec, step_usec, old_user_usec, told_usec;
        struct follow *next;
};

struct result {
        struct event event;
        struct usage *usage; /* owned */
        struct result *next;
};

struct job {
        struct reclaim_region region;
        uint64_t id, offset, bytes;
        struct result *result; /* owned: made before, so that the answer certainly comes */
        struct job *next;
};

/* Held by its owner and by both threads: whoever is the last frees it. */
struct reclaim {
        pthread_mutex_t lock;
        pthread_cond_t look_cond, page_cond;
        unsigned n_refs;
        bool ending;
        char *helper_path;
        struct shares *shares; /* owned */
        bool able;             /* as told last; the looking thread's */

        struct follow *follows;
        struct job *jobs, **jobs_end;
        struct result *results, **results_end;
        unsigned n_results;
        int notify_fd;

        struct sink sink; /* the loop's */
        sd_event_source *source;
};

/* ---- life cycle ----------------------------------------------------------------------------------------- */

static struct follow *follow_free(struct follow *follow) {
        for (enum side side = 0; side < SIDE_MAX; side++)
                region_view_close(&follow->views[side]);
        free(follow);
        return NULL;
}

static void job_free(struct job *job) {
        if (!job)
                return;
        free(job->result);
        free(job);
}

static void reclaim_unref(struct reclaim *reclaim) {
        bool last;

        pthread_mutex_lock(&reclaim->lock);
        last = --reclaim->n_refs == 0;
        pthread_mutex_unlock(&reclaim->lock);
        if (!last)
                return;
        while (reclaim->follows) {
                struct follow *follow = reclaim->follows;

                reclaim->follows = follow->next;
                follow_free(follow);
        }
        while (reclaim->jobs) {
                struct job *job = reclaim->jobs;

                reclaim->jobs = job->next;
                job_free(job);
        }
        while (reclaim->results) {
                struct result *result = reclaim->results;

                reclaim->results = result->next;
                free(result->usage);
                free(result);
        }
        closep(&reclaim->notify_fd);
        shares_free(reclaim->shares);
        pthread_cond_destroy(&reclaim->look_cond);
        pthread_cond_destroy(&reclaim->page_cond);
        pthread_mutex_destroy(&reclaim->lock);
        free(reclaim->helper_path);
        free(reclaim);
}

/* ---- results for the loop ------------------------------------------------------------------------------- */

/* With the lock held. */
static void hand_in(struct reclaim *reclaim, struct result *result) {
        *reclaim->results_end = result;
        reclaim->results_end = &result->next;
        reclaim->n_results++;
        (void) eventfd_write(reclaim->notify_fd, 1);
}

/* With the lock held. A look that cannot be kept is lost: the next one tells as much. */
static void tell_usage(struct reclaim *reclaim, const struct event *event, const struct usage *usage) {
        struct result *result = reclaim->n_results < RESULTS_MAX ? calloc(1, sizeof(*result)) : NULL;

        if (result)
                result->usage = malloc(sizeof(*usage));
        if (!result || !result->usage) {
                free(result);
                return;
        }
        result->event = *event;
        *result->usage = *usage;
        result->event.usage = result->usage;
        hand_in(reclaim, result);
}

static int on_notify(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct reclaim *reclaim = userdata;
        struct result *results;
        eventfd_t count;

        (void) eventfd_read(fd, &count);
        pthread_mutex_lock(&reclaim->lock);
        results = reclaim->results;
        reclaim->results = NULL;
        reclaim->results_end = &reclaim->results;
        reclaim->n_results = 0;
        pthread_mutex_unlock(&reclaim->lock);
        while (results) {
                struct result *result = results;

                results = result->next;
                sink_event(&reclaim->sink, &result->event);
                free(result->usage);
                free(result);
        }
        return 0;
}

/* ---- looking -------------------------------------------------------------------------------------------- */

static uint64_t touched_bytes(const struct usage *usage, enum side side) {
        uint64_t pages = 0;

        for (unsigned i = 0; usage->known[side] && i < usage->n_extents; i++)
                pages += usage->pages[side][i];
        return pages * USAGE_PAGE_BYTES;
}

static bool look_side(struct reclaim *reclaim, struct follow *follow, enum side side, bool only_empty) {
        return region_view_look(&follow->views[side], reclaim->helper_path, &follow->region, side, only_empty,
                                &follow->usage);
}

static void look(struct reclaim *reclaim, struct follow *follow, usec_t now) {
        enum side from = follow->region.from;
        bool old_user = now >= follow->old_user_usec, changed;

        changed = look_side(reclaim, follow, side_other(from), !old_user);
        if (old_user) {
                changed |= look_side(reclaim, follow, from, false);
                follow->old_user_usec = now + OLD_USER_USEC;
        }
        follow->step_usec = changed                                 ? LOOK_USEC
                            : follow->step_usec * 2 < LOOK_MAX_USEC ? follow->step_usec * 2
                                                                    : LOOK_MAX_USEC;
        follow->next_usec = clock_usec(CLOCK_MONOTONIC) + follow->step_usec;
        if (changed || now >= follow->told_usec + LOOK_MAX_USEC) {
                struct event event = { .kind = EVENT_USAGE, .pair = follow->region.pair, .side = from,
                                       .app = follow->region.app };

                follow->told_usec = now;
                pthread_mutex_lock(&reclaim->lock);
                if (!follow->dropped) {
                        tell_usage(reclaim, &event, &follow->usage);
                        (void) shares_keep(reclaim->shares, &follow->region, /* again with the next look */
                                           touched_bytes(&follow->usage, side_other(from)), reclaim->able);
                }
                pthread_mutex_unlock(&reclaim->lock);
        }
}

/* What was told last. */
struct ability {
        int result; /* 1: nothing yet */
        uint64_t pool_bytes, swap_bytes;
        usec_t asked_usec;
};

/* Down to an eighth at most, so that not every page is news. */
static uint64_t round_swap(uint64_t bytes) {
        uint64_t unit = 64 * MIB;

        while (bytes / unit >= 16)
                unit *= 2;
        return bytes - bytes % unit;
}

/* Can memory be taken back by force? Told at the first time and at each change; that there is less swap at once, that
 * there is more with the next look at the rest. */
static void tell_ability(struct reclaim *reclaim, struct ability *last, usec_t now) {
        struct helper_request request = { .op = HELPER_PAGE_OUT };
        struct event event = { .kind = EVENT_RECLAIM, .pair = NO_PAIR, .side = SIDE_INVALID, .app = NO_APP };
        char pool[POOL_LIMIT_TEXT_LEN];
        struct result *result = NULL;
        bool first = last->result > 0, all = first || now >= last->asked_usec + ABILITY_USEC;
        int r = last->result;

        if (all) {
                r = reclaim->helper_path ? helper_ask(reclaim->helper_path, &request, HELPER_USEC, NULL, NULL)
                                         : page_out_possible(page_out_swap_bytes());
                last->asked_usec = now;
        }
        event.bytes = shares_pool(reclaim->shares, pool, &event.swap_bytes);
        event.swap_bytes = round_swap(event.swap_bytes);
        if (first || r != last->result || event.bytes != last->pool_bytes ||
            (all ? event.swap_bytes != last->swap_bytes : event.swap_bytes < last->swap_bytes))
                result = calloc(1, sizeof(*result));
        if (!result)
                return;
        last->result = r;
        last->pool_bytes = event.bytes;
        last->swap_bytes = event.swap_bytes;
        event.up = reclaim->able = r == 0;
        snprintf(event.text, sizeof(event.text), "%s",
                 r == 0 && shares_possible(reclaim->shares) == 0
                         ? "the kernel pages it out (process_madvise), and control groups protect what each VM manages"
                 : r == 0 ? "the kernel pages it out (process_madvise); nothing protects what a VM manages: there is "
                            "no cgroup v2 memory controller here"
                 : r == -ENOSPC ? "there is no free swap; add some (swapon)"
                 : r == -EPERM
                         ? "paging another process out takes CAP_SYS_NICE; failoverd-helper has it, in system mode"
                 : r == -ENOTCONN ? "failoverd-helper does not answer; systemctl status failoverd-helper.socket"
                                  : strerror(-r));
        result->event = event;
        pthread_mutex_lock(&reclaim->lock);
        hand_in(reclaim, result);
        pthread_mutex_unlock(&reclaim->lock);
}

/* With the lock held: the region that is due first. */
static struct follow *first_due(struct reclaim *reclaim) {
        struct follow *first = NULL;

        for (struct follow *follow = reclaim->follows; follow; follow = follow->next)
                if (!first || follow->next_usec < first->next_usec)
                        first = follow;
        return first;
}

static void remove_follow(struct reclaim *reclaim, struct follow *follow) {
        for (struct follow **at = &reclaim->follows; *at; at = &(*at)->next)
                if (*at == follow) {
                        *at = follow->next;
                        follow_free(follow);
                        return;
                }
}

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, usec_t until_usec) {
        struct timespec time = { .tv_sec = (time_t) (until_usec / USEC_PER_SEC),
                                 .tv_nsec = (long) (until_usec % USEC_PER_SEC * 1000) };

        (void) pthread_cond_timedwait(cond, lock, &time);
}

static void *run_looks(void *userdata) {
        struct reclaim *reclaim = userdata;
        usec_t ability_usec = 0;
        struct ability ability = { .result = 1 };

        pthread_mutex_lock(&reclaim->lock);
        while (!reclaim->ending) {
                struct follow *follow = first_due(reclaim);
                usec_t now = clock_usec(CLOCK_MONOTONIC);

                if (now >= ability_usec) {
                        pthread_mutex_unlock(&reclaim->lock);
                        tell_ability(reclaim, &ability, now);
                        ability_usec = now + SWAP_USEC;
                        pthread_mutex_lock(&reclaim->lock);
                } else if (follow && now >= follow->next_usec) {
                        follow->at_work = true;
                        pthread_mutex_unlock(&reclaim->lock);
                        look(reclaim, follow, now);
                        pthread_mutex_lock(&reclaim->lock);
                        follow->at_work = false;
                        if (follow->dropped)
                                remove_follow(reclaim, follow);
                } else
                        wait_until(&reclaim->look_cond, &reclaim->lock,
                                   follow && follow->next_usec < ability_usec ? follow->next_usec : ability_usec);
        }
        pthread_mutex_unlock(&reclaim->lock);
        reclaim_unref(reclaim);
        return NULL;
}

/* ---- paging out ----------------------------------------------------------------------------------------- */

static void *run_page_outs(void *userdata) {
        struct reclaim *reclaim = userdata;

        pthread_mutex_lock(&reclaim->lock);
        while (!reclaim->ending) {
                struct job *job = reclaim->jobs;
                struct event *event;

                if (!job) {
                        (void) pthread_cond_wait(&reclaim->page_cond, &reclaim->lock);
                        continue;
                }
                reclaim->jobs = job->next;
                if (!reclaim->jobs)
                        reclaim->jobs_end = &reclaim->jobs;
                pthread_mutex_unlock(&reclaim->lock);

                event = &job->result->event;
                *event = (struct event) {
                        .kind = EVENT_DONE, .pair = job->region.pair, .side = job->region.from, .app = job->region.app,
                        .action = ACTION_PAGE_OUT, .action_id = job->id, .bytes = job->bytes,
                        .result = region_page_out(reclaim->helper_path, &job->region, job->offset, job->bytes),
                };
                if (event->result < 0)
                        snprintf(event->text, sizeof(event->text), "%s", strerror(-event->result));
                pthread_mutex_lock(&reclaim->lock);
                hand_in(reclaim, steal_ptr(job->result));
                job_free(job);
        }
        pthread_mutex_unlock(&reclaim->lock);
        reclaim_unref(reclaim);
        return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------------------ */

static int start_threads(struct reclaim *reclaim) {
        int r;

        reclaim->n_refs = 3;
        r = thread_start(run_looks, reclaim);
        if (r < 0) {
                reclaim->n_refs = 1;
                return r;
        }
        r = thread_start(run_page_outs, reclaim);
        if (r < 0)
                reclaim_unref(reclaim); /* the one that did not start */
        return r;
}

int reclaim_new(sd_event *loop, const struct reclaim_options *options, const struct sink *sink, struct reclaim **ret) {
        struct reclaim *reclaim = calloc(1, sizeof(*reclaim));
        pthread_condattr_t attributes;
        int r;

        if (!reclaim)
                return -ENOMEM;
        reclaim->n_refs = 1;
        reclaim->sink = *sink;
        reclaim->jobs_end = &reclaim->jobs;
        reclaim->results_end = &reclaim->results;
        pthread_mutex_init(&reclaim->lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&reclaim->look_cond, &attributes);
        pthread_cond_init(&reclaim->page_cond, &attributes);
        pthread_condattr_destroy(&attributes);
        reclaim->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        reclaim->helper_path = options->helper_path ? strdup(options->helper_path) : NULL;
        if (reclaim->notify_fd < 0)
                r = -errno;
        else if (options->helper_path && !reclaim->helper_path)
                r = -ENOMEM;
        else
                r = sd_event_add_io(loop, &reclaim->source, reclaim->notify_fd, EPOLLIN, on_notify, reclaim);
        if (r >= 0)
                r = shares_new(options->helper_path, options->lock_path, options->mountinfo, &reclaim->shares);
        if (r >= 0)
                r = start_threads(reclaim);
        if (r < 0) {
                reclaim_free(reclaim);
                return r;
        }
        *ret = reclaim;
        return 0;
}

struct reclaim *reclaim_free(struct reclaim *reclaim) {
        if (!reclaim)
                return NULL;
        sd_event_source_disable_unref(reclaim->source);
        pthread_mutex_lock(&reclaim->lock);
        reclaim->ending = true;
        pthread_cond_signal(&reclaim->look_cond);
        pthread_cond_signal(&reclaim->page_cond);
        pthread_mutex_unlock(&reclaim->lock);
        if (reclaim->shares)
                shares_end(reclaim->shares);
        reclaim_unref(reclaim);
        return NULL;
}

static struct follow *find_follow(struct reclaim *reclaim, int pair, int app) {
        for (struct follow *follow = reclaim->follows; follow; follow = follow->next)
                if (!follow->dropped && follow->region.pair == pair && follow->region.app == app)
                        return follow;
        return NULL;
}

static void drop(struct reclaim *reclaim, int pair, int app) {
        struct follow *follow = find_follow(reclaim, pair, app);

        if (!follow)
                return;
        shares_forget(reclaim->shares, pair, app);
        follow->dropped = true;
        if (!follow->at_work)
                remove_follow(reclaim, follow);
}

int reclaim_follow(struct reclaim *reclaim, const struct reclaim_region *region) {
        struct follow *follow = calloc(1, sizeof(*follow));

        if (!follow)
                return -ENOMEM;
        follow->region = *region;
        follow->usage.extent_bytes = usage_extent_bytes(region->bytes);
        follow->usage.n_extents = usage_n_extents(region->bytes);
        follow->step_usec = LOOK_USEC;
        pthread_mutex_lock(&reclaim->lock);
        drop(reclaim, region->pair, region->app);
        follow->next = reclaim->follows;
        reclaim->follows = follow;
        pthread_cond_signal(&reclaim->look_cond);
        pthread_mutex_unlock(&reclaim->lock);
        return 0;
}

void reclaim_forget(struct reclaim *reclaim, int pair, int app) {
        pthread_mutex_lock(&reclaim->lock);
        drop(reclaim, pair, app);
        pthread_mutex_unlock(&reclaim->lock);
}

void reclaim_set_vm(struct reclaim *reclaim, const struct shares_vm *vm) {
        (void) shares_set_vm(reclaim->shares, vm); /* out of memory: told again with the next event */
        pthread_mutex_lock(&reclaim->lock);
        for (struct follow *follow = reclaim->follows; follow; follow = follow->next)
                if (follow->region.pair == vm->pair && !follow->at_work) {
                        follow->region.pids[vm->side] = vm->pid;
                        memcpy(follow->region.domains[vm->side], vm->domain, sizeof(vm->domain));
                }
        pthread_mutex_unlock(&reclaim->lock);
}

int reclaim_page_out(struct reclaim *reclaim, const struct action *action) {
        struct job *job = calloc(1, sizeof(*job));
        const struct follow *follow;
        bool followed;

        if (job)
                job->result = calloc(1, sizeof(*job->result));
        if (!job || !job->result) {
                job_free(job);
                return -ENOMEM;
        }
        job->id = action->id;
        job->offset = action->offset;
        job->bytes = action->bytes;
        pthread_mutex_lock(&reclaim->lock);
        follow = find_follow(reclaim, action->pair, action->app);
        followed = follow && follow->region.from == action->side;
        if (followed) {
                job->region = follow->region;
                *reclaim->jobs_end = job;
                reclaim->jobs_end = &job->next;
                pthread_cond_signal(&reclaim->page_cond);
        }
        pthread_mutex_unlock(&reclaim->lock);
        if (!followed)
                job_free(job);
        return followed ? 0 : -ENOENT;
}

void reclaim_set_pool(struct reclaim *reclaim, const char *group, uint64_t bytes) {
        shares_set_pool(reclaim->shares, group, bytes);
}

void reclaim_describe_pool(struct reclaim *reclaim, char text[POOL_LIMIT_TEXT_LEN]) {
        (void) shares_pool(reclaim->shares, text, NULL);
}

void reclaim_describe(struct reclaim *reclaim, int pair, enum side side, char text[SHARES_TEXT_LEN]) {
        shares_describe(reclaim->shares, pair, side, text);
}
