/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/region-take.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/fields.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/control-ask.h"
#include "daemon/memserver/peer.h"

/* For so long a primary waits for its mirror before it goes on alone, and a mirror stands in for a primary that is not
 * heard any more. A program's own deadline is shorter (region-grant.c), so that one which ends when its holder is lost
 * finds the mirror still certain to have all. */
#define MIRROR_DEADLINE_USEC (10 * USEC_PER_SEC)
#define MIRROR_RATE_BYTES (256 * MIB)
#define ASKS 4 /* of the deadline, what each of a mirrored region's servers has at most for an answer */
#define ASKS_ALONE 2 /* what it is at a region's only server: a silent one leaves time for the other regions */

DEFINE_CLEANUP(struct json_object *, json_object_put)

_Static_assert(REGION_CAPABILITY_LEN == CAPABILITY_LEN, "a capability is what the server gives");

/* What one of the servers says of the region. */
struct look {
        const struct region_take *take;
        size_t server;
        usec_t until_usec;
        pthread_t thread;
        int r; /* 1: it is there, 0: it is not, or why that is not known */
        struct space_status status;
        struct error error;
};

/* How the right is taken there. */
enum way { WAY_NONE, WAY_GRANT, WAY_PROMOTE, WAY_FORCE, WAY_OPEN };

/* A region at its servers, while it is taken. */
struct places {
        struct region_take *take;
        usec_t until_usec;
        struct space_name name;
        struct look looks[REGION_SERVERS_MAX];
        enum way way;
        struct error error_here, *error;
};

void granted_region_deinit(struct granted_region *region) {
        for (size_t i = 0; i < region->n_servers; i++) {
                free(region->servers[i].name);
                free(region->servers[i].control);
                free(region->servers[i].guests);
                free(region->servers[i].uri);
        }
        explicit_bzero(region, sizeof(*region));
}

void region_remark(char text[static REGION_TEXT_LEN], const char *format, ...) {
        size_t used = strlen(text);
        va_list ap;

        if (used > 0)
                used += (size_t) snprintf(text + used, REGION_TEXT_LEN - used, "; ");
        if (used >= REGION_TEXT_LEN)
                return;
        va_start(ap, format);
        vsnprintf(text + used, REGION_TEXT_LEN - used, format, ap);
        va_end(ap);
}

static const char *server_name(const struct places *p, size_t i) {
        return p->take->region->servers[i].name;
}

static bool has_mirror(const struct region_take *take) {
        return take->region->n_servers > 1;
}

/* How to ask that server. A silent one leaves time for the other. */
static struct control_ask ask_of(const struct region_take *take, const struct space_name *name, usec_t until_usec,
                                 size_t server) {
        usec_t now = clock_usec(CLOCK_BOOTTIME), left = until_usec > now ? until_usec - now : 1;
        usec_t share = take->deadline_usec / (has_mirror(take) ? ASKS : ASKS_ALONE);

        return (struct control_ask) { .path = take->region->servers[server].control, .name = name, .cancel_fd = -1,
                                      .deadline_usec = left < share ? left : share };
}

static struct space_name name_of(const struct region_take *take) {
        struct space_name name = { 0 };

        memcpy(name.node, take->node, NAME_LEN);
        memcpy(name.owner, take->owner, NAME_LEN);
        memcpy(name.space, take->region->policy.name, NAME_LEN);
        return name;
}

static void *look_at(void *userdata) {
        struct look *look = userdata;
        const struct space_name name = name_of(look->take);
        const struct control_ask ask = ask_of(look->take, &name, look->until_usec, look->server);

        look->r = control_ask_space(&ask, &look->status, &look->error);
        return NULL;
}

/* All are asked at once, so that a silent one takes no time from the other. */
static void look_at_all(struct places *p) {
        bool joined[REGION_SERVERS_MAX] = { false };

        for (size_t i = 0; i < p->take->region->n_servers; i++) {
                struct look *look = &p->looks[i];

                *look = (struct look) { .take = p->take, .server = i, .until_usec = p->until_usec };
                joined[i] = i > 0 && thread_start_joined(look_at, look, &look->thread) == 0;
        }
        for (size_t i = 0; i < p->take->region->n_servers; i++)
                if (!joined[i])
                        look_at(&p->looks[i]);
        for (size_t i = 0; i < p->take->region->n_servers; i++)
                if (joined[i])
                        (void) pthread_join(p->looks[i].thread, NULL);
}

