/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One request at the monitor: its text forms, what is refused, and the requests to VMs that come of it, against VMs
 * that do as each test says. The messages and traces are compared with tests/assignment/NAME.expect. */

#include <errno.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/assignment.h"
#include "daemon/core/choice.h"
#include "tests/random.h"
#include "tests/unit/golden.h"
#include "tests/unit/rights-text.h"
#include "tests/unit/test.h"

#define EXTENT (256 * MIB)

/* vm-a to vm-d; vm-d is fenced. */
static const struct assignment_vm VMS[] = {
        { .name = "vm-a", .holder = { .pair = 1 } },
        { .name = "vm-b", .holder = { .pair = 2 } },
        { .name = "vm-c", .holder = { .pair = 3 } },
        { .name = "vm-d", .holder = { .pair = 4 }, .fenced = true },
};

/* 4 GiB: vm-a has 0-2GiB, vm-b 2-2.5GiB, nobody 2.5-3.5GiB, vm-d the rest. */
static void make_space(struct rights *rights) {
        REQUIRE(rights_init(rights, EXTENT, 4 * GIB) == 0);
        CHECK(rights_assign(rights, SPAN(0, 2 * GIB), OS1, 1) == 0);
        CHECK(rights_assign(rights, SPAN(2 * GIB, 2560 * MIB), OS2, 1) == 0);
        CHECK(rights_assign(rights, SPAN(3584 * MIB, 4 * GIB), VMS[3].holder, 1) == 0);
        CHECK(rights_touch(rights, OS1, SPAN(0, GIB), 1, NULL) == 0);
}

static bool matches(const char *name, const char *text) {
        char file[128];

        snprintf(file, sizeof(file), "tests/assignment/%s.expect", name);
        return golden_file_matches(file, text);
}

/* Text that grows. */
struct output {
        char *text;
        size_t size;
        FILE *f;
};

static void output_init(struct output *out) {
        out->f = open_memstream(&out->text, &out->size);
        REQUIRE(out->f != NULL);
}

static void output_check(struct output *out, const char *name) {
        fclose(out->f);
        CHECK(matches(name, out->text));
        free(out->text);
}

static int begin(struct assignment *a, const struct rights *rights, const struct assignment_policy *policy,
                 const char *text, char *why, size_t size) {
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        size_t n;
        int r = assignment_parse(text, items, &n, why, size);

        return r < 0 ? r : assignment_begin(a, rights, VMS, ELEMENTSOF(VMS), items, n, policy, why, size);
}

static void every_form_reads_back_as_written(void) {
        static const char *const texts[] = {
                "0-1GiB=vm-a", "vm-a=+1GiB", "vm-a=+0-1GiB", "vm-a=-1GiB", "vm-a=-1GiB-1536MiB", "vm-a=-top:1GiB",
                "0-1GiB=0-1GiB", "0-1GiB=+512MiB", /* a VM may be called so */
        };
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        char why[512], buffer[ASSIGNMENT_ITEM_LEN];
        size_t n;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                REQUIRE(assignment_parse(texts[i], items, &n, why, sizeof(why)) == 0 && n == 1);
                CHECK_TEXT(assignment_item_format(&items[0], buffer), texts[i]);
        }
        REQUIRE(assignment_parse("\n vm-a=-1GiB\tvm-b=+1.5GiB  0-1GiB=vm-c ", items, &n, why, sizeof(why)) == 0);
        CHECK(n == 3 && items[0].kind == ASSIGN_RELEASE && items[0].bytes == GIB && strcmp(items[0].vm, "vm-a") == 0);
        CHECK(items[1].kind == ASSIGN_EXTEND && items[1].bytes == 1536 * MIB && strcmp(items[1].vm, "vm-b") == 0);
        CHECK(items[2].kind == ASSIGN_RANGE && items[2].span.start == 0 && items[2].span.end == GIB);
        CHECK(strcmp(items[2].vm, "vm-c") == 0);
}

