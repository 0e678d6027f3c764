/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/region-holder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/store/errand.h"
#include "daemon/memserver/space-name.h"
#include "daemon/pages/region-grant.h"

#define UNDER_WAY_MAX 4 /* grants of one application */
#define TENDED_MAX 8    /* applications whose mirrors are looked after at once: a silent server holds a thread */
/* Of looking after one. A server that takes a silent mirror for lost waits ten seconds for it. */
#define TEND_DEADLINE_USEC (60 * USEC_PER_SEC)

_Static_assert(REGION_TEXT_LEN <= EVENT_TEXT_LEN, "an event tells all of it");

/* A grant under way, or the last one of an application. */
struct grant {
        struct region_holder *holder; /* on the loop only */
        struct grant *kept;           /* where its outcome goes; there before anything is asked for */
        struct errand *errand;
        struct grant *next;
        char application[NAME_LEN];
        struct event done; /* the answer, but for what it has come to */
        usec_t granted_usec; /* 0: it was not */
        bool tends;          /* it is no grant: mirrors are looked after */
        struct region_grant region;
};

struct region_holder {
        sd_event *loop;
        const struct sink *sink;
        region_tended_t tended;
        void *userdata;
        struct grant *under_way, *granted;
};

static struct grant *grant_free(struct grant *grant) {
        region_grant_deinit(&grant->region);
        free(grant->kept);
        free(grant);
        return NULL;
}

DEFINE_CLEANUP(struct grant *, grant_free)

int region_holder_new(sd_event *loop, const struct sink *sink, region_tended_t tended, void *userdata,
                      struct region_holder **ret) {
        struct region_holder *holder = calloc(1, sizeof(*holder));

        if (!holder)
                return -ENOMEM;
        holder->loop = loop;
        holder->sink = sink;
        holder->tended = tended;
        holder->userdata = userdata;
        *ret = holder;
        return 0;
}

struct region_holder *region_holder_free(struct region_holder *holder) {
        if (!holder)
                return NULL;
        while (holder->under_way) {
                struct grant *grant = holder->under_way;

                holder->under_way = grant->next;
                errand_abandon(grant->errand); /* which frees it */
        }
        while (holder->granted) {
                struct grant *grant = holder->granted;

                holder->granted = grant->next;
                grant_free(grant);
        }
        free(holder);
        return NULL;
}

static void grant_run(void *data) {
        struct grant *grant = data;

        if (grant->tends)
                region_grant_tend(&grant->region);
        else
                region_grant_ask(&grant->region);
}

static struct grant **find(struct grant **list, const char *pair, const char *application) {
        while (*list && (strcmp((*list)->region.owner, pair) != 0 || strcmp((*list)->application, application) != 0))
                list = &(*list)->next;
        return list;
}

static void take_out(struct grant *grant) {
        struct grant **at = &grant->holder->under_way;

        while (*at != grant)
                at = &(*at)->next;
        *at = grant->next;
}

static void tell_tended(const struct grant *grant) {
        const struct region_grant *region = &grant->region;

        for (size_t i = 0; i < region->n_regions; i++) {
                const struct region_look_after done = {
                        .pair = region->owner, .application = grant->application,
                        .region = region->regions[i].policy.name, .token = region->token,
                        .result = region->tended[i].result, .text = region->tended[i].text,
                };

                grant->holder->tended(grant->holder->userdata, &done);
        }
}

