/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "agents/pager/page-map.h"
#include "agents/pager/pager-state.h"
#include "agents/pager/recovery.h"
#include "daemon/base/cleanup.h"
#include "tests/random.h"
#include "tests/unit/catalog.h"
#include "tests/unit/test.h"

#define AT(page) ((page) * PAGE_BYTES)

static struct page_request make(enum page_access access, uint64_t offset, uint64_t length) {
        return (struct page_request) { .access = access, .offset = offset, .length = length };
}

/* One request from begin to end. */
static void carry_out(struct page_map *map, enum page_access access, uint64_t offset, uint64_t length, bool done,
                      unsigned holder) {
        struct page_request request = make(access, offset, length);

        REQUIRE(page_map_begin(map, &request) == PAGE_GO);
        page_map_end(map, &request, done, holder);
}

static unsigned holder_of(const struct page_map *map, uint64_t page) {
        uint64_t end;

        return page_map_run(map, AT(page), AT(page + 1), &end);
}

static void a_page_is_where_it_was_saved_until_it_is_trimmed_as_a_whole(void) {
        struct page_map map;
        uint64_t end;

        REQUIRE(page_map_init(&map, AT(16)) == 0);
        CHECK(page_map_init(&map, 100) == -EINVAL && page_map_init(&map, 0) == -EINVAL);
        carry_out(&map, PAGE_WRITE, AT(2) + 100, AT(2), true, 1); /* three pages, two in part */
        CHECK(page_map_run(&map, 0, AT(16), &end) == PAGE_NOBODY && end == AT(2));
        CHECK(page_map_run(&map, AT(2), AT(16), &end) == 1 && end == AT(5));
        carry_out(&map, PAGE_TRIM, AT(2) + 1, AT(2), true, 1);
        CHECK(holder_of(&map, 2) == 1 && holder_of(&map, 3) == PAGE_NOBODY && holder_of(&map, 4) == 1);
        CHECK(map.n_held[1] == 2 && map.n_held[PAGE_NOBODY] == 14 && map.n_unclean == 0);
        page_map_move(&map, 1, 3);
        CHECK(holder_of(&map, 2) == 3 && map.n_held[1] == 0 && map.n_held[3] == 2);
        page_map_deinit(&map);
}

static void a_save_that_failed_leaves_a_page_that_only_its_holder_knows(void) {
        struct page_map map;

        REQUIRE(page_map_init(&map, AT(4)) == 0);
        carry_out(&map, PAGE_WRITE, AT(1), AT(1), false, 2);
        CHECK(holder_of(&map, 1) == 2 && map.n_unclean == 1);
        carry_out(&map, PAGE_WRITE, AT(1), AT(1), true, 2);
        CHECK(map.n_unclean == 0);
        carry_out(&map, PAGE_TRIM, AT(1), AT(1), false, 2);
        CHECK(holder_of(&map, 1) == 2 && map.n_unclean == 1);
        carry_out(&map, PAGE_WRITE, AT(2), AT(1), false, PAGE_NOBODY); /* nobody was asked */
        CHECK(holder_of(&map, 2) == PAGE_NOBODY);
        page_map_deinit(&map);
}

