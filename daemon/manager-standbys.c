/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* VMs that stand alone: their standbys are kept alive, and shown. What they do is their own matter. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/host/standbys.h"
#include "daemon/manager-internal.h"

#define LOOK_USEC (2 * USEC_PER_SEC)

/* Why a VM's standby is not started is said when that changes; not for each look, and each VM for itself. */
static void say_failed(struct manager *manager, size_t vm, const char *domain, int result) {
        char *said = manager->standbys_kept[vm].domain;
        int *before = &manager->standbys_kept[vm].result;

        if (result < 0 && (strcmp(said, domain) != 0 || *before != result))
                fprintf(stderr, "the standby of VM %s is not started: %s\n", domain, strerror(-result));
        snprintf(said, NAME_LEN, "%s", domain);
        *before = result;
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *manager = userdata;
        const struct policy *policy = manager->engine->policy;

        for (size_t i = 0; policy && i < policy->n_vms; i++) {
                const char *domain = policy->vms[i].domain;

                if (policy_pair_of(policy, domain) < 0) /* else it is not its own before it is out of that pair */
                        say_failed(manager, i, domain, standbys_keep(manager->standbys, domain));
        }
        (void) sd_event_source_set_time_relative(source, LOOK_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int manager_open_standbys(struct manager *manager, const struct manager_options *options, struct error *error) {
        const struct standbys_options wanted = { .user = options->user, .runtime_dir = options->runtime_dir,
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
                };
                snprintf(fact->doing, sizeof(fact->doing), "%s", document.doing);
                snprintf(fact->text, sizeof(fact->text), "%s", document.text);
        }
}
