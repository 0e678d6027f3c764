/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/region-take.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/peer.h"
#include "daemon/pages/region-choose.h"

/* For so long a primary waits for its mirror before it goes on alone, and a mirror stands in for a primary that is not
 * heard any more. A program's own deadline is shorter (region-grant.c), so that one which ends when its holder is lost
 * finds the mirror still certain to have all. */
#define MIRROR_DEADLINE_USEC (10 * USEC_PER_SEC)
#define MIRROR_RATE_BYTES (256 * MIB)

/* One that was just asked for is reached within this, or something is wrong. */
#define REACH_USEC (5 * USEC_PER_SEC)
#define REACH_LOOK_MSEC 100

/* Of the deadline, what a look has of who looks after mirrors: it is soon the turn of other applications, whose servers
 * may answer. */
#define TEND_LOOKS 30

_Static_assert(REGION_CAPABILITY_LEN == CAPABILITY_LEN, "a capability is what the server gives");

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

static int grant(struct places *p, size_t at) {
        const struct control_ask ask = places_ask(p, &p->name, at);
        int r = 0;

        if (p->looks[at].status.mirror == COPY_REPLACED) { /* which is over with that */
                r = control_ask_unmirror(&ask, p->take->token, p->error);
                p->looks[at].status.mirror = COPY_NONE;
        }
        if (r < 0 && r != -ENOENT)
                return r;
        return control_ask_grant(&ask, p->take->token, p->take->region->capability, p->error);
}

/* The mirror knows whether it can lack anything. Where it can, nothing has changed there yet. */
static int promote(struct places *p, size_t at) {
        const struct control_ask ask = places_ask(p, &p->name, at);
        struct error refusal = ERROR_INIT;
        int r = control_ask_promote(&ask, p->take->token, 0, p->take->region->capability, &refusal);

        if (r == -ESTALE) {
                r = places_accept_older(p, at, error_text(&refusal));
                p->way = WAY_FORCE;
        } else if (r < 0) {
                r = error_set(p->error, r, "%s", error_text(&refusal));
        }
        error_deinit(&refusal);
        return r;
}

static int force(struct places *p, size_t at) {
        const struct control_ask ask = places_ask(p, &p->name, at);

        return control_ask_promote_forced(&ask, p->take->token, p->take->region->capability, p->error);
}

