/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory servers, asked at their control sockets; needs no daemon. */

#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/render-table.h"
#include "daemon/memserver/control-ask.h"
#include "policy/text.h"

#define DEFAULT_CONTROL "/run/failover-memserver/control.sock"
#define DOCUMENT_VERSION 1

DEFINE_CLEANUP(struct policy *, policy_free)

/* The policy of this host, whose memory servers are asked where none is named. NULL: there is none, or not for us. */
static struct policy *read_policy(const struct ctl *ctl) {
        struct diagnostics d = { 0 };
        struct policy *policy = NULL;

        if (ctl->n_args == 0)
                (void) policy_load(CTL_POLICY_PATH, &policy, &d);
        diagnostics_deinit(&d);
        return policy;
}

static int n_servers(const struct ctl *ctl, const struct policy *policy) {
        return ctl->n_args > 0 ? ctl->n_args : policy && policy->n_servers > 0 ? (int) policy->n_servers : 1;
}

static const char *server_at(const struct ctl *ctl, const struct policy *policy, int i) {
        if (ctl->n_args > 0)
                return ctl->args[i];
        return policy && policy->n_servers > 0 ? policy->servers[i].control : DEFAULT_CONTROL;
}

/* {"version": 1} with the named empty arrays. NULL when out of memory. */
static struct json_object *new_document(const char *const *arrays, size_t n) {
        _cleanup_json_ struct json_object *root = json_object_new_object();

        if (!root || json_add(root, "version", json_object_new_int(DOCUMENT_VERSION)) < 0)
                return NULL;
        for (size_t i = 0; i < n; i++)
                if (json_add(root, arrays[i], json_object_new_array()) < 0)
                        return NULL;
        return steal_ptr(root);
}

/* Adds what a server answers to the array of that name, each item with the server's own name. A server that does not
 * answer is no failure: why goes to `silent`. */
static int ask(struct json_object *root, const char *control, enum control_call call, usec_t since_usec,
               const char *array) {
        const struct control_ask asked = { control, NULL, CTL_READ_TIMEOUT_USEC, -1 };
        _cleanup_json_ struct json_object *items = NULL;
        struct error error = ERROR_INIT;
        int r = control_ask_items(&asked, call, since_usec, &items, &error);

        if (r < 0) {
                struct json_object *silent = json_object_new_object();
                r = json_append(get_object(root, "silent"), silent);
                if (r == 0)
                        r = json_add(silent, "control", json_object_new_string(control));
                if (r == 0)
                        r = json_add(silent, "text", json_object_new_string(error_text(&error)));
                error_deinit(&error);
                return r;
        }
        for (size_t i = 0; i < json_object_array_length(items) && r == 0; i++) {
                struct json_object *item = json_object_get(json_object_array_get_idx(items, i));
                r = json_append(get_object(root, array), item);
                if (r == 0)
                        r = json_add(item, "control", json_object_new_string(control));
        }
        return r;
}

/* Says who did not answer; CTL_FAILED where somebody did not. */
static int tell_silent(struct json_object *root) {
        int r = CTL_OK;

        for (size_t i = 0; i < get_count(root, "silent"); i++)
                r = ctl_fail(CTL_FAILED, "%s", get_text(get_item(root, "silent", i), "text", "?"));
        return r;
}

static void cell_bytes(struct render_table *table, struct json_object *object, const char *key) {
        char text[FORMAT_MAX];

        render_cell(table, format_mib(text, get_number(object, key)));
}

static void cell_number(struct render_table *table, struct json_object *object, const char *key) {
        char text[FORMAT_MAX];

        snprintf(text, sizeof(text), "%lld", (long long) get_number(object, key));
        render_cell(table, text);
}