static bool is_there(const struct places *p, size_t i, enum space_role role) {
        const struct look *look = &p->looks[i];

        return i < p->take->region->n_servers && look->r > 0 && look->status.role == (int) role &&
               !(role == SPACE_PRIMARY && look->status.mirror == COPY_REPLACED);
}

/* Granted under the token on record. A higher one is of an attempt after which nothing was started. */
static bool is_on_record(const struct places *p, int i) {
        return p->looks[i].status.token == p->take->granted;
}

/* The primary that was granted last, or -1. */
static int find_primary(const struct places *p) {
        int found = -1;

        for (int i = 0; i < REGION_SERVERS_MAX; i++) {
                if (!is_there(p, (size_t) i, SPACE_PRIMARY) || (found >= 0 && is_on_record(p, found)))
                        continue;
                if (found < 0 || is_on_record(p, i) || p->looks[i].status.token > p->looks[found].status.token)
                        found = i;
        }
        return found;
}

/* One that knows that the other was made the primary: -1 where there is none. */
static int find_replaced(const struct places *p) {
        for (int i = 0; i < (int) p->take->region->n_servers; i++)
                if (p->looks[i].r > 0 && p->looks[i].status.role == SPACE_PRIMARY &&
                    p->looks[i].status.mirror == COPY_REPLACED)
                        return i;
        return -1;
}

/* One that cannot be asked: its index, or -1. */
static int find_silent(const struct places *p) {
        for (int i = 0; i < (int) p->take->region->n_servers; i++)
                if (p->looks[i].r < 0)
                        return i;
        return -1;
}

/* A higher token than that under which somebody has it already is wanted. */
static int check_token(const struct places *p) {
        struct region_take *take = p->take;

        for (size_t i = 0; i < take->region->n_servers; i++)
                if (p->looks[i].r > 0 && p->looks[i].status.token > take->token_known)
                        take->token_known = p->looks[i].status.token;
        if (take->token_known >= take->token)
                return -ESTALE;
        take->token_known = 0;
        return 0;
}

/* What may lack writes that somebody was told are safe is gone on with only where the policy makes do with that. */
static int accept_older(const struct places *p, size_t at, const char *why) {
        const struct state_region *policy = &p->take->region->policy;

        if (policy->on_lost != HOLDER_LOST_START)
                return error_set(p->error, -ENODATA, "%s may lack the latest of region %s: bring the other server "
                                 "back, or write holder-lost: start (%s)", server_name(p, at), policy->name, why);
        region_remark(p->take->text, "%s goes on with what %s has, which may not be the latest", policy->name,
                      server_name(p, at));
        return 0;
}

static bool is_latest(const struct places *p, size_t at) {
        const struct region_take *take = p->take;

        return take->granted != STATE_GRANTED_UNKNOWN && p->looks[at].status.token >= take->granted;
}

/* A primary that was not heard of when the other server took its place believes to be it still; so it does where that
 * other server was taken out of the policy meanwhile. */
static int check_latest(const struct places *p, size_t at) {
        const struct region_take *take = p->take;
        char why[128];

        if (take->region->may_be_new || is_latest(p, at))
                return 0;
        if (take->granted == STATE_GRANTED_UNKNOWN && find_silent(p) < 0)
                return 0;
        if (take->granted == STATE_GRANTED_UNKNOWN)
                snprintf(why, sizeof(why), "%s does not answer, and nothing is on record", server_name(p, !at));
        else
                snprintf(why, sizeof(why), "it was granted under token %" PRIu64 " there, and under %" PRIu64 " later",
                         p->looks[at].status.token, take->granted);
        return accept_older(p, at, why);
}

/* Nothing takes the right to write from the old side but the primary itself, or the end of that side. Where the place
 * is not that of the last grant, a silent server may be the primary, which goes on with the old side and without us. */
static int check_alone(const struct places *p, size_t at) {
        const struct region_take *take = p->take;
        const char *region = take->region->policy.name;
        bool copy = p->looks[at].r > 0 && p->looks[at].status.role == SPACE_MIRROR;
        int silent = find_silent(p);

        if (take->alone || take->region->may_be_new || (!copy && is_latest(p, at)))
                return 0;
        if (silent >= 0)
                return error_set(p->error, -ENOTUNIQ, "%s is out of reach, and who had %s lives and may write there",
                                 server_name(p, (size_t) silent), region);
        if (copy && !has_mirror(take))
                return error_set(p->error, -ENOTUNIQ, "%s has but a copy of %s, whose primary the policy does not "
                                 "name, and who had it lives and may write there", server_name(p, at), region);
        return 0;
}

