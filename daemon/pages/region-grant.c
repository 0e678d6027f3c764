/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/region-grant.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/region-list.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/peer.h"

/* Of a program's fetch, unless it says otherwise. Where there is a mirror, the program is to end soon after its holder
 * was lost. */
#define DEADLINE_MSEC 5000
#define MIRRORED_DEADLINE_MSEC 3000

/* One region, asked for beside the others: a holder that is silent takes no time from them. */
struct asking {
        struct region_take take;
        void (*phase)(struct region_take *take);
        pthread_t thread;
        bool joined;
};

void region_grant_deinit(struct region_grant *grant) {
        for (size_t i = 0; i < grant->n_regions; i++)
                granted_region_deinit(&grant->regions[i]);
        if (grant->list)
                explicit_bzero(grant->list, strlen(grant->list));
        free(grant->list);
        explicit_bzero(grant, sizeof(*grant));
}

static int make_list(struct region_grant *grant) {
        struct region_entry entries[POLICY_REGIONS_MAX] = { 0 };
        struct region_list list = { .entries = entries };
        int r = 0;

        for (size_t i = 0; r == 0 && i < grant->n_regions; i++) {
                const struct granted_region *region = &grant->regions[i];
                struct region_entry *entry = &entries[list.n_entries];

                if (!region->capability[0])
                        continue;
                *entry = (struct region_entry) {
                        .size_bytes = region->policy.size_bytes,
                        .kind = (int) region->policy.kind,
                        .write = true,
                        .write_back_msec = region->policy.write_back_usec / USEC_PER_MSEC,
                        .deadline_msec = region->n_servers > 1 ? MIRRORED_DEADLINE_MSEC : DEADLINE_MSEC,
                        .epochs = region->policy.kind >= REGION_KIND_RESIDENT,
                        .reports = true,
                };
                memcpy(entry->name, region->policy.name, NAME_LEN);
                entry->uri = peer_uri(region->servers[region->at].guests, region->capability);
                r = entry->uri ? 0 : -ENOMEM;
                list.n_entries += r == 0;
        }
        if (r == 0)
                r = region_list_encode(&list, &grant->list);
        for (size_t i = 0; i < list.n_entries; i++) {
                explicit_bzero(entries[i].uri, strlen(entries[i].uri));
                free(entries[i].uri);
        }
        if (r == 0)
                grant->list[strcspn(grant->list, "\n")] = 0;
        return r;
}

/* A token that is too low is what has to be known first; then the first failure, one that can be done without last. */
static void take_answer(struct region_grant *grant, const struct region_take *take) {
        bool first = take->result < 0 &&
                     (grant->result == 0 || (grant->result == -ENOTUNIQ && take->result != -ENOTUNIQ));

        if (take->token_known > grant->token_known)
                grant->token_known = take->token_known;
        if (take->result == -ESTALE || first)
                grant->result = take->result;
        if (first)
                snprintf(grant->text, sizeof(grant->text), "%s", take->text);
        else if (grant->result == 0 && take->text[0])
                region_remark(grant->text, "%s", take->text);
}

static void *do_phase(void *userdata) {
        struct asking *asking = userdata;

        asking->phase(&asking->take);
        return NULL;
}

static struct region_take take_of(const struct region_grant *grant, struct granted_region *region) {
        struct region_take take = { .token = grant->token, .granted = grant->granted, .region = region,
                                    .alone = grant->alone, .deadline_usec = grant->deadline_usec };

        memcpy(take.node, grant->node, NAME_LEN);
        memcpy(take.owner, grant->owner, NAME_LEN);
        return take;
}

/* Of all at once. Whether each of them came about. */
static bool do_phase_of_all(struct asking *askings, size_t n, void (*phase)(struct region_take *take)) {
        bool good = true;

        for (size_t i = 0; i < n; i++) {
                askings[i].phase = phase;
                askings[i].joined = i > 0 && thread_start_joined(do_phase, &askings[i], &askings[i].thread) == 0;
        }
        for (size_t i = 0; i < n; i++)
                if (!askings[i].joined)
                        do_phase(&askings[i]);
        for (size_t i = 0; i < n; i++) {
                if (askings[i].joined)
                        (void) pthread_join(askings[i].thread, NULL);
                good = good && askings[i].take.result == 0;
        }
        return good;
}

void region_grant_tend(struct region_grant *grant) {
        struct asking askings[POLICY_REGIONS_MAX] = { 0 };

        for (size_t i = 0; i < grant->n_regions; i++)
                askings[i].take = take_of(grant, &grant->regions[i]);
        (void) do_phase_of_all(askings, grant->n_regions, region_take_tend);
        for (size_t i = 0; i < grant->n_regions; i++) {
                grant->tended[i].result = askings[i].take.result;
                memcpy(grant->tended[i].text, askings[i].take.text, REGION_TEXT_LEN);
        }
}

void region_grant_ask(struct region_grant *grant) {
        struct asking askings[POLICY_REGIONS_MAX] = { 0 };
        size_t n = 0;

        for (size_t i = 0; i < grant->n_regions; i++)
                if (!grant->regions[i].capability[0])
                        askings[n++].take = take_of(grant, &grant->regions[i]);
        if (do_phase_of_all(askings, n, region_take_look) && do_phase_of_all(askings, n, region_take_right) &&
            do_phase_of_all(askings, n, region_take_older))
                (void) do_phase_of_all(askings, n, region_take_mirror);
        for (size_t i = 0; i < n; i++) {
                take_answer(grant, &askings[i].take);
                region_take_end(&askings[i].take);
        }
        if (grant->result == 0)
                grant->result = make_list(grant);
        if (grant->result != 0 && grant->text[0] == 0)
                snprintf(grant->text, sizeof(grant->text), "%s", strerror(-grant->result));
}
