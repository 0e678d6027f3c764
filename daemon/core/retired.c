/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/retired.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

/* ---- kept, and forgotten --------------------------------------------------------------------------------- */

static bool record_holds_memory(const struct record_app *app) {
        return app->granted_bytes[SIDE_A] + app->granted_bytes[SIDE_B] + app->using_bytes[SIDE_A] +
                       app->using_bytes[SIDE_B] > 0;
}

static bool side_is_off(const struct pair *pair, enum side side) {
        return member_is_gone(&pair->members[side]) ||
               (!pair->members[side].configured && pair_side_known(pair, side));
}

/* Nothing of it is anywhere. One that was not retired yet is known to be out where it was never in. */
static bool is_out(const struct pair *pair, int app) {
        const struct application *policy = &pair->policy->applications[app];
        const struct app_state *a = &pair->apps[app];

        if (record_holds_memory(&pair->record.apps[app]) || pair_is_memory(pair, app))
                return !record_holds_memory(&pair->record.apps[app]); /* nothing runs in one of kind memory */
        if (policy->retired)
                return pair->record.apps[app].stopped;
        for (enum side side = 0; side < SIDE_MAX; side++)
                if (!side_is_off(pair, side) && (!pair_side_known(pair, side) || policy->n_disks > 0 ||
                                                 a->state[side] != APPLICATION_STOPPED || a->start[side].id))
                        return false;
        return true;
}

bool retired_holds(const struct pair *pair) {
        for (size_t k = 0; k < pair->policy->n_applications; k++)
                if (!is_out(pair, (int) k))
                        return true;
        return false;
}

static int retire_pair(const struct pair *pair, struct policy *policy) {
        /* Its record says so for good, which is then the last that the store has of it. */
        bool clean = assigned_bytes(pair, SIDE_A) + assigned_bytes(pair, SIDE_B) == 0;
        /* Where it holds nothing else, a change without it is refused until that is over. */
        bool fenced = pair->record.fence_wanted[SIDE_A] || pair->record.fence_wanted[SIDE_B];

        for (size_t k = 0; k < pair->policy->n_applications; k++)
                clean &= fenced ? !record_holds_memory(&pair->record.apps[k]) : is_out(pair, (int) k);
        return clean ? 0 : policy_retire_pair(policy, pair->policy);
}

static int retire_applications(const struct pair *pair, struct pair_policy *next) {
        int r = 0;

        for (size_t k = 0; r >= 0 && k < pair->policy->n_applications; k++) {
                const struct application *old = &pair->policy->applications[k];

                if (pair_policy_find_application(next, old->name) < 0 && !is_out(pair, (int) k))
                        r = pair_policy_retire(next, old);
        }
        return r;
}

int retired_keep(const struct engine *engine, struct policy *policy) {
        int r = 0;

        for (int i = 0; r >= 0 && i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];
                int next = pair ? policy_find_pair(policy, pair->policy->name) : -1;

                if (pair && next < 0)
                        r = retire_pair(pair, policy);
                else if (pair)
                        r = retire_applications(pair, &policy->pairs[next]);
        }
        return r;
}

/* ---- at a start ------------------------------------------------------------------------------------------ */

static const struct record *find_record(const struct record *records, size_t n, const char *pair) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(records[i].pair, pair) == 0)
                        return &records[i];
        return NULL;
}

/* What has no record has never been started: that is written down first. */
static bool recorded_out(const struct record *record, const struct application *application) {
        if (!record)
                return true;
        if (!record->known)
                return false;
        for (unsigned i = 0; i < record->n_apps && i < POLICY_APPLICATIONS_MAX; i++) {
                const struct record_app *app = &record->apps[i];

                if (strcmp(app->name, application->name) == 0)
                        return app->ended && !app->moving && !record_holds_memory(app) &&
                               (app->stopped || application->kind == APPLICATION_MEMORY);
        }
        return true;
}

int retired_restore(struct policy *policy, const struct policy *last, const struct record *records, size_t n_records,
                    bool store_lost) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < last->n_pairs; i++) {
                const struct pair_policy *pair = &last->pairs[i];
                const struct record *record = find_record(records, n_records, pair->name);
                int next = policy_find_pair(policy, pair->name);
                bool out = !store_lost;

                for (size_t k = 0; r >= 0 && k < pair->n_applications; k++) {
                        const struct application *old = &pair->applications[k];
                        bool is = !store_lost && recorded_out(record, old);

                        out &= is;
                        if (next >= 0 && !is && pair_policy_find_application(&policy->pairs[next], old->name) < 0)
                                r = pair_policy_retire(&policy->pairs[next], old);
                }
                if (r >= 0 && next < 0 && !out)
                        r = policy_retire_pair(policy, pair);
        }
        return r;
}

