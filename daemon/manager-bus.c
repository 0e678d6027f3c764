/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the bus asks for, answered from the engine, the store and the policy file. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "daemon/bus/history-json.h"
#include "daemon/manager-internal.h"
#include "policy/text.h"

static usec_t on_now(void *userdata) {
        (void) userdata;
        return manager_now();
}

static const struct host_facts *on_facts(void *userdata) {
        return manager_facts(userdata);
}

static bool nothing_unsettled(const struct engine *engine) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && engine->pairs[i]->unsettled)
                        return false;
        return true;
}

static int on_command(void *userdata, int pair, const struct operator_command *command, struct error *error) {
        struct manager *manager = userdata;

        (void) error;
        manager_event(manager, &(struct event) { .kind = EVENT_COMMAND, .pair = pair, .command = command });
        if (command->verb == COMMAND_ADOPT && nothing_unsettled(manager->engine))
                store_settle(manager->store);
        if (pair == NO_PAIR)
                bus_reply(manager->bus, command->id, 0,
                          command->verb == COMMAND_PAUSE ? "all pairs are paused" : "all pairs are watched again");
        return 0;
}

static int on_history(void *userdata, uint64_t id, const char *failover_id, unsigned limit, struct error *error) {
        struct manager *manager = userdata;
        struct history_query query = { .id = failover_id, .policy = manager->engine->policy, .realtime_usec = manager_realtime() };
        _cleanup_free_ struct history_flow *flows = NULL;
        _cleanup_free_ struct history_drill *drills = NULL;
        _cleanup_free_ struct history_event *events = NULL;
        struct history_rows rows = { 0 };
        struct json_object *json = NULL;
        char name[NAME_LEN];
        const char *pair, *text;
        int r;

        if (limit == 0 || limit > HISTORY_ROWS_MAX)
                limit = HISTORY_ROWS_MAX;
        pair = history_pair(&query, name);
        if (pair[0] == 0)
                pair = NULL;
        r = store_get_flows(manager->store, pair, limit, &flows, &rows.n_flows);
        if (r >= 0)
                r = store_get_drills(manager->store, pair, limit, &drills, &rows.n_drills);
        if (r >= 0)
                r = store_get_events(manager->store, pair, limit, &events, &rows.n_events);
        rows.flows = flows;
        rows.drills = drills;
        rows.events = events;
        if (r >= 0)
                r = history_json(&query, &rows, &json);
        if (r < 0)
                return error_set(error, r, "history of \"%s\" cannot be shown: %s", failover_id, strerror(-r));
        text = json_text_print(json, JSON_C_TO_STRING_SPACED, NULL);
        bus_reply(manager->bus, id, text ? 0 : -ENOMEM, text);
        json_object_put(json);
        return 0;
}

static char *print_diagnostics(const struct diagnostics *diagnostics) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (f)
                diagnostics_print(diagnostics, f);
        memstream_close(f, &text);
        return text;
}

static int on_apply_policy(void *userdata, uint64_t id, const char *text, bool dry_run, const char *who,
                           struct error *error) {
        struct manager *manager = userdata;
        struct diagnostics diagnostics = { 0 };
        _cleanup_free_ char *report = NULL;
        struct policy *policy = NULL;
        char why[EVENT_TEXT_LEN];
        int r;

        r = policy_parse(text, strlen(text), "policy", &policy, &diagnostics);
        report = print_diagnostics(&diagnostics);
        diagnostics_deinit(&diagnostics);
        if (r < 0)
                return error_set(error, r, "%s", report ? report : strerror(-r));
        r = engine_try_policy(manager->engine, policy, why, sizeof(why));
        if (r < 0)
                error_set(error, r, "%s", why);
        if (r >= 0 && strcmp(policy->hypervisor_uri, manager->engine->policy->hypervisor_uri) != 0)
                r = error_set(error, -EBUSY, "the hypervisor cannot change while failoverd runs; edit %s and restart it", manager->policy_path);
        (void) who;
        if (r >= 0 && !dry_run)
                return manager_begin_policy(manager, policy, text, steal_ptr(report), id, error);
        policy_free(policy);
        if (r < 0)
                return r;
        bus_reply(manager->bus, id, 0, report && report[0] ? report : "it could be applied");
        return 0;
}

static int on_show_policy(void *userdata, char **ret_text, struct error *error) {
        struct manager *manager = userdata;

        if (!manager->engine->policy)
                return error_set(error, -ENODATA, "no policy is in force");
        return manager_print_policy(manager, ret_text);
}

static int on_reload(void *userdata, uint64_t id, struct error *error) {
        struct manager *manager = userdata;
        _cleanup_free_ char *report = NULL;
        int r = manager_reload(manager, &report);

        if (r < 0)
                return error_set(error, r, "%s", report ? report : strerror(-r));
        bus_reply(manager->bus, id, 0, report && report[0] ? report : "reloaded");
        return 0;
}

void manager_bus_interface(struct manager *manager, struct bus_interface *ret) {
        *ret = (struct bus_interface) {
                .engine = manager->engine,
                .userdata = manager,
                .now = on_now,
                .facts = on_facts,
                .command = on_command,
                .history = on_history,
                .apply_policy = on_apply_policy,
                .show_policy = on_show_policy,
                .reload = on_reload,
        };
}
