/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "daemon/base/memstream.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/known-domains.h"
#include "policy/text.h"
#include "policy/worst-case.h"
#include "policy/xml-snippet.h"

DEFINE_CLEANUP(struct policy *, policy_free)

static void put(struct json_object *object, const char *key, struct json_object *value) {
        if (json_object_object_add(object, key, value) < 0)
                json_object_put(value);
}

static void put_span(struct json_object *object, const char *key, usec_t span) {
        put(object, key, span == USEC_INFINITY ? NULL : json_object_new_uint64(span / USEC_PER_MSEC));
}

static struct json_object *diagnostics_json(const struct diagnostics *d) {
        struct json_object *array = json_object_new_array();

        for (size_t i = 0; i < d->n_items; i++) {
                struct json_object *item = json_object_new_object();

                put(item, "line", json_object_new_int64(d->items[i].line));
                put(item, "column", json_object_new_int64(d->items[i].column));
                put(item, "warning", json_object_new_boolean(d->items[i].is_warning));
                put(item, "path", json_object_new_string(d->items[i].path));
                put(item, "message", json_object_new_string(d->items[i].message));
                json_object_array_add(array, item);
        }
        return array;
}

static struct json_object *worst_cases_json(const struct policy *policy) {
        struct worst_case worst[WORST_CASES_MAX];
        struct json_object *array = json_object_new_array();

        for (size_t p = 0; policy && p < policy->n_pairs; p++) {
                const struct pair_policy *pair = &policy->pairs[p];
                size_t n = worst_case_list(pair, worst);

                for (size_t i = 0; i < n; i++) {
                        struct json_object *item = json_object_new_object();
                        int app = worst[i].application;

                        put(item, "pair", json_object_new_string(pair->name));
                        put(item, "fault", json_object_new_string(worst_case_fault_to_string(worst[i].fault)));
                        put(item, "application",
                            app >= 0 ? json_object_new_string(pair->applications[app].name) : NULL);
                        put(item, "fails_over", json_object_new_boolean(worst[i].fails_over));
                        put_span(item, "detect_ms", worst[i].detect_usec);
                        put_span(item, "decide_ms", worst[i].decide_usec);
                        put_span(item, "recover_ms", worst[i].recover_usec);
                        put_span(item, "total_ms", worst_case_total_usec(&worst[i]));
                        put_span(item, "limit_ms", worst[i].limit_usec);
                        json_object_array_add(array, item);
                }
        }
        return array;
}

/* `domains`: what they lack; NULL where they were not looked at. */
static void print_check_json(const struct diagnostics *d, const struct policy *policy, struct json_object *domains) {
        _cleanup_json_ struct json_object *root = json_object_new_object();

        put(root, "version", json_object_new_int(1));
        put(root, "kind", json_object_new_string("policy-check"));
        put(root, "ok", json_object_new_boolean(policy != NULL && d->n_errors == 0));
        put(root, "diagnostics", diagnostics_json(d));
        put(root, "worst_cases", worst_cases_json(policy));
        if (domains)
                put(root, "domains", json_object_get(domains));
        ctl_print_json(root);
}

/* What a lazy handover needs is there in system mode only; whether there is swap, status tells. */
static void print_handover_note(const struct policy *policy) {
        size_t n = policy->hypervisor_uri ? strlen(policy->hypervisor_uri) : 0;
        bool session =
                n > strlen("/session") && strcmp(policy->hypervisor_uri + n - strlen("/session"), "/session") == 0;

        for (size_t i = 0; session && i < policy->n_pairs; i++)
                if (policy->pairs[i].handover == HANDOVER_LAZY) {
                        printf("handover: lazy is done as eager on %s: paging another process out takes "
                               "failoverd-helper, "
                               "and swap.\n",
                               policy->hypervisor_uri);
                        return;
                }
}

/* Adds what libvirt does not know of. Returns how much that is; where it cannot be asked, that is told, and a negative
 * errno. */
static int look_for_domains(const struct policy *policy, const char *text, size_t n, struct diagnostics *d) {
        char reason[KNOWN_DOMAINS_REASON_LEN];
        int r = known_domains_check(policy, text, n, d, reason);

        if (r < 0)
                fprintf(stderr, "%s cannot be asked for its domains: %s\n", policy->hypervisor_uri, reason);
        return r;
}