/* The name of each says which kind of mistake it is. */
static const char *const bad_requests[] = {
        "", "   \n", "vm-a", "=", "vm-a=", "vm-a=1GiB", "=+1GiB", "vm a=+1GiB", "vm-a=+", "vm-a=-", "vm-a=++1GiB",
        "vm-a=--1GiB", "vm-a=+1GB", "vm-a=+1", "vm-a=+-1GiB", "vm-a=-top:", "vm-a=+top:1GiB", "vm-a=-bottom:1GiB",
        "vm-a=+1GiB=2GiB", "-1GiB=vm-a", "1GiB-=vm-a", "1GiB=vm-a", "0-1=vm-a", "0-1GiB=", "0-1GiB=vm/a",
        "0-1GiB=.vm", "vm-a=+99999999999TiB", "0-99999999999TiB=vm-a", "vm\x01\xff=+1GiB",
        ("an-item-that-is-longer-than-any-item-can-be-an-item-that-is-longer-than-any-item-can-be-an-item-that-is-"
         "longer-than-any-item-can-be-an-item-that-is-longer-than-any-item=+1GiB"),
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm=+1GiB",
        /* no such VM, or a fenced one */
        "vm-x=+1GiB", "0-1GiB=vm-x", "vm-d=-256MiB", "vm-d=+256MiB", "0-1GiB=vm-d", "3GiB-4GiB=vm-a",
        "3.5GiB-4GiB=vm-a",
        /* zero, not whole extents, outside */
        "vm-a=+0", "vm-a=-0", "vm-a=-top:0", "vm-a=+100MiB", "vm-a=-300MiB", "vm-a=-top:1B", "0-100MiB=vm-b",
        "100MiB-1GiB=vm-b", "0-0=vm-b", "1GiB-1GiB=vm-b", "1GiB-0=vm-b", "0-5GiB=vm-b", "4GiB-5GiB=vm-b", "vm-a=+5GiB",
        "vm-a=-8388607TiB", "8388606TiB-8388607TiB=vm-a",
        /* more than there is, or somebody else's */
        "vm-a=-2.25GiB", "vm-c=-256MiB", "vm-a=-top:3GiB", "vm-c=+1.25GiB", "vm-b=-256MiB vm-c=+1.5GiB",
        "vm-b=+1GiB vm-c=+256MiB", "vm-c=+2.5GiB-3GiB vm-b=+768MiB", "vm-a=-1.5GiB-2.5GiB", "vm-a=-2.5GiB-3GiB",
        "vm-c=+1GiB-2GiB", "vm-c=+2.25GiB-2.75GiB",
        /* twice */
        "0-1GiB=vm-b 768MiB-2GiB=vm-c", "vm-a=-0-1GiB 256MiB-512MiB=vm-b", "vm-a=-256MiB vm-a=-256MiB",
        "vm-a=-256MiB vm-a=+256MiB", "vm-a=-top:256MiB 0-256MiB=vm-b", "0-256MiB=vm-b vm-b=+256MiB",
        "vm-a=-256MiB vm-a=-top:256MiB",
};

static void bad_requests_are_refused_with_the_item_the_reason_and_what_would_work(void) {
        const struct assignment_policy policy = { .order = ASSIGN_CYCLES };
        struct assignment *a = calloc(1, sizeof(*a));
        struct rights rights;
        struct output out;

        REQUIRE(a != NULL);
        make_space(&rights);
        output_init(&out);
        for (size_t i = 0; i < ELEMENTSOF(bad_requests); i++) {
                char why[1024] = "";
                int r = begin(a, &rights, &policy, bad_requests[i], why, sizeof(why));

                CHECK(r < 0 && why[0] && !a->running && a->n_parts == 0);
                if (r == 0)
                        printf("\n\"%s\" was accepted\n", bad_requests[i]);
                for (const char *p = bad_requests[i]; *p; p++)
                        fputc(*p >= ' ' && *p <= '~' ? *p : '?', out.f);
                fprintf(out.f, "\n  %s: %s\n", strerror(-r), why);
        }
        output_check(&out, "bad");
        rights_deinit(&rights);
        free(a);
}

static void a_second_request_while_one_runs_is_refused(void) {
        const struct assignment_policy policy = { .order = ASSIGN_CYCLES };
        struct assignment *a = calloc(1, sizeof(*a));
        struct assignment_request request, other;
        struct rights rights;
        char why[512];

        REQUIRE(a != NULL);
        make_space(&rights);
        CHECK(begin(a, &rights, &policy, "vm-a=-1GiB vm-b=+1GiB", why, sizeof(why)) == 0);
        CHECK(begin(a, &rights, &policy, "vm-c=+256MiB", why, sizeof(why)) == -EBUSY);
        CHECK_TEXT(why, "a request is under way, from \"vm-a=-1GiB\" on; wait for its end, or cancel it");
        CHECK(a->n_items == 2);
        REQUIRE(assignment_next(a, &request));
        assignment_cancel(a);
        CHECK(!assignment_next(a, &other) && a->running);
        assignment_done(a, request.id, ASSIGN_DONE, request.bytes, NULL);
        CHECK(!assignment_next(a, &other) && !a->running);
        /* Outcomes of the one before are not taken for those of the next. */
        CHECK(begin(a, &rights, &policy, "vm-c=+256MiB", why, sizeof(why)) == 0);
        REQUIRE(assignment_next(a, &other) && other.id != request.id);
        assignment_done(a, request.id, ASSIGN_FAILED, 0, "late");
        CHECK(a->n_open == 1);
        rights_deinit(&rights);
        free(a);
}

