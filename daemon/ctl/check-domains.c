/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `policy check --domains`: do the domains have what the policy needs of them? Only looks, and needs no failoverd. */

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <string.h>

#include "daemon/core/findings.h"
#include "daemon/ctl/ctl.h"
#include "daemon/host/libvirt/domain-xml.h"
#include "policy/policy.h"
#include "policy/xml-snippet.h"

static void no_handler(void *userdata, virErrorPtr error) {
}

static void domain_freep(virDomainPtr *domain) {
        if (*domain)
                virDomainFree(*domain);
}

/* Fills in what `domain` is like; `found->text` says why not. */
static void look(virConnectPtr connection, const struct pair_policy *pair, enum side side, struct preflight *found) {
        _cleanup_(domain_freep) virDomainPtr domain = NULL;
        struct app_names names = { 0 };
        struct domain_facts facts = { 0 };
        struct error error = ERROR_INIT;
        _cleanup_free_ char *xml = NULL;
        int autostart = 0;

        domain = virDomainLookupByName(connection, pair->members[side].domain);
        if (!domain) {
                if (virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
                        snprintf(found->text, sizeof(found->text), "%s", virGetLastErrorMessage());
                return;
        }
        xml = virDomainGetXMLDesc(domain, virDomainIsPersistent(domain) > 0 ? VIR_DOMAIN_XML_INACTIVE : 0);
        for (size_t i = 0; i < pair->n_applications; i++)
                memcpy(names.names[i], pair->applications[i].name, NAME_LEN);
        if (!xml)
                snprintf(found->text, sizeof(found->text), "%s", virGetLastErrorMessage());
        else if (domain_xml_parse(xml, &names, &facts, &error) < 0)
                snprintf(found->text, sizeof(found->text), "%s", error_text(&error));
        else {
                *found = facts.preflight;
                found->defined = true;
                found->persistent = virDomainIsPersistent(domain) > 0;
                found->autostart = virDomainGetAutostart(domain, &autostart) == 0 && autostart;
        }
        error_deinit(&error);
}

static void put(struct json_object *array, const char *domain, const struct finding *finding) {
        struct json_object *item = json_object_new_object();

        json_object_object_add(item, "domain", json_object_new_string(domain));
        json_object_object_add(item, "advice", json_object_new_boolean(finding->advice));
        json_object_object_add(item, "text", json_object_new_string(finding->text));
        json_object_object_add(item, "mend", json_object_new_string(finding->mend));
        json_object_array_add(array, item);
}

/* Returns how many findings keep the pair from being armed. */
static size_t check_member(virConnectPtr connection, const struct policy *policy, const struct pair_policy *pair,
                           enum side side, struct json_object *array) {
        struct finding findings[FINDINGS_MAX];
        struct preflight found = { 0 };
        size_t n, n_missing = 0;

        look(connection, pair, side, &found);
        if (!found.defined && !found.text[0])
                return 1; /* known_domains_check() has said so */
        n = findings_list(policy, pair, side, &found, findings);
        for (size_t i = 0; i < n; i++) {
                if (array)
                        put(array, pair->members[side].domain, &findings[i]);
                else
                        printf("%s %s: %s\n    mend: %s\n", findings[i].advice ? "advice " : "missing",
                               pair->members[side].domain, findings[i].text, findings[i].mend);
                n_missing += !findings[i].advice;
        }
        if (array)
                return n_missing;
        if (n_missing == 0)
                printf("ok      %s has all that the policy needs\n", pair->members[side].domain);
        else
                (void) policy_print_domain_snippet(pair, side, stdout);
        return n_missing;
}

int ctl_check_domains(const struct policy *policy, struct json_object *array) {
        virConnectPtr connection;
        size_t n_missing = 0;

        virSetErrorFunc(NULL, no_handler); /* told below, once */
        connection = virConnectOpenReadOnly(policy->hypervisor_uri);
        if (!connection)
                return ctl_fail(CTL_FAILED, "%s cannot be reached, so the domains were not looked at: %s",
                                policy->hypervisor_uri, virGetLastErrorMessage());
        if (!array)
                putchar('\n');
        for (size_t i = 0; i < policy->n_pairs; i++)
                for (int side = 0; side < SIDE_MAX; side++)
                        n_missing += check_member(connection, policy, &policy->pairs[i], (enum side) side, array);
        virConnectClose(connection);
        return n_missing > 0 ? CTL_FAILED : CTL_OK;
}