static int check_size(const struct places *p, size_t at) {
        const struct state_region *policy = &p->take->region->policy;
        char text[UNITS_TEXT_MAX];

        if (p->looks[at].status.size_bytes == policy->size_bytes)
                return 0;
        return error_set(p->error, -EINVAL, "region %s has %s at %s, and another size in the policy", policy->name,
                         size_format(text, p->looks[at].status.size_bytes), server_name(p, at));
}

static void tell_age(const struct places *p, size_t at) {
        const struct space_status *status = &p->looks[at].status;
        char text[UNITS_TEXT_MAX];

        if (status->epoch_age_usec > 0)
                region_remark(p->take->text, "%s was written back %s before", p->take->region->policy.name,
                              duration_format(text, status->epoch_age_usec / USEC_PER_MSEC * USEC_PER_MSEC));
}

/* Two that both believe to be it, and neither is the one on record. */
static void tell_rival(const struct places *p, size_t at) {
        if (is_there(p, !at, SPACE_PRIMARY) && !is_on_record(p, (int) at))
                region_remark(p->take->text, "%s and %s both have %s, and the later grant is gone on with",
                              server_name(p, at), server_name(p, !at), p->take->region->policy.name);
}

static int choose_primary(struct places *p, size_t at) {
        int r = check_latest(p, at);

        if (r == 0)
                r = check_alone(p, at);
        if (r == 0)
                r = check_size(p, at);
        if (r < 0)
                return r;
        tell_age(p, at);
        tell_rival(p, at);
        p->way = WAY_GRANT;
        return 0;
}

/* The holder is lost. */
static int choose_mirror(struct places *p, size_t at) {
        int r = check_alone(p, at);

        if (r == 0)
                r = check_size(p, at);
        if (r == 0)
                p->way = WAY_PROMOTE;
        return r;
}

/* What took its place is not there any more, or cannot be asked. */
static int choose_replaced(struct places *p, size_t at) {
        int r = accept_older(p, at, "another server has taken its place since");

        if (r == 0)
                r = check_alone(p, at);
        if (r == 0)
                r = check_size(p, at);
        if (r == 0)
                p->way = WAY_GRANT;
        return r;
}

static bool is_unused_of_another(const struct space_status *status, const struct space_name *name) {
        return strcmp(status->owner, name->owner) == 0 && strcmp(status->space, name->space) == 0 &&
               strcmp(status->node, name->node) != 0 && status->role == SPACE_PRIMARY && status->connections == 0;
}

/* Regions are their host's by its name. One that is there by another name, and that nobody uses, is taken for this
 * host's of before it was renamed, sooner than that an empty one takes its place. It may be another host's as well. */
static int find_renamed(const struct places *p, size_t at, struct space_status *ret) {
        const struct control_ask ask = ask_of(p->take, NULL, p->until_usec, at);
        _cleanup_(json_object_putp) struct json_object *items = NULL;
        int r = control_ask_items(&ask, CONTROL_SPACES, 0, &items, p->error);

        for (size_t i = 0; r == 0 && i < json_object_array_length(items); i++) {
                struct space_status status = { 0 };

                r = fields_decode(json_object_array_get_idx(items, i), &space_status_fields,
                                  space_status_fields.required, UINT64_MAX, &status, p->error);
                if (r == 0 && is_unused_of_another(&status, &p->name)) {
                        *ret = status;
                        return 1;
                }
        }
        return r;
}

static int check_renamed(const struct places *p, size_t at) {
        struct space_status status = { 0 };
        int r = find_renamed(p, at, &status);

        if (r <= 0)
                return r;
        if (p->take->region->policy.on_lost != HOLDER_LOST_START)
                return error_set(p->error, -EEXIST, "%s has region %s of %s as host %s's, used by nobody: call this "
                                 "host so again if it was, else rename the region here, or write holder-lost: start",
                                 server_name(p, at), p->name.space, p->name.owner, status.node);
        region_remark(p->take->text, "%s has one as host %s's, which is left there", server_name(p, at), status.node);
        return 0;
}