static int check(struct ctl *ctl, const char *path) {
        _cleanup_(policy_freep) struct policy *policy = NULL;
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ struct json_object *domains = ctl->json && ctl->domains ? json_object_new_array() : NULL;
        struct diagnostics d = { 0 };
        int exit_code = CTL_OK, looked = 0, r;
        size_t n = 0;

        r = text_load(path, &text, &n, &d);
        if (r >= 0)
                r = policy_parse(text, n, path, &policy, &d);
        if (r >= 0 && ctl->domains)
                looked = look_for_domains(policy, text, n, &d);
        if (!ctl->json)
                (void) diagnostics_print(&d, stderr);
        if (r >= 0 && !ctl->json) {
                if (d.n_errors == 0)
                        printf("%s is in order: %zu pair%s.\n", path, policy->n_pairs,
                               policy->n_pairs == 1 ? "" : "s");
                worst_case_print(policy, stdout);
                print_handover_note(policy);
        } else if (r < 0 && d.n_errors == 0)
                ctl_fail(CTL_FAILED, "%s: %s", path, strerror(-r));
        if (r >= 0 && ctl->domains && looked >= 0) /* what does not answer is not asked twice */
                exit_code = ctl_check_domains(policy, domains);
        if (ctl->json)
                print_check_json(&d, policy, domains);
        if (r < 0 || looked < 0 || d.n_errors > 0)
                exit_code = CTL_FAILED;
        diagnostics_deinit(&d);
        return exit_code;
}

/* Checked here first, where messages can name the file; failoverd checks again. */
static int apply(struct ctl *ctl, const char *path) {
        _cleanup_(policy_freep) struct policy *policy = NULL;
        _cleanup_free_ char *text = NULL, *report = NULL;
        struct diagnostics d = { 0 };
        int r, n_unknown = 0;

        r = ctl_read_file(path, CTL_TEXT_MAX, &text);
        if (r != CTL_OK)
                return r;
        r = policy_parse(text, strlen(text), path, &policy, &d);
        if (r >= 0 && !ctl->force)
                n_unknown = look_for_domains(policy, text, strlen(text), &d);
        (void) diagnostics_print(&d, stderr);
        diagnostics_deinit(&d);
        if (r < 0)
                return ctl_fail(CTL_FAILED, "nothing was applied");
        if (n_unknown > 0)
                return ctl_fail(CTL_FAILED, "nothing was applied; --force applies it all the same");
        r = ctl_change(ctl, "ApplyPolicy", &report, "sb", text, (int) ctl->dry_run);
        if (r != CTL_OK)
                return r;
        fputs(report, stdout);
        if (!*report || report[strlen(report) - 1] != '\n')
                putchar('\n');
        return CTL_OK;
}

static int show(struct ctl *ctl) {
        _cleanup_free_ char *text = NULL;
        int r = ctl_change(ctl, "ShowPolicy", &text, NULL);

        return r == CTL_OK ? ctl_print_text(ctl, "policy", text) : r;
}

static int print_snippets(const struct policy *policy, FILE *f) {
        int r = 0;

        for (size_t p = 0; r >= 0 && p < policy->n_pairs; p++)
                for (enum side side = 0; r >= 0 && side < SIDE_MAX; side++) {
                        fprintf(f, "<!-- %s: to be merged into its XML with virsh edit -->\n",
                                policy->pairs[p].members[side].domain);
                        r = policy_print_domain_snippet(&policy->pairs[p], side, f);
                        if (r < 0)
                                ctl_fail(CTL_FAILED, "%s: %s", policy->pairs[p].members[side].domain, strerror(-r));
                }
        return r;
}

/* What the domains of a policy must have, to be merged into their own XML. */
static int xml(struct ctl *ctl, const char *path) {
        _cleanup_(policy_freep) struct policy *policy = NULL;
        _cleanup_free_ char *text = NULL;
        struct diagnostics d = { 0 };
        size_t size;
        int r = policy_load(path, &policy, &d);
        FILE *f;

        (void) diagnostics_print(&d, stderr);
        diagnostics_deinit(&d);
        if (r < 0)
                return ctl_fail(CTL_FAILED, "%s: %s", path, strerror(-r));
        f = open_memstream(&text, &size);
        r = f ? print_snippets(policy, f) : 0;
        if (memstream_close(f, &text) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return r < 0 ? CTL_FAILED : ctl_print_text(ctl, "policy-xml", text);
}

int verb_policy(struct ctl *ctl) {
        const char *what = ctl->args[0], *path = ctl->args[1];

        if (strcmp(what, "show") == 0 && ctl->n_args == 1)
                return show(ctl);
        if (strcmp(what, "check") == 0 && ctl->n_args == 2)
                return check(ctl, path);
        if (strcmp(what, "apply") == 0 && ctl->n_args == 2)
                return apply(ctl, path);
        if (strcmp(what, "xml") == 0 && ctl->n_args == 2)
                return xml(ctl, path);
        return ctl_fail(CTL_USAGE, "policy takes: check FILE, xml FILE, show, or apply FILE");
}
