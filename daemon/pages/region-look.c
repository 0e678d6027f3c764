/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/region-look.h"

#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define ASKS 4       /* of the deadline, what each of a mirrored region's servers has at most for an answer */
#define ASKS_ALONE 2 /* what it is at a region's only server: a silent one leaves time for the other regions */

const char *places_server(const struct places *p, size_t i) {
        return p->take->region->servers[i].name;
}

bool take_has_mirror(const struct region_take *take) {
        return take->region->n_servers > 1;
}

static struct space_name name_of(const struct region_take *take) {
        struct space_name name = { 0 };

        memcpy(name.node, take->node, NAME_LEN);
        memcpy(name.owner, take->owner, NAME_LEN);
        memcpy(name.space, take->region->policy.name, NAME_LEN);
        return name;
}

void places_init(struct places *p, struct region_take *take) {
        *p = (struct places) { .take = take, .error = &p->error_here, .name = name_of(take),
                               .until_usec = clock_usec(CLOCK_BOOTTIME) + take->deadline_usec };
}

void places_deinit(struct places *p) {
        for (size_t i = 0; i < REGION_SERVERS_MAX; i++)
                error_deinit(&p->looks[i].error);
        error_deinit(&p->error_here);
}

struct control_ask places_ask(const struct places *p, const struct space_name *name, size_t at) {
        usec_t now = clock_usec(CLOCK_BOOTTIME), left = p->until_usec > now ? p->until_usec - now : 1;
        usec_t share = p->take->deadline_usec / (take_has_mirror(p->take) ? ASKS : ASKS_ALONE);

        return (struct control_ask) { .path = p->take->region->servers[at].control, .name = name, .cancel_fd = -1,
                                      .deadline_usec = left < share ? left : share };
}

static void *look_at(void *userdata) {
        struct look *look = userdata;
        struct control_ask ask = places_ask(look->places, &look->places->name, look->server);

        if (look->places->look_usec > 0 && look->places->look_usec < ask.deadline_usec)
                ask.deadline_usec = look->places->look_usec;
        look->r = control_ask_space(&ask, &look->status, &look->error);
        return NULL;
}

void places_look(struct places *p) {
        bool joined[REGION_SERVERS_MAX] = { false };

        for (size_t i = 0; i < p->take->region->n_servers; i++) {
                struct look *look = &p->looks[i];

                *look = (struct look) { .places = p, .server = i };
                joined[i] = i > 0 && thread_start_joined(look_at, look, &look->thread) == 0;
        }
        for (size_t i = 0; i < p->take->region->n_servers; i++)
                if (!joined[i])
                        look_at(&p->looks[i]);
        for (size_t i = 0; i < p->take->region->n_servers; i++)
                if (joined[i])
                        (void) pthread_join(p->looks[i].thread, NULL);
}

void places_look_again(struct places *p) {
        for (size_t i = 0; i < REGION_SERVERS_MAX; i++)
                error_deinit(&p->looks[i].error);
        places_look(p);
}

bool places_have(const struct places *p, size_t i, enum space_role role) {
        const struct look *look = &p->looks[i];

        return i < p->take->region->n_servers && look->r > 0 && look->status.role == (int) role &&
               !(role == SPACE_PRIMARY && look->status.mirror == COPY_REPLACED);
}

bool places_on_record(const struct places *p, size_t i) {
        return p->looks[i].status.token == p->take->granted;
}

int places_primary(const struct places *p) {
        int found = -1;

        for (int i = 0; i < REGION_SERVERS_MAX; i++) {
                if (!places_have(p, (size_t) i, SPACE_PRIMARY) || (found >= 0 && places_on_record(p, (size_t) found)))
                        continue;
                if (found < 0 || places_on_record(p, (size_t) i) ||
                    p->looks[i].status.token > p->looks[found].status.token)
                        found = i;
        }
        return found;
}

int places_replaced(const struct places *p) {
        for (int i = 0; i < (int) p->take->region->n_servers; i++)
                if (p->looks[i].r > 0 && p->looks[i].status.role == SPACE_PRIMARY &&
                    p->looks[i].status.mirror == COPY_REPLACED)
                        return i;
        return -1;
}

int places_silent(const struct places *p) {
        for (int i = 0; i < (int) p->take->region->n_servers; i++)
                if (p->looks[i].r < 0)
                        return i;
        return -1;
}
