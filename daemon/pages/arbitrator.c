/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/arbitrator.h"

#include <errno.h>
#include <string.h>

static bool is_silent(const struct arbitrator_server *server, usec_t now_usec) {
        return now_usec >= server->heard_usec + ARBITRATOR_SILENT_USEC;
}

/* The server of that identity, or a place for it. */
static struct arbitrator_server *find_server(struct arbitrator *arbitrator, uint64_t identity, usec_t now_usec) {
        for (size_t i = 0; i < arbitrator->n_servers; i++)
                if (arbitrator->servers[i].entry.identity == identity)
                        return &arbitrator->servers[i];
        for (size_t i = 0; i < arbitrator->n_servers; i++)
                if (is_silent(&arbitrator->servers[i], now_usec))
                        return &arbitrator->servers[i];
        return arbitrator->n_servers < DISCOVERY_ENTRIES_MAX ? &arbitrator->servers[arbitrator->n_servers++] : NULL;
}

int arbitrator_hear(struct arbitrator *arbitrator, const struct discovery_message *announcement, usec_t now_usec) {
        struct arbitrator_server *server = find_server(arbitrator, announcement->entries[0].identity, now_usec);

        if (!server)
                return -EMFILE;
        *server = (struct arbitrator_server) { .entry = announcement->entries[0], .heard_usec = now_usec };
        return 0;
}

static struct arbitrator_client *find_client(struct arbitrator *arbitrator, const struct space_name *name) {
        struct arbitrator_client *oldest = &arbitrator->clients[0];

        for (size_t i = 0; i < ARBITRATOR_CLIENTS_MAX; i++) {
                struct arbitrator_client *client = &arbitrator->clients[i];

                if (client->asked_usec != 0 && space_name_equal(&client->name, name))
                        return client;
                if (client->asked_usec < oldest->asked_usec)
                        oldest = client;
        }
        return oldest;
}

static void remember(struct arbitrator *arbitrator, const struct discovery_message *ask, usec_t now_usec) {
        *find_client(arbitrator, &ask->name) = (struct arbitrator_client) {
                .name = ask->name,
                .held_pages = ask->held_pages,
                .holder = ask->holder,
                .asked_usec = now_usec > 0 ? now_usec : 1,
        };
}

/* All that are alive. */
static void list_servers(const struct arbitrator *arbitrator, usec_t now_usec, struct discovery_message *answer) {
        for (size_t i = 0; i < arbitrator->n_servers; i++) {
                const struct arbitrator_server *server = &arbitrator->servers[i];
                struct discovery_entry *entry = &answer->entries[answer->n_entries];

                if (is_silent(server, now_usec))
                        continue;
                *entry = server->entry;
                entry->age_msec = (uint32_t) ((now_usec - server->heard_usec) / USEC_PER_MSEC);
                answer->n_entries++;
        }
}

/* Whether the client can go there. */
static bool is_reached(const struct discovery_message *ask, uint64_t identity) {
        for (unsigned i = 0; i < ask->n_entries; i++)
                if (ask->entries[i].identity == identity)
                        return true;
        return false;
}

/* Placement has as many holders as a client has servers; an arbitrator has more, so it looks at one after the other. */
static unsigned choose(const struct arbitrator *arbitrator, const struct discovery_message *ask,
                       const struct discovery_message *answer) {
        struct placement two = { .n_answers = 2 };
        unsigned best = 0;

        for (unsigned i = 0; i < answer->n_entries; i++) {
                const struct discovery_entry *entry = &answer->entries[i];
                unsigned chosen;

                if (!is_reached(ask, entry->identity))
                        continue;
                two.answers[1] = (struct placement_answer) { .known = true, .willing = entry->willing,
                                                             .total_pages = entry->total_pages,
                                                             .free_pages = entry->free_pages };
                for (size_t s = 0; s < arbitrator->n_servers; s++)
                        if (arbitrator->servers[s].entry.identity == entry->identity)
                                two.answers[1].saved_pages = arbitrator->servers[s].handed_pages;
                chosen = placement_save(&two, PAGE_NOBODY, 1, best == 0 ? HOLDER_BIT(1) : 0);
                if (chosen != 2)
                        continue;
                two.answers[0] = two.answers[1];
                best = i + 1;
        }
        return best;
}

static void hand_out(struct arbitrator *arbitrator, uint64_t identity) {
        for (size_t i = 0; i < arbitrator->n_servers; i++)
                if (arbitrator->servers[i].entry.identity == identity)
                        arbitrator->servers[i].handed_pages += ARBITRATOR_SHARE_PAGES;
}

void arbitrator_answer(struct arbitrator *arbitrator, const struct discovery_message *ask, usec_t now_usec,
                       struct discovery_message *ret) {
        struct discovery_message answer = { .kind = DISCOVERY_ANSWER };

        remember(arbitrator, ask, now_usec);
        memcpy(answer.nonce, ask->nonce, sizeof(answer.nonce));
        list_servers(arbitrator, now_usec, &answer);
        answer.pick = choose(arbitrator, ask, &answer);
        if (answer.pick > 0)
                hand_out(arbitrator, answer.entries[answer.pick - 1].identity);
        *ret = answer;
}