static int print_servers(struct json_object *root) {
        struct render_table table = {
                .heads = { "SERVER", "MEMORY", "USED", "SPILL", "USED", "SPACES", "CLIENTS", "STATE" },
                .right = { [1] = true, [2] = true, [3] = true, [4] = true, [5] = true, [6] = true },
                .n_columns = 8,
        };

        for (size_t i = 0; i < get_count(root, "servers"); i++) {
                struct json_object *load = get_item(root, "servers", i);

                render_cell(&table, get_text(load, "control", "?"));
                cell_bytes(&table, load, "memory_bytes");
                cell_bytes(&table, load, "memory_used_bytes");
                cell_bytes(&table, load, "spill_bytes");
                cell_bytes(&table, load, "spill_used_bytes");
                cell_number(&table, load, "spaces");
                cell_number(&table, load, "clients");
                render_cell(&table, get_bool(load, "draining") ? "draining" : "serving");
        }
        if (get_count(root, "servers") > 0 && render_print(&table, stdout) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return CTL_OK;
}

int verb_servers(struct ctl *ctl) {
        _cleanup_(policy_freep) struct policy *policy = read_policy(ctl);
        _cleanup_json_ struct json_object *root = new_document((const char *const[]){ "servers", "silent" }, 2);
        int r = root ? 0 : -ENOMEM;

        for (int i = 0; i < n_servers(ctl, policy) && r == 0; i++)
                r = ask(root, server_at(ctl, policy, i), CONTROL_LOAD, 0, "servers");
        if (r < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        r = ctl->json ? ctl_print_json(root) : print_servers(root);
        return r == CTL_OK ? tell_silent(root) : r;
}

/* Of a primary the state of its mirror, or of its hand-over; of a mirror what it is worth. */
static const char *copy_of(struct json_object *space) {
        const char *hand_over = get_text(space, "hand_over", "none");

        if (strcmp(get_text(space, "role", "?"), "mirror") == 0)
                return get_text(space, "copy", "?");
        return strcmp(hand_over, "none") == 0 ? get_text(space, "mirror", "?") : hand_over;
}

static int print_spaces(struct json_object *root) {
        struct render_table table = {
                .heads = { "NODE", "OWNER", "SPACE", "SERVER", "ROLE", "COPY", "SIZE", "HELD" },
                .right = { [6] = true, [7] = true },
                .n_columns = 8,
        };

        for (size_t i = 0; i < get_count(root, "spaces"); i++) {
                struct json_object *space = get_item(root, "spaces", i);

                render_cell(&table, get_text(space, "node", "?"));
                render_cell(&table, get_text(space, "owner", "?"));
                render_cell(&table, get_text(space, "space", "?"));
                render_cell(&table, get_text(space, "control", "?"));
                render_cell(&table, get_text(space, "role", "?"));
                render_cell(&table, copy_of(space));
                cell_bytes(&table, space, "size_bytes");
                cell_bytes(&table, space, "held_bytes");
        }
        return render_print(&table, stdout);
}

static int print_clients(struct json_object *root) {
        struct render_table table = {
                .heads = { "NODE", "OWNER", "SERVER", "HELD", "SAVED", "RETURNED", "WITHIN" },
                .right = { [3] = true, [4] = true, [5] = true, [6] = true },
                .n_columns = 7,
        };
        char text[FORMAT_MAX];

        for (size_t i = 0; i < get_count(root, "clients"); i++) {
                struct json_object *client = get_item(root, "clients", i);

                render_cell(&table, get_text(client, "node", "?"));
                render_cell(&table, get_text(client, "owner", "?"));
                render_cell(&table, get_text(client, "control", "?"));
                cell_bytes(&table, client, "held_bytes");
                cell_bytes(&table, client, "saved_bytes");
                cell_bytes(&table, client, "returned_bytes");
                render_cell(&table, format_age(text, get_number(client, "span_usec") / (int64_t) USEC_PER_MSEC));
        }
        return render_print(&table, stdout);
}

/* For who bills; names hold nothing that would have to be quoted. */
static void print_csv(struct json_object *root) {
        static const char *const numbers[] = { "span_usec", "saved_bytes", "saved_pages", "returned_bytes",
                                               "returned_pages", "held_bytes" };

        printf("control,node,owner");
        for (size_t k = 0; k < ELEMENTSOF(numbers); k++)
                printf(",%s", numbers[k]);
        putchar('\n');
        for (size_t i = 0; i < get_count(root, "clients"); i++) {
                struct json_object *client = get_item(root, "clients", i);

                printf("\"%s\",%s,%s", get_text(client, "control", "?"), get_text(client, "node", "?"),
                       get_text(client, "owner", "?"));
                for (size_t k = 0; k < ELEMENTSOF(numbers); k++)
                        printf(",%lld", (long long) get_number(client, numbers[k]));
                putchar('\n');
        }
}

static int print_all(struct json_object *root) {
        if (get_count(root, "spaces") > 0 && print_spaces(root) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        if (get_count(root, "clients") > 0) {
                putchar('\n');
                if (print_clients(root) < 0)
                        return ctl_fail(CTL_FAILED, "out of memory");
        }
        return CTL_OK;
}

int verb_spaces(struct ctl *ctl) {
        _cleanup_(policy_freep) struct policy *policy = read_policy(ctl);
        _cleanup_json_ struct json_object *root =
                new_document((const char *const[]){ "spaces", "clients", "silent" }, 3);
        usec_t since = 0;
        int r = root ? 0 : -ENOMEM;

        if (ctl->since && (duration_parse(ctl->since, &since) < 0 || since == 0))
                return ctl_fail(CTL_USAGE, "--since takes a span such as 10min, 2h or 1d, not \"%s\"", ctl->since);
        for (int i = 0; i < n_servers(ctl, policy) && r == 0; i++) {
                size_t silent = get_count(root, "silent");

                r = ask(root, server_at(ctl, policy, i), CONTROL_SPACES, 0, "spaces");
                if (r == 0 && get_count(root, "silent") == silent)
                        r = ask(root, server_at(ctl, policy, i), CONTROL_CLIENTS, since, "clients");
        }
        if (r < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        if (ctl->csv)
                print_csv(root);
        else
                r = ctl->json ? ctl_print_json(root) : print_all(root);
        return r == CTL_OK ? tell_silent(root) : r;
}