static void a_read_joins_the_fetch_of_its_bytes_and_all_else_waits(void) {
        struct page_request fetch = make(PAGE_READ, AT(1), AT(2)), same = make(PAGE_READ, AT(2) + 7, 100),
                            more = make(PAGE_READ, AT(2), AT(2)), save = make(PAGE_WRITE, AT(2) + 1, 1),
                            apart = make(PAGE_WRITE, AT(3), 1);
        struct page_map map;

        REQUIRE(page_map_init(&map, AT(8)) == 0);
        REQUIRE(page_map_begin(&map, &fetch) == PAGE_GO);
        CHECK(page_map_begin(&map, &same) == PAGE_JOINED && same.fetch == &fetch && fetch.n_joined == 1);
        CHECK(page_map_begin(&map, &more) == PAGE_WAIT && page_map_begin(&map, &save) == PAGE_WAIT);
        CHECK(page_map_begin(&map, &apart) == PAGE_GO);
        page_map_end(&map, &fetch, true, PAGE_NOBODY);
        CHECK(fetch.ended && page_map_begin(&map, &more) == PAGE_WAIT); /* for what is written beside */
        CHECK(page_map_begin(&map, &save) == PAGE_GO);
        page_map_leave(&same);
        CHECK(fetch.n_joined == 0);
        page_map_end(&map, &apart, true, 1);
        CHECK(page_map_begin(&map, &same) == PAGE_WAIT); /* a save is no fetch */
        page_map_end(&map, &save, true, 1);
        CHECK(page_map_begin(&map, &same) == PAGE_GO);
        page_map_end(&map, &same, true, PAGE_NOBODY);
        page_map_deinit(&map);
}

static void exactly_what_was_held_is_lost_until_it_is_written_as_a_whole(void) {
        struct page_request part = make(PAGE_WRITE, AT(2), 100), whole = make(PAGE_WRITE, AT(2), AT(1));
        struct page_map map;
        uint64_t begin, end;

        REQUIRE(page_map_init(&map, AT(8)) == 0);
        carry_out(&map, PAGE_WRITE, AT(2), AT(3), true, 1);
        carry_out(&map, PAGE_WRITE, AT(7), AT(1), true, 1);
        page_map_lose(&map);
        CHECK(page_map_next_lost(&map, 0, &begin, &end) && begin == AT(2) && end == AT(5));
        CHECK(page_map_next_lost(&map, end, &begin, &end) && begin == AT(7) && end == AT(8));
        CHECK(!page_map_next_lost(&map, end, &begin, &end));
        CHECK(page_map_needs_lost(&map, &part) && !page_map_needs_lost(&map, &whole));
        carry_out(&map, PAGE_WRITE, AT(2), AT(1), false, 2); /* failed: as lost as before */
        CHECK(holder_of(&map, 2) == PAGE_LOST);
        carry_out(&map, PAGE_WRITE, AT(2), AT(1), true, 2);
        carry_out(&map, PAGE_TRIM, AT(3), 10, true, 2); /* a part */
        carry_out(&map, PAGE_TRIM, AT(4), AT(1), true, 2);
        CHECK(holder_of(&map, 2) == 2 && holder_of(&map, 3) == PAGE_LOST && holder_of(&map, 4) == PAGE_NOBODY);
        CHECK(map.n_held[PAGE_LOST] == 2);
        page_map_deinit(&map);
}

static void a_primary_with_an_older_token_is_never_gone_back_to(void) {
        struct sight sights[] = {
                { .answered = true, .there = true, .role = SPACE_PRIMARY, .token = 5 },
                { .answered = false },
        };
        struct grant grant = { .granted = 6, .tried = 7 };
        size_t server;

        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_WAIT);
        sights[1] = (struct sight) { .answered = true };
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_LOST);
        sights[1] = (struct sight) { .answered = true, .there = true, .role = SPACE_MIRROR, .token = 6, .whole = true };
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_PROMOTE && server == 1);
        sights[1].role = SPACE_PRIMARY;
        sights[1].token = 7; /* the answer to that promotion had not come */
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_GRANT && server == 1);
        sights[1].token = 8;
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_FENCED);
}

/*
 * A pager's table and its choices among servers that die, stall, wake and begin anew, against a checker that knows what
 * was acknowledged. The servers here keep what theirs promise: a save is acknowledged once the mirror has it, or once
 * the mirror has been given up; a mirror that may lack a save refuses to be promoted, and one that was promoted refuses
 * what its old primary sends, which then serves nobody any more. A promotion may be carried out long after whoever
 * asked for it has stopped waiting. The pager itself may run out of patience, and then leaves spaces behind. It moves
 * its space to servers that have more room, and at times it is killed, and one that begins anew asks who has the pages.
 */