static int open_region(struct places *p, size_t at) {
        const struct control_ask ask = places_ask(p, &p->name, at);

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

/* Whether the other server is its mirror already, or becomes that by itself when they reach each other again: one that
 * it has not reached yet may be another one than what is there. */
static bool is_mirrored(const struct places *p, size_t at) {
        const struct space_status *here = &p->looks[at].status, *there = &p->looks[!at].status;

        if (!places_have(p, at, SPACE_PRIMARY) || !places_have(p, !at, SPACE_MIRROR))
                return false;
        if (here->mirror == COPY_CONNECTING)
                return here->mirror_session != 0 && here->mirror_session == there->session;
        return here->mirror != COPY_NONE;
}

/* What the other server has by that name is older, now that this one was granted. Also what came there since the look:
 * who looks after mirrors may have been at it for the grant before. */
static int clear_other(struct places *p, size_t at, uint64_t token) {
        const struct control_ask here = places_ask(p, &p->name, at);
        const struct control_ask there = places_ask(p, &p->name, !at);
        struct error nothing = ERROR_INIT; /* was there */
        int r = control_ask_unmirror(&here, token, &nothing);

        if (r == 0 || r == -ENOENT) {
                error_deinit(&nothing);
                nothing = (struct error) ERROR_INIT;
                r = control_ask_drop(&there, token, &nothing);
        }
        if (r == -ENOENT)
                r = 0;
        else if (r < 0)
                r = error_set(p->error, r, "%s", error_text(&nothing));
        error_deinit(&nothing);
        return r;
}

static int make_mirror(struct places *p, size_t at) {
        const struct control_ask here = places_ask(p, &p->name, at);
        const struct control_ask there = places_ask(p, &p->name, !at);
        const struct region_take *take = p->take;
        char capability[CAPABILITY_LEN], *uri;
        int r = clear_other(p, at, take->token);

        if (r == 0)
                r = control_ask_open(&there, SPACE_MIRROR, take->region->policy.size_bytes, take->token, capability,
                                     p->error);
        if (r < 0)
                return r;
        uri = peer_uri(take->region->servers[!at].uri, capability);
        r = uri ? control_ask_mirror(&here, take->token, uri, MIRROR_DEADLINE_USEC, MIRROR_RATE_BYTES, p->error)
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

        if (!take_has_mirror(p->take) || is_mirrored(p, at))
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
                snprintf(take->text, sizeof(take->text), "%s is out of reach, and who had %s lives and may write "
                         "there: bring that server back, or end that VM", policy->holder, policy->name);
                r = -ENOTUNIQ;
        } else if (r == -ENOTUNIQ) {
                snprintf(take->text, sizeof(take->text), "%.200s", error_text(p->error));
        } else if (r == -ENOTCONN) {
                snprintf(take->text, sizeof(take->text), "%s: %.120s; bring it back, or write holder-lost: start",
                         policy->holder, error_text(p->error));
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
        places_init(p, take);
        take->places = p;
        places_look(p);
        r = places_choose(p, &take->region->at);
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
                region_remark(take->text, "%s has taken %s over from %s", places_server(p, at),
                              take->region->policy.name,
                              take_has_mirror(take) ? places_server(p, !at) : "one of before");
        if (p->way != WAY_NONE)
                give_mirror(p, at);
}

/* One that reaches for its mirror, and has not found it, finds none there any more. What another primary has is for a
 * grant to judge. */
static bool lacks_mirror(const struct places *p, size_t at) {
        const struct look *here = &p->looks[at], *there = &p->looks[!at];

        if (!places_have(p, at, SPACE_PRIMARY) || here->status.token != p->take->token || there->r < 0 ||
            here->status.hand_over != COPY_NONE)
                return false;
        return (here->status.mirror == COPY_CONNECTING || here->status.mirror == COPY_NONE) &&
               (there->r == 0 || (there->status.role == SPACE_MIRROR && !is_mirrored(p, at)));
}

/* Whether what it reaches for is what the other server has is told by that it gets there. */
static bool gets_mirrored(struct places *p, size_t at) {
        usec_t until_usec = clock_usec(CLOCK_BOOTTIME) + REACH_USEC;

        while (!is_mirrored(p, at) && clock_usec(CLOCK_BOOTTIME) < until_usec) {
                (void) poll(NULL, 0, REACH_LOOK_MSEC);
                places_look_again(p);
        }
        return is_mirrored(p, at);
}

/* -ESTALE where it was granted to another one meanwhile, whose mirrors are others' to look after. */
static int mirror_anew(struct places *p, size_t at) {
        const struct space_status *status = &p->looks[at].status;
        struct region_take *take = p->take;
        int r = make_mirror(p, at);

        if (r == 0 && !gets_mirrored(p, at))
                r = error_set(p->error, -ENOTCONN, "%s does not reach it: %s", places_server(p, at),
                              status->text[0] ? status->text : "no answer yet");
        if (r == 0)
                region_remark(take->text, "%s is being mirrored anew, at %s", take->region->policy.name,
                              places_server(p, !at));
        else if (r != -ESTALE)
                region_remark(take->text, "%s has no mirror at %s: %s", take->region->policy.name,
                              places_server(p, !at), error_text(p->error));
        return r;
}

/* -EAGAIN: not everything was heard that can be amiss. */
static int tend(struct places *p) {
        for (size_t at = 0; take_has_mirror(p->take) && at < p->take->region->n_servers; at++) {
                if (!lacks_mirror(p, at))
                        continue;
                if (p->looks[!at].r > 0 && p->looks[at].status.mirror == COPY_CONNECTING &&
                    (gets_mirrored(p, at) || !lacks_mirror(p, at)))
                        break;
                return mirror_anew(p, at);
        }
        return places_silent(p) >= 0 ? -EAGAIN : 0;
}

void region_take_tend(struct region_take *take) {
        struct places places, *p = &places;
        int r;

        places_init(p, take);
        p->look_usec = take->deadline_usec / TEND_LOOKS;
        places_look(p);
        r = tend(p);
        take->result = r == -ESTALE ? -EAGAIN : r;
        places_deinit(p);
}

void region_take_end(struct region_take *take) {
        if (take->places)
                places_deinit(take->places);
        free(take->places);
        take->places = NULL;
}
