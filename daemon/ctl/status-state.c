/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/status-state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/ctl/region-holders.h"
#include "policy/policy.h"

#define HOLDER_TIMEOUT_USEC (500 * USEC_PER_MSEC)
#define TOLD_MAX_MSEC 10000 /* a program that lives tells every two seconds */

static bool has_state(struct json_object *root) {
        for (size_t i = 0; i < get_count(root, "pairs"); i++)
                for (size_t k = 0; k < get_count(get_item(root, "pairs", i), "applications"); k++)
                        if (get_count(get_item(get_item(root, "pairs", i), "applications", k), "regions") > 0)
                                return true;
        return false;
}

/* Somebody works in it, and this user may ask its holder. */
static bool is_wanted(struct json_object *region) {
        return get_object(region, "writer") &&
               (access(get_text(region, "control", ""), R_OK | W_OK) == 0 || errno != EACCES);
}

static struct json_object *find(struct json_object *list, const char *key, const char *name, const char *wanted) {
        for (size_t i = 0; i < get_count(list, key); i++)
                if (strcmp(get_text(get_item(list, key, i), name, ""), wanted) == 0)
                        return get_item(list, key, i);
        return NULL;
}

/* What is wrong with the way between a region's program and its holder, as far as it can be seen from here. */
static void add_trouble(struct json_object *root, struct json_object *from) {
        struct json_object *pair = find(root, "pairs", "name", get_text(from, "pair", ""));
        struct json_object *app = find(pair, "applications", "name", get_text(from, "application", ""));
        struct json_object *region = find(app, "regions", "region", get_text(from, "region", ""));
        const char *copy = get_text(from, "held.mirror", "none");
        char text[512], age[FORMAT_MAX];

        if (!region)
                return;
        if (strcmp(get_text(from, "held_text", ""), REGION_HOLDERS_NONE) == 0)
                snprintf(text, sizeof(text), "lost: its holder has no such region; failoverctl regions");
        else if (get_text(from, "held_text", NULL))
                snprintf(text, sizeof(text), "not known from its holder: %s", get_text(from, "held_text", ""));
        else if (get_number(from, "held.client.age_ms") > TOLD_MAX_MSEC)
                snprintf(text, sizeof(text), "its program has told the holder nothing for %s; failoverctl regions",
                         format_age(age, get_number(from, "held.client.age_ms")));
        else if (get_text(from, "mirror", NULL) && strcmp(copy, "complete") != 0 && strcmp(copy, "filling") != 0)
                snprintf(text, sizeof(text), "it has no copy now (%s); failoverctl regions", copy);
        else
                return;
        (void) json_object_object_add(region, "trouble", json_object_new_string(text));
}

void status_state_ask(struct ctl *ctl, struct json_object *root) {
        _cleanup_json_ struct json_object *regions = NULL;

        if (!has_state(root) || ctl_read_json(ctl, "DescribeRegions", &regions, NULL) != CTL_OK ||
            region_holders_ask(regions, HOLDER_TIMEOUT_USEC, is_wanted) < 0)
                return;
        for (size_t i = 0; i < get_count(regions, "regions"); i++)
                add_trouble(root, get_item(regions, "regions", i));
}

void status_state_print(struct json_object *application) {
        for (size_t i = 0; i < get_count(application, "regions"); i++) {
                struct json_object *region = get_item(application, "regions", i);
                const char *mirror = get_text(region, "mirror", NULL);
                char text[UNITS_TEXT_MAX], holder[2 * NAME_LEN + 8];
                int64_t msec = get_number(region, "view_age_max_ms");

                snprintf(holder, sizeof(holder), "%s%s%s", get_text(region, "holder", "?"), mirror ? " or " : "",
                         mirror ?: "");
                printf("           state %s at %s: ", get_text(region, "region", "?"), holder);
                if (msec > 0)
                        printf("the standby's view is at most %s old while %s answers\n",
                               duration_format(text, (usec_t) msec * USEC_PER_MSEC), holder);
                else if (msec == 0)
                        printf("written through, the standby's view is what %s has\n", holder);
                else
                        puts("the standby's view is as old as the last write-back that the application asked for; "
                             "failoverctl regions");
                if (get_text(region, "trouble", NULL))
                        printf("           state %s: %s\n", get_text(region, "region", "?"),
                               get_text(region, "trouble", ""));
        }
}