#define PAGES 6
#define SERVERS 3
#define STEPS 3000
#define SEEDS 200

struct server {
        bool stalled, there, whole, says_whole, replaced;
        enum space_role role;
        uint64_t token;
        uint64_t session;      /* of the filling that made this a mirror */
        size_t copy;           /* where its mirror is, of the session */
        uint64_t copy_session; /* 0: none */
        uint64_t promotion;    /* token of one to be carried out when it wakes; 0: none */
        uint64_t page[PAGES];  /* version; 0: zeroes */
};

struct world {
        uint64_t random, version, session;
        struct server servers[SERVERS];
        size_t primary; /* SERVERS: none */
        bool connected, spared; /* it stalled when the connection was lost */
        struct grant grant;
        uint64_t told;        /* what a pager that begins anew reads: the token under which saves could go */
        uint64_t moved_token; /* of the grant that the last move ended with */
        uint64_t saved_under; /* the checker's: token of the last save, or of the space */
        struct page_map map;
        uint64_t acknowledged[PAGES], maybe[PAGES]; /* what was tried since, or the same; UINT64_MAX: several */
        bool lost[PAGES];
        unsigned n_lost, n_takeovers, n_given_up, n_moves, n_restarts;
};

static struct server *primary_of(struct world *w) {
        return &w->servers[w->primary];
}

/* The mirror that a primary still has; NULL: none. It may have been promoted. */
static struct server *mirror_of(struct world *w, const struct server *primary) {
        struct server *mirror = &w->servers[primary->copy];

        return primary->copy_session != 0 && mirror->session == primary->copy_session ? mirror : NULL;
}

static void open_space(struct world *w) {
        w->primary = SERVERS;
        w->connected = false;
        for (size_t i = 0; i < SERVERS && w->primary == SERVERS; i++)
                if (!w->servers[i].stalled) {
                        w->servers[i] = (struct server) { .there = true, .role = SPACE_PRIMARY,
                                                          .token = ++w->grant.tried };
                        w->grant.opened = w->grant.granted = w->saved_under = w->told = w->grant.tried;
                        w->primary = i;
                        w->connected = true;
                }
}

/* Some other server gets the whole of the primary. */
static void give_mirror(struct world *w) {
        size_t i = random_below(&w->random, SERVERS);
        struct server *server = &w->servers[i], *primary = primary_of(w);

        if (!w->connected || i == w->primary || server->stalled || primary->stalled || primary->replaced ||
            !primary->there || (mirror_of(w, primary) && mirror_of(w, primary)->whole))
                return;
        *server = *primary;
        server->role = SPACE_MIRROR;
        server->copy_session = server->promotion = 0;
        server->session = primary->copy_session = ++w->session;
        server->whole = server->says_whole = true;
        primary->copy = i;
}

/* What a pager would be right to go on with. */
static bool has_truth(const struct world *w, const struct server *server) {
        if (!server->there || server->replaced)
                return false;
        return server->role == SPACE_PRIMARY ? server->token >= w->saved_under
                                             : server->whole && server->token >= w->grant.opened;
}

/* The checker: pages are given up only when no server that answers has them any more. */
static void lose_space(struct world *w, bool out_of_patience) {
        for (size_t i = 0; i < SERVERS; i++)
                CHECK(!has_truth(w, &w->servers[i]) || (out_of_patience && w->servers[i].stalled));
        page_map_lose(&w->map);
        for (unsigned i = 0; i < PAGES; i++)
                w->lost[i] = w->lost[i] || w->acknowledged[i] != 0 || w->maybe[i] != 0;
        w->n_lost++;
        w->n_given_up += out_of_patience;
        open_space(w);
}

static bool carry_out_promotion(struct server *server, uint64_t token) {
        if (!server->there || server->role != SPACE_MIRROR || !server->whole || token <= server->token)
                return false;
        server->role = SPACE_PRIMARY;
        server->token = token;
        return true;
}

