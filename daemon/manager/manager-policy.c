/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The policy file, and making watches and links follow the pairs that it governs. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "daemon/host/children/standbys.h"
#include "daemon/manager/journal.h"
#include "daemon/manager/manager-internal.h"
#include "daemon/replay/policy-block.h"
#include "policy/text.h"

/* Shorter than a caller on the bus waits, so that it learns what became of its policy. */
#define POLICY_WRITE_USEC (10 * USEC_PER_SEC)

int manager_load_policy(struct manager *manager, struct policy **ret, char **ret_report) {
        struct diagnostics diagnostics = { 0 };
        size_t size;
        FILE *f;
        int r;

        r = policy_load(manager->policy_path, ret, &diagnostics);
        f = open_memstream(ret_report, &size);
        if (f)
                diagnostics_print(&diagnostics, f);
        memstream_close(f, ret_report);
        diagnostics_deinit(&diagnostics);
        return r;
}

int manager_load_last_policy(struct manager *manager, struct policy **ret) {
        struct diagnostics diagnostics = { 0 };
        struct error error = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        int r = access(manager->last_policy_path, F_OK) < 0 ? -ENOENT : 0;

        if (r >= 0)
                r = text_load(manager->last_policy_path, &text, &size, &diagnostics);
        if (r >= 0)
                r = policy_block_parse_whole(text, size, ret, &error);
        if (r < 0 && r != -ENOENT)
                fprintf(stderr, "%s, the policy that was in force last, cannot be used (%s), ignoring\n",
                        manager->last_policy_path, error.message ? error_text(&error) : strerror(-r));
        diagnostics_deinit(&diagnostics);
        error_deinit(&error);
        return r;
}

int manager_print_policy(const struct manager *manager, char **ret_text) {
        struct policy *policy = policy_copy(manager->engine->policy);
        char *text = NULL;
        size_t size;
        FILE *f = policy ? open_memstream(&text, &size) : NULL;
        int r;

        if (f) {
                policy_drop_retired(policy);
                (void) policy_write(policy, f);
        }
        policy_free(policy);
        r = memstream_close(f, &text);
        if (r >= 0)
                *ret_text = text;
        return r;
}

static void on_last_policy_written(void *userdata, int result, const char *text) {
        struct manager *manager = userdata;
        bool again = manager->last_policy_again;

        if (result < 0)
                fprintf(stderr, "the policy in force is not kept for a later start: %s, ignoring\n", text);
        manager->last_policy_again = false;
        if (again)
                manager_keep_last_policy(manager);
}

/* What was taken out and is not out yet is in it too: it is still to be stopped at a later start. */
void manager_keep_last_policy(struct manager *manager) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        int r = f ? policy_block_write_whole(f, manager->engine->policy) : -ENOMEM;

        if (memstream_close(f, &text) < 0)
                r = -ENOMEM;
        if (r >= 0) /* nobody waits for it */
                r = file_writer_begin(manager->last_policy_writer, manager->last_policy_path, text, USEC_INFINITY,
                                      on_last_policy_written, manager);
        if (r == -EBUSY)
                manager->last_policy_again = true;
        else if (r < 0)
                fprintf(stderr, "the policy in force is not kept for a later start: %s, ignoring\n", strerror(-r));
}

/* A VM that a pair takes in must have no standby of its own any more: that would let it go on from a checkpoint beside
 * what failoverd does. It ends by itself once the policy does not name the VM, which a checkpoint may put off. */
static int check_standbys(struct manager *manager, const struct policy *policy, char *why, size_t size) {
        for (size_t i = 0; manager->standbys && i < policy->n_pairs; i++)
                for (enum side side = 0; side < SIDE_MAX; side++) {
                        const char *domain = policy->pairs[i].members[side].domain;
                        int r = policy_pair_of(manager->engine->policy, domain) >= 0
                                        ? 0 : standbys_holder(manager->standbys, domain);

                        if (r == 0)
                                continue;
                        snprintf(why, size, "%s: %s failover-standby, which guarded it while it stood alone, has not "
                                 "ended yet; apply again in a moment", domain, r > 0 ? "its" : "it cannot be seen "
                                 "whether its");
                        return -EBUSY;
                }
        return 0;
}

int manager_try_policy(struct manager *manager, const struct policy *policy, char *why, size_t size) {
        int r = engine_try_policy(manager->engine, policy, why, size);

        return r < 0 ? r : check_standbys(manager, policy, why, size);
}

static void on_policy_written(void *userdata, int result, const char *text) {
        struct manager *manager = userdata;
        struct coming_policy coming = manager->coming;
        char why[EVENT_TEXT_LEN], refused[EVENT_TEXT_LEN + 128];

        manager->coming = (struct coming_policy) { 0 };
        if (result >= 0) { /* what it was compared with may have changed meanwhile */
                result = manager_try_policy(manager, coming.policy, why, sizeof(why));
                snprintf(refused, sizeof(refused), "the file is written, but it cannot take effect any more: %s", why);
                text = refused;
        }
        if (result >= 0) {
                manager_apply_policy(manager, coming.policy);
                journal_record(RECORD_RESUMED, NULL, NULL, "a new policy is in force", NULL);
                text = coming.report && coming.report[0] ? coming.report : "applied";
        }
        bus_reply(manager->bus, coming.request_id, result, text);
        policy_free(coming.policy);
        free(coming.report);
}

