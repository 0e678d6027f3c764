/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/pages/arbitrator.h"
#include "daemon/pages/discovery-guard.h"
#include "daemon/pages/discovery-socket.h"
#include "tests/random.h"
#include "tests/unit/test.h"

#define NOW (UINT64_C(1800000000) * USEC_PER_SEC)

static struct discovery_message make_ask(uint64_t number) {
        struct discovery_message m = { .kind = DISCOVERY_ASK, .time_usec = NOW, .held_pages = 7, .holder = 11,
                                       .name = { "n1", "vm1", "swap" }, .n_entries = 2, .to = { 9 }, .to_port = 4711 };

        memcpy(m.nonce, &number, sizeof(number));
        m.entries[0].identity = 11;
        m.entries[1].identity = 13;
        return m;
}

static struct discovery_message make_announcement(uint64_t identity, uint64_t total, uint64_t free_pages) {
        return (struct discovery_message) {
                .kind = DISCOVERY_ANNOUNCE, .time_usec = NOW, .n_entries = 1, .to = { 9 }, .to_port = 4711,
                .entries = { { .identity = identity, .total_pages = total, .free_pages = free_pages,
                               .willing = true } },
        };
}

static struct discovery_key make_key(unsigned char byte) {
        struct discovery_key key = { .n = 32 };

        memset(key.bytes, byte, key.n);
        return key;
}

static void every_enum_table_round_trips(void) {
        for (int i = 0; i < GUARD_REFUSAL_MAX; i++)
                CHECK((int) guard_refusal_from_string(guard_refusal_to_string((enum guard_refusal) i)) == i);
        CHECK(guard_refusal_from_string("") == GUARD_REFUSAL_INVALID);
}

static void what_is_encoded_decodes_to_the_same(void) {
        struct discovery_message ask = make_ask(5), announcement = make_announcement(3, 100, 50), again;
        struct discovery_message answer = { .kind = DISCOVERY_ANSWER, .time_usec = 1, .n_entries =
                                            DISCOVERY_ENTRIES_MAX, .pick = 16 };
        struct discovery_message *all[] = { &ask, &announcement, &answer };
        unsigned char bytes[DISCOVERY_BYTES_MAX];

        for (unsigned i = 0; i < DISCOVERY_ENTRIES_MAX; i++)
                answer.entries[i] = (struct discovery_entry) { i + 1, UINT64_C(1) << 44, i, UINT32_MAX - i, i % 2 };
        for (int i = 0; i < 3; i++) {
                size_t n = discovery_encode(all[i], bytes);

                memset(&again, 0, sizeof(again));
                CHECK(n <= DISCOVERY_BYTES_MAX - 32 && discovery_decode(bytes, n, &again) == 0);
                CHECK(memcmp(again.nonce, all[i]->nonce, DISCOVERY_NONCE_LEN) == 0 && again.pick == all[i]->pick &&
                      again.time_usec == all[i]->time_usec && again.n_entries == all[i]->n_entries &&
                      again.held_pages == all[i]->held_pages && again.holder == all[i]->holder &&
                      space_name_equal(&again.name, &all[i]->name) && again.to_port == all[i]->to_port &&
                      memcmp(again.to, all[i]->to, DISCOVERY_HOST_LEN) == 0);
                for (unsigned e = 0; e < again.n_entries; e++)
                        CHECK(again.entries[e].identity == all[i]->entries[e].identity &&
                              again.entries[e].total_pages == all[i]->entries[e].total_pages &&
                              again.entries[e].free_pages == all[i]->entries[e].free_pages &&
                              again.entries[e].age_msec == all[i]->entries[e].age_msec &&
                              again.entries[e].willing == all[i]->entries[e].willing);
                for (size_t less = 1; less <= n; less++) /* nor is any part of it a message */
                        CHECK(discovery_decode(bytes, n - less, &again) < 0);
        }
        CHECK(discovery_encode(&answer, bytes) < DISCOVERY_BYTES_MAX);
}