/* -ESTALE: refused. -ENOTCONN: no answer, whether it was done, is not, or will be. */
static int take_over(struct world *w, enum recovery choice, size_t server) {
        struct server *s = &w->servers[server];
        uint64_t token = ++w->grant.tried;

        if (choice == RECOVERY_PROMOTE && random_below(&w->random, 8) == 0) {
                s->stalled = true;
                s->promotion = token;
                return -ENOTCONN;
        }
        if (choice == RECOVERY_PROMOTE && !carry_out_promotion(s, token))
                return -ESTALE;
        s->token = token;
        if (random_below(&w->random, 4) == 0) {
                s->stalled = random_below(&w->random, 2) == 0;
                return -ENOTCONN;
        }
        if (server != w->primary) {
                page_map_move(&w->map, (unsigned) w->primary + 1, (unsigned) server + 1);
                w->n_takeovers++;
        }
        w->primary = server;
        w->told = token;
        w->connected = true;
        w->spared = false;
        return 0;
}

static struct sight look(const struct server *s) {
        return (struct sight) { .answered = !s->stalled, .there = !s->stalled && s->there && !s->replaced,
                                .role = s->role, .token = s->token, .whole = s->says_whole };
}

static void recover(struct world *w) {
        struct sight sights[SERVERS];
        enum recovery choice;
        bool unanswered = false;
        size_t server;

        if (w->primary == SERVERS)
                return open_space(w);
        for (size_t i = 0; i < SERVERS; i++)
                sights[i] = i == w->primary && w->spared ? (struct sight) { .spared = true } : look(&w->servers[i]);
        while ((choice = recovery_choose(sights, SERVERS, &w->grant, &server)) < RECOVERY_WAIT) {
                int r = choice == RECOVERY_ASK ? 0 : take_over(w, choice, server);

                unanswered = unanswered || r == -ENOTCONN;
                if (w->connected)
                        return;
                if (choice == RECOVERY_ASK)
                        sights[server] = look(&w->servers[server]);
                else
                        recovery_note_refusal(&sights[server], choice, r);
        }
        CHECK(choice != RECOVERY_FENCED);
        if (choice == RECOVERY_LOST || (choice == RECOVERY_WAIT && !unanswered && random_below(&w->random, 2000) == 0))
                lose_space(w, choice == RECOVERY_WAIT);
}

/* A save at the primary, and at its mirror unless that is given up. False: no answer, it may have been done or not. */
static bool save_at_servers(struct world *w, unsigned page, uint64_t version) {
        struct server *primary = primary_of(w), *mirror = mirror_of(w, primary);

        w->spared = primary->stalled;
        if (!primary->there || primary->replaced || primary->stalled)
                return false;
        primary->page[page] = version;
        if (random_below(&w->random, 20) == 0)
                return false; /* dies, or is cut off, before the mirror has it */
        if (mirror && mirror->stalled) {
                mirror->whole = mirror->whole && mirror->role == SPACE_PRIMARY;
        } else if (mirror && mirror->role == SPACE_PRIMARY) {
                primary->replaced = true;
                return false;
        } else if (mirror) {
                mirror->page[page] = version;
        }
        if (random_below(&w->random, 20) == 0)
                return false;
        w->grant.granted = w->saved_under = primary->token;
        recovery_note_moved(&w->grant, w->moved_token);
        return true;
}

static void write_page(struct world *w, unsigned page, bool trim) {
        struct page_request request = make(trim ? PAGE_TRIM : PAGE_WRITE, AT(page), AT(1));
        uint64_t version = trim ? 0 : ++w->version;

        REQUIRE(page_map_begin(&w->map, &request) == PAGE_GO);
        w->maybe[page] = w->maybe[page] != w->acknowledged[page] ? UINT64_MAX : version;
        for (int tries = 0; tries < 50; tries++) {
                if (!w->connected)
                        recover(w);
                if (w->connected && save_at_servers(w, page, version)) {
                        page_map_end(&w->map, &request, true, (unsigned) w->primary + 1);
                        w->acknowledged[page] = w->maybe[page] = version;
                        w->lost[page] = false;
                        return;
                }
                w->connected = false;
        }
        page_map_end(&w->map, &request, false, w->primary < SERVERS ? (unsigned) w->primary + 1 : PAGE_NOBODY);
}

