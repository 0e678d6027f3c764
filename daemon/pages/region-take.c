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

/* A region at its servers, while it is taken. */
struct places {
        struct region_take *take;
        usec_t until_usec;
        struct space_name name;
        struct look looks[REGION_SERVERS_MAX];
        struct error *error;
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
        usec_t share = has_mirror(take) ? take->deadline_usec / ASKS : take->deadline_usec;

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

/* The primary that was granted last, or -1. */
static int find_primary(const struct places *p) {
        int found = -1;

        for (int i = 0; i < REGION_SERVERS_MAX; i++)
                if (is_there(p, (size_t) i, SPACE_PRIMARY) &&
                    (found < 0 || p->looks[i].status.token > p->looks[found].status.token))
                        found = i;
        return found;
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

/* A primary that was not heard of when the other server took its place believes to be it still. */
static int check_latest(const struct places *p, size_t at) {
        const struct region_take *take = p->take;
        const struct space_status *status = &p->looks[at].status;
        int silent = find_silent(p);
        char why[128];

        if (!has_mirror(take) || take->region->may_be_new)
                return 0;
        if (take->granted == STATE_GRANTED_UNKNOWN ? silent < 0 : status->token >= take->granted)
                return 0;
        if (take->granted == STATE_GRANTED_UNKNOWN)
                snprintf(why, sizeof(why), "%s does not answer, and nothing is on record", server_name(p, !at));
        else
                snprintf(why, sizeof(why), "it was granted under token %" PRIu64 " there, and under %" PRIu64 " later",
                         status->token, take->granted);
        return accept_older(p, at, why);
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

static int take_from_primary(struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, &p->name, p->until_usec, at);
        int r = check_latest(p, at);

        if (r == 0)
                r = check_size(p, at);
        if (r < 0)
                return r;
        tell_age(p, at);
        return control_ask_grant(&ask, p->take->token, p->take->region->capability, p->error);
}

/* The holder is lost: its mirror knows whether it can lack anything. */
static int take_from_mirror(struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, &p->name, p->until_usec, at);
        struct region_take *take = p->take;
        struct error refusal = ERROR_INIT;
        int r = check_size(p, at);

        if (r < 0)
                return r;
        r = control_ask_promote(&ask, take->token, 0, take->region->capability, &refusal);
        if (r == -ESTALE) {
                r = accept_older(p, at, error_text(&refusal));
                if (r == 0)
                        r = control_ask_promote_forced(&ask, take->token, take->region->capability, p->error);
        } else if (r < 0)
                r = error_set(p->error, r, "%s", error_text(&refusal));
        error_deinit(&refusal);
        if (r == 0)
                region_remark(take->text, "%s has taken %s over from %s", server_name(p, at),
                              take->region->policy.name, server_name(p, !at));
        return r;
}

static bool is_unused_of_another(const struct space_status *status, const struct space_name *name) {
        return strcmp(status->owner, name->owner) == 0 && strcmp(status->space, name->space) == 0 &&
               strcmp(status->node, name->node) != 0 && status->role == SPACE_PRIMARY && status->connections == 0;
}

/* Regions are their host's by its name. One that is there by another name, and that nobody uses, is taken for this
 * host's of before it was renamed, sooner than that an empty one takes its place. */
static int check_renamed(const struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, NULL, p->until_usec, at);
        _cleanup_(json_object_putp) struct json_object *items = NULL;
        int r = control_ask_items(&ask, CONTROL_SPACES, 0, &items, p->error);

        for (size_t i = 0; r == 0 && i < json_object_array_length(items); i++) {
                struct space_status status = { 0 };

                r = fields_decode(json_object_array_get_idx(items, i), &space_status_fields,
                                  space_status_fields.required, UINT64_MAX, &status, p->error);
                if (r == 0 && is_unused_of_another(&status, &p->name))
                        r = error_set(p->error, -EEXIST, "%s has region %s of %s as host %s's, used by nobody: if this "
                                      "host was called so, call it so again; if not, drop it there",
                                      server_name(p, at), p->name.space, p->name.owner, status.node);
        }
        return r;
}

/* The region is not there: it is opened where it is new, or where the policy makes do with an empty one. */
static int open_region(struct places *p, size_t at) {
        const struct control_ask ask = ask_of(p->take, &p->name, p->until_usec, at);
        struct granted_region *region = p->take->region;
        int r = region->may_be_new ? 0 : check_renamed(p, at);

        if (r < 0)
                return r;
        if (!region->may_be_new && region->policy.on_lost != HOLDER_LOST_START)
                return error_set(p->error, -ENOENT, "%s has lost region %s: bring it back, or write holder-lost: start "
                                 "to begin with an empty one", server_name(p, at), region->policy.name);
        if (!region->may_be_new)
                region_remark(p->take->text, "%s had been lost and begins empty", region->policy.name);
        return control_ask_open(&ask, SPACE_PRIMARY, region->policy.size_bytes, p->take->token, region->capability,
                                p->error);
}

/* None of those that answer has it. What one that is silent has is waited for, but where there can be nothing. */
static int take_new(struct places *p, size_t *ret_at) {
        int silent = find_silent(p);
        size_t at = silent == 0 && has_mirror(p->take) && p->looks[1].r == 0 ? 1 : 0;

        if (silent >= 0 && (!p->take->region->may_be_new || p->looks[at].r < 0))
                return error_set(p->error, p->looks[silent].r, "%s", error_text(&p->looks[silent].error));
        *ret_at = at;
        return open_region(p, at);
}

static int take_it(struct places *p, size_t *ret_at) {
        int primary, r = check_token(p);

        if (r < 0)
                return r;
        primary = find_primary(p);
        if (primary >= 0) {
                *ret_at = (size_t) primary;
                return take_from_primary(p, (size_t) primary);
        }
        for (size_t i = 0; i < p->take->region->n_servers; i++)
                if (is_there(p, i, SPACE_MIRROR)) {
                        *ret_at = i;
                        r = take_from_mirror(p, i);
                        if (r == 0)
                                return 0;
                }
        return r < 0 ? r : take_new(p, ret_at);
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

void region_take(struct region_take *take) {
        struct error error = ERROR_INIT;
        struct places places = { .take = take, .error = &error, .name = name_of(take),
                                 .until_usec = clock_usec(CLOCK_BOOTTIME) + take->deadline_usec };
        const struct state_region *policy = &take->region->policy;
        int r;

        look_at_all(&places);
        r = take_it(&places, &take->region->at);
        if (r == 0) {
                give_mirror(&places, take->region->at);
        } else if (r == -ENOTCONN && policy->on_lost == HOLDER_LOST_START && take->alone) {
                region_remark(take->text, "%s is out of reach, started without it", policy->name);
                r = 0;
        } else if (r == -ENOTCONN && policy->on_lost == HOLDER_LOST_START) {
                snprintf(take->text, sizeof(take->text), "%s is out of reach, and who had %s lives and may write there",
                         policy->holder, policy->name);
                r = -ENOTUNIQ;
        } else if (r != -ESTALE) {
                snprintf(take->text, sizeof(take->text), "%s: %.180s", policy->holder, error_text(&error));
        }
        take->result = r;
        for (size_t i = 0; i < take->region->n_servers; i++)
                error_deinit(&places.looks[i].error);
        error_deinit(&error);
}
