/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The right to write an application's shared regions (R), which is one side's at a time.
 *
 * It is an exclusive thing as a disk is, and its holder is asked, not the guest: a grant under a higher token takes the
 * regions from whoever had them and ends what was under way before it is answered; what still comes late is refused
 * there. So nothing is started before this failoverd has had such an answer for the token that the start carries, which
 * is on disk by then. After a crash the holder may know that very token already: then it is raised, and granted anew.
 * So it is for each new start of what has ended: only its holder knows whether the region is still there, and a policy
 * may have brought another one meanwhile.
 *
 * A region with a mirror may be granted there, where its holder is lost. Which of the two has the latest is told by the
 * token under which it was granted, which is on disk before the start as well: the other may come back and know nothing
 * of what has passed it by.
 *
 * That a region has been at its holder is on disk, too, before anything is started: one that is missing later was lost,
 * also after a power loss that took the volatile copy of the record along.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

#define AGAIN_USEC (5 * USEC_PER_SEC) /* at the latest: an application waits for it */
#define OUTRUN_MAX 3 /* times in a row that a higher token is given at once */

static unsigned all_regions(const struct pair *pair, int app) {
        return (1U << pair->policy->applications[app].n_regions) - 1;
}

void app_state_spend(struct pair *pair, int app) {
        struct app_state *a = &pair->apps[app];

        if (a->state_token == pair->record.apps[app].token || a->grant.id)
                a->state_spent = pair->record.apps[app].token;
}

void app_state_leaves(struct pair *pair, int app) {
        struct record_app *record = &pair->record.apps[app];

        record->state_left = pair->policy->applications[app].n_regions > 0 &&
                             !member_is_gone(&pair->members[side_other(record->owner)]);
}

void app_state_forgotten(struct pair *pair, int app) {
        if (!pair->record.apps[app].state_left)
                return;
        pair->record.apps[app].state_left = false;
        pair_dirty(pair);
}

/* Can the other side write the regions no more, also where no holder is asked? */
static bool alone(const struct pair *pair, int app) {
        enum side other = side_other(pair->record.apps[app].owner);

        return !pair->record.apps[app].state_left || member_is_gone(&pair->members[other]) ||
               (pair->record.fence_wanted[other] && member_fenced(pair, other));
}

bool app_state_waits(const struct pair *pair, int app) {
        return pair->apps[app].state_shared && !alone(pair, app);
}

bool pair_lacks_state(const struct pair *pair, int app) {
        const struct record_app *record = &pair->record.apps[app];
        const struct app_state *a = &pair->apps[app];

        return a->state_failure[0] && (record->moving || a->state[record->owner] != APPLICATION_RUNNING);
}

void app_state_trust(struct pair *pair, int app) {
        pair->record.apps[app].state_kept = all_regions(pair, app);
        pair->record.apps[app].state_moved = 0;
        app_state_leaves(pair, app);
        pair->record.apps[app].state_granted = STATE_GRANTED_UNKNOWN;
}

static bool any_mirrored(const struct application *policy) {
        for (size_t i = 0; i < policy->n_regions; i++)
                if (policy->regions[i].mirror[0])
                        return true;
        return false;
}

/* The region is where it was, or at least its copy is. */
static bool same_place(const struct state_region *a, const struct state_region *b) {
        return strcmp(a->holder, b->holder) == 0 || (a->mirror[0] && strcmp(a->mirror, b->holder) == 0) ||
               (b->mirror[0] && (strcmp(a->holder, b->mirror) == 0 || strcmp(a->mirror, b->mirror) == 0));
}

static bool has_place(const struct state_region *region, const char *server) {
        return strcmp(region->holder, server) == 0 || strcmp(region->mirror, server) == 0;
}

/* What was done without was granted under no token on record; what is not made do without any more is not missed for
 * that. Where a server that may have the latest is taken out as well, the record is believed. */
static bool forget_granted(const struct application *policy, const struct application *old) {
        bool forget = false;

        for (size_t i = 0; i < policy->n_regions; i++) {
                const struct state_region *now = &policy->regions[i], *before;
                int k = application_find_region(old, now->name);

                if (k < 0)
                        continue;
                before = &old->regions[k];
                if (!has_place(now, before->holder) || (before->mirror[0] && !has_place(now, before->mirror)))
                        return false;
                forget = forget || (before->on_lost == HOLDER_LOST_START && now->on_lost == HOLDER_LOST_HOLD);
        }
        return forget;
}

void app_state_renew(struct pair *pair, int app, const struct application *old) {
        const struct application *policy = &pair->policy->applications[app];
        struct record_app *record = &pair->record.apps[app];
        unsigned kept = record->state_kept, moved = record->state_moved;

        record->state_kept = record->state_moved = 0;
        for (size_t i = 0; i < policy->n_regions; i++) {
                int k = application_find_region(old, policy->regions[i].name);

                if (k < 0)
                        continue;
                if (kept & 1U << k && same_place(&policy->regions[i], &old->regions[k]))
                        record->state_kept |= 1U << i;
                else if ((kept | moved) & 1U << k)
                        record->state_moved |= 1U << i;
        }
        if (forget_granted(policy, old))
                record->state_granted = STATE_GRANTED_UNKNOWN;
        app_state_spend(pair, app);
}

bool app_state_understood(const struct pair *pair, int app, enum side side) {
        return pair->policy->applications[app].n_regions == 0 ||
               pair->members[side].protocol >= PROTOCOL_VERSION_REMOTE;
}