static void grant_ended(void *data) {
        struct grant *grant = data, *kept = steal_ptr(grant->kept), **at;
        struct region_holder *holder = grant->holder;
        struct event done = grant->done;

        take_out(grant);
        if (grant->tends) {
                free(kept);
                tell_tended(grant);
                return;
        }

        done.result = grant->region.result;
        done.bytes = done.result == -ESTALE && grant->region.token_known > grant->region.token
                             ? grant->region.token_known
                             : grant->region.token;
        memcpy(done.text, grant->region.text, sizeof(done.text));

        /* The thread may still hold on to the errand and its data. */
        *kept = *grant;
        kept->kept = NULL;
        kept->granted_usec = done.result == 0 ? clock_usec(CLOCK_BOOTTIME) : 0;
        grant->region = (struct region_grant) { 0 };
        /* Also what came about in part, so that it need not be granted again under the same token. */
        at = find(&holder->granted, kept->region.owner, kept->application);
        if (*at) {
                struct grant *old = *at;

                *at = old->next;
                grant_free(old);
        }
        kept->next = holder->granted;
        holder->granted = kept;
        sink_event(holder->sink, &done);
}

static void grant_release(void *data) {
        grant_free(data);
}

static const struct errand_work grant_work = { .run = grant_run, .ended = grant_ended, .release = grant_release };

static int copy_server(const struct policy *policy, const char *name, struct granted_region *region) {
        struct region_server *to = &region->servers[region->n_servers];
        int found = policy_find_server(policy, name);
        const struct memory_server *server = found >= 0 ? &policy->servers[found] : NULL;

        if (!server || !server->guests)
                return -EINVAL;
        region->n_servers++;
        to->name = strdup(server->name);
        to->control = strdup(server->control);
        to->guests = strdup(server->guests);
        to->uri = strdup(server->uri);
        return to->name && to->control && to->guests && to->uri ? 0 : -ENOMEM;
}

static int copy_region(const struct policy *policy, const struct state_region *from, struct granted_region *to) {
        int r;

        to->policy = *from;
        r = copy_server(policy, from->holder, to);
        return r == 0 && from->mirror[0] ? copy_server(policy, from->mirror, to) : r;
}

static bool same_servers(const struct granted_region *a, const struct granted_region *b) {
        bool same = a->n_servers == b->n_servers;

        for (size_t i = 0; same && i < a->n_servers; i++)
                same = strcmp(a->servers[i].control, b->servers[i].control) == 0;
        return same;
}

/* What was granted under this very token is not asked for again. */
static void take_over(struct region_grant *grant, const struct grant *before) {
        if (!before || before->region.token != grant->token)
                return;
        for (size_t i = 0; i < grant->n_regions; i++)
                for (size_t k = 0; k < before->region.n_regions; k++)
                        if (strcmp(grant->regions[i].policy.name, before->region.regions[k].policy.name) == 0 &&
                            same_servers(&grant->regions[i], &before->region.regions[k])) {
                                memcpy(grant->regions[i].capability, before->region.regions[k].capability,
                                       REGION_CAPABILITY_LEN);
                                grant->regions[i].at = before->region.regions[k].at;
                        }
}

/* What does not come back was asked for in vain, and holds a thread. */
static unsigned count_under_way(const struct region_holder *holder, const char *pair, const char *application,
                                bool tends) {
        unsigned n = 0;

        for (const struct grant *grant = holder->under_way; grant; grant = grant->next)
                n += grant->tends == tends && strcmp(grant->region.owner, pair) == 0 &&
                     strcmp(grant->application, application) == 0;
        return n;
}

void region_holder_node(char ret[static NAME_LEN]) {
        char name[NAME_LEN] = "";

        if (gethostname(name, sizeof(name) - 1) < 0 || !space_word_is_valid(name))
                strcpy(name, "localhost");
        memcpy(ret, name, sizeof(name));
}

/* A grant of the regions of an application, not begun. */
static int make_grant(struct region_holder *holder, const struct pair_policy *pair, int app, struct grant **ret) {
        _cleanup_(grant_freep) struct grant *grant = calloc(1, sizeof(*grant));

        if (!grant)
                return -ENOMEM;
        grant->kept = calloc(1, sizeof(*grant->kept));
        if (!grant->kept)
                return -ENOMEM;
        grant->holder = holder;
        memcpy(grant->region.owner, pair->name, NAME_LEN);
        memcpy(grant->application, pair->applications[app].name, NAME_LEN);
        region_holder_node(grant->region.node);
        *ret = steal_ptr(grant);
        return 0;
}

