/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/manager/manager-internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/core/retired.h"
#include "daemon/crash-point.h"
#include "daemon/manager/trace.h"

#define TICKS_A_SILENCE 4 /* looks at each channel, in the time after which an agent is welcomed again */

DEFINE_CLEANUP(struct policy *, policy_free)

usec_t manager_now(void) {
        return clock_usec(CLOCK_BOOTTIME);
}

usec_t manager_realtime(void) {
        return clock_usec(CLOCK_REALTIME);
}

/* ---- events ---------------------------------------------------------------------------------------------- */

void manager_event(struct manager *manager, struct event *event) {
        usec_t now = manager_now();

        assert(!manager->stepping);
        manager->stepping = true;
        event->time_usec = now > manager->engine->now_usec ? now : manager->engine->now_usec;
        event->real_usec = manager_realtime();
        if (manager->debug)
                trace_event(event);
        if (manager->events)
                event_ring_event(manager->events, manager->engine, event);
        crash_point_event(event);
        engine_step(manager->engine, event, &manager->update);
        if (manager->update.failed) {
                /* Fail static: what is not decided is not done. A new start reads the store and goes on. */
                fprintf(stderr, "out of memory, exiting; guests run on\n");
                abort();
        }
        if (manager->events)
                event_ring_update(manager->events, manager->engine, &manager->update);
        /* Pairs and applications that a policy brings have to be watched before anything is asked about them; those
         * that it drops have their last actions among these. */
        if (event->kind == EVENT_POLICY && manager->hypervisor)
                manager_follow_pairs(manager, false);
        for (size_t i = 0; i < manager->update.n_actions; i++) {
                const struct action *action = &manager->update.actions[i];

                if (manager->debug)
                        trace_action(action);
                crash_point_action(action, false);
                manager_act(manager, action);
                crash_point_action(action, true);
        }
        manager_tell_shares(manager, event);
        if (manager->overflow)
                overflow_follow(manager->overflow, event->pair);
        for (size_t i = 0; i < manager->update.n_actions; i++)
                if (manager->update.actions[i].kind == ACTION_PHASE &&
                    manager->update.actions[i].phase == PHASE_DECIDED)
                        manager_keep_explanation(manager, &manager->update.actions[i]);
        manager->stepping = false;
}

static void on_sink(void *userdata, const struct event *reported) {
        struct manager *manager = userdata;
        struct event event = *reported;

        if (event.kind == EVENT_DOMAIN)
                manager_follow_channel(manager, event.pair, event.side);
        manager_event(manager, &event);
}

static void on_due(void *userdata, int slot, usec_t due_usec) {
        manager_event(userdata, &(struct event) { .kind = EVENT_WAKE, .pair = slot, .due_usec = due_usec });
}

static int on_owed(sd_event_source *source, void *userdata) {
        struct manager *manager = userdata;
        struct owed *list = steal_ptr(manager->owed);

        sd_event_source_set_enabled(source, SD_EVENT_OFF);
        while (list) {
                struct owed *next = list->next;

                manager_event(manager, &list->event);
                free(list);
                list = next;
        }
        return 0;
}