/* The region is not there: it is opened where it is new, or where the policy makes do with an empty one. */
static int choose_empty(struct places *p, size_t at) {
        const struct granted_region *region = p->take->region;
        int r = 0;

        for (size_t i = 0; r == 0 && !region->may_be_new && i < region->n_servers; i++)
                if (p->looks[i].r == 0)
                        r = check_renamed(p, i);
        if (r < 0)
                return r;
        if (!region->may_be_new && region->policy.on_lost != HOLDER_LOST_START)
                return error_set(p->error, -ENOENT, "%s has lost region %s: bring it back, or write holder-lost: start "
                                 "to begin with an empty one", server_name(p, at), region->policy.name);
        if (!region->may_be_new)
                region_remark(p->take->text, "%s had been lost and begins empty", region->policy.name);
        p->way = WAY_OPEN;
        return 0;
}

/* None of those that answer has it. What one that is silent has is waited for, but where there can be nothing. */
static int choose_new(struct places *p, size_t *ret_at) {
        int silent = find_silent(p);
        size_t at = silent == 0 && has_mirror(p->take) && p->looks[1].r == 0 ? 1 : 0;

        if (silent >= 0 && (!p->take->region->may_be_new || p->looks[at].r < 0))
                return error_set(p->error, p->looks[silent].r, "%s", error_text(&p->looks[silent].error));
        *ret_at = at;
        return choose_empty(p, at);
}

static int choose(struct places *p, size_t *ret_at) {
        int found, r = check_token(p);

        if (r < 0)
                return r;
        found = find_primary(p);
        if (found >= 0) {
                *ret_at = (size_t) found;
                return choose_primary(p, *ret_at);
        }
        for (size_t i = 0; i < p->take->region->n_servers; i++)
                if (is_there(p, i, SPACE_MIRROR)) {
                        *ret_at = i;
                        return choose_mirror(p, i);
                }
        found = find_replaced(p);
        if (found >= 0) {
                *ret_at = (size_t) found;
                return choose_replaced(p, *ret_at);
        }
        return choose_new(p, ret_at);
}

static int grant(struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, &p->name, p->until_usec, at);
        int r = 0;

        if (p->looks[at].status.mirror == COPY_REPLACED) { /* which is over with that */
                r = control_ask_unmirror(&ask, p->error);
                p->looks[at].status.mirror = COPY_NONE;
        }
        if (r < 0 && r != -ENOENT)
                return r;
        return control_ask_grant(&ask, p->take->token, p->take->region->capability, p->error);
}

/* The mirror knows whether it can lack anything. Where it can, nothing has changed there yet. */
static int promote(struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, &p->name, p->until_usec, at);
        struct error refusal = ERROR_INIT;
        int r = control_ask_promote(&ask, p->take->token, 0, p->take->region->capability, &refusal);

        if (r == -ESTALE) {
                r = accept_older(p, at, error_text(&refusal));
                p->way = WAY_FORCE;
        } else if (r < 0) {
                r = error_set(p->error, r, "%s", error_text(&refusal));
        }
        error_deinit(&refusal);
        return r;
}

static int force(struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, &p->name, p->until_usec, at);

        return control_ask_promote_forced(&ask, p->take->token, p->take->region->capability, p->error);
}

static int open_region(struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, &p->name, p->until_usec, at);

        return control_ask_open(&ask, SPACE_PRIMARY, p->take->region->policy.size_bytes, p->take->token,
                                p->take->region->capability, p->error);
}

static int take_right(struct places *p, size_t at) {
        switch (p->way) {
        case WAY_GRANT:
                return grant(p, at);
        case WAY_PROMOTE:
                return promote(p, at);
        case WAY_OPEN:
                return open_region(p, at);
        default:
                return 0;
        }
}

/* Whether the other server is its mirror already, or becomes that by itself when they reach each other again. */
static bool is_mirrored(const struct places *p, size_t at) {
        return is_there(p, at, SPACE_PRIMARY) && is_there(p, !at, SPACE_MIRROR) &&
               p->looks[at].status.mirror != COPY_NONE;
}

/* What the other server has by that name is older, now that this one was granted. */
static int clear_other(struct places *p, size_t at, uint64_t token) {
        const struct control_ask here = ask_of(p->take, &p->name, p->until_usec, at);
        const struct control_ask there = ask_of(p->take, &p->name, p->until_usec, !at);
        int r = 0;

        if (is_there(p, at, SPACE_PRIMARY) && p->looks[at].status.mirror != COPY_NONE)
                r = control_ask_unmirror(&here, p->error);
        if (r == 0 && p->looks[!at].r > 0)
                r = control_ask_drop(&there, token, p->error);
        return r == -ENOENT ? 0 : r;
}

