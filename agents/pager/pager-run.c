/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/pager/pager-internal.h"
#include "daemon/base/clock.h"

#define AGAIN_USEC (100 * USEC_PER_MSEC) /* between two attempts to find a server */
#define TEND_USEC USEC_PER_SEC           /* between two looks at the mirror */

struct control_ask pager_ask(const struct pager *pager, size_t server) {
        return (struct control_ask) { pager->options.servers[server].control, &pager->options.name,
                                      pager->options.deadline_usec, -1 };
}

static void set_text(struct pager *pager, const char *text) {
        pthread_mutex_lock(&pager->lock);
        snprintf(pager->text, sizeof(pager->text), "%s", text);
        pthread_mutex_unlock(&pager->lock);
}

/* A channel to the space, which `capability` opens. */
static int connect_channel(struct pager *pager, size_t server, const char *capability, struct channel **ret,
                           struct error *error) {
        const struct pager_options *options = &pager->options;
        char *uri = pager_uri(pager, server, capability);
        struct channel_options channel = {
                .peer = { .uri = uri, .deadline_usec = options->deadline_usec, .connect_usec = options->deadline_usec,
                          .psk_file = options->psk_file, .certificates = options->certificates,
                          .tls_required = options->tls_required, .extents = true },
                .n_connections = options->n_connections,
                .bandwidth_bytes = options->bandwidth_bytes,
        };
        int r;

        if (!uri)
                return error_set(error, -ENOMEM, "out of memory");
        r = channel_new(&channel, ret, error);
        if (r < 0)
                error_prefix(error, "%s", options->servers[server].control);
        explicit_bzero(uri, strlen(uri));
        free(uri);
        return r;
}

/* Goes on at a server, under the grant that was tried last. */
static int go_on_at(struct pager *pager, size_t server, const char *capability, struct error *error) {
        struct channel *channel;
        unsigned primary = (unsigned) server + 1, before = pager->primary;
        int r = connect_channel(pager, server, capability, &channel, error);

        if (r < 0)
                return r;
        pager->told_token = pager->grant.tried;
        pager_tell(pager);
        pthread_mutex_lock(&pager->lock);
        if (pager->primary != primary) {
                pager->n_takeovers += pager->primary != 0 && primary != pager->moving_to;
                pager->n_moves += primary == pager->moving_to;
                pager->moved_mirror = primary == pager->moving_to ? pager->mirror : 0;
                if (pager->primary != 0)
                        page_map_move(&pager->map, pager->primary, primary);
                pager->mirror = 0;
                pager->mirror_state = COPY_NONE;
                pager->capacity_bytes = 0;
        }
        pager->primary = primary;
        pager->channel = pager->current = channel;
        pager->token = pager->grant.tried;
        pager->state = PAGER_SERVING;
        pager->text[0] = 0;
        pager->serving_usec = clock_usec(CLOCK_BOOTTIME);
        pager->stalled_usec = 0;
        pthread_cond_broadcast(&pager->changed);
        pthread_mutex_unlock(&pager->lock);
        pager_say(pager, before == 0                     ? PAGER_OPENED
                         : before == primary             ? PAGER_REGAINED
                         : primary == pager->moving_to ? PAGER_MOVED
                                                         : PAGER_TAKEN_OVER,
                  "at %s", pager->options.servers[server].control);
        pager_settle_move(pager, before);
        return 0;
}

/* Drops what a server has under this name, if anything. -ESTALE where that is somebody else's: one that has taken the
 * name since, while this pager was cut off or beside it. */
static int clear(struct pager *pager, const struct control_ask *ask, struct error *error) {
        struct space_status space;
        int r = control_ask_space(ask, &space, error);

        if (r <= 0)
                return r;
        if (space.token > pager->grant.tried ||
            (pager->grant.opened == 0 && space.role == SPACE_PRIMARY && space.connections > 0))
                return error_set(error, -ESTALE, "%s: the space was given to somebody else", ask->path);
        return control_ask_drop(ask, pager->grant.tried, error);
}

static int open_at(struct pager *pager, size_t server, struct error *error) {
        struct control_ask ask = pager_ask(pager, server);
        char capability[CAPABILITY_LEN];
        int r = clear(pager, &ask, error);

        if (r < 0)
                return r;
        r = control_ask_open(&ask, SPACE_PRIMARY, pager->options.size_bytes, ++pager->grant.tried, capability, error);
        if (r == 0)
                r = go_on_at(pager, server, capability, error);
        if (r == 0)
                pager->grant.opened = pager->grant.granted = pager->grant.tried;
        explicit_bzero(capability, sizeof(capability));
        return r;
}

