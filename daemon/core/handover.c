/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/handover.h"

#include <errno.h>
#include <stdlib.h>

/* What is taken back in the background is taken in pieces of some size. */
#define EARLY_LOOK_USEC (500 * USEC_PER_MSEC)

uint64_t usage_extent_bytes(uint64_t region_bytes) {
        uint64_t extent = 2 * MIB;

        while ((region_bytes + extent - 1) / extent > USAGE_EXTENTS_MAX)
                extent *= 2;
        return extent;
}

unsigned usage_n_extents(uint64_t region_bytes) {
        uint64_t extent = usage_extent_bytes(region_bytes);

        return (unsigned) ((region_bytes + extent - 1) / extent);
}

struct handover *handover_new(uint64_t region_bytes, struct holder from, struct holder to, usec_t now_usec) {
        uint64_t extent = usage_extent_bytes(region_bytes), size = extent * usage_n_extents(region_bytes);
        struct handover *handover = calloc(1, sizeof(*handover));
        struct span all = { 0, size };

        if (!handover)
                return NULL;
        if (rights_init(&handover->rights, extent, size) < 0 ||
            rights_assign(&handover->rights, all, from, now_usec) < 0 ||
            rights_touch(&handover->rights, from, all, now_usec, NULL) < 0 ||
            rights_assign(&handover->rights, all, to, now_usec) < 0 ||
            early_release_init(&handover->early, &handover->rights) < 0)
                return handover_free(handover);
        handover->from = from.side;
        handover->begun_usec = now_usec;
        return handover;
}

struct handover *handover_free(struct handover *handover) {
        if (!handover)
                return NULL;
        early_release_deinit(&handover->early);
        rights_deinit(&handover->rights);
        free(handover);
        return NULL;
}

/* ---- seeing --------------------------------------------------------------------------------------------- */

static bool has_pages(const struct usage *usage, enum side side, unsigned extent) {
        return usage->known[side] && usage->pages[side][extent] > 0;
}

/* From `begin` on, the first stretch of extents in which a side has pages (or, with `wanted` false, has certainly
 * none). */
static struct span find_stretch(const struct usage *usage, enum side side, bool wanted, unsigned begin) {
        unsigned end;

        if (!usage->known[side])
                return (struct span) { 0 };
        while (begin < usage->n_extents && has_pages(usage, side, begin) != wanted)
                begin++;
        for (end = begin; end < usage->n_extents && has_pages(usage, side, end) == wanted;)
                end++;
        return (struct span) { begin * usage->extent_bytes, end * usage->extent_bytes };
}

static int see_free(struct handover *handover, struct holder from, const struct usage *usage, usec_t now_usec) {
        unsigned at = 0;
        int r = 0;

        while (r >= 0) {
                struct span span = find_stretch(usage, from.side, false, at);

                if (span.start == span.end)
                        break;
                r = rights_reported_free(&handover->rights, from, span, now_usec);
                at = (unsigned) (span.end / usage->extent_bytes);
        }
        return r;
}

static int see_touched(struct handover *handover, struct holder vm, const struct usage *usage, usec_t now_usec) {
        unsigned at = 0;
        int r = 0;

        while (r >= 0) {
                struct span span = find_stretch(usage, vm.side, true, at);

                if (span.start == span.end)
                        break;
                r = rights_touch(&handover->rights, vm, span, now_usec, NULL);
                at = (unsigned) (span.end / usage->extent_bytes);
        }
        return r;
}

/* Pages that came back since the last look were accessed by the old user. */
static void see_accesses(struct handover *handover, const struct usage *usage, usec_t now_usec) {
        enum side from = handover->from;

        for (unsigned i = 0;
             handover->usage_usec && handover->usage.known[from] && usage->known[from] && i < usage->n_extents; i++) {
                uint64_t more = usage->pages[from][i] > handover->usage.pages[from][i]
                                        ? (uint64_t) (usage->pages[from][i] - handover->usage.pages[from][i]) : 0;
                struct span span = { i * usage->extent_bytes, (i + 1) * usage->extent_bytes };

                handover->accessed[i / 8] &= (uint8_t) ~(1u << i % 8);
                if (more == 0)
                        continue;
                handover->accessed[i / 8] |= (uint8_t) (1u << i % 8);
                early_release_sample(&handover->early, &handover->rights, span, more, more * USAGE_PAGE_BYTES,
                                     now_usec);
        }
}