/* Two truths would show here. */
static void read_page(struct world *w, unsigned page) {
        unsigned holder = holder_of(&w->map, page);
        uint64_t found = 0;

        if (holder == PAGE_LOST) {
                CHECK(w->lost[page]);
                return;
        }
        if (holder != PAGE_NOBODY) {
                if (!w->connected)
                        recover(w);
                holder = holder_of(&w->map, page); /* it may have gone elsewhere, or be lost */
                if (!w->connected || holder == PAGE_LOST || !primary_of(w)->there || primary_of(w)->stalled ||
                    primary_of(w)->replaced)
                        return;
                CHECK(holder == w->primary + 1);
                found = primary_of(w)->page[page];
        }
        CHECK(w->maybe[page] == UINT64_MAX || found == w->acknowledged[page] || found == w->maybe[page]);
}

/* The space moves: another server has all of it, by itself or beside the mirror, and is made the primary. */
static void move_space(struct world *w) {
        size_t i = random_below(&w->random, SERVERS), before = w->primary;
        struct server *to = &w->servers[i], *from = primary_of(w);

        if (!w->connected || i == before || to->stalled || from->stalled || from->replaced || !from->there ||
            (from->copy_session != 0 && from->copy == i))
                return;
        *to = *from;
        to->role = SPACE_MIRROR;
        to->copy_session = to->promotion = 0;
        to->session = ++w->session;
        to->whole = to->says_whole = true;
        w->connected = false;
        if (take_over(w, RECOVERY_PROMOTE, i) < 0)
                recover(w);
        if (w->connected && w->primary == i) {
                w->n_moves++;
                w->moved_token = w->grant.tried;
                if (!w->servers[before].stalled)
                        w->servers[before] = (struct server) { 0 };
        } else if (w->connected && !to->stalled && to->role == SPACE_MIRROR) {
                *to = (struct server) { 0 }; /* what it had got is dropped */
        }
}

/* The pager is killed. The next one goes on with what it finds, if that is sure to be the latest; tokens begin with the
 * time, above all that were asked for before. */
static void restart(struct world *w) {
        struct sight sights[SERVERS];
        bool mirrored[SERVERS];
        size_t server;

        for (size_t i = 0; i < SERVERS; i++) {
                struct server *mirror = mirror_of(w, &w->servers[i]);

                sights[i] = look(&w->servers[i]);
                mirrored[i] = mirror && mirror->whole && !mirror->stalled && mirror->role == SPACE_MIRROR;
        }
        if (recovery_adopt(sights, mirrored, SERVERS, w->told, &server) != ADOPT_THIS)
                return;
        w->n_restarts++;
        w->primary = server;
        w->connected = w->spared = false;
        w->grant.opened = w->grant.granted = w->servers[server].token;
        w->grant.tried += 1000;
        w->moved_token = 0;
        page_map_deinit(&w->map);
        REQUIRE(page_map_init(&w->map, AT(PAGES)) == 0);
        for (unsigned page = 0; page < PAGES; page++) {
                if (w->servers[server].page[page] != 0)
                        page_map_note(&w->map, AT(page), AT(1), (unsigned) server + 1);
                if (w->lost[page]) /* that it was, nobody remembers */
                        w->maybe[page] = UINT64_MAX;
                w->lost[page] = false;
        }
        (void) take_over(w, RECOVERY_GRANT, server);
}