static void another_key_or_one_bit_and_it_is_a_strangers(void) {
        struct discovery_key key = make_key(1), other = make_key(2);
        struct discovery_message ask = make_ask(5), again;
        unsigned char bytes[DISCOVERY_BYTES_MAX];
        int n = discovery_seal(&key, &ask, bytes);

        REQUIRE(n > 0);
        CHECK(discovery_open(&key, bytes, (size_t) n, &again) == 0);
        CHECK(discovery_open(&other, bytes, (size_t) n, &again) == -EACCES);
        for (int i = 0; i < n * 8; i++) {
                bytes[i / 8] ^= (unsigned char) (1 << i % 8);
                CHECK(discovery_open(&key, bytes, (size_t) n, &again) == -EACCES);
                bytes[i / 8] ^= (unsigned char) (1 << i % 8);
        }
        CHECK(discovery_open(&key, bytes, (size_t) n - 1, &again) == -EACCES);
        CHECK(discovery_open(&key, bytes, 63, &again) == -EBADMSG);
        CHECK(discovery_open(&key, bytes, 0, &again) == -EBADMSG);
        bytes[4] = 1;
        CHECK(discovery_decode(bytes, (size_t) n - 32, &again) == -EPROTONOSUPPORT);
}

static void only_an_answer_is_for_nobody_by_name(void) {
        struct discovery_message ask = make_ask(5), answer = { .kind = DISCOVERY_ANSWER, .time_usec = NOW }, again;
        unsigned char bytes[DISCOVERY_BYTES_MAX];

        CHECK(discovery_decode(bytes, discovery_encode(&answer, bytes), &again) == 0);
        answer.to_port = 1;
        CHECK(discovery_decode(bytes, discovery_encode(&answer, bytes), &again) == -EBADMSG);
        ask.to_port = 0;
        CHECK(discovery_decode(bytes, discovery_encode(&ask, bytes), &again) == -EBADMSG);
        ask = make_ask(5);
        ask.to[0] = 0;
        CHECK(discovery_decode(bytes, discovery_encode(&ask, bytes), &again) == -EBADMSG);
}

static const unsigned char here[16] = { 1 }, there[16] = { 2 };

static void nothing_is_listened_to_twice_or_at_another_time(void) {
        struct guard *guard = calloc(1, sizeof(*guard));
        struct discovery_message m = make_ask(1);

        REQUIRE(guard != NULL);
        CHECK(guard_admit(guard, here, &m, NOW, 1) == 0);
        CHECK(guard_admit(guard, here, &m, NOW, 2) == GUARD_REPLAYED + 1);
        CHECK(guard_admit(guard, there, &m, NOW, 2) == GUARD_REPLAYED + 1);
        m = make_ask(2);
        CHECK(guard_admit(guard, here, &m, NOW + GUARD_WINDOW_USEC + 1, 3) == GUARD_STALE + 1);
        CHECK(guard_admit(guard, here, &m, NOW - GUARD_WINDOW_USEC - 1, 3) == GUARD_STALE + 1);
        CHECK(guard_admit(guard, here, &m, NOW - GUARD_WINDOW_USEC, 3) == 0);
        m = make_ask(3);
        m.kind = DISCOVERY_ANSWER; /* several servers answer one question */
        CHECK(guard_admit(guard, here, &m, NOW, 4) == 0 && guard_admit(guard, there, &m, NOW, 4) == 0);
        free(guard);
}

/* Somebody who has seen an answer sends it again and again, from the server's address. */
static void copies_of_an_answer_make_no_flood_of_the_true_ones(void) {
        struct guard *asker = calloc(1, sizeof(*asker)), *listener = calloc(1, sizeof(*listener));
        struct discovery_message ask = make_ask(1), answer = { .kind = DISCOVERY_ANSWER, .time_usec = NOW,
                                                               .n_entries = 1, .entries = { { .identity = 7 } } };

        REQUIRE(asker != NULL && listener != NULL);
        memcpy(answer.nonce, ask.nonce, sizeof(answer.nonce));
        CHECK(!guard_awaits(asker, &answer) && guard_awaits(asker, &ask)); /* nothing was asked */
        guard_note_asked(asker, &ask);
        CHECK(guard_awaits(asker, &answer) && guard_admit(asker, here, &answer, NOW, 1) == 0);
        for (int i = 0; i < 2 * GUARD_BURST; i++) {
                CHECK(!guard_awaits(asker, &answer));
                CHECK(!guard_awaits(listener, &answer));
        }
        answer.entries[0].identity = 8; /* another server's of that host */
        CHECK(guard_awaits(asker, &answer) && guard_admit(asker, here, &answer, NOW, 2) == 0);
        ask = make_ask(2);
        guard_note_asked(asker, &ask);
        CHECK(!guard_awaits(asker, &answer)); /* it is the old question's */
        memcpy(answer.nonce, ask.nonce, sizeof(answer.nonce));
        CHECK(guard_awaits(asker, &answer) && guard_admit(asker, here, &answer, NOW, 3) == 0);
        for (unsigned i = 1; i < GUARD_ANSWERS; i++) {
                answer.entries[0].identity = 100 + i;
                CHECK(guard_awaits(asker, &answer));
        }
        answer.entries[0].identity = 99;
        CHECK(!guard_awaits(asker, &answer));
        ask = make_ask(3);
        CHECK(guard_awaits(listener, &ask) && guard_admit(listener, here, &ask, NOW, 4) == 0);
        free(asker);
        free(listener);
}