static bool say_domain(const struct pair_policy *retired, const char *domain, char *why, size_t size) {
        snprintf(why, size, "%s: its applications under pair %s are still being stopped and their memory released; "
                 "take that pair out first, then apply this", domain, retired->name);
        return true;
}

bool retired_stands_alone(const struct policy *old, const struct policy *next, char *why, size_t size) {
        const char *domain = old ? policy_paired_vm(old, next) : NULL;

        if (domain)
                snprintf(why, size, "%s: it stands alone, and its standby may be about to let it go on; take it out of "
                         "`vms` first, apply that, then this", domain);
        return domain != NULL;
}

bool retired_has_domain(const struct policy *policy, char *why, size_t size) {
        for (size_t i = 0; i < policy->n_vms; i++) {
                int pair = policy_pair_of(policy, policy->vms[i].domain);

                if (pair >= 0 && policy->pairs[pair].retired)
                        return say_domain(&policy->pairs[pair], policy->vms[i].domain, why, size);
        }
        for (size_t i = 0; i < policy->n_pairs; i++)
                for (size_t k = 0; policy->pairs[i].retired && k < i; k++)
                        for (enum side a = 0; a < SIDE_MAX; a++)
                                for (enum side b = 0; b < SIDE_MAX; b++) {
                                        const char *domain = policy->pairs[i].members[a].domain;

                                        if (strcmp(domain, policy->pairs[k].members[b].domain) == 0)
                                                return say_domain(&policy->pairs[i], domain, why, size);
                                }
        return false;
}

/* ---- waited for ------------------------------------------------------------------------------------------ */

static bool share_address(const struct application *a, const struct application *b) {
        for (size_t i = 0; i < a->n_addresses; i++)
                for (size_t k = 0; k < b->n_addresses; k++) {
                        const char *x = a->addresses[i].cidr, *y = b->addresses[k].cidr;

                        while (*x && *x == *y && *x != '/')
                                x++, y++;
                        if ((*x == 0 || *x == '/') && (*y == 0 || *y == '/'))
                                return true;
                }
        return false;
}

static bool share_region(const struct application *a, const struct application *b) {
        for (size_t i = 0; i < a->n_regions; i++)
                if (application_find_region(b, a->regions[i].name) >= 0)
                        return true;
        return false;
}

static bool share_disk(const struct application *a, const struct application *b) {
        for (size_t i = 0; i < a->n_disks; i++)
                for (size_t k = 0; k < b->n_disks; k++)
                        if (strcmp(a->disks[i], b->disks[k]) == 0)
                                return true;
        return false;
}

/* May what runs as `old` be what `next` is about to be, or hold what it needs? A disk's name says which it is within
 * one pair. */
static bool rivals(const struct application *old, const struct application *next, bool one_pair) {
        if (old->kind == APPLICATION_MEMORY || next->kind == APPLICATION_MEMORY || !old->retired || next->retired)
                return false;
        return strcmp(old->name, next->name) == 0 || share_address(old, next) || share_region(old, next) ||
               (one_pair && share_disk(old, next));
}

/* Retired ones stand behind all others: from the last one on, -1 where there is none (any more). */
static int retired_before(const struct pair *pair, int app) {
        return app > 0 && pair->policy->applications[app - 1].retired ? app - 1 : -1;
}

static int last_retired(const struct pair *pair) {
        return pair ? retired_before(pair, (int) pair->policy->n_applications) : -1;
}

static const struct pair *retired_rival(const struct engine *engine, const struct pair *pair, int app, int *ret_rival) {
        const struct application *next = &pair->policy->applications[app];

        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *other = engine->pairs[i];

                for (int k = last_retired(other); k >= 0; k = retired_before(other, k))
                        if (!other->record.apps[k].stopped &&
                            rivals(&other->policy->applications[k], next, other == pair)) {
                                *ret_rival = k;
                                return other;
                        }
        }
        return NULL;
}