int pager_open(struct pager *pager, struct error *error) {
        int r = -ENODEV;

        for (size_t i = 0; i < pager->options.n_servers; i++) {
                r = open_at(pager, i, error);
                if (r == 0 || r == -ESTALE)
                        break;
        }
        return r;
}

void pager_see(struct pager *pager, size_t server, struct sight *ret) {
        struct control_ask ask = pager_ask(pager, server);
        struct space_status space;
        int r = control_ask_space(&ask, &space, NULL);

        *ret = (struct sight) { .answered = r >= 0 };
        if (r <= 0)
                return;
        ret->there = space.mirror != COPY_REPLACED && space.hand_over != COPY_REPLACED &&
                     !pager_has_moved_from(pager, (unsigned) server + 1);
        ret->role = (enum space_role) space.role;
        ret->token = space.token;
        ret->whole = space.copy == LABEL_COMPLETE;
}

int pager_take(struct pager *pager, enum recovery choice, size_t server, struct error *error) {
        struct control_ask ask = pager_ask(pager, server);
        char capability[CAPABILITY_LEN];
        uint64_t token = ++pager->grant.tried;
        int r;

        if (choice == RECOVERY_GRANT)
                r = control_ask_grant(&ask, token, capability, error);
        else
                r = control_ask_promote(&ask, token, clock_usec(CLOCK_BOOTTIME) - pager->answered_usec, capability,
                                        error);
        /* The server has done it, whatever has kept this end from it: that says nothing of the pages. */
        if (r == 0 && go_on_at(pager, server, capability, error) < 0)
                r = -ENOTCONN;
        explicit_bzero(capability, sizeof(capability));
        return r;
}

/* Its pages are lost: from now on they are errors. */
static void lose(struct pager *pager) {
        char text[UNITS_TEXT_MAX];
        uint64_t n_lost;

        if (pager->moving_to != 0)
                pager_vacate(pager, pager->moving_to);
        pthread_mutex_lock(&pager->lock);
        page_map_lose(&pager->map);
        read_ahead_forget(&pager->ahead, pager->options.size_bytes, 0);
        n_lost = pager->map.n_held[PAGE_LOST];
        pager->n_losses++;
        pager->primary = pager->mirror = pager->moving_to = 0;
        pager->mirror_state = COPY_NONE;
        pthread_mutex_unlock(&pager->lock);
        pager->told_token = ++pager->grant.tried; /* should a server come back, no later pager takes what it has */
        pager_tell(pager);
        pager_say(pager, PAGER_PAGES_LOST, "%s", size_format(text, n_lost * PAGE_BYTES));
}

static void be_fenced(struct pager *pager) {
        pthread_mutex_lock(&pager->lock);
        pager->state = PAGER_FENCED;
        snprintf(pager->text, sizeof(pager->text), "the space was given to somebody else");
        pthread_cond_broadcast(&pager->changed);
        pthread_mutex_unlock(&pager->lock);
        pager_say(pager, PAGER_GIVEN_AWAY, "all requests are refused");
}

static bool out_of_patience(struct pager *pager) {
        return clock_usec(CLOCK_BOOTTIME) >= pager->stalled_usec + pager->options.patience_usec;
}

/* Tries what there is to try, and says where that led. */
static enum recovery try_servers(struct pager *pager, struct sight *sights) {
        struct error error = ERROR_INIT;
        enum recovery choice;
        size_t server;

        for (;;) {
                int r;

                choice = recovery_choose(sights, pager->options.n_servers, &pager->grant, &server);
                if (choice == RECOVERY_ASK) {
                        pager_see(pager, server, &sights[server]);
                        continue;
                }
                if (choice != RECOVERY_GRANT && choice != RECOVERY_PROMOTE)
                        break;
                r = pager_take(pager, choice, server, &error);
                if (r == 0)
                        break;
                set_text(pager, error_text(&error));
                if (r == -ESTALE)
                        pager_see(pager, server, &sights[server]); /* it may have got a higher token meanwhile */
                recovery_note_refusal(&sights[server], choice, r);
        }
        error_deinit(&error);
        return choice;
}

/* One attempt to find a server for the space that there is. */
static void find(struct pager *pager) {
        struct sight sights[PAGE_HOLDERS_MAX] = { 0 };
        enum recovery choice;

        for (size_t i = 0; i < pager->options.n_servers; i++)
                if (i + 1 == pager->primary && pager->stalled)
                        sights[i].spared = true;
                else
                        pager_see(pager, i, &sights[i]);
        choice = try_servers(pager, sights);
        if (choice == RECOVERY_FENCED)
                be_fenced(pager);
        else if (choice == RECOVERY_LOST || (choice == RECOVERY_WAIT && out_of_patience(pager)))
                lose(pager);
}