static void too_many_items_vms_and_stretches_are_refused(void) {
        const struct assignment_policy policy = { .order = ASSIGN_CYCLES };
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        struct assignment *a = calloc(1, sizeof(*a));
        char text[ASSIGNMENT_TEXT_MAX] = "", why[512];
        struct rights rights;
        size_t n;

        REQUIRE(a != NULL);
        for (unsigned i = 0; i <= ASSIGNMENT_ITEMS_MAX; i++)
                strcat(text, "vm-a=+1GiB ");
        CHECK(assignment_parse(text, items, &n, why, sizeof(why)) == -EINVAL);
        CHECK_TEXT(why, "more than 32 items; ask in several requests");
        text[strlen(text) - strlen("vm-a=+1GiB ")] = 0;
        CHECK(assignment_parse(text, items, &n, why, sizeof(why)) == 0 && n == ASSIGNMENT_ITEMS_MAX);

        REQUIRE(rights_init(&rights, MIB, GIB) == 0);
        for (uint64_t i = 0; i < 1024; i += 2)
                CHECK(rights_assign(&rights, SPAN(i * MIB, (i + 1) * MIB), OS1, 1) == 0);
        CHECK(begin(a, &rights, &policy, "0-1GiB=vm-b", why, sizeof(why)) == -E2BIG);
        CHECK_TEXT(why, "0-1GiB=vm-b: it falls into more than 256 stretches of memory; ask for less at once");
        CHECK(begin(a, &rights, &policy, "vm-a=-top:257MiB", why, sizeof(why)) == -E2BIG);
        for (uint64_t i = 0; i < 1024; i++) {
                struct holder another = { .pair = 10 + (int) i };

                CHECK(rights_assign(&rights, SPAN(i * MIB, (i + 1) * MIB), another, 1) == 0);
        }
        CHECK(begin(a, &rights, &policy, "0-1GiB=vm-b", why, sizeof(why)) == -E2BIG);
        CHECK_TEXT(why, "0-1GiB=vm-b: more than 64 VMs manage what is asked for; ask for less at once");
        CHECK(!a->running);
        rights_deinit(&rights);
        free(a);
}

/* VMs that carry requests out on the rights, as far as they can. */
struct world {
        struct rights rights;
        struct assignment a;
        uint64_t stingy_bytes; /* vm-a releases no more than that, altogether */
        uint64_t released_bytes;
        bool strict;           /* a VM that has not enough to extend with says later */
        const char *fails;     /* VM that answers with a failure */
};

/* Finds extents for an amount. */
static uint64_t move_amount(struct world *w, const struct assignment_request *request) {
        struct span promised[ASSIGNMENT_PARTS_MAX];
        const struct choice choice = { .from = CHOICE_UNUSED_FIRST, .best_effort = true, .promised = promised,
                                       .n_promised = assignment_promised(&w->a, promised) };
        struct chosen chosen = { 0 };
        uint64_t bytes = 0;

        if (request->extend) {
                CHECK(choice_make(&choice, &w->rights, request->vm, request->bytes, &chosen) == 0);
                for (size_t i = 0; i < chosen.n_spans; i++)
                        CHECK(rights_assign(&w->rights, chosen.spans[i], request->vm, 1) == 0);
                bytes = chosen.bytes;
                chosen_deinit(&chosen);
                return bytes;
        }
        for (uint64_t at = w->rights.size_bytes; at > 0 && bytes < request->bytes; at -= w->rights.extent_bytes) {
                struct span span = SPAN(at - w->rights.extent_bytes, at);

                if (rights_declare_release(&w->rights, request->vm, span, RELEASE_USER_KEEPS, 1) == 0)
                        bytes += w->rights.extent_bytes;
        }
        return bytes;
}