static void misfortune(struct world *w) {
        size_t i = random_below(&w->random, SERVERS);
        struct server *server = &w->servers[i];

        switch (random_below(&w->random, 4)) {
        case 0: /* killed, and begun anew, empty */
                *server = (struct server) { 0 };
                if (i == w->primary)
                        w->connected = false;
                break;
        case 1:
                server->stalled = true;
                break;
        default:
                server->stalled = false;
                if (server->promotion != 0)
                        (void) carry_out_promotion(server, server->promotion);
                server->promotion = 0;
                break;
        }
}

static void run_world(uint64_t seed, struct world *sum) {
        struct world w = { .random = seed };

        REQUIRE(page_map_init(&w.map, AT(PAGES)) == 0);
        open_space(&w);
        for (int step = 0; step < STEPS; step++) {
                unsigned page = random_below(&w.random, PAGES), what = random_below(&w.random, 20);

                if (what < 8)
                        write_page(&w, page, what == 0);
                else if (what < 16)
                        read_page(&w, page);
                else if (what < 18)
                        give_mirror(&w);
                else if (what < 19)
                        random_below(&w.random, 2) == 0 ? move_space(&w) : restart(&w);
                else
                        misfortune(&w);
        }
        sum->n_lost += w.n_lost;
        sum->n_given_up += w.n_given_up;
        sum->n_takeovers += w.n_takeovers;
        sum->n_moves += w.n_moves;
        sum->n_restarts += w.n_restarts;
        page_map_deinit(&w.map);
}

static void a_primary_that_was_spared_is_asked_before_anything_is_given_up(void) {
        struct sight sights[] = {
                { .spared = true },
                { .answered = true, .there = true, .role = SPACE_MIRROR, .token = 6, .whole = true },
        };
        struct grant grant = { .opened = 5, .granted = 6, .tried = 6 };
        size_t server;

        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_PROMOTE && server == 1);
        recovery_note_refusal(&sights[1], RECOVERY_PROMOTE, -ESTALE);
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_ASK && server == 0);
        sights[0] = (struct sight) { .answered = true, .there = true, .role = SPACE_PRIMARY, .token = 6 };
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_GRANT && server == 0);
        recovery_note_refusal(&sights[0], RECOVERY_GRANT, -ENOTCONN);
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_WAIT);
}

static void only_a_mirror_that_says_so_may_lack_pages(void) {
        static const int failures[] = { -ENOTCONN, -ETIMEDOUT, -ENOMEM, -EPERM, -ENOENT };
        struct grant grant = { .opened = 5, .granted = 6, .tried = 7 };
        size_t server;

        for (size_t i = 0; i < ELEMENTSOF(failures); i++) {
                struct sight sights[] = {
                        { .answered = true },
                        { .answered = true, .there = true, .role = SPACE_MIRROR, .token = 6, .whole = true },
                };
                recovery_note_refusal(&sights[1], RECOVERY_PROMOTE, failures[i]);
                CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_WAIT);
        }
}

static void a_mirror_of_a_space_that_was_given_up_is_never_promoted(void) {
        struct sight sights[] = {
                { .answered = true },
                { .answered = true, .there = true, .role = SPACE_MIRROR, .token = 6, .whole = true },
        };
        struct grant grant = { .opened = 7, .granted = 7, .tried = 7 };
        size_t server;

        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_LOST);
        sights[1].token = 7;
        CHECK(recovery_choose(sights, 2, &grant, &server) == RECOVERY_PROMOTE && server == 1);
}