/* More than there is room for: what is forgotten cannot come again either. */
static void what_is_forgotten_is_refused_as_well(void) {
        struct guard *guard = calloc(1, sizeof(*guard));
        unsigned char sender[16] = { 0 };
        const uint64_t n = GUARD_NONCES + 100;

        REQUIRE(guard != NULL);
        for (uint64_t i = 0; i < n; i++) {
                struct discovery_message m = make_ask(i + 1);

                m.time_usec = NOW + i;
                sender[0] = (unsigned char) (i % 100); /* each says little */
                CHECK(guard_admit(guard, sender, &m, NOW + i, i * 1000 + 1) == 0);
        }
        for (uint64_t i = 0; i < n; i++) {
                struct discovery_message m = make_ask(i + 1);
                unsigned r;

                m.time_usec = NOW + i;
                r = guard_admit(guard, there, &m, NOW + n, n * 1000);
                CHECK(r == GUARD_REPLAYED + 1 || r == GUARD_STALE + 1);
        }
        free(guard);
}

static void who_says_too_much_is_not_listened_to_and_all_others_are(void) {
        struct guard *guard = calloc(1, sizeof(*guard));
        unsigned n_heard = 0;

        REQUIRE(guard != NULL);
        for (uint64_t i = 0; i < 10000; i++) { /* in one second */
                struct discovery_message m = make_ask(i + 1);

                n_heard += guard_admit(guard, here, &m, NOW, 1000000 + i * 100) == 0;
                if (i % 500 == 0) {
                        m = make_ask(1000000 + i);
                        CHECK(guard_admit(guard, there, &m, NOW, 1000000 + i * 100) == 0);
                }
        }
        CHECK(n_heard >= GUARD_BURST && n_heard <= GUARD_BURST + GUARD_RATE + 1);
        free(guard);
}

static void a_refusal_is_told_once_an_hour(void) {
        struct guard *guard = calloc(1, sizeof(*guard));
        unsigned n_told = 0;

        REQUIRE(guard != NULL);
        for (usec_t second = 0; second < 2 * 3600; second++)
                n_told += guard_refused(guard, GUARD_STRANGER, second * USEC_PER_SEC);
        CHECK(n_told == 2 && guard->n_refused[GUARD_STRANGER] == 7200);
        CHECK(guard_refused(guard, GUARD_FLOOD, 1));
        free(guard);
}

static void a_key_is_its_owners_alone(void) {
        char path[] = "/tmp/discovery-key-XXXXXX";
        struct error error = ERROR_INIT;
        struct discovery_key key;
        int fd = mkstemp(path);

        REQUIRE(fd >= 0 && write(fd, "0123456789abcde", 15) == 15);
        CHECK(discovery_key_load(path, &key, &error) == -EINVAL);
        REQUIRE(write(fd, "f", 1) == 1);
        CHECK(discovery_key_load(path, &key, &error) == 0 && key.n == 16 && memcmp(key.bytes, "01234", 5) == 0);
        REQUIRE(fchmod(fd, 0640) == 0);
        CHECK(discovery_key_load(path, &key, &error) == -EPERM && strstr(error_text(&error), "chmod 600"));
        REQUIRE(fchmod(fd, 0600) == 0 && ftruncate(fd, DISCOVERY_KEY_MAX + 1) == 0);
        CHECK(discovery_key_load(path, &key, &error) == -EINVAL);
        (void) unlink(path);
        (void) close(fd);
        CHECK(discovery_key_load(path, &key, &error) == -ENOENT && discovery_key_load("/", &key, &error) < 0);
        error_deinit(&error);
}

