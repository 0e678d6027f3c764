/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shared regions: what failoverd knows, and what their holders say where this user may ask them. */

#include <errno.h>
#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/render-table.h"
#include "daemon/memserver/control-ask.h"
#include "daemon/memserver/space-name.h"

#define HOLDER_TIMEOUT_USEC (2 * USEC_PER_SEC)

/* What one of a region's servers has said. */
struct answer {
        int r; /* 1: it has it, 0: it has not, or why that is not known */
        struct space_status status;
        struct error error;
};

/* What the program told its holder that has it. */
static int add_client(struct json_object *held, const struct space_status *status) {
        struct json_object *object = NULL;
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "age_ms", status->report_age_usec / USEC_PER_MSEC },
                { "resident_bytes", status->report.resident_bytes },
                { "dirty_bytes", status->report.dirty_bytes },
                { "faults", status->report.faults },
                { "fetched_bytes", status->report.fetched_bytes },
                { "written_bytes", status->report.written_bytes },
                { "errors", status->report.errors },
        };
        int r;

        if (status->report_age_usec == 0)
                return json_object_object_add(held, "client", NULL) < 0 ? -ENOMEM : 0;
        object = json_object_new_object();
        r = json_add(held, "client", object);
        if (r == 0)
                r = json_add(object, "who", json_object_new_string(status->client));
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(numbers); i++)
                r = json_add(object, numbers[i].key, json_object_new_uint64(numbers[i].value));
        return r;
}

/* The answer, beside what failoverd said. -ENOMEM. */
static int add_answer(struct json_object *region, const char *at, const struct space_status *status) {
        struct json_object *object = json_object_new_object();
        int r = json_add(region, "held", object);

        if (r == 0)
                r = json_add(object, "at", json_object_new_string(at));
        if (r == 0)
                r = json_add(object, "mirror", json_object_new_string(
                                                       copy_state_to_string((enum copy_state) status->mirror)));
        if (r == 0)
                r = json_add(object, "held_bytes", json_object_new_uint64(status->held_bytes));
        if (r == 0)
                r = json_add(object, "staged_bytes", json_object_new_uint64(status->staged_bytes));
        if (r == 0)
                r = json_add(object, "epochs", json_object_new_uint64(status->epochs));
        if (r == 0 && status->epoch_age_usec > 0)
                r = json_add(object, "epoch_age_ms", json_object_new_uint64(status->epoch_age_usec / USEC_PER_MSEC));
        else if (r == 0)
                r = json_object_object_add(object, "epoch_age_ms", NULL) < 0 ? -ENOMEM : 0;
        if (r == 0)
                r = json_add(object, "token", json_object_new_uint64(status->token));
        if (r == 0)
                r = json_add(object, "connections", json_object_new_uint64(status->connections));
        if (r == 0)
                r = json_add(object, "writer", json_object_new_string(status->writer));
        if (r == 0)
                r = json_add(object, "saved_bytes", json_object_new_uint64(status->saved_bytes));
        if (r == 0)
                r = json_add(object, "returned_bytes", json_object_new_uint64(status->returned_bytes));
        return r == 0 ? add_client(object, status) : r;
}

static int add_reason(struct json_object *region, const char *reason) {
        if (json_object_object_add(region, "held", NULL) < 0)
                return -ENOMEM;
        return json_add(region, "held_text", json_object_new_string(reason));
}

/* Why that server is not to be asked again; NULL: it is. One that is silent would keep the user waiting for each. */
static const char *silent_reason(struct json_object *root, size_t n, const char *control) {
        struct json_object *silent, *text;

        for (size_t i = 0; i < n; i++)
                if (json_object_object_get_ex(get_item(root, "regions", i), "silent", &silent) &&
                    json_object_object_get_ex(silent, control, &text))
                        return json_object_get_string(text);
        return NULL;
}

/* One that does not answer is remembered in the region: -ENOMEM where that is not possible. */
static int ask_server(struct json_object *root, size_t i, const char *key, struct answer *ret) {
        struct json_object *region = get_item(root, "regions", i), *silent;
        const char *control = get_text(region, key, ""), *reason = silent_reason(root, i, control);
        struct space_name name = { 0 };
        struct control_ask ask = { control, &name, HOLDER_TIMEOUT_USEC, -1 };

        if (reason) {
                ret->r = error_set(&ret->error, -ENOTCONN, "%s", reason);
                return 0;
        }
        snprintf(name.node, sizeof(name.node), "%s", get_text(root, "node", "localhost"));
        snprintf(name.owner, sizeof(name.owner), "%s", get_text(region, "pair", ""));
        snprintf(name.space, sizeof(name.space), "%s", get_text(region, "region", ""));
        ret->r = control_ask_space(&ask, &ret->status, &ret->error);
        if (ret->r != -ENOTCONN)
                return 0;
        if (!json_object_object_get_ex(region, "silent", &silent)) {
                silent = json_object_new_object();
                if (json_add(region, "silent", silent) < 0)
                        return -ENOMEM;
        }
        return json_add(silent, control, json_object_new_string(error_text(&ret->error)));
}

