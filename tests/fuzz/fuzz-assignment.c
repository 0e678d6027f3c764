/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/assignment.h"

#define EXTENT (64 * MIB)
#define STEPS_MAX 100000 /* the least piece of 4 GiB is an extent; each is released once and asked for a few times */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct assignment_vm VMS[] = {
        { .name = "a", .holder = { .pair = 0 } }, { .name = "b", .holder = { .pair = 1 } },
        { .name = "c", .holder = { .pair = 2 } }, { .name = "d", .holder = { .pair = 3 }, .fenced = true },
};

/* What answers the requests: the rest of the input, then zeros. */
struct dice {
        const uint8_t *data;
        size_t size;
};

static unsigned throw(struct dice *dice, unsigned n) {
        if (dice->size == 0)
                return 0;
        dice->size--;
        return *dice->data++ % n;
}

static void check_reads_back(const struct assignment_item *item) {
        struct assignment_item again[ASSIGNMENT_ITEMS_MAX];
        char text[ASSIGNMENT_ITEM_LEN], why[512];
        size_t n = 0;
        int r = assignment_parse(assignment_item_format(item, text), again, &n, why, sizeof(why));

        assert(r == 0 && n == 1);
        assert(again[0].kind == item->kind && strcmp(again[0].vm, item->vm) == 0 && again[0].bytes == item->bytes);
        assert(again[0].span.start == item->span.start && again[0].span.end == item->span.end);
}

static void make_space(struct rights *rights) {
        int r = rights_init(rights, EXTENT, 4 * GIB);

        assert(r == 0);
        r |= rights_assign(rights, (struct span) { 0, 2 * GIB }, VMS[0].holder, 1);
        r |= rights_assign(rights, (struct span) { 2 * GIB, 3 * GIB }, VMS[1].holder, 1);
        r |= rights_assign(rights, (struct span) { 3 * GIB + 512 * MIB, 4 * GIB }, VMS[3].holder, 1);
        assert(r == 0);
}

/* VMs that answer what they like, in any order, and an operator who may lose patience. */
static void run(struct assignment *a, struct dice *dice) {
        struct assignment_request request;
        unsigned steps = 0;

        while (a->running) {
                size_t which;

                assert(steps++ < STEPS_MAX);
                while (assignment_next(a, &request))
                        assert(request.bytes > 0 && request.bytes % EXTENT == 0);
                if (a->n_open == 0)
                        continue;
                if (throw(dice, 64) == 63)
                        assignment_cancel(a);
                which = throw(dice, (unsigned) a->n_open);
                request = a->open[which].request;
                assignment_done(a, request.id, throw(dice, ASSIGNMENT_OUTCOME_MAX),
                                request.bytes - throw(dice, 8) * EXTENT / 2, "x");
        }
}

static void check_reports(const struct assignment *a) {
        char line[ASSIGNMENT_LINE_LEN], rest[ASSIGNMENT_TEXT_MAX], why[512];
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        size_t n;

        for (size_t i = 0; i < a->n_items; i++) {
                struct assignment_report report = assignment_report(a, i);

                assert(report.under_way_bytes == 0 && report.asked_bytes == report.done_bytes + report.refused_bytes);
                assert(strlen(assignment_report_format(a, i, line)) < sizeof(line) - 1);
        }
        if (assignment_rest_format(a, rest)[0]) {
                int r = assignment_parse(rest, items, &n, why, sizeof(why));

                assert(r == 0 || n > ASSIGNMENT_ITEMS_MAX || strstr(why, "more than"));
        }
}

/* One input is a request as an operator may write it and, behind a zero byte, what its VMs answer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        size_t length = strnlen((const char *) data, size), n = 0;
        struct dice dice = { data + length, size - length };
        struct assignment *a = calloc(1, sizeof(*a));
        char *text = strndup((const char *) data, length), why[512] = "";
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        struct rights rights;

        assert(a && text);
        if (assignment_parse(text, items, &n, why, sizeof(why)) == 0) {
                const struct assignment_policy policy = { .order = throw(&dice, ASSIGNMENT_ORDER_MAX),
                                                          .piece_bytes = throw(&dice, 20) * EXTENT,
                                                          .overlap = throw(&dice, 4),
                                                          .best_effort = throw(&dice, 2) };

                for (size_t i = 0; i < n; i++)
                        check_reads_back(&items[i]);
                make_space(&rights);
                if (assignment_begin(a, &rights, VMS, 4, items, n, &policy, why, sizeof(why)) == 0) {
                        run(a, &dice);
                        check_reports(a);
                } else
                        assert(why[0] && !a->running);
                rights_deinit(&rights);
        } else
                assert(why[0]);
        free(text);
        free(a);
        return 0;
}