void manager_owe(struct manager *manager, const struct event *event) {
        struct owed *owed = malloc(sizeof(*owed)), **last = &manager->owed;

        if (!owed)
                abort(); /* as above: an action without an answer must not be */
        while (*last)
                last = &(*last)->next;
        *owed = (struct owed) { .event = *event };
        *last = owed;
        sd_event_source_set_enabled(manager->owed_source, SD_EVENT_ONESHOT);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static int open_store(struct manager *manager, const struct manager_options *options, struct error *error) {
        struct store_options store = {
                .state_dir = options->state_dir, .runtime_dir = options->runtime_dir,
                .evidence_dir = manager->evidence_dir,
        };
        struct store_finding finding = { 0 };
        int r;

        r = store_new(&store, manager->loop, &manager->sink, &manager->store, &finding, error);
        if (r == -EUCLEAN) {
                fprintf(stderr, "%s; setting it aside\n", error_text(error));
                error_deinit(error);
                r = store_set_aside(&store, error);
                if (r >= 0)
                        r = store_new(&store, manager->loop, &manager->sink, &manager->store, &finding, error);
        }
        if (r < 0)
                return r;
        manager->store_lost = finding.lost;
        if (finding.lost)
                fprintf(stderr, "the store was lost: %s\n", finding.text);
        return 0;
}

static void restore_records(struct manager *manager, const struct record *records, size_t n_records) {
        if (manager->store_lost)
                manager_event(manager, &(struct event) { .kind = EVENT_STORE_LOST, .pair = NO_PAIR });
        for (size_t i = 0; i < n_records; i++) {
                int slot = engine_find_pair(manager->engine, records[i].pair);

                if (slot >= 0)
                        manager_event(manager, &(struct event) { .kind = EVENT_RESTORED, .pair = slot,
                                                                 .record = &records[i] });
        }
}

static void on_memory_short(void *userdata) {
        struct manager *manager = userdata;

        hypervisor_look_for_paging(manager->hypervisor);
}

static bool is_region_of_policy(void *userdata, const char *name) {
        const struct policy *policy = ((struct manager *) userdata)->engine->policy;

        for (size_t i = 0; i < policy->n_pairs; i++)
                for (size_t k = 0; k < policy->pairs[i].n_applications; k++)
                        if (application_find_region(&policy->pairs[i].applications[k], name) >= 0)
                                return true;
        return false;
}

/* Pairs are watched without it just as well. */
static void open_names(struct manager *manager, const char *runtime_dir) {
        const struct name_table_rules rules = { .own_uid = geteuid(), .reserved = is_region_of_policy,
                                                .userdata = manager };
        struct error error = ERROR_INIT;
        char path[PATH_MAX];

        snprintf(path, sizeof(path), "%s/names.sock", runtime_dir);
        if (name_server_new(manager->loop, path, &rules, &manager->names, &error) < 0)
                fprintf(stderr, "names of shared regions are not served (%s), ignoring\n", error_text(&error));
        error_deinit(&error);
}

static int open_outside(struct manager *manager, const struct manager_options *options, struct error *error) {
        struct hypervisor_settings hypervisor = {
                .uri = manager->engine->policy->hypervisor_uri,
                .helper_path = options->helper_path,
                .evidence_dir = manager->evidence_dir,
        };
        char lock_path[PATH_MAX];
        int r;

        r = hypervisor_new(manager->loop, &hypervisor, &manager->sink, &manager->hypervisor, error);
        if (r < 0)
                return r;
        r = evidence_new(manager->evidence_dir, &manager->evidence);
        if (r < 0)
                return error_set(error, r, "%s: %s", manager->evidence_dir, strerror(-r));
        r = evidence_new(manager->decisions_dir, &manager->decisions);
        if (r < 0)
                return error_set(error, r, "%s: %s", manager->decisions_dir, strerror(-r));
        r = pressure_new(manager->loop, "/proc/pressure", &manager->sink, on_memory_short, manager, &manager->pressure);
        if (r < 0)
                fprintf(stderr, "the kernel tells no pressure (%s): a starved host is seen by late wake-ups only\n",
                        strerror(-r));

        snprintf(lock_path, sizeof(lock_path), "%s/cgroups.lock", options->runtime_dir);
        r = reclaim_new(manager->loop,
                        &(struct reclaim_options){ options->helper_path, lock_path, "/proc/self/mountinfo" },
                        &manager->sink, &manager->reclaim);
        if (r < 0)
                return error_set(error, r, "the threads that follow memory from VM to VM cannot be started: %s",
                                 strerror(-r));
        r = resident_survey_new("/proc", options->helper_path, &manager->survey);
        if (r < 0)
                return error_set(error, r, "out of memory");
        r = manager_open_regions(manager, error);
        if (r < 0)
                return r;
        r = overflow_new(manager,
                         &(struct pagers_options){ .user = manager->user, .runtime_dir = options->runtime_dir,
                                                   .service_dir = "/run/failover-pager", .nbdkit = options->nbdkit,
                                                   .plugin = options->pager_plugin },
                         &manager->overflow, error);
        if (r < 0)
                return r;
        r = manager_open_standbys(manager, options, error);
        if (r < 0)
                return r;
        open_names(manager, options->runtime_dir);
        manager_bus_interface(manager, &manager->bus_interface);
        r = bus_new(&manager->bus, manager->loop, &manager->bus_interface, options->user, options->bus_address);
        if (r < 0)
                return error_set(error, r, "its interface on the message bus cannot be set up: %s", strerror(-r));
        return 0;
}

static bool takes_policy(struct manager *manager, const struct policy *policy) {
        manager_event(manager, &(struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        return manager->engine->policy != NULL;
}

/* The policy of the file takes effect, with what it no longer has and what may not be out of its VMs yet. Where that
 * does not fit together, and where there is none, the one that was in force last stays so. */
static int begin_policy(struct manager *manager, struct policy *policy, const char *report,
                        const struct record *records, size_t n_records, struct error *error) {
        struct policy *last = NULL;
        char why[EVENT_TEXT_LEN] = "";
        int r = 0;

        (void) manager_load_last_policy(manager, &last);
        if (policy && retired_stands_alone(last, policy, why, sizeof(why))) {
                fprintf(stderr, "%s: %s\n", manager->policy_path, why);
                r = -EBUSY;
        }
        if (r == 0 && policy && last)
                r = retired_restore(policy, last, records, n_records, manager->store_lost);
        if (policy && !why[0]) /* what is to be said of it if it is refused below */
                snprintf(why, sizeof(why), "it does not fit with what VMs hold; what failoverd said at its start has "
                         "more");
        if (r < 0 || !policy || !takes_policy(manager, policy)) {
                if (!last || !takes_policy(manager, last))
                        r = error_set(error, -EINVAL, "%s%s: the policy could not be taken; see the messages above",
                                      report ? report : "", manager->policy_path);
                else { /* a mistake in the file must not cost the failover that worked a moment ago */
                        fprintf(stderr,
                                "%s%s cannot be used (above); the last policy that was in force stays in force: "
                                "correct the file and reload\n",
                                report ? report : "", manager->policy_path);
                        manager->policy_is_last = true;
                        manager->policy_refused = strdup(policy ? why : report ?: "");
                }
        }
        policy_free(last);
        return manager->engine->policy ? 0 : r;
}

static int start(struct manager *manager, const struct manager_options *options, struct error *error) {
        _cleanup_(policy_freep) struct policy *policy = NULL;
        _cleanup_free_ struct record *records = NULL;
        _cleanup_free_ char *report = NULL;
        size_t n_records = 0;
        int r;

        r = manager_load_policy(manager, &policy, &report);
        if (r < 0 && access(manager->last_policy_path, R_OK) < 0)
                return error_set(error, r, "%s", report ? report : strerror(-r));
        r = open_store(manager, options, error);
        if (r < 0)
                return r;
        r = store_load(manager->store, &records, &n_records);
        if (r < 0)
                return error_set(error, r, "the store in %s cannot be read: %s", options->state_dir, strerror(-r));
        manager_open_recordings(manager, options->runtime_dir);
        r = begin_policy(manager, policy, report, records, n_records, error);
        if (r < 0)
                return r;
        restore_records(manager, records, n_records);
        r = open_outside(manager, options, error);
        if (r < 0)
                return r;
        manager_keep_last_policy(manager);
        manager_follow_pairs(manager, true);
        manager_event(manager, &(struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        manager_keep_flows_cut_off(manager);
        if (manager->store_lost && manager->engine->policy->on_store_lost == STORE_LOST_TRUST_RUNNING)
                store_settle(manager->store);
        return 0;
}

int manager_new(sd_event *loop, const struct manager_options *options, struct manager **ret, struct error *error) {
        struct manager *manager = calloc(1, sizeof(*manager));
        int r;

        if (!manager)
                return error_set(error, -ENOMEM, "out of memory");
        manager->loop = sd_event_ref(loop);
        manager->sink = (struct sink) { .event = on_sink, .userdata = manager };
        manager->user = options->user;
        manager->debug = options->debug;
        manager->started_usec = manager_now();
        manager->engine = engine_new();
        manager->policy_path = strdup(options->policy_path);
        if (asprintf(&manager->last_policy_path, "%s/policy.last", options->state_dir) < 0)
                manager->last_policy_path = NULL;
        if (asprintf(&manager->evidence_dir, "%s/evidence", options->state_dir) < 0)
                manager->evidence_dir = NULL;
        if (asprintf(&manager->decisions_dir, "%s/decisions", options->state_dir) < 0)
                manager->decisions_dir = NULL;
        r = wakes_new(loop, on_due, manager, &manager->wakes);
        if (r >= 0)
                r = agent_poll_new(loop, agent_link_pace.silence_usec / TICKS_A_SILENCE, &manager->agent_poll);
        if (r >= 0)
                r = sd_event_add_defer(loop, &manager->owed_source, on_owed, manager);
        if (r >= 0)
                r = sd_event_source_set_enabled(manager->owed_source, SD_EVENT_OFF);
        if (r >= 0)
                r = file_writer_new(loop, &manager->policy_writer);
        if (r >= 0)
                r = file_writer_new(loop, &manager->last_policy_writer);
        if (!manager->engine || !manager->policy_path || !manager->last_policy_path || !manager->evidence_dir ||
            !manager->decisions_dir)
                r = -ENOMEM;
        if (r < 0)
                error_set(error, r, "what failoverd works with cannot be set up: %s", strerror(-r));
        else
                r = start(manager, options, error);
        if (r < 0) {
                manager_free(manager);
                return r;
        }
        *ret = manager;
        return 0;
}

static void pair_slot_free(struct manager_pair *pair) {
        if (!pair)
                return;
        for (enum side side = 0; side < SIDE_MAX; side++)
                agent_link_free(pair->links[side]);
        free(pair);
}

struct manager *manager_free(struct manager *manager) {
        if (!manager)
                return NULL;
        manager->bus = bus_free(manager->bus);
        for (int i = 0; i < manager->n_pairs; i++)
                pair_slot_free(manager->pairs[i]);
        free(manager->pairs);
        agent_poll_free(manager->agent_poll);
        wakes_free(manager->wakes);
        pressure_free(manager->pressure);
        reclaim_free(manager->reclaim);
        resident_survey_free(manager->survey);
        hypervisor_free(manager->hypervisor);
        overflow_free(manager->overflow);
        sd_event_source_disable_unref(manager->regions_timer);
        region_holder_free(manager->regions);
        manager_close_standbys(manager);
        name_server_free(manager->names);
        store_free(manager->store);
        evidence_free(manager->evidence);
        evidence_free(manager->decisions);
        event_ring_free(manager->events);
        file_writer_free(manager->policy_writer);
        file_writer_free(manager->last_policy_writer);
        policy_free(manager->coming.policy);
        free(manager->policy_refused);
        free(manager->coming.report);
        while (manager->owed) {
                struct owed *next = manager->owed->next;

                free(manager->owed);
                manager->owed = next;
        }
        sd_event_source_disable_unref(manager->owed_source);
        update_deinit(&manager->update);
        engine_free(manager->engine);
        free(manager->facts.members);
        free(manager->facts.names);
        free(manager->policy_path);
        free(manager->last_policy_path);
        free(manager->evidence_dir);
        free(manager->decisions_dir);
        sd_event_unref(manager->loop);
        free(manager);
        return NULL;
}

bool manager_is_reachable(const struct manager *manager) {
        return bus_is_ready(manager->bus);
}

const char *manager_summary(const struct manager *manager, char *buffer, size_t size) {
        unsigned counts[PAIR_STATE_MAX] = { 0 }, total = 0;
        size_t used;

        for (int i = 0; i < manager->engine->n_pairs; i++)
                if (manager->engine->pairs[i]) {
                        counts[manager->engine->pairs[i]->state]++;
                        total++;
                }
        used = (size_t) snprintf(buffer, size, "%u pairs", total);
        for (enum pair_state state = 0; state < PAIR_STATE_MAX && used < size; state++)
                if (counts[state])
                        used += (size_t) snprintf(buffer + used, size - used, ", %u %s", counts[state],
                                                  pair_state_to_string(state));
        return buffer;
}
