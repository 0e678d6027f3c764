/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request compared with the rights: what is wrong with it, and into which parts it falls. All is made in a copy, so
 * that a request that is refused leaves nothing behind. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/assignment-internal.h"

#define NAMES_SHOWN 8

struct check {
        const struct rights *rights;
        const struct assignment_vm *known; /* VMs */
        size_t n_known;
        struct assignment *made;
        int from[ASSIGNMENT_ITEMS_MAX]; /* item's VM, an index in `known` */
        char *why;
        size_t size;
};

/* "ITEM: REASON; WHAT WOULD WORK" */
__attribute__((format(printf, 4, 5)))
static int refuse(const struct check *c, size_t i, int code, const char *format, ...) {
        char item[ASSIGNMENT_ITEM_LEN], reason[512];
        va_list ap;

        va_start(ap, format);
        vsnprintf(reason, sizeof(reason), format, ap);
        va_end(ap);
        snprintf(c->why, c->size, "%s: %s", assignment_item_format(&c->made->items[i], item), reason);
        return code;
}

static const char *known_name(const struct check *c, struct holder holder) {
        for (size_t i = 0; i < c->n_known; i++)
                if (holder_equal(c->known[i].holder, holder))
                        return c->known[i].name;
        return "a VM of another pair";
}

static const struct assignment_vm *vm_of(const struct check *c, size_t i) {
        return &c->known[c->from[i]];
}

static int check_vm(struct check *c, size_t i) {
        const char *name = c->made->items[i].vm;
        char names[NAMES_SHOWN * (NAME_LEN + 2) + 32] = "";
        size_t used = 0;

        for (size_t k = 0; k < c->n_known; k++)
                if (strcmp(c->known[k].name, name) == 0) {
                        c->from[i] = (int) k;
                        if (c->known[k].fenced)
                                return refuse(c, i, -EHOSTDOWN, "%s is fenced, and its memory goes where its failover "
                                              "takes it; ask when it is up again", name);
                        return 0;
                }
        for (size_t k = 0; k < c->n_known && k < NAMES_SHOWN; k++)
                used += (size_t) snprintf(names + used, sizeof(names) - used, "%s%s", k ? ", " : "", c->known[k].name);
        if (c->n_known > NAMES_SHOWN)
                snprintf(names + used, sizeof(names) - used, " and %zu more", c->n_known - NAMES_SHOWN);
        return refuse(c, i, -ENOENT, "no VM is called %s; name one of %s", name, names);
}

static int check_range(const struct check *c, size_t i) {
        uint64_t extent = c->rights->extent_bytes;
        struct span span = c->made->items[i].span;
        char text[UNITS_TEXT_MAX], low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];

        if (span.start >= span.end)
                return refuse(c, i, -EINVAL, "the range is empty; it must end above where it starts");
        if (span.end > c->rights->size_bytes)
                return refuse(c, i, -EINVAL, "it ends above the memory, which has %s; ask for a range up to that",
                              size_format(text, c->rights->size_bytes));
        if (span.start % extent || span.end % extent)
                return refuse(c, i, -EINVAL, "it does not begin and end with an extent of %s; ask for %s-%s",
                              size_format(text, extent), size_format(low, span.start / extent * extent),
                              size_format(high, (span.end + extent - 1) / extent * extent));
        return 0;
}

static int check_amount(const struct check *c, size_t i) {
        const struct assignment_item *item = &c->made->items[i];
        uint64_t extent = c->rights->extent_bytes, managed = rights_sum(c->rights, vm_of(c, i)->holder).managed_bytes;
        uint64_t down = item->bytes / extent * extent;
        char text[UNITS_TEXT_MAX], low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];

        if (item->bytes == 0)
                return refuse(c, i, -EINVAL, "it changes nothing; ask for at least %s", size_format(text, extent));
        if (item->bytes > c->rights->size_bytes)
                return refuse(c, i, -ENOSPC, "all memory together has %s; ask for less",
                              size_format(text, c->rights->size_bytes));
        if (item->bytes % extent)
                return refuse(c, i, -EINVAL, "it is no multiple of the extent of %s; ask for %s%s%s",
                              size_format(text, extent), down ? size_format(low, down) : "", down ? " or " : "",
                              size_format(high, down + extent));
        if (item->kind != ASSIGN_EXTEND && item->bytes > managed)
                return refuse(c, i, -ENOSPC, "%s manages %s%s%s", item->vm, size_format(text, managed),
                              managed ? "; ask for at most " : ", so it has nothing to release; ask another VM",
                              managed ? text : "");
        return 0;
}

