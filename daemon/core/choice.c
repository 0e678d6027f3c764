/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/choice.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"

static const char *const choice_from_table[] = {
        [CHOICE_ANY_UNMANAGED] = "any-unmanaged",
        [CHOICE_ONLY_UNUSED] = "only-unused",
        [CHOICE_UNUSED_FIRST] = "unused-first",
};
DEFINE_ENUM_TABLE(choice_from, choice_from_table)

static const char *const choice_rule_table[] = {
        [CHOICE_LARGEST] = "largest", [CHOICE_CLOSEST_FIT] = "closest-fit", [CHOICE_SMALLEST] = "smallest",
        [CHOICE_NEAREST] = "nearest", [CHOICE_SPREAD] = "spread",           [CHOICE_PACKED] = "packed",
};
DEFINE_ENUM_TABLE(choice_rule, choice_rule_table)

/* A stretch that may be picked. */
struct candidate {
        struct span span;
        bool used;
        size_t module;          /* CHOICE_MODULES_MAX: on none */
        uint64_t distance;      /* to the nearest that the VM manages or was picked for it; UINT64_MAX: it has none */
        bool nearest_is_above;
};

struct picking {
        const struct choice *choice;
        const struct rights *rights;
        struct holder vm;
        uint64_t wanted_bytes; /* still */
        struct candidate *candidates; /* by address */
        size_t n_candidates;
        uint64_t had_bytes[CHOICE_MODULES_MAX + 1];  /* of each module, by the VM, with what was picked */
        uint64_t room_bytes[CHOICE_MODULES_MAX + 1]; /* of each module, in candidates */
        struct chosen chosen;
};

static bool has_rule(const struct choice *choice, enum choice_rule rule) {
        for (size_t i = 0; i < choice->n_rules; i++)
                if (choice->rules[i] == rule)
                        return true;
        return false;
}

static bool minds_modules(const struct choice *choice) {
        return has_rule(choice, CHOICE_SPREAD) || has_rule(choice, CHOICE_PACKED);
}

static uint64_t round_up(uint64_t offset, uint64_t extent_bytes) {
        uint64_t over = offset % extent_bytes;

        return over ? offset - over + extent_bytes : offset;
}

/* The module that the extent at `offset` is on, and in `ret_end` where it, or the gap between two, ends. */
static size_t module_at(const struct picking *p, uint64_t offset, uint64_t *ret_end) {
        *ret_end = p->rights->size_bytes;
        for (size_t i = 0; i < p->choice->n_modules; i++) {
                struct span span = p->choice->modules[i];

                if (offset < span.start && span.start < *ret_end) {
                        *ret_end = round_up(span.start, p->rights->extent_bytes);
                        break;
                }
                if (offset < span.end) {
                        if (span.end < *ret_end)
                                *ret_end = round_up(span.end, p->rights->extent_bytes);
                        return i;
                }
        }
        return CHOICE_MODULES_MAX;
}

/* Is the extent at `offset` promised to somebody else? `*ret_end` comes down to where that changes. */
static bool is_promised(const struct choice *choice, uint64_t offset, uint64_t *ret_end) {
        for (size_t i = 0; i < choice->n_promised; i++) {
                struct span span = choice->promised[i];

                if (offset >= span.start && offset < span.end) {
                        *ret_end = span.end < *ret_end ? span.end : *ret_end;
                        return true;
                }
                if (offset < span.start && span.start < *ret_end)
                        *ret_end = span.start;
        }
        return false;
}

static bool may_pick(const struct choice *choice, const struct rights_range *range) {
        return !holder_is_vm(range->manager) && (!holder_is_vm(range->user) || choice->from != CHOICE_ONLY_UNUSED);
}

/* Adds a stretch, or makes the last one longer where there is no difference between the two. */
static void add_candidate(struct picking *p, struct span span, bool used, size_t module) {
        struct candidate *last = p->n_candidates ? &p->candidates[p->n_candidates - 1] : NULL;

        p->room_bytes[module] += span_bytes(span);
        if (last && last->span.end == span.start && last->module == module &&
            (last->used == used || p->choice->from == CHOICE_ANY_UNMANAGED)) {
                last->span.end = span.end;
                return;
        }
        p->candidates[p->n_candidates++] = (struct candidate) { .span = span, .used = used, .module = module,
                                                                .distance = UINT64_MAX };
}