int handover_see(struct handover *handover, struct holder from, struct holder to, const struct usage *usage,
                 usec_t now_usec) {
        int r;

        if (usage->extent_bytes != handover->rights.extent_bytes ||
            usage->n_extents * usage->extent_bytes != handover->rights.size_bytes)
                return -EINVAL;
        r = see_free(handover, from, usage, now_usec);
        if (r >= 0)
                r = see_touched(handover, to, usage, now_usec);
        if (r >= 0) /* last: what the manager has meanwhile is not the old user's any more */
                r = see_touched(handover, from, usage, now_usec);
        if (r < 0)
                return r;
        see_accesses(handover, usage, now_usec);
        handover->usage = *usage;
        handover->usage_usec = now_usec;
        return 0;
}

/* ---- early release -------------------------------------------------------------------------------------- */

static struct early_release_policy rule(const struct early_release_keys *keys) {
        struct early_release_policy policy = {
                .measure = keys->measure,
                .since_lost = keys->count == EARLY_SINCE_LOST,
                .at_least = keys->measure == EARLY_TIME || keys->take == EARLY_BUSY,
                .limit_kind = keys->percent ? EARLY_ADAPTIVE : EARLY_FIXED,
                .limit_percent = keys->percent,
                .watch_usec = keys->watch_usec,
                .at_access = keys->when == EARLY_AT_ACCESS || keys->when == EARLY_BOTH,
                .in_background = keys->when == EARLY_IN_BACKGROUND || keys->when == EARLY_BOTH,
                .bytes_per_sec = keys->rate_bytes,
        };

        policy.limit = keys->measure == EARLY_TIME     ? keys->after_usec
                       : keys->measure == EARLY_VOLUME ? keys->volume_bytes
                                                       : keys->accesses;
        return policy;
}

int handover_take_back_early(struct handover *handover, const struct early_release_keys *keys, usec_t now_usec) {
        struct early_release_policy policy = rule(keys);
        struct span spans[16];
        size_t n = 0;
        int r = 0;

        if (now_usec - handover->early_usec >= EARLY_LOOK_USEC) {
                handover->early_usec = now_usec;
                n = early_release_look(&handover->early, &handover->rights, &policy, now_usec, spans,
                                       sizeof(spans) / sizeof(spans[0]));
        }
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = rights_take_back(&handover->rights, spans[i]);
        for (unsigned i = 0; r >= 0 && policy.at_access && i < handover->usage.n_extents; i++)
                if (handover->accessed[i / 8] & (1u << i % 8) &&
                    early_release_at_access(&handover->early, &handover->rights, &policy,
                                            i * handover->rights.extent_bytes, now_usec, &spans[0]))
                        r = rights_take_back(&handover->rights, spans[0]);
        return r;
}

/* ---- paging out ----------------------------------------------------------------------------------------- */

static bool has_to_go(const struct handover *handover, struct holder from, unsigned extent) {
        const struct rights_range *range = rights_find(&handover->rights, extent * handover->rights.extent_bytes);

        return has_pages(&handover->usage, from.side, extent) && (range->releasing || !holder_equal(range->user, from));
}

void handover_paged(struct handover *handover) {
        uint64_t extent = handover->rights.extent_bytes;

        for (uint64_t i = handover->paging.start / extent; i < handover->paging.end / extent; i++)
                handover->usage.pages[handover->from][i] = 0;
        handover->paged_bytes += span_bytes(handover->paging);
}

struct span handover_next_page_out(const struct handover *handover, struct holder from, uint64_t limit_bytes) {
        uint64_t extent = handover->rights.extent_bytes;
        unsigned n = handover->usage.n_extents, first = n ? (unsigned) (handover->paging.end / extent) % n : 0;

        for (unsigned i = 0; i < n; i++) {
                unsigned begin = (first + i) % n, end = begin;

                while (end < n && (end - begin + 1) * extent <= (limit_bytes > extent ? limit_bytes : extent) &&
                       has_to_go(handover, from, end))
                        end++;
                if (end > begin)
                        return (struct span) { begin * extent, end * extent };
        }
        return (struct span) { 0 };
}
