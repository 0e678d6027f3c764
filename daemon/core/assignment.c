/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/assignment-internal.h"

static const char *const assignment_outcome_table[] = {
        [ASSIGN_DONE] = "done", [ASSIGN_LATER] = "later", [ASSIGN_REFUSED] = "refused", [ASSIGN_FAILED] = "failed",
};
DEFINE_ENUM_TABLE(assignment_outcome, assignment_outcome_table)

static uint64_t least(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t piece(const struct assignment *a) {
        return a->policy.piece_bytes ? a->policy.piece_bytes : UINT64_MAX;
}

static bool is_free(const struct assignment *a, int vm) {
        for (size_t i = 0; i < a->n_open; i++)
                if (holder_equal(a->open[i].request.vm, a->vms[vm].holder))
                        return false;
        return true;
}

/* Bytes of a part that its VM has not been asked to release yet. */
static uint64_t to_release(const struct assignment_part *p) {
        return p->release_over ? 0 : p->bytes - p->released_bytes - p->releasing_bytes;
}

/* Of what one VM releases and another gets, what was never released cannot be extended by. */
static uint64_t to_extend(const struct assignment_part *p) {
        uint64_t bytes = p->from >= 0 && p->release_over ? p->released_bytes : p->bytes;
        uint64_t spent = p->extended_bytes + p->extending_bytes;

        return p->extend_over || spent > bytes ? 0 : bytes - spent;
}

static bool releases_pending(const struct assignment *a) {
        for (size_t i = 0; i < a->n_parts; i++)
                if (to_release(&a->parts[i]) > 0 || a->parts[i].releasing_bytes > 0)
                        return true;
        return false;
}

/* What amounts may be extended with: spare at the beginning, or released since to nobody in particular. */
static uint64_t credit(const struct assignment *a) {
        uint64_t bytes = a->spare_bytes, spent = 0;

        for (size_t i = 0; i < a->n_parts; i++) {
                const struct assignment_part *p = &a->parts[i];

                if (p->to < 0)
                        bytes += p->released_bytes;
                else if (!p->is_range)
                        spent += p->extended_bytes + p->extending_bytes;
        }
        return spent < bytes ? bytes - spent : 0;
}

/* How much of a part its VM may be asked to extend by now. */
static uint64_t extend_now(const struct assignment *a, const struct assignment_part *p) {
        uint64_t wanted = least(to_extend(p), piece(a)), there = wanted;

        if (wanted == 0 || p->waits || !is_free(a, p->to))
                return 0;
        if (a->policy.order == ASSIGN_RELEASES_FIRST && releases_pending(a))
                return 0;
        if (p->is_range && p->from >= 0)
                there = p->released_bytes - least(p->released_bytes, p->extended_bytes + p->extending_bytes);
        else if (!p->is_range)
                there = credit(a);
        if (there >= wanted)
                return wanted;
        if (a->policy.order == ASSIGN_AT_ONCE && releases_pending(a))
                return wanted;
        return releases_pending(a) ? 0 : there; /* less than a piece only where there will be no more */
}

/* ASSIGN_CYCLES: what is released, or being released, and nobody has been extended by yet although somebody will be. */
static uint64_t ahead(const struct assignment *a) {
        uint64_t bytes = 0, amount = 0, extended = 0;
        bool amounts_wait = false;

        for (size_t i = 0; i < a->n_parts; i++) {
                const struct assignment_part *p = &a->parts[i];
                uint64_t released = p->released_bytes + p->releasing_bytes;

                if (p->from >= 0 && p->to >= 0)
                        bytes += p->extend_over ? 0 : released - p->extended_bytes;
                else if (p->to < 0)
                        amount += released;
                else if (!p->is_range) {
                        extended += p->extended_bytes;
                        amounts_wait = amounts_wait || to_extend(p) > 0 || p->extending_bytes > 0;
                }
        }
        return bytes + (amounts_wait && amount > extended ? amount - extended : 0);
}

static bool may_release(const struct assignment *a) {
        unsigned overlap = a->policy.overlap ? a->policy.overlap : 1;

        if (a->policy.order != ASSIGN_CYCLES)
                return true;
        return ahead(a) / piece(a) < overlap;
}

static void open_request(struct assignment *a, size_t i, bool extend, uint64_t bytes, struct assignment_request *ret) {
        struct assignment_part *p = &a->parts[i];
        uint64_t start = p->span.start + (extend ? p->extended_bytes : p->released_bytes);

        assert(a->n_open < ASSIGNMENT_VMS_MAX);
        *ret = (struct assignment_request) { .id = ++a->next_id, .vm = a->vms[extend ? p->to : p->from].holder,
                                             .extend = extend, .is_range = p->is_range, .bytes = bytes };
        if (p->is_range)
                ret->span = (struct span) { start, start + bytes };
        *(extend ? &p->extending_bytes : &p->releasing_bytes) += bytes;
        a->open[a->n_open].part = i;
        a->open[a->n_open++].request = *ret;
}

static bool find_extend(struct assignment *a, struct assignment_request *ret) {
        for (size_t i = 0; i < a->n_parts; i++) {
                uint64_t bytes = extend_now(a, &a->parts[i]);

                if (bytes > 0) {
                        open_request(a, i, true, bytes, ret);
                        return true;
                }
        }
        return false;
}

static bool find_release(struct assignment *a, struct assignment_request *ret) {
        for (size_t i = 0; i < a->n_parts; i++) {
                uint64_t bytes = least(to_release(&a->parts[i]), piece(a));

                if (bytes > 0 && is_free(a, a->parts[i].from)) {
                        open_request(a, i, false, bytes, ret);
                        return true;
                }
        }
        return false;
}

/* Keeps the first reason of each item. */
static void say_why(struct assignment *a, const struct assignment_part *p, const char *why) {
        if (!a->why[p->item][0])
                snprintf(a->why[p->item], ASSIGNMENT_WHY_LEN, "%s", why);
}

/* Nothing is open, and nothing can be issued any more. */
static void end(struct assignment *a) {
        for (size_t i = 0; i < a->n_parts; i++) {
                struct assignment_part *p = &a->parts[i];

                if (to_release(p) > 0 || to_extend(p) > 0)
                        say_why(a, p, a->cancelled ? "cancelled" : "there was not enough to extend with");
                p->release_over = p->extend_over = true;
        }
        a->running = false;
}

bool assignment_next(struct assignment *assignment, struct assignment_request *ret) {
        if (!assignment->running)
                return false;
        if (!assignment->cancelled) {
                if (find_extend(assignment, ret))
                        return true;
                /* Where nothing is open there is nothing that it could be too far ahead of. */
                if ((may_release(assignment) || assignment->n_open == 0) && find_release(assignment, ret))
                        return true;
        }
        if (assignment->n_open == 0)
                end(assignment);
        return false;
}

static void note_release(struct assignment *a, struct assignment_part *p, uint64_t asked_bytes,
                         enum assignment_outcome outcome, uint64_t bytes, const char *why) {
        p->releasing_bytes -= asked_bytes;
        p->released_bytes += bytes;
        if (bytes < asked_bytes || outcome != ASSIGN_DONE) {
                p->release_over = true;
                if (p->released_bytes < p->bytes)
                        say_why(a, p, why[0] ? why : "there was no more to release");
        }
        for (size_t i = 0; i < a->n_parts; i++)
                a->parts[i].waits = false;
}

static void note_extend(struct assignment *a, struct assignment_part *p, uint64_t asked_bytes,
                        enum assignment_outcome outcome, uint64_t bytes, const char *why) {
        p->extending_bytes -= asked_bytes;
        p->extended_bytes += bytes;
        if (bytes == asked_bytes && outcome == ASSIGN_DONE)
                return;
        if (releases_pending(a) && (outcome == ASSIGN_DONE || outcome == ASSIGN_LATER))
                p->waits = true;
        else {
                p->extend_over = p->release_over = true; /* nothing is released for what does not get it */
                if (p->extended_bytes < p->bytes)
                        say_why(a, p, why[0] ? why : "there was no more to extend with");
        }
}

void assignment_done(struct assignment *assignment, uint64_t id, enum assignment_outcome outcome, uint64_t bytes,
                     const char *why) {
        for (size_t i = 0; i < assignment->n_open; i++) {
                struct assignment_request request = assignment->open[i].request;
                struct assignment_part *part = &assignment->parts[assignment->open[i].part];

                if (request.id != id)
                        continue;
                assignment->open[i] = assignment->open[--assignment->n_open];
                bytes = least(bytes - bytes % assignment->extent_bytes, request.bytes);
                if (request.extend)
                        note_extend(assignment, part, request.bytes, outcome, bytes, why ? why : "");
                else
                        note_release(assignment, part, request.bytes, outcome, bytes, why ? why : "");
                return;
        }
}

size_t assignment_promised(const struct assignment *assignment, struct span ret[ASSIGNMENT_PARTS_MAX]) {
        size_t n = 0;

        for (size_t i = 0; i < assignment->n_parts; i++) {
                const struct assignment_part *p = &assignment->parts[i];

                if (p->is_range && !p->extend_over && p->extended_bytes < p->bytes)
                        ret[n++] = (struct span) { p->span.start + p->extended_bytes, p->span.end };
        }
        return n;
}

uint64_t assignment_unextended(const struct assignment *assignment, size_t vm) {
        uint64_t bytes = 0;

        assert(vm < assignment->n_vms);
        for (size_t i = 0; i < assignment->n_parts; i++)
                if (assignment->parts[i].to == (int) vm)
                        bytes += assignment->parts[i].bytes - assignment->parts[i].extended_bytes;
        return bytes;
}

void assignment_cancel(struct assignment *assignment) {
        assignment->cancelled = true;
}

struct assignment_report assignment_report(const struct assignment *assignment, size_t item) {
        const struct assignment_item *asked = &assignment->items[item];
        struct assignment_report report = { .done_bytes = assignment->had_bytes[item], .why = assignment->why[item] };

        assert(item < assignment->n_items);
        report.asked_bytes = assignment_kind_is_range(asked->kind) ? span_bytes(asked->span) : asked->bytes;
        report.asked_bytes += assignment->cut_bytes[item];
        report.refused_bytes = assignment->cut_bytes[item];
        for (size_t i = 0; i < assignment->n_parts; i++) {
                const struct assignment_part *p = &assignment->parts[i];
                uint64_t done = p->to >= 0 ? p->extended_bytes : p->released_bytes;
                uint64_t left = p->to >= 0 ? to_extend(p) + p->extending_bytes : to_release(p) + p->releasing_bytes;

                if (p->item != (int) item)
                        continue;
                report.done_bytes += done;
                report.under_way_bytes += p->extending_bytes + p->releasing_bytes;
                report.refused_bytes += p->bytes - done - left;
        }
        return report;
}

const char *assignment_report_format(const struct assignment *assignment, size_t item,
                                     char buffer[ASSIGNMENT_LINE_LEN]) {
        struct assignment_report report = assignment_report(assignment, item);
        char text[ASSIGNMENT_ITEM_LEN], done[UNITS_TEXT_MAX], asked[UNITS_TEXT_MAX], bytes[UNITS_TEXT_MAX];
        size_t used;

        used = (size_t) snprintf(buffer, ASSIGNMENT_LINE_LEN, "%s: %s of %s done",
                                 assignment_item_format(&assignment->items[item], text),
                                 size_format(done, report.done_bytes), size_format(asked, report.asked_bytes));
        if (report.under_way_bytes > 0)
                used += (size_t) snprintf(buffer + used, ASSIGNMENT_LINE_LEN - used, ", %s under way",
                                          size_format(bytes, report.under_way_bytes));
        if (report.refused_bytes > 0)
                used += (size_t) snprintf(buffer + used, ASSIGNMENT_LINE_LEN - used, ", %s not: %s",
                                          size_format(bytes, report.refused_bytes), report.why);
        return buffer;
}

/* What would do the rest of a part, as an item. False where there is no rest. */
static bool rest_of(const struct assignment *a, const struct assignment_part *p, struct assignment_item *ret) {
        uint64_t done = p->to >= 0 ? p->extended_bytes : p->released_bytes;
        uint64_t rest = p->bytes - done + a->cut_bytes[p->item]; /* one that is cut has one part */

        if (rest == 0)
                return false;
        *ret = a->items[p->item];
        ret->bytes = rest;
        ret->span = (struct span) { p->span.start + done, p->span.end };
        if (ret->kind == ASSIGN_RELEASE_TOP)
                ret->kind = ASSIGN_RELEASE_RANGE;
        return true;
}

const char *assignment_rest_format(const struct assignment *assignment, char buffer[ASSIGNMENT_TEXT_MAX]) {
        size_t used = 0;

        buffer[0] = 0;
        for (size_t i = 0; i < assignment->n_parts; i++) {
                struct assignment_item rest;
                char text[ASSIGNMENT_ITEM_LEN];

                if (!rest_of(assignment, &assignment->parts[i], &rest))
                        continue;
                assignment_item_format(&rest, text);
                if (used + strlen(text) + 2 > ASSIGNMENT_TEXT_MAX)
                        break;
                used += (size_t) snprintf(buffer + used, ASSIGNMENT_TEXT_MAX - used, "%s%s", used ? " " : "", text);
        }
        return buffer;
}