static void look_at_range(struct picking *p, const struct rights_range *range) {
        bool own = holder_equal(range->manager, p->vm), split = minds_modules(p->choice);
        struct span span = range->span;

        if (!own && !may_pick(p->choice, range))
                return;
        while (span.start < span.end) {
                uint64_t end = span.end;
                size_t module = split ? module_at(p, span.start, &end) : CHOICE_MODULES_MAX;
                bool promised = !own && is_promised(p->choice, span.start, &end);
                struct span part = { span.start, end < span.end ? end : span.end };

                if (own)
                        p->had_bytes[module] += span_bytes(part);
                else if (!promised)
                        add_candidate(p, part, holder_is_vm(range->user), module);
                span.start = part.end;
        }
}

/* Something of the VM's is at `span`: how near it is to each candidate. */
static void bring_near(struct picking *p, struct span span) {
        for (size_t i = 0; i < p->n_candidates; i++) {
                struct candidate *c = &p->candidates[i];
                bool above = span.start >= c->span.end;
                uint64_t distance = above ? span.start - c->span.end : c->span.start - span.end;

                if (distance < c->distance) {
                        c->distance = distance;
                        c->nearest_is_above = above;
                }
        }
}

/* The distance of each candidate to what the VM manages, in one walk up and one walk down. */
static void measure_distances(struct picking *p) {
        const struct rights *rights = p->rights;
        uint64_t own = UINT64_MAX;

        for (size_t i = 0, c = 0; i < rights->n_ranges; i++) {
                if (holder_equal(rights->ranges[i].manager, p->vm))
                        own = rights->ranges[i].span.end;
                for (; c < p->n_candidates && p->candidates[c].span.start < rights->ranges[i].span.end; c++)
                        if (own != UINT64_MAX)
                                p->candidates[c].distance = p->candidates[c].span.start - own;
        }
        own = UINT64_MAX;
        for (size_t i = rights->n_ranges, c = p->n_candidates; i-- > 0;) {
                if (holder_equal(rights->ranges[i].manager, p->vm))
                        own = rights->ranges[i].span.start;
                for (; c > 0 && p->candidates[c - 1].span.end > rights->ranges[i].span.start; c--) {
                        struct candidate *candidate = &p->candidates[c - 1];

                        if (own == UINT64_MAX || own - candidate->span.end >= candidate->distance)
                                continue;
                        candidate->distance = own - candidate->span.end;
                        candidate->nearest_is_above = true;
                }
        }
}

/* How well `bytes` fit what is wanted: 0 exactly, more than it next, then less than it. */
static uint64_t misfit(uint64_t bytes, uint64_t wanted_bytes) {
        return bytes >= wanted_bytes ? bytes - wanted_bytes : (UINT64_C(1) << 63) + (wanted_bytes - bytes);
}

/* By one rule, the lower the better. */
static uint64_t rank(const struct picking *p, const struct candidate *c, enum choice_rule rule) {
        uint64_t bytes = span_bytes(c->span);

        switch (rule) {
        case CHOICE_LARGEST:
                return UINT64_MAX - bytes;
        case CHOICE_CLOSEST_FIT:
                return misfit(bytes, p->wanted_bytes);
        case CHOICE_SMALLEST:
                return bytes;
        case CHOICE_NEAREST:
                return c->distance;
        case CHOICE_SPREAD:
                return p->had_bytes[c->module];
        case CHOICE_PACKED:
                return p->had_bytes[c->module] > 0 ? 0 : 1 + misfit(p->room_bytes[c->module], p->wanted_bytes);
        default:
                assert(false);
                return 0;
        }
}

static bool is_better(const struct picking *p, const struct candidate *a, const struct candidate *b) {
        if (p->choice->from == CHOICE_UNUSED_FIRST && a->used != b->used)
                return b->used;
        for (size_t i = 0; i < p->choice->n_rules; i++) {
                uint64_t x = rank(p, a, p->choice->rules[i]), y = rank(p, b, p->choice->rules[i]);

                if (x != y)
                        return x < y;
        }
        return false;
}

/* Spread: what one module gives now, so that all that have room give alike. */
static uint64_t share(const struct picking *p) {
        uint64_t extent = p->rights->extent_bytes, n = 0;

        for (size_t i = 0; i <= CHOICE_MODULES_MAX; i++)
                n += p->room_bytes[i] > 0;
        return (p->wanted_bytes / extent + n - 1) / n * extent;
}

