/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looks at a region in the middle of a handover: those that do not fit it, and what counts as still there. */

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

/* vm-b owns the region; unused memory stands in for the 512 MiB that vm-a has of it. */
static void make_stood_in_for(struct world *w) {
        struct table *table;
        struct holder a, b;
        struct pair *pair;

        make_armed(w);
        pair = w->engine->pairs[0];
        table = &w->engine->table;
        a = pair_holder(pair, SIDE_A);
        b = pair_holder(pair, SIDE_B);
        REQUIRE(table_grant(table, a, 512 * MIB) >= 0);
        table_move(table, table_find_application(table, a, 0), b, a);
        pair->record.apps[0].owner = SIDE_B;
        pair->record.apps[0].granted_bytes[SIDE_A] = pair->record.apps[0].granted_bytes[SIDE_B] = 512 * MIB;
        pair->record.apps[0].releasing[SIDE_A] = true;
        pair->apps[0].release_usec = w->now;
        request_reset(&pair->members[SIDE_A].resize[0]); /* the one that brought it was done */
        pair->members[SIDE_A].requested_known[0] = false;
        pair->members[SIDE_A].preflight.apps[0].block_bytes = 2 * MIB;
        w->now += 100 * USEC_PER_MSEC;
}

/* Its agent, 0.6 s later: others need so much of the region there, in MiB. */
static void tell_needed(struct world *w, uint64_t needed) {
        struct message pong = { .type = MESSAGE_PONG,
                                .nonce = w->engine->pairs[0]->members[SIDE_A].detector.nonce, .n_apps = 1 };

        w->now += 600 * USEC_PER_MSEC;
        strcpy(pong.apps[0].app, "db");
        pong.apps[0].state = APPLICATION_STOPPED;
        pong.apps[0].node_bytes = needed * MIB;
        tell_message(w, SIDE_A, pong);
}

/* QEMU tells its size in MiB. Returns what the table still counts there. */
static uint64_t counted_after_look(struct world *w, uint64_t plugged) {
        feed(w, (struct event){
                        .kind = EVENT_DEVICE_SIZE, .pair = 0, .side = SIDE_A, .app = 0, .bytes = plugged * MIB });
        return w->engine->pairs[0]->record.apps[0].granted_bytes[SIDE_A] / MIB;
}

/* libvirt's answer to a request of that size in MiB, the one that the last step made. */
static void answer_resize(struct world *w, uint64_t asked) {
        const struct action *resize = find(w, ACTION_RESIZE, SIDE_A);

        CHECK(resize && resize->bytes == asked * MIB);
        answer(w, resize, 0);
        write_all(w);
}

static void what_a_guest_is_asked_to_have_is_nobody_elses(void) {
        struct world w;
        uint64_t unused;

        make_stood_in_for(&w);
        CHECK(counted_after_look(&w, 512) == 512);
        answer_resize(&w, 512); /* what is being plugged stops, until its guest tells what it needs */
        tell_needed(&w, 0);
        CHECK(counted_after_look(&w, 450) == 512); /* libvirt has not answered: it may be asked for 512 still */
        CHECK(w.engine->pairs[0]->members[SIDE_A].resize[0].id != 0);
        end(&w);

        make_stood_in_for(&w);
        CHECK(counted_after_look(&w, 512) == 512);
        answer_resize(&w, 512);
        tell_needed(&w, 0);
        answer_resize(&w, 0);
        CHECK(counted_after_look(&w, 400) == 400);
        unused = table_unused(&w.engine->table);
        tell_needed(&w, 380);
        answer_resize(&w, 400);
        CHECK(counted_after_look(&w, 350) == 400); /* a look that was under way */
        CHECK(counted_after_look(&w, 400) == 400);
        CHECK(table_unused(&w.engine->table) == unused);
        end(&w);
}

TEST_MAIN("core-handover", TEST(what_has_room_elsewhere_in_the_guest_is_asked_for_too),
          TEST(regions_of_any_size_are_followed_in_so_many_extents_at_most),
          TEST(what_a_guest_is_asked_to_have_is_nobody_elses),
          TEST(look_that_does_not_fit_the_region_is_of_no_use))