bool retired_reason(const struct engine *engine, const struct pair *pair, int app, char text[EVENT_TEXT_LEN]) {
        int rival;
        const struct pair *other = retired_rival(engine, pair, app, &rival);
        const char *why = other ? other->apps[rival].failure : "";

        if (other)
                snprintf(text, EVENT_TEXT_LEN,
                         "%s: not started before %s, which was taken out of %s, has stopped on %s and let go of its "
                         "disks%s%.60s",
                         pair_app_name(pair, app), pair_app_name(other, rival), other->policy->name,
                         pair_domain(other, other->record.apps[rival].owner), why[0] ? ": " : "", why);
        return other != NULL;
}

/* Whoever was told of an earlier grant cannot be taken for the one that is told now. */
static void raise_token(struct step *step, int app) {
        struct record_app *record = &step->pair->record.apps[app];

        for (int i = 0; i < step->engine->n_pairs; i++) {
                const struct pair *other = step->engine->pairs[i];

                for (int k = last_retired(other); k >= 0; k = retired_before(other, k))
                        if (other != step->pair && other->record.apps[k].token >= record->token &&
                            strcmp(other->record.apps[k].name, record->name) == 0) {
                                record->token = other->record.apps[k].token + 1;
                                pair_owner_dirty(step->pair);
                        }
        }
}

bool retired_gone(struct step *step, int app) {
        int rival;

        if (retired_rival(step->engine, step->pair, app, &rival))
                return false;
        raise_token(step, app);
        return true;
}

/* ---- got out --------------------------------------------------------------------------------------------- */

/* Can it certainly act no more on that side? Its owner's agent has to have been asked since it was taken out: what it
 * told before may have been older than a start. */
static bool stopped_on(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        const struct member_state *member = &pair->members[side];
        const struct application *policy = &pair->policy->applications[app];
        struct app_state *a = &pair->apps[app];
        struct request *request = &a->stop[side];
        bool asked = side != pair->record.apps[app].owner || request->sent_usec != 0;

        if (side_is_off(pair, side))
                return true;
        if (pair->record.fence_wanted[side])
                return member->fence == FENCE_GONE || (member->fence == FENCE_FROZEN && policy->n_disks == 0);
        if (!member->configured)
                return false;
        request_expire(step, request, pair->policy->act_timeout_usec + policy->stop_timeout_usec);
        if (request->id)
                return false;
        if (a->state[side] == APPLICATION_STOPPED && asked)
                return true;
        if (!member->failure[0] && !pair->record.held && !pair->unsettled && request_free(step, request))
                step_ask(step, side, MESSAGE_STOP, app, request);
        return false;
}

static bool disks_let_go(struct step *step, int app) {
        struct pair *pair = step->pair;
        const struct application *policy = &pair->policy->applications[app];
        const struct app_state *a = &pair->apps[app];
        enum side owner = pair->record.apps[app].owner;

        if (!app_disks_gone(step, app, side_other(owner)))
                return false;
        if (a->disks_detached >= policy->n_disks || member_is_gone(&pair->members[owner]))
                return true;
        if (pair->members[owner].domain == DOMAIN_RUNNING)
                app_disk_detach(step, app, owner);
        return false;
}

/* What waited for it goes on. */
static void wake_rivals(struct step *step, int app) {
        const struct application *old = &step->pair->policy->applications[app];

        for (int i = 0; i < step->engine->n_pairs; i++) {
                struct pair *pair = step->engine->pairs[i];

                for (size_t k = 0; pair && pair != step->pair && k < pair->policy->n_applications; k++)
                        if (rivals(old, &pair->policy->applications[k], false)) {
                                step_look_again(step, pair);
                                break;
                        }
        }
}

bool advance_retired(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        bool stopped[SIDE_MAX];

        if (record->stopped)
                return true;
        for (enum side side = 0; side < SIDE_MAX; side++)
                stopped[side] = stopped_on(step, app, side);
        if (stopped[SIDE_A] && stopped[SIDE_B] && disks_let_go(step, app)) {
                record->stopped = true;
                pair_dirty(pair);
                step_say(step, RECORD_ENDED, record->owner, "%s was taken out of the policy: it has stopped on %s",
                         pair_app_name(pair, app), pair_domain(pair, record->owner));
                wake_rivals(step, app);
                step->again = step->changed = true;
        }
        return stopped[record->owner];
}