static void only_what_is_sure_to_be_the_latest_is_found_again(void) {
        struct sight sights[] = {
                { .answered = true, .there = true, .role = SPACE_PRIMARY, .token = 5 },
                { .answered = true, .there = true, .role = SPACE_MIRROR, .token = 5, .whole = true },
                { .answered = false },
        };
        bool mirrored[] = { true, false, false };
        size_t server = 9;

        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_THIS && server == 0);
        mirrored[0] = false; /* that could have been promoted, and lost to the one that does not answer */
        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_UNSURE);
        sights[2].answered = true;
        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_THIS && server == 0);
        sights[2] = (struct sight) { .answered = true, .there = true, .role = SPACE_PRIMARY, .token = 6 };
        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_THIS && server == 2);
        CHECK(recovery_adopt(sights, mirrored, 3, 6, &server) == ADOPT_THIS);
        CHECK(recovery_adopt(sights, mirrored, 3, 7, &server) == ADOPT_UNSURE); /* there was a later one */
        sights[2].role = SPACE_MIRROR; /* whose primary has gone */
        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_UNSURE);
        sights[0] = sights[2] = (struct sight) { .answered = true };
        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_UNSURE); /* a mirror alone */
        sights[1] = (struct sight) { .answered = true };
        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_NOTHING);
        CHECK(recovery_adopt(sights, mirrored, 3, 7, &server) == ADOPT_NOTHING);
        sights[1].answered = false; /* which may have what was served under 7 */
        CHECK(recovery_adopt(sights, mirrored, 3, 7, &server) == ADOPT_UNSURE);
        CHECK(recovery_adopt(sights, mirrored, 3, 0, &server) == ADOPT_NOTHING);
}

static void no_acknowledged_page_is_lost_while_a_holder_lives(void) {
        const char *only = getenv("TEST_SEED");
        uint64_t first = only ? strtoull(only, NULL, 10) : 1, n = only ? 1 : SEEDS;
        struct world sum = { 0 };

        for (uint64_t seed = first; seed < first + n; seed++) {
                unsigned failed = CU_get_number_of_failures();
                run_world(seed, &sum);
                if (CU_get_number_of_failures() > failed) {
                        printf("seed %" PRIu64 " ", seed);
                        break;
                }
        }
        printf("%u takeovers, %u losses, %u out of patience, %u moves, %u restarts ", sum.n_takeovers, sum.n_lost,
               sum.n_given_up, sum.n_moves, sum.n_restarts);
        CHECK(only || (sum.n_takeovers > n && sum.n_lost > sum.n_given_up + n && sum.n_given_up > n &&
                       sum.n_moves > n && sum.n_restarts > n));
}

static void every_enum_table_round_trips(void) {
        for (int i = 0; i < PAGER_STATE_MAX; i++)
                CHECK((int) pager_state_from_string(pager_state_to_string((enum pager_state) i)) == i);
        for (int i = 0; i < PAGER_EVENT_MAX; i++)
                CHECK((int) pager_event_from_string(pager_event_to_string((enum pager_event) i)) == i);
        CHECK(pager_state_from_string("") == PAGER_STATE_INVALID && pager_event_from_string("") == PAGER_EVENT_INVALID);
}

static const char *message_id(int event) {
        return pager_event_message_id((enum pager_event) event);
}

static void every_message_id_has_its_catalog_entry(void) {
        check_catalog("failover-pager", message_id, PAGER_EVENT_MAX);
}

TEST_MAIN("pager", TEST(every_enum_table_round_trips), TEST(every_message_id_has_its_catalog_entry),
          TEST(a_page_is_where_it_was_saved_until_it_is_trimmed_as_a_whole),
          TEST(a_save_that_failed_leaves_a_page_that_only_its_holder_knows),
          TEST(a_read_joins_the_fetch_of_its_bytes_and_all_else_waits),
          TEST(exactly_what_was_held_is_lost_until_it_is_written_as_a_whole),
          TEST(a_primary_with_an_older_token_is_never_gone_back_to),
          TEST(a_primary_that_was_spared_is_asked_before_anything_is_given_up),
          TEST(only_a_mirror_that_says_so_may_lack_pages),
          TEST(a_mirror_of_a_space_that_was_given_up_is_never_promoted),
          TEST(only_what_is_sure_to_be_the_latest_is_found_again),
          TEST(no_acknowledged_page_is_lost_while_a_holder_lives))