static int make_mirror(struct places *p, size_t at) {
        const struct control_ask here = ask_of(p->take, &p->name, p->until_usec, at);
        const struct control_ask there = ask_of(p->take, &p->name, p->until_usec, !at);
        const struct region_take *take = p->take;
        char capability[CAPABILITY_LEN], *uri;
        int r = clear_other(p, at, take->token);

        if (r == 0)
                r = control_ask_open(&there, SPACE_MIRROR, take->region->policy.size_bytes, take->token, capability,
                                     p->error);
        if (r < 0)
                return r;
        uri = peer_uri(take->region->servers[!at].uri, capability);
        r = uri ? control_ask_copy(&here, CONTROL_MIRROR, uri, MIRROR_DEADLINE_USEC, MIRROR_RATE_BYTES, p->error)
                : error_set(p->error, -ENOMEM, "out of memory");
        if (uri)
                explicit_bzero(uri, strlen(uri));
        free(uri);
        explicit_bzero(capability, sizeof(capability));
        return r;
}

/* The grant stands without it. */
static void give_mirror(struct places *p, size_t at) {
        const char *region = p->take->region->policy.name;

        if (!has_mirror(p->take) || is_mirrored(p, at))
                return;
        if (p->looks[!at].r < 0)
                region_remark(p->take->text, "%s has no mirror: %s", region, error_text(&p->looks[!at].error));
        else if (make_mirror(p, at) < 0)
                region_remark(p->take->text, "%s has no mirror: %s", region, error_text(p->error));
}

/* What has come of it, where it did not come about. */
static void fail(struct places *p, int r) {
        struct region_take *take = p->take;
        const struct state_region *policy = &take->region->policy;

        p->way = WAY_NONE;
        if (r == -ENOTCONN && policy->on_lost == HOLDER_LOST_START && take->alone) {
                region_remark(take->text, "%s is out of reach, started without it", policy->name);
                r = 0;
        } else if (r == -ENOTCONN && policy->on_lost == HOLDER_LOST_START) {
                snprintf(take->text, sizeof(take->text), "%s is out of reach, and who had %s lives and may write there",
                         policy->holder, policy->name);
                r = -ENOTUNIQ;
        } else if (r == -ENOTUNIQ) {
                snprintf(take->text, sizeof(take->text), "%.200s", error_text(p->error));
        } else if (r != -ESTALE) {
                snprintf(take->text, sizeof(take->text), "%s: %.180s", policy->holder, error_text(p->error));
        }
        take->result = r;
}

void region_take_look(struct region_take *take) {
        struct places *p = calloc(1, sizeof(*p));
        int r;

        if (!p) {
                take->result = -ENOMEM;
                return;
        }
        *p = (struct places) { .take = take, .error = &p->error_here, .name = name_of(take),
                               .until_usec = clock_usec(CLOCK_BOOTTIME) + take->deadline_usec };
        take->places = p;
        look_at_all(p);
        r = choose(p, &take->region->at);
        if (r < 0)
                fail(p, r);
}

void region_take_right(struct region_take *take) {
        int r = take_right(take->places, take->region->at);

        if (r < 0)
                fail(take->places, r);
}

void region_take_older(struct region_take *take) {
        int r = take->places->way == WAY_FORCE ? force(take->places, take->region->at) : 0;

        if (r < 0)
                fail(take->places, r);
}

void region_take_mirror(struct region_take *take) {
        struct places *p = take->places;
        size_t at = take->region->at;

        if (p->way == WAY_PROMOTE || p->way == WAY_FORCE)
                region_remark(take->text, "%s has taken %s over from %s", server_name(p, at),
                              take->region->policy.name, has_mirror(take) ? server_name(p, !at) : "one of before");
        if (p->way != WAY_NONE)
                give_mirror(p, at);
}

void region_take_end(struct region_take *take) {
        struct places *p = take->places;

        for (size_t i = 0; p && i < take->region->n_servers; i++)
                error_deinit(&p->looks[i].error);
        if (p)
                error_deinit(&p->error_here);
        free(p);
        take->places = NULL;
}
