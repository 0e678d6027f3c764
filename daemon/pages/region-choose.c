/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/region-choose.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agents/protocol/fields.h"
#include "daemon/base/cleanup.h"

DEFINE_CLEANUP(struct json_object *, json_object_put)

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

int places_accept_older(const struct places *p, size_t at, const char *why) {
        const struct state_region *policy = &p->take->region->policy;

        if (policy->on_lost != HOLDER_LOST_START)
                return error_set(p->error, -ENODATA, "%s may lack the latest of region %s: bring the other server "
                                 "back, or write holder-lost: start (%s)", places_server(p, at), policy->name, why);
        region_remark(p->take->text, "%s goes on with what %s has, which may not be the latest", policy->name,
                      places_server(p, at));
        return 0;
}

static bool is_latest(const struct places *p, size_t at) {
        const struct region_take *take = p->take;

        return take->granted != STATE_GRANTED_UNKNOWN && p->looks[at].status.token >= take->granted;
}

/* That the region may be new excuses what is found all the same: an attempt has left it, or the policy names it again.
 * But not where it has been elsewhere meanwhile: one that moved away and back finds what it left. */
static bool is_excused(const struct places *p, size_t at) {
        const struct region_take *take = p->take;

        return take->region->may_be_new &&
               (!take->region->has_moved || take->granted == STATE_GRANTED_UNKNOWN || is_latest(p, at));
}

static int accept_left(const struct places *p, size_t at) {
        const struct region_take *take = p->take;
        const struct state_region *policy = &take->region->policy;

        if (policy->on_lost != HOLDER_LOST_START)
                return error_set(p->error, -ENODATA, "%s has region %s of before it moved away (token %" PRIu64 ", and "
                                 "%" PRIu64 " later elsewhere): name the server that had it last, or write "
                                 "holder-lost: start", places_server(p, at), policy->name, p->looks[at].status.token,
                                 take->granted);
        region_remark(p->take->text, "%s goes on with what %s has of before it moved away, which is not the latest",
                      policy->name, places_server(p, at));
        return 0;
}

/* A primary that was not heard of when the other server took its place believes to be it still; so it does where that
 * other server was taken out of the policy meanwhile. */
static int check_latest(const struct places *p, size_t at) {
        const struct region_take *take = p->take;
        char why[128];

        if (is_excused(p, at) || is_latest(p, at))
                return 0;
        if (take->region->may_be_new)
                return accept_left(p, at);
        if (take->granted == STATE_GRANTED_UNKNOWN && places_silent(p) < 0)
                return 0;
        if (take->granted == STATE_GRANTED_UNKNOWN)
                snprintf(why, sizeof(why), "%s does not answer, and nothing is on record", places_server(p, !at));
        else
                snprintf(why, sizeof(why), "it was granted under token %" PRIu64 " there, and under %" PRIu64 " later",
                         p->looks[at].status.token, take->granted);
        return places_accept_older(p, at, why);
}

/* Nothing takes the right to write from the old side but the primary itself, or the end of that side. Where the place
 * is not that of the last grant, a silent server may be the primary, which goes on with the old side and without us. */
static int check_alone(const struct places *p, size_t at) {
        const struct region_take *take = p->take;
        const char *region = take->region->policy.name;
        bool copy = p->looks[at].r > 0 && p->looks[at].status.role == SPACE_MIRROR;
        int silent = places_silent(p);

        if (take->alone || is_excused(p, at) || (!copy && is_latest(p, at)))
                return 0;
        if (silent >= 0)
                return error_set(p->error, -ENOTUNIQ, "%s is out of reach, and who had %s lives and may write there: "
                                 "bring that server back, or end that VM", places_server(p, (size_t) silent), region);
        if (copy && !take_has_mirror(take))
                return error_set(p->error, -ENOTUNIQ, "%s has but a copy of %s, whose primary the policy does not "
                                 "name, and who had it lives and may write there", places_server(p, at), region);
        return 0;
}

static int check_size(const struct places *p, size_t at) {
        const struct state_region *policy = &p->take->region->policy;
        char text[UNITS_TEXT_MAX];

        if (p->looks[at].status.size_bytes == policy->size_bytes)
                return 0;
        return error_set(p->error, -EINVAL, "region %s has %s at %s, and another size in the policy", policy->name,
                         size_format(text, p->looks[at].status.size_bytes), places_server(p, at));
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
        if (places_have(p, !at, SPACE_PRIMARY) && !places_on_record(p, at))
                region_remark(p->take->text, "%s and %s both have %s, and the later grant is gone on with",
                              places_server(p, at), places_server(p, !at), p->take->region->policy.name);
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
        int r = p->take->region->may_be_new && !is_excused(p, at) ? accept_left(p, at) : 0;

        if (r == 0)
                r = check_alone(p, at);
        if (r == 0)
                r = check_size(p, at);
        if (r == 0)
                p->way = WAY_PROMOTE;
        return r;
}

/* What took its place is not there any more, or cannot be asked. */
static int choose_replaced(struct places *p, size_t at) {
        int r = places_accept_older(p, at, "another server has taken its place since");

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
        const struct control_ask ask = places_ask(p, NULL, at);
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
                                 places_server(p, at), p->name.space, p->name.owner, status.node);
        region_remark(p->take->text, "%s has one as host %s's, which is left there", places_server(p, at), status.node);
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
                                 "to begin with an empty one", places_server(p, at), region->policy.name);
        if (!region->may_be_new)
                region_remark(p->take->text, "%s had been lost and begins empty", region->policy.name);
        p->way = WAY_OPEN;
        return 0;
}

/* None of those that answer has it. What one that is silent has is waited for, but where there can be nothing. */
static int choose_new(struct places *p, size_t *ret_at) {
        int silent = places_silent(p);
        size_t at = silent == 0 && take_has_mirror(p->take) && p->looks[1].r == 0 ? 1 : 0;

        if (silent >= 0 && (!p->take->region->may_be_new || p->looks[at].r < 0))
                return error_set(p->error, p->looks[silent].r, "%s", error_text(&p->looks[silent].error));
        *ret_at = at;
        return choose_empty(p, at);
}

int places_choose(struct places *p, size_t *ret_at) {
        int found, r = check_token(p);

        if (r < 0)
                return r;
        found = places_primary(p);
        if (found >= 0) {
                *ret_at = (size_t) found;
                return choose_primary(p, *ret_at);
        }
        for (size_t i = 0; i < p->take->region->n_servers; i++)
                if (places_have(p, i, SPACE_MIRROR)) {
                        *ret_at = i;
                        return choose_mirror(p, i);
                }
        found = places_replaced(p);
        if (found >= 0) {
                *ret_at = (size_t) found;
                return choose_replaced(p, *ret_at);
        }
        return choose_new(p, ret_at);
}
