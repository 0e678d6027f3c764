/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looks at a region in the middle of a handover that do not fit it. */

#include <errno.h>

#include "daemon/core/handover.h"
#include "daemon/core/pair-internal.h"
#include "tests/unit/core-world.h"

static void regions_of_any_size_are_followed_in_so_many_extents_at_most(void) {
        const uint64_t most = (uint64_t) USAGE_EXTENTS_MAX * 2 * MIB;

        CHECK(usage_extent_bytes(512 * MIB) == 2 * MIB && usage_n_extents(512 * MIB) == 256);
        CHECK(usage_extent_bytes(most) == 2 * MIB && usage_n_extents(most) == USAGE_EXTENTS_MAX);
        CHECK(usage_extent_bytes(most + 1) == 4 * MIB && usage_n_extents(most + 1) == USAGE_EXTENTS_MAX / 2 + 1);
        CHECK(usage_extent_bytes(8 * most) == 16 * MIB && usage_n_extents(8 * most) == USAGE_EXTENTS_MAX);
}

static void tell_usage(struct world *w, const struct usage *usage) {
        feed(w, (struct event){
                        .kind = EVENT_USAGE, .pair = 0, .side = SIDE_INVALID, .app = 0, .usage = usage });
}

static void look_that_does_not_fit_the_region_is_of_no_use(void) {
        struct usage *usage = calloc(1, sizeof(*usage));
        struct handover **handover;
        struct world w;

        REQUIRE(usage != NULL);
        usage->extent_bytes = 2 * MIB;
        usage->n_extents = 256;
        usage->known[SIDE_A] = usage->known[SIDE_B] = true;
        make_armed(&w);
        handover = &w.engine->pairs[0]->apps[0].handover;
        tell_usage(&w, usage); /* it has ended meanwhile */
        CHECK(*handover == NULL);

        *handover = handover_new(512 * MIB, (struct holder) { 0, SIDE_A }, (struct holder) { 0, SIDE_B }, w.now);
        REQUIRE(*handover != NULL);
        usage->n_extents = 255; /* of another size, from before */
        CHECK(handover_see(*handover, (struct holder) { 0, SIDE_A }, (struct holder) { 0, SIDE_B }, usage, w.now) ==
              -EINVAL);
        tell_usage(&w, usage);
        CHECK((*handover)->usage_usec == 0);
        usage->n_extents = 256;
        tell_usage(&w, usage);
        CHECK((*handover)->usage_usec == w.now && (*handover)->usage.n_extents == 256);
        free(usage);
        end(&w);
}

/* Of 512 MiB that unused memory stands in for, the guest needs 200 MiB for others; it has so much elsewhere. In MiB. */
static uint64_t asked_with(struct world *w, uint64_t available) {
        struct pair *pair = w->engine->pairs[0];
        struct member_state *member = &pair->members[SIDE_A];
        struct update *update = calloc(1, sizeof(*update));
        uint64_t bytes = UINT64_MAX;
        struct step step;

        REQUIRE(update != NULL);
        step = step_begin(w->engine, pair, update);
        pair->record.apps[0].using_bytes[SIDE_A] = 0;
        pair->record.apps[0].granted_bytes[SIDE_A] = 512 * MIB;
        pair->apps[0].release_usec = w->now - 2;
        pair->apps[0].needed_bytes[SIDE_A] = 200 * MIB;
        pair->apps[0].needed_usec[SIDE_A] = w->now;
        member->protocol = PROTOCOL_VERSION_MANAGES;
        member->preflight.apps[0].node = 1;
        member->preflight.apps[0].block_bytes = 2 * MIB;
        member->plugged_bytes[0] = 512 * MIB;
        member->plugged_usec[0] = member->available_usec = w->now;
        member->available_bytes = available * MIB;
        member->requested_known[0] = false;
        CHECK(handover_wanted(&step, 0, SIDE_A, &bytes));
        free(update);
        return bytes / MIB;
}

static void what_has_room_elsewhere_in_the_guest_is_asked_for_too(void) {
        struct world w;

        make_armed(&w);
        CHECK(asked_with(&w, 0) == 222); /* and a little for the guest's kernel */
        CHECK(asked_with(&w, 120) == 126);
        CHECK(asked_with(&w, 300) == 0);
        end(&w);
}

TEST_MAIN("core-handover", TEST(what_has_room_elsewhere_in_the_guest_is_asked_for_too),
          TEST(regions_of_any_size_are_followed_in_so_many_extents_at_most),
          TEST(look_that_does_not_fit_the_region_is_of_no_use))
