/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/known-domains.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml.h"
#include "policy/check.h"
#include "policy/text.h"

#define LOOK_SEC 20 /* so long libvirt may take */
#define MESSAGE_LEN (2 * NAME_LEN + 256)

/* Everything that the thread works on: where libvirt never answers, it outlives the call that began it. */
struct look {
        char *uri;
        size_t n, n_members;
        char (*names)[NAME_LEN]; /* of each pair its sides, then VMs that stand alone */
        bool *unknown;
        char (*written)[NAME_LEN]; /* a disk of the latter that a checkpoint cannot freeze; empty: none */
        int result;
        char reason[KNOWN_DOMAINS_REASON_LEN];
};

static struct look *look_free(struct look *look) {
        if (look) {
                free(look->uri);
                free(look->names);
                free(look->unknown);
                free(look->written);
        }
        free(look);
        return NULL;
}
DEFINE_CLEANUP(struct look *, look_free)

static struct look *look_new(const struct policy *policy) {
        _cleanup_(look_freep) struct look *look = calloc(1, sizeof(*look));

        if (!look)
                return NULL;
        look->n_members = policy->n_pairs * SIDE_MAX;
        look->n = look->n_members + policy->n_vms;
        look->uri = strdup(policy->hypervisor_uri);
        look->names = calloc(look->n + 1, NAME_LEN);
        look->unknown = calloc(look->n + 1, sizeof(bool));
        look->written = calloc(look->n + 1, NAME_LEN);
        if (!look->uri || !look->names || !look->unknown || !look->written)
                return NULL;
        for (size_t i = 0; i < look->n_members; i++)
                memcpy(look->names[i], policy->pairs[i / SIDE_MAX].members[i % SIDE_MAX].domain, NAME_LEN);
        for (size_t i = 0; i < policy->n_vms; i++)
                memcpy(look->names[look->n_members + i], policy->vms[i].domain, NAME_LEN);
        return steal_ptr(look);
}

static void no_handler(void *userdata, virErrorPtr error) {
}

static int give_up(struct look *look) {
        snprintf(look->reason, sizeof(look->reason), "%s", virGetLastErrorMessage());
        return -EIO;
}

/* Keeps the first that the VM can write and no checkpoint can freeze (context_overlays_name()). */
static int on_source(const struct domain_source *source, void *userdata) {
        if (!source->writable || (!source->block && *source->path && *source->format))
                return 0;
        snprintf(userdata, NAME_LEN, "%s", source->target);
        return 1;
}

/* XML that cannot be read is told when the first checkpoint is to be taken. */
static void look_for_written(virDomainPtr domain, char written[static NAME_LEN]) {
        char *xml = virDomainGetXMLDesc(domain, 0);

        if (xml)
                (void) domain_xml_sources(xml, on_source, written, NULL);
        free(xml);
}

static int ask(struct look *look, virConnectPtr connection) {
        for (size_t i = 0; i < look->n; i++) {
                virDomainPtr domain = virDomainLookupByName(connection, look->names[i]);

                if (domain) {
                        if (i >= look->n_members)
                                look_for_written(domain, look->written[i]);
                        virDomainFree(domain);
                } else if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
                        look->unknown[i] = true;
                else
                        return give_up(look);
        }
        return 0;
}

static void *look_run(void *userdata) {
        struct look *look = userdata;
        virConnectPtr connection;

        virSetErrorFunc(NULL, no_handler); /* told by the caller */
        connection = virConnectOpenReadOnly(look->uri);
        look->result = connection ? ask(look, connection) : give_up(look);
        if (connection)
                virConnectClose(connection);
        return NULL;
}

/* Leaves `look` to the thread where it does not end in time. */
static int run_within(struct look **look) {
        struct timespec until;
        pthread_t thread;
        int r = pthread_create(&thread, NULL, look_run, *look);

        if (r != 0)
                return -r;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += LOOK_SEC;
        if (pthread_timedjoin_np(thread, NULL, &until) == 0)
                return 0;
        pthread_detach(thread);
        steal_ptr(*look);
        return -ETIMEDOUT;
}

/* What is wrong with one of them, and where: false where nothing is. */
static bool find_mistake(const struct look *look, size_t i, char path[static NODE_PATH_LEN],
                         char message[static MESSAGE_LEN]) {
        if (look->unknown[i]) {
                snprintf(message, MESSAGE_LEN, "libvirt (%.128s) knows no domain \"%s\"; define it, or mend the name",
                         look->uri, look->names[i]);
                if (i < look->n_members)
                        check_path(path, "pairs[%zu].%s.domain", i / SIDE_MAX,
                                   i % SIDE_MAX == SIDE_A ? "active" : "standby");
                else
                        check_path(path, "vms[%zu].domain", i - look->n_members);
                return true;
        }
        if (!look->written[i][0])
                return false;
        snprintf(message, MESSAGE_LEN, "VM \"%s\" can write to %s, which is no disk in a file, so that a checkpoint "
                 "could not keep it as it was; take it off, or make it read-only", look->names[i], look->written[i]);
        check_path(path, "vms[%zu].standby", i - look->n_members);
        return true;
}

int known_domains_check(const struct policy *policy, const char *text, size_t n_text, struct diagnostics *d,
                        char reason[static KNOWN_DOMAINS_REASON_LEN]) {
        _cleanup_(look_freep) struct look *look = look_new(policy);
        int n = 0, r = look ? run_within(&look) : -ENOMEM;

        if (r < 0) {
                snprintf(reason, KNOWN_DOMAINS_REASON_LEN, "%s", strerror(-r));
                return r;
        }
        if (look->result < 0) {
                memcpy(reason, look->reason, sizeof(look->reason));
                return look->result;
        }
        for (size_t i = 0; i < look->n; i++) {
                char path[NODE_PATH_LEN], message[MESSAGE_LEN];

                if (!find_mistake(look, i, path, message))
                        continue;
                r = policy_add_error(text, n_text, path, d, message);
                if (r < 0) {
                        snprintf(reason, KNOWN_DOMAINS_REASON_LEN, "%s", strerror(-r));
                        return r;
                }
                n++;
        }
        diagnostics_sort(d);
        return n;
}