static bool is_primary(const struct answer *answer) {
        return answer->r > 0 && answer->status.role == SPACE_PRIMARY && answer->status.mirror != COPY_REPLACED;
}

/* Of the two the one that serves; the holder, where neither does. */
static const struct answer *choose(const struct answer *holder, const struct answer *mirror) {
        if (is_primary(mirror) && (!is_primary(holder) || mirror->status.token > holder->status.token))
                return mirror;
        return holder;
}

static int ask_holder(struct json_object *root, size_t i) {
        struct json_object *region = get_item(root, "regions", i);
        struct answer holder = { .error = ERROR_INIT }, mirror = { .error = ERROR_INIT };
        const struct answer *from;
        int r = ask_server(root, i, "control", &holder);

        if (r == 0 && get_text(region, "mirror_control", NULL))
                r = ask_server(root, i, "mirror_control", &mirror);
        from = choose(&holder, &mirror);
        if (r == 0 && from->r > 0)
                r = add_answer(region, get_text(region, from == &holder ? "holder" : "mirror", "?"), &from->status);
        else if (r == 0)
                r = add_reason(region, from->r == 0 ? "the holder has no such region" : error_text(&from->error));
        error_deinit(&holder.error);
        error_deinit(&mirror.error);
        return r;
}

static const char *write_back_of(struct json_object *region, char buffer[UNITS_TEXT_MAX]) {
        int64_t msec = get_number(region, "write_back_ms");

        if (get_number(region, "region_kind") < 3)
                return "through";
        return msec > 0 ? duration_format(buffer, (usec_t) msec * USEC_PER_MSEC) : "on request";
}

static int print_regions(struct json_object *root) {
        struct render_table table = {
                .heads = { "REGION", "OF", "HOLDER", "SIZE", "KIND", "WRITTEN", "RIGHT TO WRITE", "SINCE" },
                .right = { [3] = true, [4] = true },
                .n_columns = 8,
        };
        char text[FORMAT_MAX], every[UNITS_TEXT_MAX], of[2 * NAME_LEN + 2];

        for (size_t i = 0; i < get_count(root, "regions"); i++) {
                struct json_object *region = get_item(root, "regions", i);

                render_cell(&table, get_text(region, "region", "?"));
                snprintf(of, sizeof(of), "%s/%s", get_text(region, "pair", "?"), get_text(region, "application", "?"));
                render_cell(&table, of);
                render_cell(&table, get_text(region, "holder", "?"));
                render_cell(&table, format_mib(text, get_number(region, "size_bytes")));
                snprintf(text, sizeof(text), "%lld", (long long) get_number(region, "region_kind"));
                render_cell(&table, text);
                render_cell(&table, write_back_of(region, every));
                render_cell(&table, get_text(region, "writer.domain", "not granted"));
                if (get_number(region, "granted_age_ms") >= 0)
                        render_cell(&table, format_age(text, get_number(region, "granted_age_ms")));
                else
                        render_cell(&table, get_object(region, "writer") ? "before this failoverd" : "-");
        }
        return get_count(root, "regions") > 0 ? render_print(&table, stdout) : 0;
}

static int print_held(struct json_object *root) {
        struct render_table table = {
                .heads = { "AT THE HOLDER", "SERVER", "MIRROR", "CHANNELS", "STORED", "EPOCHS", "LATEST", "STAGED",
                           "WRITTEN BY" },
                .right = { [3] = true, [4] = true, [5] = true, [6] = true, [7] = true },
                .n_columns = 9,
        };
        char text[FORMAT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < get_count(root, "regions"); i++) {
                struct json_object *region = get_item(root, "regions", i);

                if (!get_object(region, "held"))
                        continue;
                n++;
                render_cell(&table, get_text(region, "region", "?"));
                render_cell(&table, get_text(region, "held.at", "?"));
                render_cell(&table, get_text(region, "held.mirror", "?"));
                snprintf(text, sizeof(text), "%lld", (long long) get_number(region, "held.connections"));
                render_cell(&table, text);
                render_cell(&table, format_mib(text, get_number(region, "held.held_bytes")));
                snprintf(text, sizeof(text), "%lld", (long long) get_number(region, "held.epochs"));
                render_cell(&table, text);
                render_cell(&table, get_number(region, "held.epoch_age_ms") < 0
                                            ? "-"
                                            : format_age(text, get_number(region, "held.epoch_age_ms")));
                render_cell(&table, format_mib(text, get_number(region, "held.staged_bytes")));
                render_cell(&table, get_text(region, "held.writer", "")[0] ? get_text(region, "held.writer", "")
                                                                           : "nobody now");
        }
        if (n > 0)
                putchar('\n');
        return n > 0 ? render_print(&table, stdout) : 0;
}