/* The part of a candidate to pick: up to `bytes`, from the end that is nearer to what the VM has where that counts. */
static struct span part_of(const struct picking *p, const struct candidate *c, uint64_t bytes) {
        if (bytes >= span_bytes(c->span))
                return c->span;
        if (c->nearest_is_above && has_rule(p->choice, CHOICE_NEAREST))
                return (struct span) { c->span.end - bytes, c->span.end };
        return (struct span) { c->span.start, c->span.start + bytes };
}

static void add_chosen(struct picking *p, struct span span) {
        struct span *last = p->chosen.n_spans ? &p->chosen.spans[p->chosen.n_spans - 1] : NULL;

        if (last && last->end == span.start)
                last->end = span.end;
        else if (last && last->start == span.end)
                last->start = span.start;
        else
                p->chosen.spans[p->chosen.n_spans++] = span;
        p->chosen.bytes += span_bytes(span);
        p->wanted_bytes -= span_bytes(span);
}

/* Takes a part, at one of its ends, out of a candidate. */
static void cut(struct picking *p, struct candidate *c, struct span span) {
        p->had_bytes[c->module] += span_bytes(span);
        p->room_bytes[c->module] -= span_bytes(span);
        if (span.start > c->span.start)
                c->span.end = span.start;
        else
                c->span.start = span.end;
        if (c->span.start == c->span.end) {
                memmove(c, c + 1, (size_t) (&p->candidates[p->n_candidates] - (c + 1)) * sizeof(*c));
                p->n_candidates--;
        }
}

static void pick_best(struct picking *p) {
        struct candidate *best = p->candidates;
        uint64_t bytes = p->wanted_bytes;
        struct span span;

        for (size_t i = 1; i < p->n_candidates; i++)
                if (is_better(p, &p->candidates[i], best))
                        best = &p->candidates[i];
        if (has_rule(p->choice, CHOICE_SPREAD))
                bytes = share(p);
        span = part_of(p, best, bytes);
        cut(p, best, span);
        add_chosen(p, span);
        if (has_rule(p->choice, CHOICE_NEAREST))
                bring_near(p, span);
}

/* What is still wanted, by address; unused first where that is asked for. */
static void pick_rest(struct picking *p, bool used) {
        for (size_t i = 0; i < p->n_candidates && p->wanted_bytes > 0; i++)
                if (p->choice->from != CHOICE_UNUSED_FIRST || p->candidates[i].used == used)
                        add_chosen(p, part_of(p, &p->candidates[i], p->wanted_bytes));
}

static void choose(struct picking *p) {
        if (has_rule(p->choice, CHOICE_NEAREST))
                measure_distances(p);
        for (unsigned i = 0; i < CHOICE_PICKS_MAX && p->wanted_bytes > 0 && p->n_candidates > 0; i++)
                pick_best(p);
        pick_rest(p, false);
        if (p->choice->from == CHOICE_UNUSED_FIRST)
                pick_rest(p, true);
}

static uint64_t room(const struct picking *p) {
        uint64_t bytes = 0;

        for (size_t i = 0; i <= CHOICE_MODULES_MAX; i++)
                bytes += p->room_bytes[i];
        return bytes;
}

int choice_make(const struct choice *choice, const struct rights *rights, struct holder vm, uint64_t bytes,
                struct chosen *ret) {
        struct picking p = { .choice = choice, .rights = rights, .vm = vm, .wanted_bytes = bytes };
        /* ranges, divided where modules and promises begin and end */
        size_t n = rights->n_ranges + 2 * (choice->n_modules + choice->n_promised);
        _cleanup_free_ struct candidate *candidates = NULL;
        _cleanup_free_ struct span *spans = NULL;

        assert(holder_is_vm(vm) && choice->n_modules <= CHOICE_MODULES_MAX && choice->n_rules <= CHOICE_RULE_MAX);
        if (bytes == 0 || bytes % rights->extent_bytes != 0)
                return -EINVAL;
        p.candidates = candidates = calloc(n, sizeof(*candidates));
        p.chosen.spans = spans = calloc(n + CHOICE_PICKS_MAX, sizeof(*spans));
        if (!candidates || !spans)
                return -ENOMEM;
        for (size_t i = 0; i < rights->n_ranges; i++)
                look_at_range(&p, &rights->ranges[i]);
        if (room(&p) < bytes && !choice->best_effort)
                return -ENOSPC;
        choose(&p);
        steal_ptr(spans);
        *ret = p.chosen;
        return 0;
}

void chosen_deinit(struct chosen *chosen) {
        free(chosen->spans);
        *chosen = (struct chosen) { 0 };
}