static bool is_nobodys(const struct rights *rights, struct span span) {
        for (uint64_t at = span.start; at < span.end; at += rights->extent_bytes)
                if (holder_is_vm(rights_find(rights, at)->manager))
                        return false;
        return true;
}

/* Carries a request out and returns how much of it was done. */
static uint64_t carry_out(struct world *w, struct assignment_request request, enum assignment_outcome *outcome) {
        uint64_t spare = rights_sum(&w->rights, HOLDER_NONE).managed_bytes;
        int r;

        *outcome = ASSIGN_DONE;
        if (w->fails && holder_equal(VMS[w->fails[3] - 'a'].holder, request.vm)) {
                *outcome = ASSIGN_FAILED;
                return 0;
        }
        if (request.extend && request.is_range && !is_nobodys(&w->rights, request.span)) {
                *outcome = ASSIGN_LATER;
                return 0;
        }
        if (request.extend && !request.is_range && w->strict && spare < request.bytes) {
                *outcome = ASSIGN_LATER;
                return 0;
        }
        if (!request.extend && w->stingy_bytes && holder_equal(request.vm, OS1)) {
                uint64_t left = w->stingy_bytes - w->released_bytes;

                request.bytes = request.bytes < left ? request.bytes : left;
                request.span.end = request.span.start + request.bytes;
                w->released_bytes += request.bytes;
        }
        if (request.bytes == 0)
                return 0;
        if (!request.is_range)
                return move_amount(w, &request);
        r = request.extend ? rights_assign(&w->rights, request.span, request.vm, 1)
                           : rights_declare_release(&w->rights, request.vm, request.span, RELEASE_USER_KEEPS, 1);
        CHECK(r == 0);
        return request.bytes;
}

static void print_request(FILE *f, const struct assignment_request *request) {
        static const enum assignment_kind kinds[2][2] = { { ASSIGN_RELEASE, ASSIGN_RELEASE_RANGE },
                                                          { ASSIGN_EXTEND, ASSIGN_EXTEND_RANGE } };
        struct assignment_item item = { .kind = kinds[request->extend][request->is_range],
                                        .span = request->span, .bytes = request->bytes };
        char text[ASSIGNMENT_ITEM_LEN];

        snprintf(item.vm, sizeof(item.vm), "%s", VMS[request->vm.pair - 1].name);
        fprintf(f, "    %s\n", assignment_item_format(&item, text));
}

static void print_reports(FILE *f, const struct assignment *a) {
        char line[ASSIGNMENT_LINE_LEN], rest[ASSIGNMENT_TEXT_MAX];

        for (size_t i = 0; i < a->n_items; i++)
                fprintf(f, "  %s\n", assignment_report_format(a, i, line));
        if (assignment_rest_format(a, rest)[0])
                fprintf(f, "  to go on: %s\n", rest);
}

/* Runs a request; answers come in the order in which they were issued, one after each round of issuing. With
 * `stop_after`, it is cancelled when so many were issued. */
static void trace(struct output *out, struct world *w, const struct assignment_policy *policy, const char *text,
                  unsigned stop_after) {
        char why[512] = "";
        unsigned n = 0;

        make_space(&w->rights);
        fprintf(out->f, "%s (%s)\n", text, assignment_order_to_string(policy->order));
        REQUIRE(begin(&w->a, &w->rights, policy, text, why, sizeof(why)) == 0);
        while (w->a.running) {
                struct assignment_request request;
                enum assignment_outcome outcome;
                uint64_t bytes;
                size_t oldest = 0;

                while (assignment_next(&w->a, &request)) {
                        print_request(out->f, &request);
                        if (++n == stop_after) {
                                fputs("  cancelled\n", out->f);
                                assignment_cancel(&w->a);
                        }
                }
                if (w->a.n_open == 0)
                        continue;
                for (size_t i = 1; i < w->a.n_open; i++)
                        if (w->a.open[i].request.id < w->a.open[oldest].request.id)
                                oldest = i;
                request = w->a.open[oldest].request;
                bytes = carry_out(w, request, &outcome);
                assignment_done(&w->a, request.id, outcome, bytes,
                                outcome == ASSIGN_FAILED ? "its agent is silent" : NULL);
                fprintf(out->f, "  %s: %s\n", VMS[request.vm.pair - 1].name, assignment_outcome_to_string(outcome));
        }
        print_reports(out->f, &w->a);
        fprintf(out->f, "  %s\n", rights_text(&w->rights));
        rights_deinit(&w->rights);
}