/* Two items that speak of the same memory, or of one VM by an amount and again. */
static int check_pair(const struct check *c, size_t i, size_t k) {
        const struct assignment_item *a = &c->made->items[i], *b = &c->made->items[k];
        bool ranges = assignment_kind_is_range(a->kind) && assignment_kind_is_range(b->kind);
        char other[ASSIGNMENT_ITEM_LEN];

        if (ranges && a->span.start < b->span.end && b->span.start < a->span.end)
                return refuse(c, i, -EINVAL, "it overlaps with %s; name each place once",
                              assignment_item_format(b, other));
        if (!ranges && strcmp(a->vm, b->vm) == 0)
                return refuse(c, i, -EINVAL, "%s is asked for an amount and named again in %s; put it into one item, "
                              "or into two requests", a->vm, assignment_item_format(b, other));
        return 0;
}

/* The item by which a VM is asked for an amount, or -1. */
static int asked_for_amount(const struct check *c, struct holder vm) {
        for (size_t i = 0; i < c->made->n_items; i++)
                if (!assignment_kind_is_range(c->made->items[i].kind) && holder_equal(vm_of(c, i)->holder, vm))
                        return (int) i;
        return -1;
}

/* The VM's index in the assignment, for a part of item `i`. */
static int involve(const struct check *c, size_t i, struct holder vm) {
        struct assignment *made = c->made;

        if (!holder_is_vm(vm))
                return -1;
        for (size_t k = 0; k < made->n_vms; k++)
                if (holder_equal(made->vms[k].holder, vm))
                        return (int) k;
        if (made->n_vms == ASSIGNMENT_VMS_MAX)
                return refuse(c, i, -E2BIG, "more than %d VMs manage what is asked for; ask for less at once",
                              ASSIGNMENT_VMS_MAX);
        made->vms[made->n_vms] = (struct assignment_vm) { .holder = vm };
        snprintf(made->vms[made->n_vms].name, NAME_LEN, "%s", known_name(c, vm));
        return (int) made->n_vms++;
}

/* Adds a part; of a range where `span` is not empty. */
static int add_part(const struct check *c, size_t i, struct holder from, struct holder to, struct span span,
                    uint64_t bytes) {
        struct assignment *made = c->made;
        struct assignment_part *part = &made->parts[made->n_parts];
        bool is_range = span.end > span.start;
        int from_vm = involve(c, i, from), to_vm = involve(c, i, to);

        if (from_vm < -1 || to_vm < -1)
                return -E2BIG;
        if (made->n_parts == ASSIGNMENT_PARTS_MAX)
                return refuse(c, i, -E2BIG, "it falls into more than %d stretches of memory; ask for less at once",
                              ASSIGNMENT_PARTS_MAX);
        *part = (struct assignment_part) { .item = (int) i, .from = from_vm, .to = to_vm, .is_range = is_range,
                                           .span = span, .bytes = is_range ? span_bytes(span) : bytes,
                                           .release_over = from_vm < 0, .extend_over = to_vm < 0 };
        made->n_parts++;
        return 0;
}

/* May a range item take `span`, which `manager` manages? */
static int check_manager(const struct check *c, size_t i, struct span span, struct holder manager) {
        const struct assignment_item *item = &c->made->items[i];
        const char *name = known_name(c, manager);
        char start[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX], other[ASSIGNMENT_ITEM_LEN];
        int amount = holder_is_vm(manager) ? asked_for_amount(c, manager) : -1;

        size_format(start, span.start);
        size_format(end, span.end);
        if (item->kind == ASSIGN_RELEASE_RANGE && !holder_equal(manager, vm_of(c, i)->holder))
                return refuse(c, i, -EPERM, "%s does not manage %s-%s of it, %s does; %s", item->vm, start, end,
                              holder_is_vm(manager) ? name : "nobody",
                              holder_is_vm(manager) ? "ask that one for it" : "leave that out");
        if (item->kind == ASSIGN_EXTEND_RANGE && holder_is_vm(manager))
                return refuse(c, i, -EPERM, "%s-%s of it is managed by %s; \"%s-%s=%s\" would take it away from there",
                              start, end, name, start, end, item->vm);
        for (size_t k = 0; k < c->n_known; k++)
                if (holder_equal(c->known[k].holder, manager) && c->known[k].fenced)
                        return refuse(c, i, -EHOSTDOWN, "%s-%s of it is managed by %s, which is fenced; ask when its "
                                      "failover is over", start, end, name);
        if (amount >= 0 && (size_t) amount != i)
                return refuse(c, i, -EINVAL, "%s-%s of it is managed by %s, which is also asked for an amount in %s; "
                              "put them into two requests", start, end, name,
                              assignment_item_format(&c->made->items[amount], other));
        return 0;
}