/* One of two servers may have done it all the same, and the other may be asked next: no two that believe to be the
 * primary have the same token. */
static void spend_attempt(struct pair *pair, int app) {
        if (any_mirrored(&pair->policy->applications[app]))
                pair->apps[app].state_spent = pair->record.apps[app].token;
}

bool app_state_granted(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        struct record_app *record = &pair->record.apps[app];
        struct action *action;

        if (pair->policy->applications[app].n_regions == 0)
                return true;
        if (!pair_owner_safe(pair) || !app_state_understood(pair, app, side))
                return false;
        if (a->state_token == record->token && a->state_spent != record->token)
                return true;
        if (a->state_shared && alone(pair, app)) {
                a->state_shared = false;
                a->grant.retry_usec = 0;
        }
        if (request_expire(step, &a->grant, 2 * pair->policy->act_timeout_usec + AGAIN_USEC))
                spend_attempt(pair, app);
        if (!request_free(step, &a->grant))
                return false;
        if (a->state_spent == record->token) {
                record->token++;
                pair_owner_dirty(pair);
                return false;
        }
        action = step_act(step, ACTION_GRANT_STATE, side, app, &a->grant, pair->policy->act_timeout_usec);
        action->bytes = record->token;
        action->offset = record->state_granted;
        action->count = all_regions(pair, app) & ~record->state_kept;
        action->moved = record->state_moved;
        action->alone = alone(pair, app);
        return false;
}

/* One that comes late, under a token that has been passed, is handed to nobody; what its holders remark holds. */
static void say_granted(struct step *step, int app, const struct event *event) {
        const struct pair *pair = step->pair;
        uint64_t token = pair->record.apps[app].token;

        if (event->bytes == token && pair->apps[app].state_spent != token)
                step_say(step, RECORD_GRANTED, event->side,
                         "the state of %s is %s's alone to write, token %" PRIu64 "%s%.150s", pair_app_name(pair, app),
                         pair_domain(pair, event->side), event->bytes, event->text[0] ? "; " : "", event->text);
        else if (event->text[0])
                step_say(step, RECORD_GRANTED, event->side,
                         "a grant of the state of %s, token %" PRIu64 ", comes late and is given to nobody; %.150s",
                         pair_app_name(pair, app), event->bytes, event->text);
}

static void granted(struct step *step, int app, const struct event *event) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        struct app_state *a = &pair->apps[app];

        a->state_token = event->bytes;
        a->state_failure[0] = 0;
        a->n_outrun = 0;
        if (event->bytes == record->token) /* not of an earlier grant that comes late */
                app_state_forgotten(pair, app);
        /* Where the latest is, is on disk before anything can be written there, too. */
        if (record->state_kept != all_regions(pair, app) || any_mirrored(&pair->policy->applications[app]))
                pair_owner_dirty(pair);
        record->state_kept = all_regions(pair, app);
        record->state_moved = 0;
        record->state_granted = event->bytes;
        say_granted(step, app, event);
}

/* A holder has granted as much or more before: to a failoverd that crashed, or whose store was lost. One that goes on
 * telling so is asked ever more slowly. */
static void outrun(struct step *step, int app, uint64_t token) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];

        if (pair->record.apps[app].token <= token)
                pair->record.apps[app].token = token + 1;
        if (++a->n_outrun <= OUTRUN_MAX)
                request_reset(&a->grant);
        pair_owner_dirty(pair);
}

/* Said once, until it comes about. */
static void refused(struct step *step, const struct event *event, const char *why) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[event->app];
        char failure[MESSAGE_TEXT_LEN];

        snprintf(failure, sizeof(failure), "%.200s", why);
        if (!a->state_failure[0]) {
                a->state_failed_usec = step->now;
                step_say(step, RECORD_REFUSED, event->side,
                         "%s is not started on %s: the right to write its state cannot be taken from who had it "
                         "(%.120s); it is asked for again and again", pair_app_name(pair, event->app),
                         pair_domain(pair, event->side), failure);
        }
        memcpy(a->state_failure, failure, sizeof(failure));
}

void app_state_done(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;
        struct app_state *a;
        char why[MESSAGE_TEXT_LEN];

        if (event->app < 0 || (size_t) event->app >= pair->policy->n_applications)
                return;
        a = &pair->apps[event->app];
        if (a->grant.id != event->action_id)
                return;
        request_end(step, &a->grant, event->result == 0);
        a->state_shared = event->result == -ENOTUNIQ;
        if (event->result == 0) {
                granted(step, event->app, event);
                return;
        }
        if (a->grant.retry_usec > step->now + AGAIN_USEC)
                a->grant.retry_usec = step->now + AGAIN_USEC;
        if (event->result == -ESTALE && pair_token_likely(step, event->app, event->bytes)) {
                outrun(step, event->app, event->bytes);
                if (a->n_outrun > OUTRUN_MAX)
                        refused(step, event, "a holder knows a token as high as each that is given; who else grants "
                                             "there?");
                return;
        }
        if (event->result == -ESTALE) {
                snprintf(why, sizeof(why), "a holder tells token %" PRIu64 ", which no failoverd has given: look at "
                         "that memory server", event->bytes);
                refused(step, event, why);
                return;
        }
        spend_attempt(pair, event->app);
        refused(step, event, event->text[0] ? event->text : strerror(-event->result));
}
