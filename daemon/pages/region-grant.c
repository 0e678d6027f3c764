/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/region-grant.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/region-list.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/control-ask.h"

#define DEADLINE_MSEC 5000 /* of a program's fetch, unless it says otherwise */

_Static_assert(REGION_CAPABILITY_LEN == CAPABILITY_LEN, "a capability is what the server gives");

void region_grant_deinit(struct region_grant *grant) {
        for (size_t i = 0; i < grant->n_regions; i++) {
                free(grant->regions[i].control);
                free(grant->regions[i].guests);
        }
        if (grant->list)
                explicit_bzero(grant->list, strlen(grant->list));
        free(grant->list);
        explicit_bzero(grant, sizeof(*grant));
}

/* One holder, asked for one region. All are asked at once: one that is silent takes no time from the others. */
struct holder_ask {
        const struct region_grant *grant; /* only read */
        struct granted_region *region;
        pthread_t thread;
        bool asked;
        int result;
        uint64_t token_known;
        char text[REGION_GRANT_TEXT_LEN]; /* why, or what is to be said besides */
};

/* Behind what is said already. */
static void remark(char text[static REGION_GRANT_TEXT_LEN], const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void remark(char text[static REGION_GRANT_TEXT_LEN], const char *format, ...) {
        size_t used = strlen(text);
        va_list ap;

        if (used > 0)
                used += (size_t) snprintf(text + used, REGION_GRANT_TEXT_LEN - used, "; ");
        if (used >= REGION_GRANT_TEXT_LEN)
                return;
        va_start(ap, format);
        vsnprintf(text + used, REGION_GRANT_TEXT_LEN - used, format, ap);
        va_end(ap);
}

/* The region is not there: it is opened where it is new, or where the policy makes do with an empty one. */
static int open_region(struct holder_ask *holder, const struct control_ask *ask, struct error *error) {
        struct granted_region *region = holder->region;

        if (!region->may_be_new && region->policy.on_lost != HOLDER_LOST_START)
                return error_set(error, -ENOENT, "%s has lost region %s: bring it back, or write holder-lost: start to "
                                 "begin with an empty one", region->policy.holder, region->policy.name);
        if (!region->may_be_new)
                remark(holder->text, "%s had been lost and begins empty", region->policy.name);
        return control_ask_open(ask, SPACE_PRIMARY, region->policy.size_bytes, holder->grant->token,
                                region->capability, error);
}

static int grant_region(struct holder_ask *holder, const struct control_ask *ask, struct error *error) {
        struct granted_region *region = holder->region;
        char text[UNITS_TEXT_MAX];
        struct space_status status;
        int r = control_ask_space(ask, &status, error);

        if (r < 0)
                return r;
        if (r == 0)
                return open_region(holder, ask, error);
        if (status.size_bytes != region->policy.size_bytes)
                return error_set(error, -EINVAL, "region %s has %s at %s, and another size in the policy",
                                 region->policy.name, size_format(text, status.size_bytes), region->policy.holder);
        if (status.token >= holder->grant->token) {
                holder->token_known = status.token;
                return -ESTALE;
        }
        if (status.epoch_age_usec > 0)
                remark(holder->text, "%s was written back %s before", region->policy.name,
                       duration_format(text, status.epoch_age_usec / USEC_PER_MSEC * USEC_PER_MSEC));
        return control_ask_grant(ask, holder->grant->token, region->capability, error);
}

/* 0 too where the policy makes do without it. */
static void *ask_holder(void *userdata) {
        struct holder_ask *holder = userdata;
        const struct region_grant *grant = holder->grant;
        const struct state_region *policy = &holder->region->policy;
        struct space_name name = { 0 };
        struct error error = ERROR_INIT;
        struct control_ask ask = { .path = holder->region->control, .name = &name, .cancel_fd = -1,
                                   .deadline_usec = grant->deadline_usec };
        int r;

        memcpy(name.node, grant->node, NAME_LEN);
        memcpy(name.owner, grant->owner, NAME_LEN);
        memcpy(name.space, policy->name, NAME_LEN);
        r = grant_region(holder, &ask, &error);
        if (r == -ENOTCONN && policy->on_lost == HOLDER_LOST_START && grant->alone) {
                remark(holder->text, "%s is out of reach, started without it", policy->name);
                r = 0;
        } else if (r == -ENOTCONN && policy->on_lost == HOLDER_LOST_START) {
                snprintf(holder->text, sizeof(holder->text), "%s is out of reach, and who had %s lives and may write "
                         "there", policy->holder, policy->name);
                r = -ENOTUNIQ;
        } else if (r < 0 && r != -ESTALE) {
                snprintf(holder->text, sizeof(holder->text), "%s: %.180s", policy->holder, error_text(&error));
        }
        holder->result = r;
        error_deinit(&error);
        return NULL;
}

/* The URI that guests know, with the capability behind its authority. */
static int make_uri(const struct granted_region *region, char **ret) {
        const char *authority = strstr(region->guests, "://");
        size_t length;

        if (!authority)
                return -EINVAL;
        length = (size_t) (authority + 3 - region->guests) + strcspn(authority + 3, "/?");
        return asprintf(ret, "%.*s/%s%s", (int) length, region->guests, region->capability,
                        region->guests + length + (region->guests[length] == '/')) < 0 ? -ENOMEM : 0;
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
                        .deadline_msec = DEADLINE_MSEC,
                        .epochs = region->policy.kind >= REGION_KIND_RESIDENT,
                };
                memcpy(entry->name, region->policy.name, NAME_LEN);
                r = make_uri(region, &entry->uri);
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
static void take_answer(struct region_grant *grant, const struct holder_ask *holder) {
        bool first = holder->result < 0 &&
                     (grant->result == 0 || (grant->result == -ENOTUNIQ && holder->result != -ENOTUNIQ));

        if (holder->token_known > grant->token_known)
                grant->token_known = holder->token_known;
        if (holder->result == -ESTALE || first)
                grant->result = holder->result;
        if (first)
                snprintf(grant->text, sizeof(grant->text), "%s", holder->text);
        else if (grant->result == 0 && holder->text[0])
                remark(grant->text, "%s", holder->text);
}

void region_grant_ask(struct region_grant *grant) {
        struct holder_ask holders[POLICY_REGIONS_MAX] = { 0 };

        for (size_t i = 0; i < grant->n_regions; i++) {
                int r;

                holders[i].grant = grant;
                holders[i].region = &grant->regions[i];
                if (grant->regions[i].capability[0])
                        continue;
                r = thread_start_joined(ask_holder, &holders[i], &holders[i].thread);
                holders[i].asked = r == 0;
                if (r < 0) /* else it is the thread's to say */
                        holders[i].result = r;
        }
        for (size_t i = 0; i < grant->n_regions; i++)
                if (holders[i].asked)
                        (void) pthread_join(holders[i].thread, NULL);
        for (size_t i = 0; i < grant->n_regions; i++)
                take_answer(grant, &holders[i]);
        if (grant->result == 0)
                grant->result = make_list(grant);
        if (grant->result != 0 && grant->text[0] == 0)
                snprintf(grant->text, sizeof(grant->text), "%s", strerror(-grant->result));
}