static void addresses_are_numbers_and_a_port(void) {
        static const char *const wrong[] = { "", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "host:1",
                                             "[::1:1", "::1:1", "1.2.3.4:1x", "1.2.3.4: 1", "[::1]", "[]:1" };
        struct error error = ERROR_INIT;
        struct discovery_address address;

        CHECK(discovery_address_parse("192.0.2.255:10810", &address, &error) == 0 &&
              address.storage.ss_family == AF_INET);
        CHECK(discovery_address_parse("[2001:db8::1]:10810", &address, &error) == 0 &&
              address.storage.ss_family == AF_INET6);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                CHECK(discovery_address_parse(wrong[i], &address, &error) == -EINVAL);
        error_deinit(&error);
}

static void the_arbitrator_sends_many_clients_to_several_servers(void) {
        struct arbitrator *arbitrator = calloc(1, sizeof(*arbitrator));
        struct discovery_message ask = make_ask(1), answer, a = make_announcement(11, 100000, 90000),
                                 b = make_announcement(13, 100000, 90000), c = make_announcement(17, 100000, 100000);
        unsigned n[3] = { 0 };

        REQUIRE(arbitrator != NULL);
        CHECK(arbitrator_hear(arbitrator, &a, 1) == 0 && arbitrator_hear(arbitrator, &b, 1) == 0 &&
              arbitrator_hear(arbitrator, &c, 1) == 0);
        for (int i = 0; i < 10; i++) {
                arbitrator_answer(arbitrator, &ask, 2, &answer);
                REQUIRE(answer.n_entries == 3 && answer.pick >= 1 && answer.pick <= 2); /* it cannot reach the third */
                n[answer.pick]++;
        }
        CHECK(n[1] == 5 && n[2] == 5);
        b.entries[0].willing = false;
        CHECK(arbitrator_hear(arbitrator, &a, 3) == 0 && arbitrator_hear(arbitrator, &b, 3) == 0);
        arbitrator_answer(arbitrator, &ask, 4, &answer);
        CHECK(answer.pick == 1 && memcmp(answer.nonce, ask.nonce, DISCOVERY_NONCE_LEN) == 0);
        ask.n_entries = 0;
        arbitrator_answer(arbitrator, &ask, 4, &answer);
        CHECK(answer.n_entries == 3 && answer.pick == 0);
        arbitrator_answer(arbitrator, &ask, 3 + ARBITRATOR_SILENT_USEC, &answer);
        CHECK(answer.n_entries == 0 && answer.pick == 0);
        free(arbitrator);
}

static void an_arbitrator_knows_no_more_than_it_has_room_for(void) {
        struct arbitrator *arbitrator = calloc(1, sizeof(*arbitrator));
        struct discovery_message answer, ask = make_ask(1), m;

        REQUIRE(arbitrator != NULL);
        for (uint64_t i = 1; i <= DISCOVERY_ENTRIES_MAX; i++) {
                m = make_announcement(i, 10, 10);
                CHECK(arbitrator_hear(arbitrator, &m, i) == 0);
        }
        m = make_announcement(99, 10, 10);
        CHECK(arbitrator_hear(arbitrator, &m, 20) == -EMFILE);
        CHECK(arbitrator_hear(arbitrator, &m, 1 + ARBITRATOR_SILENT_USEC) == 0); /* in place of the first */
        for (unsigned i = 0; i < 2 * ARBITRATOR_CLIENTS_MAX; i++) {
                snprintf(ask.name.owner, NAME_LEN, "vm%u", i);
                arbitrator_answer(arbitrator, &ask, 100 + i, &answer);
        }
        CHECK(answer.n_entries == DISCOVERY_ENTRIES_MAX);
        free(arbitrator);
}

TEST_MAIN("discovery", TEST(every_enum_table_round_trips), TEST(what_is_encoded_decodes_to_the_same),
          TEST(another_key_or_one_bit_and_it_is_a_strangers), TEST(only_an_answer_is_for_nobody_by_name),
          TEST(nothing_is_listened_to_twice_or_at_another_time),
          TEST(what_is_forgotten_is_refused_as_well), TEST(who_says_too_much_is_not_listened_to_and_all_others_are),
          TEST(copies_of_an_answer_make_no_flood_of_the_true_ones),
          TEST(a_refusal_is_told_once_an_hour), TEST(a_key_is_its_owners_alone), TEST(addresses_are_numbers_and_a_port),
          TEST(the_arbitrator_sends_many_clients_to_several_servers),
          TEST(an_arbitrator_knows_no_more_than_it_has_room_for))