int manager_begin_policy(struct manager *manager, struct policy *policy, const char *text, char *report,
                         uint64_t request_id, struct error *error) {
        int r = file_writer_begin(manager->policy_writer, manager->policy_path, text, POLICY_WRITE_USEC,
                                  on_policy_written, manager);

        if (r < 0) {
                policy_free(policy);
                free(report);
                return error_set(error, r,
                                 r == -EBUSY ? "%s is being written; nothing was applied, try again when that has ended"
                                             : "%s cannot be written",
                                 manager->policy_path);
        }
        manager->coming = (struct coming_policy) { .policy = policy, .request_id = request_id, .report = report };
        return 0;
}

void manager_follow_channel(struct manager *manager, int slot, enum side side) {
        struct manager_pair *pair = slot >= 0 && slot < manager->n_pairs ? manager->pairs[slot] : NULL;

        if (pair && pair->links[side])
                agent_link_set_path(pair->links[side], hypervisor_channel(manager->hypervisor, slot, side));
}

static void forget(struct manager *manager, int slot) {
        struct manager_pair *pair = manager->pairs[slot];

        for (enum side side = 0; side < SIDE_MAX; side++) {
                hypervisor_forget(manager->hypervisor, slot, side);
                pair->links[side] = agent_link_free(pair->links[side]);
        }
        (void) wakes_set(manager->wakes, slot, USEC_INFINITY, 0);
        pair->name[0] = 0;
}

static int watch(struct manager *manager, struct manager_pair *slot, const struct pair *pair) {
        const char *apps[POLICY_APPLICATIONS_MAX] = { NULL };
        int r;

        snprintf(slot->name, sizeof(slot->name), "%s", pair->policy->name);
        memset(slot->untended, 0, sizeof(slot->untended)); /* its applications may have other numbers now */
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                apps[i] = pair->policy->applications[i].name;
        for (enum side side = 0; side < SIDE_MAX; side++) {
                snprintf(slot->domains[side], sizeof(slot->domains[side]), "%s", pair->policy->members[side].domain);
                if (!slot->links[side]) {
                        r = agent_link_new(manager->loop, manager->agent_poll, &manager->sink, slot->slot, side,
                                           &agent_link_pace, &slot->links[side]);
                        if (r < 0)
                                return r;
                }
                r = hypervisor_watch(manager->hypervisor, slot->slot, side, slot->domains[side], apps,
                                     pair->policy->n_applications);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int grow(struct manager *manager) {
        int n = manager->engine->n_pairs;
        struct manager_pair **grown;

        if (n <= manager->n_pairs)
                return 0;
        grown = realloc(manager->pairs, (size_t) n * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        manager->pairs = grown;
        for (int i = manager->n_pairs; i < n; i++) {
                manager->pairs[i] = calloc(1, sizeof(**grown));
                if (!manager->pairs[i])
                        return -ENOMEM;
                *manager->pairs[i] = (struct manager_pair) { .slot = i };
                manager->n_pairs = i + 1;
        }
        return 0;
}

void manager_follow_pairs(struct manager *manager, bool forget_gone) {
        int r = grow(manager);

        for (int i = 0; r >= 0 && i < manager->n_pairs; i++) {
                struct pair *pair = i < manager->engine->n_pairs ? manager->engine->pairs[i] : NULL;

                if (manager->pairs[i]->name[0] &&
                    (pair ? strcmp(pair->policy->name, manager->pairs[i]->name) != 0 : forget_gone))
                        forget(manager, i);
                if (pair)
                        r = watch(manager, manager->pairs[i], pair);
        }
        if (r < 0) {
                fprintf(stderr, "cannot set up what watches the pairs (%s), exiting; guests run on\n", strerror(-r));
                abort();
        }
}

void manager_apply_policy(struct manager *manager, const struct policy *policy) {
        manager_event(manager, &(struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        manager->policy_is_last = false;
        free(manager->policy_refused);
        manager->policy_refused = NULL;
        manager_follow_pairs(manager, true);
        manager_keep_last_policy(manager);
        if (manager->bus)
                bus_policy_changed(manager->bus);
}

int manager_reload(struct manager *manager, char **ret_report) {
        struct policy *policy = NULL;
        char *report = NULL;
        char why[EVENT_TEXT_LEN];
        int r;

        r = manager_load_policy(manager, &policy, &report);
        if (r >= 0) {
                r = manager_try_policy(manager, policy, why, sizeof(why));
                if (r < 0) {
                        free(report);
                        report = strdup(why);
                } else {
                        (void) manager_tell_left(manager, policy, &report);
                        manager_apply_policy(manager, policy);
                }
        }
        policy_free(policy);
        if (r < 0)
                fprintf(stderr, "policy not applied: %s\n", report ? report : strerror(-r));
        else if (!ret_report && report) /* nobody else tells it */
                fputs(report, stderr);
        if (ret_report)
                *ret_report = report;
        else
                free(report);
        return r;
}
