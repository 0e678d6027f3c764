/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VMs that stand alone: their standbys are kept alive, and shown. What they do is their own matter, and what they have
 * told of it goes into history, to who listens, and to the policy's alert unit. A VM's mark says until when that was
 * done: at first as history has it, so that nothing is in there twice; an alert may come again after a crash. */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/children/standbys.h"
#include "daemon/manager/alert.h"
#include "daemon/manager/journal.h"
#include "daemon/manager/manager-internal.h"

#define LOOK_USEC (2 * USEC_PER_SEC)
#define TOLD_MAX_USEC (24 * 3600 * USEC_PER_SEC)

/* Where the policy names the VM, there is one of it. NULL: out of memory. */
static struct vm_told *told_of(struct manager *manager, const char *domain) {
        struct vm_told *told = manager->vms_told;

        while (told && strcmp(told->domain, domain) != 0)
                told = told->next;
        if (told)
                return told;
        told = calloc(1, sizeof(*told));
        if (!told)
                return NULL;
        snprintf(told->domain, sizeof(told->domain), "%s", domain);
        told->until_usec = store_get_told(manager->store, domain);
        told->next = manager->vms_told;
        return manager->vms_told = told;
}

static void take_in(struct manager *manager, const struct vm_policy *vm, const struct standby_event *event) {
        static const enum record_kind kinds[STANDBY_NEWS_MAX] = {
                [NEWS_ARMED] = RECORD_ARMED,     [NEWS_UNPROTECTED] = RECORD_UNPROTECTED,
                [NEWS_DECIDED] = RECORD_DECIDED, [NEWS_STARTED] = RECORD_STARTED,
                [NEWS_HELD] = RECORD_HELD,       [NEWS_RESUMED] = RECORD_RESUMED,
                [NEWS_CLEARED] = RECORD_CLEARED,
        };
        const enum record_kind kind = kinds[event->kind];

        static_assert(STANDBY_NEWS_LEN <= EVENT_TEXT_LEN, "what is told fits history");

        store_add_told(manager->store, vm->domain, event->time_usec, kind, event->text);
        if (event->time_usec + TOLD_MAX_USEC < manager_realtime())
                return; /* nobody is called for what is long over */
        journal_record(kind, NULL, vm->domain, event->text, NULL);
        if (manager->bus)
                bus_vm_record(manager->bus, vm->domain, kind, event->text);
        if (vm->on_event)
                alert_record(manager->loop, manager->user, kind, vm->on_event, vm->domain);
}

static void take_events(struct manager *manager, const struct vm_policy *vm) {
        struct vm_told *told = told_of(manager, vm->domain);
        _cleanup_free_ struct standby_events *events = told ? calloc(1, sizeof(*events)) : NULL;
        int r = events ? standbys_read_events(manager->standbys, vm->domain, &told->seen, events) : -ENOMEM;

        if (r < 0 && r != -ENOENT)
                fprintf(stderr, "what the standby of VM %s has told cannot be read: %s, ignoring\n", vm->domain,
                        strerror(-r));
        for (size_t i = 0; r > 0 && i < events->n_events; i++)
                if (events->events[i].time_usec > told->until_usec) {
                        take_in(manager, vm, &events->events[i]);
                        told->until_usec = events->events[i].time_usec;
                }
}

static void keep_alive(struct manager *manager, const char *domain) {
        struct vm_told *told = told_of(manager, domain);
        int r = standbys_keep(manager->standbys, domain);

        if (told && r < 0 && r != told->failed)
                fprintf(stderr, "the standby of VM %s is not started: %s\n", domain, strerror(-r));
        if (told)
                told->failed = r;
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *manager = userdata;
        const struct policy *policy = manager->engine->policy;

        for (size_t i = 0; policy && i < policy->n_vms; i++) {
                if (policy_pair_of(policy, policy->vms[i].domain) >= 0)
                        continue; /* it is not its own before it is out of that pair */
                keep_alive(manager, policy->vms[i].domain);
                take_events(manager, &policy->vms[i]);
        }
        (void) sd_event_source_set_time_relative(source, LOOK_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int manager_open_standbys(struct manager *manager, const struct manager_options *options, struct error *error) {
        const struct standbys_options wanted = { .user = options->user, .runtime_dir = options->runtime_dir,
                                                 .state_dir = options->state_dir,
                                                 .service_dir = "/run/failover-standby",
                                                 .program = options->standby,
                                                 .policy_path = manager->last_policy_path };
        int r = standbys_new(manager->loop, &wanted, &manager->standbys, error);

        if (r < 0)
                return r;
        r = sd_event_add_time_relative(manager->loop, &manager->standbys_timer, CLOCK_BOOTTIME, LOOK_USEC, 0, on_look,
                                       manager);
        return r < 0 ? error_set(error, r, "the timer for VMs that stand alone cannot be set: %s", strerror(-r)) : 0;
}

void manager_close_standbys(struct manager *manager) {
        sd_event_source_disable_unref(manager->standbys_timer);
        manager->standbys = standbys_free(manager->standbys);
        while (manager->vms_told) {
                struct vm_told *told = manager->vms_told;

                manager->vms_told = told->next;
                free(told);
        }
}

void manager_fill_vms(struct manager *manager) {
        const struct policy *policy = manager->engine->policy;
        struct host_facts *facts = &manager->facts;

        facts->n_vms = policy ? policy->n_vms : 0;
        for (size_t i = 0; i < facts->n_vms; i++) {
                struct vm_fact *fact = &facts->vms[i];
                struct standby_document document;

                *fact = (struct vm_fact) { 0 };
                if (standbys_read(manager->standbys, policy->vms[i].domain, &document) < 0)
                        continue;
                *fact = (struct vm_fact) {
                        .told_usec = document.time_usec,
                        .vm = alone_state_to_string((enum alone_state) document.vm),
                        .state = standby_state_to_string((enum standby_state) document.state),
                        .checkpoint_usec = document.record.run ? document.record.taken_usec : 0,
                        .took_usec = document.took_usec,
                        .decided_usec = document.decided_usec,
                        .running_usec = document.running_usec,
                        .lost_usec = document.lost_usec,
                        .failovers = document.record.failovers,
                        .copies = (unsigned) document.copies,
                        .kept_usec = document.kept_usec,
                        .report = {
                                .state = (enum standby_state) document.state,
                                .failovers_left = document.flaps_left,
                                .hears_panic = document.hears_panic,
                                .hears_hang = document.hears_hang,
                        },
                };
                snprintf(fact->doing, sizeof(fact->doing), "%s", document.doing);
                snprintf(fact->text, sizeof(fact->text), "%s", document.text);
        }
}
