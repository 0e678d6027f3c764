/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a policy that is to take effect leaves at memory servers, as its report tells. */

#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/manager/manager-internal.h"
#include "policy/text.h"
#include "tests/unit/test.h"

void __wrap_manager_act(struct manager *manager, const struct action *action);

/* What the manager would do with it is not looked at. */
void __wrap_manager_act(struct manager *manager, const struct action *action) {
}

static struct policy *make_policy(const char *state) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;
        char text[2048];

        snprintf(text, sizeof(text),
                 "version: 1\npool: {memory: 4GiB}\nmemory-servers:\n"
                 "  - {name: depot, control: /depot, uri: \"nbds://d/\", guests: \"nbds://d/\"}\n"
                 "  - {name: annex, control: /annex, uri: \"nbds://a/\", guests: \"nbds://a/\"}\n"
                 "pairs:\n  - name: shop\n    active: {domain: a, base: 512MiB}\n"
                 "    standby: {domain: b, base: 512MiB}\n    applications:\n"
                 "      - {name: db, kind: hot-standby, memory: 512MiB, start: {command: [/bin/db]}%s}\n", state);
        if (policy_parse(text, strlen(text), "policy", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        REQUIRE(policy != NULL);
        return policy;
}

/* What is told when `state` takes the place of what the application has. */
static char *told(const struct manager *manager, const char *state, const char *before) {
        struct policy *policy = make_policy(state);
        char *report = before ? strdup(before) : NULL;

        REQUIRE(manager_tell_left(manager, policy, &report) == 0);
        policy_free(policy);
        return report;
}

static void what_a_policy_leaves_at_its_servers_is_told(void) {
        struct manager manager = { 0 };
        struct policy *policy = make_policy(", state: [{region: ledger, holder: depot, size: 1MiB}, "
                                            "{region: log, holder: depot, mirror: annex, size: 1MiB}]");
        struct event event = { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy, .time_usec = 1 };
        struct record_app *record;
        char *gone = NULL;
        static const struct {
                unsigned kept;
                const char *state, *before, *text;
        } cases[] = {
                { 1, "", NULL,
                  "note: what shop/db has stored in region ledger stays at depot; failoverctl regions drop shop ledger "
                  "gives it up\n" },
                { 0, "", "before\n", "before\n" }, /* it was at no holder yet */
                { 2, "", "before\n", "before\nnote: what shop/db has stored in region log stays at depot and annex; "
                                     "failoverctl regions drop shop log gives it up\n" },
                { 3, ", state: [{region: log, holder: annex, mirror: depot, size: 1MiB}, "
                     "{region: ledger, holder: depot, size: 1MiB}]", NULL, "" },
                { 1, ", state: [{region: ledger, holder: annex, size: 1MiB}]", NULL,
                  "note: what shop/db has stored in region ledger stays at depot, and at the next start it begins "
                  "empty at annex, unless that has an older one; failoverctl regions drop shop ledger gives it up\n" },
                { 2, ", state: [{region: log, holder: annex, size: 1MiB}]", NULL,
                  "note: what shop/db has stored in region log stays at depot; failoverctl regions drop shop log gives "
                  "it up\n" },
        };

        manager.engine = engine_new();
        REQUIRE(manager.engine != NULL);
        engine_step(manager.engine, &event, &manager.update);
        policy_free(policy);
        REQUIRE(!manager.update.failed && manager.engine->n_pairs == 1);
        record = &manager.engine->pairs[0]->record.apps[0];
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *report = NULL;

                record->state_kept = cases[i].kept;
                report = told(&manager, cases[i].state, cases[i].before);
                CHECK(strcmp(report, cases[i].text) == 0);
                if (strcmp(report, cases[i].text) != 0)
                        fprintf(stderr, "%zu: %s", i, report);
        }
        record->state_kept = 1;
        REQUIRE((policy = policy_new()) != NULL); /* of no pair */
        REQUIRE(manager_tell_left(&manager, policy, &gone) == 0);
        CHECK(strstr(gone, "failoverctl regions drop shop ledger --force gives it up") != NULL);
        policy_free(policy);
        free(gone);
        update_deinit(&manager.update);
        engine_free(manager.engine);
}

TEST_MAIN("manager-regions", TEST(what_a_policy_leaves_at_its_servers_is_told))