static void requests_are_split_ordered_and_overlapped_as_the_policy_says(void) {
        static const char *const texts[] = { "vm-a=-1GiB vm-c=+1.5GiB", "0-1GiB=vm-b 1GiB-2GiB=vm-c", "0-2.5GiB=vm-b",
                                             "vm-a=-top:512MiB", "vm-c=+2.5GiB-3GiB vm-b=-2GiB-2.25GiB",
                                             "vm-a=-1GiB vm-b=-512MiB vm-c=+1GiB" };
        struct output out;

        output_init(&out);
        for (int order = 0; order < ASSIGNMENT_ORDER_MAX; order++)
                for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                        const struct assignment_policy policy = { .order = order, .piece_bytes = 512 * MIB };
                        struct world *w = calloc(1, sizeof(*w));

                        REQUIRE(w != NULL);
                        w->strict = true;
                        trace(&out, w, &policy, texts[i], 0);
                        free(w);
                }
        output_check(&out, "orders");
}

static void cycles_overlap_as_far_as_is_asked(void) {
        static const unsigned overlaps[] = { 1, 2 };
        struct output out;

        output_init(&out);
        for (size_t i = 0; i < ELEMENTSOF(overlaps); i++) {
                const struct assignment_policy policy = { .order = ASSIGN_CYCLES, .piece_bytes = 256 * MIB,
                                                          .overlap = overlaps[i] };
                struct world *w = calloc(1, sizeof(*w));

                REQUIRE(w != NULL);
                fprintf(out.f, "overlap %u: ", overlaps[i]);
                trace(&out, w, &policy, "0-1GiB=vm-b", 0);
                free(w);
        }
        output_check(&out, "overlap");
}

static void what_is_refused_fails_or_is_cancelled_is_reported_with_the_way_on(void) {
        static const struct {
                const char *what, *text, *fails;
                uint64_t stingy_bytes;
                enum assignment_order order;
                unsigned stop_after;
                bool best_effort;
        } cases[] = {
                { "gives less", "vm-a=-1GiB vm-c=+1.75GiB", NULL, 768 * MIB, ASSIGN_CYCLES, 0, false },
                { "gives less", "vm-a=-1GiB vm-c=+1.75GiB", NULL, 768 * MIB, ASSIGN_AT_ONCE, 0, false },
                { "gives less", "0-1GiB=vm-b", NULL, 256 * MIB, ASSIGN_RELEASES_FIRST, 0, false },
                { "gives less", "0-1GiB=vm-b", NULL, 256 * MIB, ASSIGN_AT_ONCE, 0, false },
                { "silent", "vm-a=-1GiB vm-c=+1.5GiB", "vm-a", 0, ASSIGN_CYCLES, 0, false },
                { "silent", "0-1GiB=vm-b 1GiB-2GiB=vm-c", "vm-b", 0, ASSIGN_CYCLES, 0, false },
                { "stopped", "0-1GiB=vm-b 1GiB-2GiB=vm-c", NULL, 0, ASSIGN_CYCLES, 3, false },
                { "stopped", "vm-a=-top:1GiB vm-c=+2GiB", NULL, 0, ASSIGN_RELEASES_FIRST, 1, false },
                { "best effort", "vm-b=+1GiB vm-c=+512MiB", NULL, 0, ASSIGN_CYCLES, 0, true },
        };
        struct output out;

        output_init(&out);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const struct assignment_policy policy = { .order = cases[i].order, .piece_bytes = 512 * MIB,
                                                          .best_effort = cases[i].best_effort };
                struct world *w = calloc(1, sizeof(*w));

                REQUIRE(w != NULL);
                w->stingy_bytes = cases[i].stingy_bytes;
                w->fails = cases[i].fails;
                fprintf(out.f, "%s: ", cases[i].what);
                trace(&out, w, &policy, cases[i].text, cases[i].stop_after);
                free(w);
        }
        output_check(&out, "refused");
}

