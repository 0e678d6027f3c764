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
#include "daemon/bus/explain-json.h"
#include "daemon/bus/history-json.h"
#include "daemon/manager/manager-internal.h"
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
        if (pair == NO_PAIR && (command->verb == COMMAND_PAUSE || command->verb == COMMAND_RESUME))
                bus_reply(manager->bus, command->id, 0,
                          command->verb == COMMAND_PAUSE ? "all pairs are paused" : "all pairs are watched again");
        return 0;
}

/* A question about history that the store has yet to answer. */
struct history_question {
        struct manager *manager;
        uint64_t request_id;
        char id[]; /* as asked */
};

void manager_keep_explanation(struct manager *manager, const struct action *action) {
        const struct pair *pair = manager->engine->pairs[action->pair];
        const struct host_facts *facts = manager_facts_at_decision(manager);
        struct json_object *json =
                pair ? explain_json(manager->engine, action->pair, facts, manager->engine->now_usec) : NULL;
        const char *text = json ? json_text_print(json, JSON_C_TO_STRING_PLAIN, NULL) : NULL;

        if (text)
                store_add_explanation(manager->store, pair->policy->name, &action->flow, text);
        json_object_put(json);
}

static void on_history_read(void *userdata, int result, const struct history_rows *rows) {
        _cleanup_free_ struct history_question *question = userdata;
        struct manager *manager = question->manager;
        struct history_query query = { .id = question->id, .policy = manager->engine->policy,
                                       .realtime_usec = manager_realtime() };
        struct json_object *json = NULL;
        const char *text = NULL;
        char why[256];

        if (result >= 0)
                result = history_json(&query, rows, &json);
        if (result >= 0) {
                text = json_text_print(json, JSON_C_TO_STRING_SPACED, NULL);
                result = text ? 0 : -ENOMEM;
        }
        if (result < 0) {
                snprintf(why, sizeof(why), "history of \"%.100s\" cannot be shown: %s", question->id,
                         result == -ETIMEDOUT ? "the disk under the store stalls" : strerror(-result));
                text = why;
        }
        bus_reply(manager->bus, question->request_id, result, text);
        json_object_put(json);
}

static int on_history(void *userdata, uint64_t id, const char *failover_id, unsigned limit, struct error *error) {
        struct manager *manager = userdata;
        struct history_query query = { .id = failover_id, .policy = manager->engine->policy };
        size_t size = sizeof(struct history_question) + strlen(failover_id) + 1;
        struct history_question *question = calloc(1, size);
        char pair[NAME_LEN];
        bool one;
        int r = -ENOMEM;

        if (limit == 0 || limit > HISTORY_ROWS_MAX)
                limit = HISTORY_ROWS_MAX;
        if (question) {
                *question = (struct history_question) { .manager = manager, .request_id = id };
                strcpy(question->id, failover_id);
                one = strcmp(history_pair(&query, pair), failover_id) != 0;
                r = store_ask_history(manager->store, pair[0] ? pair : NULL, one ? failover_id : NULL, limit,
                                      on_history_read, question);
        }
        if (r < 0) {
                free(question);
                return error_set(error, r, "history of \"%s\" cannot be shown: %s", failover_id,
                                 r == -EBUSY ? "others have asked and wait for the disk" : strerror(-r));
        }
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
        r = manager_try_policy(manager, policy, why, sizeof(why));
        if (r < 0)
                error_set(error, r, "%s", why);
        if (r >= 0 && strcmp(policy->hypervisor_uri, manager->engine->policy->hypervisor_uri) != 0)
                r = error_set(error, -EBUSY,
                              "the hypervisor cannot change while failoverd runs; edit %s and restart it",
                              manager->policy_path);
        (void) who;
        if (r >= 0 && manager_tell_left(manager, policy, &report) < 0)
                r = error_set(error, -ENOMEM, "out of memory");
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
