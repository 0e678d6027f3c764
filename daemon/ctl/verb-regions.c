/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shared regions: what failoverd knows, and what their holders say where this user may ask them. */

#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/region-holders.h"
#include "daemon/ctl/region-left.h"
#include "daemon/ctl/render-table.h"
#include "policy/policy.h"

#define HOLDER_TIMEOUT_USEC (2 * USEC_PER_SEC)

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
        char age[FORMAT_MAX];

        for (size_t i = 0; i < get_count(root, "regions"); i++) {
                struct json_object *region = get_item(root, "regions", i);
                const char *name = get_text(region, "region", "?");

                if (get_text(region, "held_text", NULL))
                        printf("%s: not known from its holder: %s\n", name, get_text(region, "held_text", ""));
                if (get_text(region, "refusal", NULL))
                        printf("%s: the right to write it is not granted, for %s: %s\n", name,
                               format_age(age, get_number(region, "refusal_age_ms")), get_text(region, "refusal", ""));
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
        if (get_count(root, "regions") + get_count(root, "names") + get_count(root, "left") == 0)
                puts("No shared regions: no application of the policy has state:, and no program has registered a "
                     "name.");
        if (print_regions(root) < 0 || print_held(root) < 0 || print_clients(root) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        print_remarks(root);
        if (print_names(root) < 0 || region_left_print(root) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return CTL_OK;
}

int verb_regions(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        int r;

        if (ctl->n_args > 0 && strcmp(ctl->args[0], "drop") == 0)
                return verb_regions_drop(ctl);
        if (ctl->n_args > 0 || ctl->dry_run || ctl->force || ctl->n_servers > 0)
                return ctl_fail(CTL_USAGE, "regions takes nothing, or: drop PAIR REGION, with its options");
        r = ctl_read_json(ctl, "DescribeRegions", &root, NULL);
        if (r != CTL_OK)
                return r;
        if (region_holders_ask(root, HOLDER_TIMEOUT_USEC, NULL) < 0 || region_left_ask(root, HOLDER_TIMEOUT_USEC) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return ctl->json ? ctl_print_json(root) : print_all(root);
}