/* Where there is no space any more, a new one; until then requests that need a server fail. */
static void begin_anew(struct pager *pager) {
        struct error error = ERROR_INIT;
        int r = pager_open(pager, &error);

        if (r == -ESTALE) {
                be_fenced(pager);
        } else if (r < 0) {
                enum pager_state before;

                pthread_mutex_lock(&pager->lock);
                before = pager->state;
                pager->state = PAGER_DOWN;
                snprintf(pager->text, sizeof(pager->text), "%s", error_text(&error));
                pthread_cond_broadcast(&pager->changed);
                pthread_mutex_unlock(&pager->lock);
                if (before != PAGER_DOWN)
                        pager_say(pager, PAGER_NO_SERVER, "%s", error_text(&error));
        }
        error_deinit(&error);
}

/* Waits so long, or until something is urgent. */
static void wait_urgent(struct pager *pager, usec_t timeout_usec) {
        struct pollfd urgent = { .fd = pager->urgent_fd, .events = POLLIN };
        uint64_t n;

        if (poll(&urgent, 1, (int) (timeout_usec / USEC_PER_MSEC)) > 0)
                (void) !read(pager->urgent_fd, &n, sizeof(n));
}

/* The channel is broken, or to end: waits for those who use it. How it ended decides what is done next. */
static void bury(struct pager *pager) {
        uint64_t acknowledged;

        pthread_mutex_lock(&pager->lock);
        pager->state = PAGER_RECOVERING;
        pager->channel = NULL;
        pager->stalled_usec = clock_usec(CLOCK_BOOTTIME);
        channel_break(pager->current);
        while (pager->n_users > 0)
                pthread_cond_wait(&pager->changed, &pager->lock);
        acknowledged = pager->acknowledged_token;
        pthread_mutex_unlock(&pager->lock);
        pager->answered_usec = channel_answered_usec(pager->current);
        pager->stalled = channel_stalled(pager->current);
        if (pager->grant.granted < acknowledged)
                pager->grant.granted = acknowledged;
        recovery_note_moved(&pager->grant, pager->moved_token);
        pager->current = channel_free(pager->current);
        wait_urgent(pager, 0); /* that is what was urgent */
}

static bool is_over(struct pager *pager) {
        bool over;

        pthread_mutex_lock(&pager->lock);
        over = pager->stop || pager->channel != pager->current;
        pthread_mutex_unlock(&pager->lock);
        return over || channel_broken(pager->current);
}

/* Connected: sees to the mirror, until the channel breaks, or it is to go on at another server, from 1, which then is
 * returned. */
static unsigned attend(struct pager *pager) {
        usec_t tended_usec = 0;
        unsigned other = 0;

        while (!is_over(pager) && other == 0) {
                usec_t now = clock_usec(CLOCK_BOOTTIME);

                if (now >= tended_usec + TEND_USEC) {
                        other = pager_tend(pager);
                        pager_tell(pager);
                        tended_usec = now;
                }
                if (other == 0)
                        wait_urgent(pager, AGAIN_USEC);
        }
        return other;
}

/* All of the space is there: it has moved, or a move came to no end. Where that server does not take it on, the old one
 * still serves it. */
static void go_on_at_other(struct pager *pager, unsigned server) {
        struct error error = ERROR_INIT;
        unsigned before = pager->primary;

        if (pager_take(pager, RECOVERY_PROMOTE, server - 1, &error) < 0)
                pager_say(pager, PAGER_STAYS, "%s", error_text(&error));
        else
                pager_vacate(pager, before);
        error_deinit(&error);
}

void *pager_run(void *userdata) {
        struct pager *pager = userdata;

        for (;;) {
                enum pager_state state;
                bool stop, lost = pager->current != NULL;
                unsigned other = 0;

                if (lost) {
                        other = attend(pager);
                        bury(pager);
                        pager_tell(pager);
                }
                pthread_mutex_lock(&pager->lock);
                stop = pager->stop;
                state = pager->state;
                pthread_mutex_unlock(&pager->lock);
                if (stop)
                        return NULL;
                if (other != 0)
                        go_on_at_other(pager, other);
                else if (lost)
                        pager_say(pager, PAGER_WAITING, "%s: %s", pager->options.servers[pager->primary - 1].control,
                                  pager->stalled ? "no answer within the deadline" : "the connection is lost");
                /* a server that takes the space and breaks the channel again and again is not asked without end */
                if (other == 0 && clock_usec(CLOCK_BOOTTIME) < pager->serving_usec + AGAIN_USEC)
                        wait_urgent(pager, AGAIN_USEC);
                if (state != PAGER_FENCED && pager->primary != 0 && !pager->current)
                        find(pager);
                if (state != PAGER_FENCED && pager->primary == 0)
                        begin_anew(pager);
                if (!pager->current) {
                        pager_tell(pager);
                        wait_urgent(pager, AGAIN_USEC);
                }
        }
}