static void interim_reports_say_what_is_under_way(void) {
        const struct assignment_policy policy = { .order = ASSIGN_CYCLES, .piece_bytes = 512 * MIB };
        struct world *w = calloc(1, sizeof(*w));
        struct assignment_request first, second;
        char why[512], line[ASSIGNMENT_LINE_LEN];

        REQUIRE(w != NULL);
        make_space(&w->rights);
        REQUIRE(begin(&w->a, &w->rights, &policy, "1GiB-2.5GiB=vm-b", why, sizeof(why)) == 0);
        CHECK_TEXT(assignment_report_format(&w->a, 0, line), "1GiB-2560MiB=vm-b: 512MiB of 1536MiB done");
        REQUIRE(assignment_next(&w->a, &first) && !assignment_next(&w->a, &second));
        CHECK(!first.extend && first.bytes == 512 * MIB);
        CHECK_TEXT(assignment_report_format(&w->a, 0, line),
                   "1GiB-2560MiB=vm-b: 512MiB of 1536MiB done, 512MiB under way");
        assignment_done(&w->a, first.id, ASSIGN_DONE, first.bytes, NULL);
        REQUIRE(assignment_next(&w->a, &second) && second.extend && second.span.start == GIB);
        assignment_done(&w->a, second.id, ASSIGN_DONE, second.bytes + 17, NULL); /* never more than was asked for */
        CHECK_TEXT(assignment_report_format(&w->a, 0, line), "1GiB-2560MiB=vm-b: 1GiB of 1536MiB done");
        REQUIRE(assignment_next(&w->a, &first));
        assignment_done(&w->a, first.id, ASSIGN_REFUSED, EXTENT + 5, "it needs the rest");
        REQUIRE(assignment_next(&w->a, &second) && second.bytes == EXTENT);
        assignment_done(&w->a, second.id, ASSIGN_DONE, second.bytes, NULL);
        CHECK(!assignment_next(&w->a, &first) && !w->a.running);
        CHECK_TEXT(assignment_report_format(&w->a, 0, line),
                   "1GiB-2560MiB=vm-b: 1280MiB of 1536MiB done, 256MiB not: it needs the rest");
        rights_deinit(&w->rights);
        free(w);
}

/* What must hold whenever requests are open. */
static bool is_orderly(const struct assignment *a) {
        bool extends = false, releases = false;

        for (size_t i = 0; i < a->n_open; i++) {
                const struct assignment_request *request = &a->open[i].request;

                for (size_t k = 0; k < i; k++)
                        if (holder_equal(a->open[k].request.vm, request->vm))
                                return false;
                if (request->bytes == 0 || request->bytes % EXTENT || request->bytes > a->policy.piece_bytes)
                        return false;
                if (request->is_range && span_bytes(request->span) != request->bytes)
                        return false;
                extends = extends || request->extend;
                releases = releases || !request->extend;
        }
        return a->policy.order != ASSIGN_RELEASES_FIRST || !extends || !releases;
}

static const char *random_request(uint64_t *random) {
        static const char *const texts[] = {
                "vm-a=-1GiB vm-b=+1GiB", "vm-a=-top:1.5GiB vm-c=+2GiB", "0-1GiB=vm-b 1GiB-2GiB=vm-c", "0-3.5GiB=vm-c",
                "vm-a=-0-1GiB vm-c=+2.5GiB-3GiB vm-b=+1.5GiB", "vm-a=-2GiB vm-b=-512MiB vm-c=+3.5GiB",
                "vm-a=-256MiB vm-b=-256MiB", "vm-b=+512MiB vm-c=+512MiB",
                "0-512MiB=vm-a 2GiB-3GiB=vm-a 1GiB-1.5GiB=vm-b",
        };

        return texts[random_below(random, ELEMENTSOF(texts))];
}

/* Answers one open request at random. `faulty`: not always as it should be. */
static void answer_one(struct world *w, uint64_t *random, bool faulty) {
        struct assignment_request request = w->a.open[random_below(random, (unsigned) w->a.n_open)].request;
        enum assignment_outcome outcome;
        uint64_t bytes;

        if (faulty && random_below(random, 6) == 0) {
                assignment_done(&w->a, request.id, ASSIGN_FAILED, 0, "no");
                return;
        }
        if (faulty && random_below(random, 6) == 0) {
                uint64_t n = EXTENT * random_below(random, (unsigned) (request.bytes / EXTENT) + 1);
                struct assignment_request part = request;

                part.bytes = n;
                part.span.end = part.span.start + n;
                bytes = carry_out(w, part, &outcome);
                if (outcome != ASSIGN_LATER)
                        outcome = ASSIGN_REFUSED;
                assignment_done(&w->a, request.id, outcome, bytes, "no more");
                return;
        }
        bytes = carry_out(w, request, &outcome);
        assignment_done(&w->a, request.id, outcome, bytes, NULL);
}