/* The grant is the errand's, also where that does not begin. */
static int begin(struct region_holder *holder, struct grant *grant) {
        struct grant *next = grant->next = holder->under_way;
        struct errand *errand = NULL;
        int r;

        holder->under_way = grant;
        r = errand_begin(holder->loop, &grant_work, grant, USEC_INFINITY, &errand);
        if (r < 0)
                holder->under_way = next;
        else
                grant->errand = errand;
        return r;
}

int region_holder_grant(struct region_holder *holder, const struct policy *policy, const struct pair_policy *pair,
                        const struct action *action) {
        _cleanup_(grant_freep) struct grant *grant = NULL;
        const struct application *application = &pair->applications[action->app];
        int r;

        if (count_under_way(holder, pair->name, application->name, false) >= UNDER_WAY_MAX)
                return -EAGAIN;
        r = make_grant(holder, pair, action->app, &grant);
        if (r < 0)
                return r;
        grant->region.alone = action->alone;
        grant->region.token = action->bytes;
        grant->region.granted = action->offset;
        grant->region.deadline_usec = action->deadline_usec;
        grant->done = (struct event) { .kind = EVENT_DONE, .pair = action->pair, .side = action->side,
                                       .app = action->app, .action = (int) action->kind, .action_id = action->id };
        for (size_t i = 0; r == 0 && i < application->n_regions; i++) {
                grant->region.regions[i].may_be_new = action->count & 1U << i;
                grant->region.regions[i].has_moved = action->moved & 1U << i;
                r = copy_region(policy, &application->regions[i], &grant->region.regions[grant->region.n_regions++]);
        }
        if (r < 0)
                return r;
        take_over(&grant->region, *find(&holder->granted, pair->name, application->name));
        return begin(holder, steal_ptr(grant));
}

static unsigned count_tended(const struct region_holder *holder) {
        unsigned n = 0;

        for (const struct grant *grant = holder->under_way; grant; grant = grant->next)
                n += grant->tends;
        return n;
}

int region_holder_tend(struct region_holder *holder, const struct policy *policy, const struct pair_policy *pair,
                       int app, uint64_t token) {
        _cleanup_(grant_freep) struct grant *grant = NULL;
        const struct application *application = &pair->applications[app];
        int r;

        if (count_tended(holder) >= TENDED_MAX || count_under_way(holder, pair->name, application->name, false) > 0 ||
            count_under_way(holder, pair->name, application->name, true) > 0)
                return -EAGAIN;
        r = make_grant(holder, pair, app, &grant);
        if (r < 0)
                return r;
        grant->tends = true;
        grant->region.token = grant->region.granted = token;
        grant->region.deadline_usec = TEND_DEADLINE_USEC;
        for (size_t i = 0; r == 0 && i < application->n_regions; i++)
                if (application->regions[i].mirror[0])
                        r = copy_region(policy, &application->regions[i],
                                        &grant->region.regions[grant->region.n_regions++]);
        return r < 0 ? r : begin(holder, steal_ptr(grant));
}

static const struct grant *find_granted(const struct region_holder *holder, const char *pair, const char *application,
                                        uint64_t token) {
        for (const struct grant *grant = holder->granted; grant; grant = grant->next)
                if (grant->region.token == token && strcmp(grant->region.owner, pair) == 0 &&
                    strcmp(grant->application, application) == 0)
                        return grant;
        return NULL;
}

const char *region_holder_list(const struct region_holder *holder, const char *pair, const char *application,
                               uint64_t token) {
        const struct grant *grant = find_granted(holder, pair, application, token);

        return grant ? grant->region.list : NULL;
}

usec_t region_holder_since(const struct region_holder *holder, const char *pair, const char *application,
                           uint64_t token) {
        const struct grant *grant = find_granted(holder, pair, application, token);

        return grant ? grant->granted_usec : 0;
}
