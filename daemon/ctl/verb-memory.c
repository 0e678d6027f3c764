/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/memory-map.h"
#include "daemon/ctl/render-table.h"

#define SURVEY_ROUND_MSEC 20
#define SURVEY_ROUNDS_MAX 25
#define WIDTH_DEFAULT 100

/* What the drawing borrows from. */
struct spaces {
        struct map_space *items;
        char (*titles)[160];
        struct map_range **ranges; /* by space */
        size_t n;
};

static void spaces_deinit(struct spaces *spaces) {
        for (size_t i = 0; spaces->ranges && i < spaces->n; i++)
                free(spaces->ranges[i]);
        free(spaces->ranges);
        free(spaces->titles);
        free(spaces->items);
}

static const char *name_or_null(struct json_object *object, const char *key) {
        const char *name = get_text(object, key, "");

        return *name ? name : NULL;
}

static int fill_space(struct spaces *spaces, size_t at, struct json_object *region) {
        size_t n = get_count(region, "ranges");
        struct map_range *ranges = calloc(n + 1, sizeof(*ranges));

        if (!ranges)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                struct json_object *range = get_item(region, "ranges", i);
                int64_t resident = get_number(range, "resident_bytes"); /* -1 where it is null */

                ranges[i] = (struct map_range){
                        .start_bytes = (uint64_t) get_number(range, "start_bytes"),
                        .end_bytes = (uint64_t) get_number(range, "end_bytes"),
                        .manager = name_or_null(range, "manager"),
                        .user = name_or_null(range, "user"),
                        .leaving = get_bool(range, "leaving"),
                        .resident_bytes = resident >= 0                 ? (uint64_t) resident
                                          : name_or_null(range, "user") ? MAP_UNKNOWN
                                                                        : 0,
                };
        }
        snprintf(spaces->titles[at], sizeof(spaces->titles[at]), "region %s of pair %s",
                 get_text(region, "application", "?"), get_text(region, "pair", "?"));
        spaces->ranges[at] = ranges;
        spaces->items[at] =
                (struct map_space){ spaces->titles[at], (uint64_t) get_number(region, "extent_bytes"), ranges, n };
        return 0;
}

static int compare_starts(const void *a, const void *b) {
        const struct map_range *x = a, *y = b;

        return x->start_bytes < y->start_bytes ? -1 : x->start_bytes > y->start_bytes;
}

/* Memory by hand, by its places in the pool: what a VM manages there and has, what it does not have yet, and between
 * them what nobody has by hand. */
static int fill_places(struct spaces *spaces, size_t at, struct json_object *assigned) {
        uint64_t extent = (uint64_t) get_number(assigned, "extent_bytes"), end = 0;
        uint64_t size = extent ? (uint64_t) get_number(assigned, "size_bytes") / extent * extent : 0;
        size_t n = get_count(assigned, "ranges"), n_ranges = 0;
        _cleanup_free_ struct map_range *own = calloc(n + 1, sizeof(*own));
        struct map_range *ranges = calloc(3 * n + 1, sizeof(*ranges));

        if (!own || !ranges) {
                free(ranges);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++) {
                struct json_object *range = get_item(assigned, "ranges", i);

                own[i] = (struct map_range){ .start_bytes = (uint64_t) get_number(range, "start_bytes"),
                                             .end_bytes = (uint64_t) get_number(range, "end_bytes"),
                                             .manager = name_or_null(range, "manager"),
                                             .resident_bytes = (uint64_t) get_number(range, "used_bytes") };
        }
        qsort(own, n, sizeof(*own), compare_starts);
        for (size_t i = 0; i <= n; i++) {
                uint64_t start = i < n ? own[i].start_bytes : size, used_end;

                if (start > end)
                        ranges[n_ranges++] = (struct map_range){ end, start, NULL, NULL, false, MAP_UNASKED };
                if (i == n)
                        break;
                end = own[i].end_bytes;
                used_end = start + own[i].resident_bytes / extent * extent;
                if (used_end > start)
                        ranges[n_ranges++] = (struct map_range){ start, used_end, own[i].manager, own[i].manager,
                                                                 false, MAP_UNASKED };
                if (end > used_end)
                        ranges[n_ranges++] = (struct map_range){ used_end, end, own[i].manager, NULL, false,
                                                                 MAP_UNASKED };
        }
        snprintf(spaces->titles[at], sizeof(spaces->titles[at]), "memory by hand, places in the pool");
        spaces->ranges[at] = ranges;
        spaces->items[at] = (struct map_space){ spaces->titles[at], extent, ranges, n_ranges };
        return 0;
}

static int fill_spaces(struct json_object *root, struct spaces *ret) {
        struct json_object *assigned = get_object(root, "assigned");
        size_t n_regions = get_count(root, "regions"), n = n_regions + (get_count(assigned, "ranges") > 0);
        int r = 0;

        *ret = (struct spaces) { calloc(n + 1, sizeof(*ret->items)), calloc(n + 1, sizeof(*ret->titles)),
                                 calloc(n + 1, sizeof(*ret->ranges)), n };
        if (!ret->items || !ret->titles || !ret->ranges)
                r = -ENOMEM;
        for (size_t i = 0; r >= 0 && i < n_regions; i++)
                r = fill_space(ret, i, get_item(root, "regions", i));
        if (r >= 0 && n > n_regions)
                r = fill_places(ret, n_regions, assigned);
        if (r < 0)
                spaces_deinit(ret);
        return r;
}