static void run_random(uint64_t seed) {
        struct world *w = calloc(1, sizeof(*w));
        uint64_t random = seed;
        struct assignment_policy policy = { .order = random_below(&random, ASSIGNMENT_ORDER_MAX),
                                            .piece_bytes = EXTENT * (1 + random_below(&random, 5)),
                                            .overlap = random_below(&random, 4) };
        bool faulty = random_below(&random, 2), cancels = random_below(&random, 4) == 0, good = true;
        unsigned n = 0;
        char why[512];

        REQUIRE(w != NULL);
        w->strict = random_below(&random, 2);
        make_space(&w->rights);
        REQUIRE(begin(&w->a, &w->rights, &policy, random_request(&random), why, sizeof(why)) == 0);
        while (w->a.running && good && n++ < 1000) {
                struct assignment_request request;

                while (random_below(&random, 4) && assignment_next(&w->a, &request))
                        good = good && is_orderly(&w->a);
                if (cancels && n > 3)
                        assignment_cancel(&w->a);
                if (w->a.n_open > 0)
                        answer_one(w, &random, faulty);
        }
        good = good && !w->a.running && w->a.n_open == 0;
        for (size_t i = 0; i < w->a.n_items; i++) {
                struct assignment_report report = assignment_report(&w->a, i);

                good = good && report.under_way_bytes == 0;
                good = good && report.asked_bytes == report.done_bytes + report.refused_bytes;
                good = good && (report.refused_bytes == 0 || report.why[0]);
                good = good && (report.refused_bytes == 0 || faulty || cancels);
        }
        if (!good) {
                printf("\nseed %llu, %s:\n", (unsigned long long) seed, assignment_order_to_string(policy.order));
                print_reports(stdout, &w->a);
        }
        CHECK(good);
        rights_deinit(&w->rights);
        free(w);
}

static void any_order_of_answers_ends_with_all_done_or_the_reason(void) {
        const char *only = getenv("TEST_SEED");
        uint64_t first = only ? strtoull(only, NULL, 10) : 1, n = only ? 1 : 5000;

        printf("seeds %llu to %llu ", (unsigned long long) first, (unsigned long long) (first + n - 1));
        for (uint64_t seed = first; seed < first + n; seed++)
                run_random(seed);
}

static void every_word_reads_back(void) {
        for (int i = 0; i < ASSIGNMENT_KIND_MAX; i++)
                CHECK(assignment_kind_from_string(assignment_kind_to_string(i)) == (enum assignment_kind) i);
        for (int i = 0; i < ASSIGNMENT_ORDER_MAX; i++)
                CHECK(assignment_order_from_string(assignment_order_to_string(i)) == (enum assignment_order) i);
        for (int i = 0; i < ASSIGNMENT_OUTCOME_MAX; i++)
                CHECK(assignment_outcome_from_string(assignment_outcome_to_string(i)) == (enum assignment_outcome) i);
        CHECK(assignment_kind_to_string(ASSIGNMENT_KIND_MAX) == NULL);
        CHECK(assignment_order_from_string("?") == ASSIGNMENT_ORDER_INVALID);
        for (int i = 0; i < ASSIGNMENT_CHOICE_MAX; i++)
                CHECK((int) assignment_choice_from_string(assignment_choice_to_string(i)) == i);
        for (int i = 0; i < ASSIGNMENT_SHORT_MAX; i++)
                CHECK((int) assignment_short_from_string(assignment_short_to_string(i)) == i);
        CHECK(assignment_outcome_from_string("?") == ASSIGNMENT_OUTCOME_INVALID);
}

TEST_MAIN("core-assignment",
          TEST(every_form_reads_back_as_written),
          TEST(bad_requests_are_refused_with_the_item_the_reason_and_what_would_work),
          TEST(a_second_request_while_one_runs_is_refused),
          TEST(too_many_items_vms_and_stretches_are_refused),
          TEST(requests_are_split_ordered_and_overlapped_as_the_policy_says),
          TEST(cycles_overlap_as_far_as_is_asked),
          TEST(what_is_refused_fails_or_is_cancelled_is_reported_with_the_way_on),
          TEST(interim_reports_say_what_is_under_way),
          TEST(any_order_of_answers_ends_with_all_done_or_the_reason),
          TEST(every_word_reads_back))