static void render_mib(struct render_table *table, struct json_object *region, const char *key) {
        char text[FORMAT_MAX];

        render_cell(table, format_mib(text, get_number(region, key)));
}

/* The traffic is what holders have metered; the rest is their clients' word. */
static int print_clients(struct json_object *root) {
        struct render_table table = {
                .heads = { "IN USE", "BY", "RESIDENT", "DIRTY", "FAULTS", "FAILED", "READ", "WRITTEN", "TOLD" },
                .right = { [2] = true, [3] = true, [4] = true, [5] = true, [6] = true, [7] = true, [8] = true },
                .n_columns = 9,
        };
        char text[FORMAT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < get_count(root, "regions"); i++) {
                struct json_object *region = get_item(root, "regions", i);

                if (!get_object(region, "held.client"))
                        continue;
                n++;
                render_cell(&table, get_text(region, "region", "?"));
                render_cell(&table, get_text(region, "held.client.who", "?"));
                render_mib(&table, region, "held.client.resident_bytes");
                render_mib(&table, region, "held.client.dirty_bytes");
                snprintf(text, sizeof(text), "%lld", (long long) get_number(region, "held.client.faults"));
                render_cell(&table, text);
                snprintf(text, sizeof(text), "%lld", (long long) get_number(region, "held.client.errors"));
                render_cell(&table, text);
                render_mib(&table, region, "held.returned_bytes");
                render_mib(&table, region, "held.saved_bytes");
                render_cell(&table, format_age(text, get_number(region, "held.client.age_ms")));
        }
        if (n > 0)
                putchar('\n');
        return n > 0 ? render_print(&table, stdout) : 0;
}

static void print_remarks(struct json_object *root) {
        for (size_t i = 0; i < get_count(root, "regions"); i++) {
                struct json_object *region = get_item(root, "regions", i);
                const char *name = get_text(region, "region", "?");

                if (get_text(region, "held_text", NULL))
                        printf("%s: not known from its holder: %s\n", name, get_text(region, "held_text", ""));
                if (get_text(region, "refusal", NULL))
                        printf("%s: the right to write it is not granted: %s\n", name,
                               get_text(region, "refusal", ""));
        }
}

static int print_names(struct json_object *root) {
        struct render_table table = {
                .heads = { "NAME", "PROCESS", "USER", "SIZE", "KINDS", "SINCE", "RESOLVED" },
                .right = { [1] = true, [2] = true, [3] = true, [6] = true },
                .n_columns = 7,
        };
        char text[FORMAT_MAX];

        for (size_t i = 0; i < get_count(root, "names"); i++) {
                struct json_object *name = get_item(root, "names", i);
                size_t used = 0;

                render_cell(&table, get_text(name, "name", "?"));
                snprintf(text, sizeof(text), "%lld", (long long) get_number(name, "pid"));
                render_cell(&table, text);
                snprintf(text, sizeof(text), "%lld", (long long) get_number(name, "uid"));
                render_cell(&table, text);
                render_cell(&table, format_mib(text, get_number(name, "size_bytes")));
                text[0] = 0;
                for (size_t k = 0; k < get_count(name, "kinds") && used < sizeof(text); k++)
                        used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%d", k > 0 ? "," : "",
                                                  json_object_get_int(get_item(name, "kinds", k)));
                render_cell(&table, text);
                render_cell(&table, format_age(text, get_number(name, "age_ms")));
                snprintf(text, sizeof(text), "%lld", (long long) get_number(name, "resolved"));
                render_cell(&table, text);
        }
        if (get_count(root, "names") > 0 && get_count(root, "regions") > 0)
                putchar('\n');
        return get_count(root, "names") > 0 ? render_print(&table, stdout) : 0;
}

static int print_all(struct json_object *root) {
        if (get_count(root, "regions") + get_count(root, "names") == 0)
                puts("No shared regions: no application of the policy has state:, and no program has registered a "
                     "name.");
        if (print_regions(root) < 0 || print_held(root) < 0 || print_clients(root) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        print_remarks(root);
        return print_names(root) < 0 ? ctl_fail(CTL_FAILED, "out of memory") : CTL_OK;
}

int verb_regions(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        int r = ctl_read_json(ctl, "DescribeRegions", &root, NULL);

        if (r != CTL_OK)
                return r;
        for (size_t i = 0; i < get_count(root, "regions"); i++)
                if (ask_holder(root, i) < 0)
                        return ctl_fail(CTL_FAILED, "out of memory");
        for (size_t i = 0; i < get_count(root, "regions"); i++)
                json_object_object_del(get_item(root, "regions", i), "silent");
        return ctl->json ? ctl_print_json(root) : print_all(root);
}