static void add_rows(struct render_table *table, struct json_object *region) {
        char text[FORMAT_MAX];

        for (size_t i = 0; i < get_count(region, "sides"); i++) {
                struct json_object *side = get_item(region, "sides", i);

                render_cell(table, get_text(region, "application", "?"));
                render_cell(table, get_text(side, "domain", "?"));
                render_cell(table, format_mib(text, get_number(side, "managed_bytes")));
                render_cell(table, format_mib(text, get_number(side, "using_bytes")));
                render_cell(table, format_mib(text, get_number(side, "plugged_bytes")));
                render_cell(table, format_resident(text, side));
                render_cell(table, format_mib(text, get_number(side, "swapped_bytes")));
                render_cell(table, format_age(text, get_number(side, "resident_age_ms")));
        }
}

static void print_handover(struct json_object *region) {
        char using[FORMAT_MAX], begun[FORMAT_MAX], paged[FORMAT_MAX], released[FORMAT_MAX], age[FORMAT_MAX];
        char speed[FORMAT_MAX];

        if (!get_object(region, "handover.from"))
                return;
        printf("%s is being taken back from %s since %s: it may still use %s of %s; %s given up by its guest, %s paged "
               "out, %s a second.\n",
               get_text(region, "application", "?"), get_text(region, "handover.from.domain", "?"),
               format_age(age, get_number(region, "handover.age_ms")),
               format_mib(using, get_number(region, "handover.using_bytes")),
               format_mib(begun, get_number(region, "handover.begun_bytes")),
               format_mib(released, get_number(region, "handover.released_bytes")),
               format_mib(paged, get_number(region, "handover.paged_out_bytes")),
               format_mib(speed, get_number(region, "handover.bytes_per_sec")));
        for (size_t i = 0; i < get_count(region, "sides"); i++) {
                struct json_object *side = get_item(region, "sides", i);

                if (*get_text(side, "protection", ""))
                        printf("%s: %s.\n", get_text(side, "domain", "?"), get_text(side, "protection", ""));
        }
}

/* What was assigned by hand: one line a stretch, with how much of it the VM has. */
static void print_assigned(struct json_object *root) {
        struct json_object *assigned = get_object(root, "assigned");
        char start[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX], text[FORMAT_MAX];

        if (!assigned)
                return;
        printf("By hand: %s could still be assigned.\n", format_mib(text, get_number(assigned, "available_bytes")));
        for (size_t i = 0; i < get_count(assigned, "ranges"); i++) {
                struct json_object *range = get_item(assigned, "ranges", i);

                printf("  %s-%s  %s, which has %s of it\n",
                       size_format(start, (uint64_t) get_number(range, "start_bytes")),
                       size_format(end, (uint64_t) get_number(range, "end_bytes")), get_text(range, "manager", "?"),
                       format_mib(text, get_number(range, "used_bytes")));
        }
        if (get_bool(root, "assignment.running"))
                printf("A request of %s is under way: failoverctl memory assign --wait\n",
                       get_text(root, "assignment.who", "?"));
}

static unsigned terminal_width(void) {
        struct winsize size;

        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : WIDTH_DEFAULT;
}

static int write_svg(const struct spaces *spaces, const char *path) {
        FILE *f = fopen(path, "we");
        int r;

        if (!f)
                return ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
        r = memory_map_svg(spaces->items, spaces->n, f);
        if (fclose(f) != 0 && r >= 0)
                r = -errno;
        if (r < 0)
                return ctl_fail(CTL_FAILED, "%s: %s", path, strerror(-r));
        printf("The drawing is in %s.\n", path);
        return CTL_OK;
}

static int print_all(struct ctl *ctl, struct json_object *root) {
        struct render_table table = {
                .heads = { "REGION", "VM", "MANAGED", "USED WITHOUT", "PLUGGED", "IN MEMORY", "PAGED OUT", "SEEN AGO" },
                .right = { [2] = true, [3] = true, [4] = true, [5] = true, [6] = true, [7] = true },
                .n_columns = 8,
        };
        struct spaces spaces;
        int r;

        for (size_t i = 0; i < get_count(root, "regions"); i++)
                add_rows(&table, get_item(root, "regions", i));
        if (render_print(&table, stdout) < 0 || fill_spaces(root, &spaces) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        putchar('\n');
        for (size_t i = 0; i < get_count(root, "regions"); i++)
                print_handover(get_item(root, "regions", i));
        print_assigned(root);
        r = ctl->svg ? write_svg(&spaces, ctl->svg)
                     : memory_map_print(spaces.items, spaces.n, terminal_width(), ctl->color, stdout);
        if (r < 0)
                r = ctl_fail(CTL_FAILED, "%s", strerror(-r));
        spaces_deinit(&spaces);
        if (r == CTL_OK && !get_bool(root, "reclaim.able"))
                printf("Memory cannot be taken back by force here: %s.\n",
                       get_text(root, "reclaim.text", "not known yet"));
        if (r == CTL_OK && *get_text(root, "reclaim.pool_limit", ""))
                printf("Hard limit of the pool: %s.\n", get_text(root, "reclaim.pool_limit", ""));
        return r;
}

int verb_memory(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        int r;

        if (ctl->n_args > 0)
                return verb_memory_assign(ctl);
        if (ctl->dry_run || ctl->wait || ctl->cancel)
                return ctl_fail(CTL_USAGE, "that is for: failoverctl memory assign");
        /* Resident memory is looked at when somebody asks, and is worth a short wait. */
        for (unsigned round = 0;; round++) {
                r = ctl_read_json(ctl, "DescribeMemory", &root, NULL);
                if (r != CTL_OK || !get_bool(root, "surveying") || round == SURVEY_ROUNDS_MAX)
                        break;
                json_object_put(root);
                root = NULL;
                poll(NULL, 0, SURVEY_ROUND_MSEC);
        }
        if (r != CTL_OK || ctl->json)
                return r != CTL_OK ? r : ctl_print_json(root);
        return print_all(ctl, root);
}