static int make_range_parts(const struct check *c, size_t i) {
        const struct assignment_item *item = &c->made->items[i];
        struct holder vm = vm_of(c, i)->holder;

        for (uint64_t at = item->span.start; at < item->span.end;) {
                const struct rights_range *range = rights_find(c->rights, at);
                struct holder manager = range->manager;
                struct span span = { at, at };
                int r;

                /* neighbours with one manager are one part, whoever uses them */
                for (; range < c->rights->ranges + c->rights->n_ranges && range->span.start < item->span.end &&
                       holder_equal(range->manager, manager); range++)
                        span.end = range->span.end < item->span.end ? range->span.end : item->span.end;
                at = span.end;
                r = check_manager(c, i, span, manager);
                if (r < 0)
                        return r;
                if (item->kind == ASSIGN_RANGE && holder_equal(manager, vm)) {
                        c->made->had_bytes[i] += span_bytes(span);
                        continue;
                }
                r = add_part(c, i, manager, item->kind == ASSIGN_RELEASE_RANGE ? HOLDER_NONE : vm, span, 0);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int make_top_parts(const struct check *c, size_t i) {
        const struct assignment_item *item = &c->made->items[i];
        struct holder vm = vm_of(c, i)->holder;
        uint64_t left = item->bytes;
        int r;

        for (size_t k = c->rights->n_ranges; k > 0 && left > 0;) {
                struct span span = c->rights->ranges[k - 1].span;

                if (!holder_equal(c->rights->ranges[--k].manager, vm))
                        continue;
                for (; k > 0 && holder_equal(c->rights->ranges[k - 1].manager, vm); k--)
                        span.start = c->rights->ranges[k - 1].span.start;
                if (span_bytes(span) > left)
                        span.start = span.end - left;
                left -= span_bytes(span);
                r = add_part(c, i, vm, HOLDER_NONE, span, 0);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int make_parts(const struct check *c, size_t i) {
        const struct assignment_item *item = &c->made->items[i];
        struct holder vm = vm_of(c, i)->holder;

        switch (item->kind) {
        case ASSIGN_EXTEND:
                return add_part(c, i, HOLDER_NONE, vm, (struct span) { 0 }, item->bytes);
        case ASSIGN_RELEASE:
                return add_part(c, i, vm, HOLDER_NONE, (struct span) { 0 }, item->bytes);
        case ASSIGN_RELEASE_TOP:
                return make_top_parts(c, i);
        default:
                return make_range_parts(c, i);
        }
}

/* Is there enough to extend with, together with all that is to be released? */
static int check_sums(const struct check *c) {
        struct assignment *made = c->made;
        uint64_t spare = rights_sum(c->rights, HOLDER_NONE).managed_bytes, there, asked = 0;
        char text[UNITS_TEXT_MAX], wanted[UNITS_TEXT_MAX];

        for (size_t k = 0; k < made->n_parts; k++)
                if (made->parts[k].is_range && made->parts[k].from < 0)
                        spare -= made->parts[k].bytes;
        made->spare_bytes = there = spare;
        for (size_t k = 0; k < made->n_parts; k++)
                if (made->parts[k].to < 0)
                        there += made->parts[k].bytes;
        for (size_t k = 0; k < made->n_parts && !made->policy.best_effort; k++) {
                const struct assignment_part *part = &made->parts[k];

                if (part->is_range || part->to < 0)
                        continue;
                asked += part->bytes;
                if (asked > there)
                        return refuse(c, (size_t) part->item, -ENOSPC, "%s in all is asked for, and %s is there to "
                                      "extend with; ask for less, or release more", size_format(wanted, asked),
                                      size_format(text, there));
        }
        return 0;
}

static int check_items(struct check *c) {
        size_t n = c->made->n_items;
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++)
                r = check_vm(c, i);
        for (size_t i = 0; i < n && r == 0; i++)
                r = assignment_kind_is_range(c->made->items[i].kind) ? check_range(c, i) : check_amount(c, i);
        for (size_t i = 0; i < n && r == 0; i++)
                for (size_t k = 0; k < i && r == 0; k++)
                        r = check_pair(c, i, k);
        for (size_t i = 0; i < n && r == 0; i++)
                r = make_parts(c, i);
        return r == 0 ? check_sums(c) : r;
}

int assignment_begin(struct assignment *assignment, const struct rights *rights, const struct assignment_vm *vms,
                     size_t n_vms, const struct assignment_item *items, size_t n_items,
                     const struct assignment_policy *policy, char *why, size_t size) {
        struct assignment made = { .running = true, .policy = *policy, .extent_bytes = rights->extent_bytes,
                                   .next_id = assignment->next_id, .n_items = n_items };
        struct check c = { .rights = rights, .known = vms, .n_known = n_vms, .made = &made, .why = why, .size = size };
        char text[ASSIGNMENT_ITEM_LEN];
        int r;

        if (assignment->running) {
                snprintf(why, size, "a request is under way, from \"%s\" on; wait for its end, or cancel it",
                         assignment_item_format(&assignment->items[0], text));
                return -EBUSY;
        }
        if (n_items == 0 || n_items > ASSIGNMENT_ITEMS_MAX) {
                snprintf(why, size, "%zu items; ask for 1 to %d at once", n_items, ASSIGNMENT_ITEMS_MAX);
                return -EINVAL;
        }
        memcpy(made.items, items, n_items * sizeof(items[0]));
        r = check_items(&c);
        if (r == 0)
                *assignment = made;
        return r;
}
