/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agents/pager/pager-internal.h"
#include "daemon/base/clock.h"

/* Where one call of a request goes, and what was so when it went. */
struct way {
        struct channel *channel;
        uint64_t n_losses;
};

void pager_hurry(struct pager *pager) {
        const uint64_t one = 1;

        (void) !write(pager->urgent_fd, &one, sizeof(one));
        pthread_cond_broadcast(&pager->changed);
}

/* Waits for a channel, or for news of one: then, and at the end of waiting, the caller has to look again what it needs.
 * 0 with a way, to be left, -EAGAIN, -EIO, -EPERM. With the lock held. */
static int take_way(struct pager *pager, struct way *ret) {
        if (pager->state == PAGER_FENCED)
                return -EPERM;
        if (pager->state == PAGER_DOWN)
                return -EIO;
        if (!pager->channel) {
                pager->n_waiting++;
                pthread_cond_wait(&pager->changed, &pager->lock);
                pager->n_waiting--;
                return -EAGAIN;
        }
        *ret = (struct way) { pager->channel, pager->n_losses };
        pager->n_users++;
        return 0;
}

/* With the lock held. */
static void leave_way(struct pager *pager) {
        if (--pager->n_users == 0 && !pager->channel)
                pthread_cond_broadcast(&pager->changed);
}

/* Whether the call has to be made anew, elsewhere. With the lock held. */
static bool is_lost(struct pager *pager, const struct way *way, int r) {
        if (r != -ENOTCONN && r != -EPERM && r != -ESHUTDOWN)
                return false;
        if (way->channel == pager->channel) {
                pager->state = PAGER_RECOVERING;
                channel_break(pager->channel);
                pager->channel = NULL;
                pager_hurry(pager);
        }
        return true;
}

/* The holder that the map shall note: who has taken the place of the one that was asked, nobody where it was lost. */
static unsigned holder_now(const struct pager *pager, const struct way *way) {
        return way->channel && way->n_losses == pager->n_losses ? pager->primary : PAGE_NOBODY;
}

/* One run of pages of one holder. */
static int read_run(struct pager *pager, char *buffer, uint64_t end, uint64_t offset, uint64_t *ret_end) {
        struct way way = { 0 };
        unsigned holder;
        int r = 0;

        pthread_mutex_lock(&pager->lock);
        do
                holder = page_map_run(&pager->map, offset, end, ret_end);
        while (holder != PAGE_NOBODY && holder != PAGE_LOST && (r = take_way(pager, &way)) == -EAGAIN);
        if (pager->state == PAGER_FENCED)
                r = -EPERM; /* whoever has the space now knows what is zeroes */
        pthread_mutex_unlock(&pager->lock);
        if (r == 0 && holder == PAGE_NOBODY) {
                memset(buffer, 0, *ret_end - offset);
                return 0;
        }
        if (r < 0 || holder == PAGE_LOST)
                return r < 0 ? r : -EIO;
        r = channel_call(way.channel, PEER_READ, buffer, *ret_end - offset, offset);
        pthread_mutex_lock(&pager->lock);
        if (is_lost(pager, &way, r))
                r = -EAGAIN;
        leave_way(pager);
        pthread_mutex_unlock(&pager->lock);
        return r;
}

static int fetch(struct pager *pager, struct page_request *request, char *buffer) {
        uint64_t at = request->offset, end = at + request->length, next;
        int r = 0;

        while (at < end && (r == 0 || r == -EAGAIN)) {
                r = read_run(pager, buffer + (at - request->offset), end, at, &next);
                if (r == 0)
                        at = next;
        }
        return r;
}

/* A fetch that is over stays until those who have joined it have their data. With the lock held. */
static void wait_for_joined(struct pager *pager, struct page_request *request) {
        pthread_cond_broadcast(&pager->changed);
        while (request->n_joined > 0)
                pthread_cond_wait(&pager->changed, &pager->lock);
}

/* What those who join a fetch need of it. */
struct read_request {
        struct page_request request; /* first: requests of the map's that read are these */
        char *buffer;
        int result;
};

/* The data of a fetch that was joined; -EAGAIN where that has failed, maybe of pages that are not asked for here. With
 * the lock held. */
static int share(struct pager *pager, struct read_request *read) {
        struct read_request *fetch = (struct read_request *) read->request.fetch;
        int r = -EAGAIN;

        while (!fetch->request.ended)
                pthread_cond_wait(&pager->changed, &pager->lock);
        if (fetch->result == 0) {
                memcpy(read->buffer, fetch->buffer + (read->request.offset - fetch->request.offset),
                       read->request.length);
                r = 0;
        }
        page_map_leave(&read->request);
        if (fetch->request.n_joined == 0)
                pthread_cond_broadcast(&pager->changed);
        return r;
}

/* The same, and what probably comes next with it, where nobody is at any of these pages. False where it was not to be
 * had: maybe for a page that was not asked for. With the lock held, which is let go meanwhile. */
static bool read_ahead(struct pager *pager, void *buffer, uint64_t length, uint64_t offset, uint64_t all) {
        struct read_ahead *ahead = &pager->ahead;
        struct read_request read = { .request = { .access = PAGE_READ, .offset = offset, .length = all },
                                     .buffer = ahead->data };
        enum page_verdict verdict = page_map_begin(&pager->map, &read.request);
        uint64_t n_losses = pager->n_losses;

        if (verdict == PAGE_JOINED)
                page_map_leave(&read.request);
        if (verdict != PAGE_GO)
                return false;
        read_ahead_keep(ahead, 0, 0);
        ahead->busy = true;
        pthread_mutex_unlock(&pager->lock);
        read.result = fetch(pager, &read.request, ahead->data);
        pthread_mutex_lock(&pager->lock);
        page_map_end(&pager->map, &read.request, read.result == 0, PAGE_NOBODY);
        if (read.result == 0)
                memcpy(buffer, ahead->data, length);
        if (read.result == 0 && n_losses == pager->n_losses)
                read_ahead_keep(ahead, all, offset);
        wait_for_joined(pager, &read.request);
        ahead->busy = false;
        return read.result == 0;
}

/* What is there, or is worth to be read with what follows it. Only while a server has the space: what is lost, or is
 * somebody else's now, is not to be had from here. */
static bool read_quickly(struct pager *pager, void *buffer, uint64_t length, uint64_t offset) {
        uint64_t all;
        bool done;

        pthread_mutex_lock(&pager->lock);
        done = pager->state == PAGER_SERVING && read_ahead_get(&pager->ahead, buffer, length, offset);
        if (!done && pager->state == PAGER_SERVING && pager->options.bandwidth_bytes == 0) {
                all = read_ahead_want(&pager->ahead, length, offset, pager->options.size_bytes);
                done = all > length && read_ahead(pager, buffer, length, offset, all);
        }
        pager->returned_bytes += done ? length : 0;
        pthread_mutex_unlock(&pager->lock);
        return done;
}

int pager_read(struct pager *pager, void *buffer, uint64_t length, uint64_t offset) {
        struct read_request read = { .request = { .access = PAGE_READ, .offset = offset, .length = length },
                                     .buffer = buffer };
        enum page_verdict verdict;
        int r = -EAGAIN;

        if (length == 0 || read_quickly(pager, buffer, length, offset))
                return 0;
        pthread_mutex_lock(&pager->lock);
        while (r == -EAGAIN && (verdict = page_map_begin(&pager->map, &read.request)) != PAGE_GO) {
                if (verdict == PAGE_WAIT)
                        pthread_cond_wait(&pager->changed, &pager->lock);
                else
                        r = share(pager, &read);
        }
        pthread_mutex_unlock(&pager->lock);
        if (r != -EAGAIN)
                return r;
        read.result = fetch(pager, &read.request, buffer);
        pthread_mutex_lock(&pager->lock);
        page_map_end(&pager->map, &read.request, read.result == 0, PAGE_NOBODY);
        pager->returned_bytes += read.result == 0 ? length : 0;
        wait_for_joined(pager, &read.request);
        pthread_mutex_unlock(&pager->lock);
        return read.result;
}

/* A save or trim that is under way in the map. It ends there before its way is left, so that nobody takes the primary's
 * place in between. With the lock held, which is let go meanwhile. */
static int save(struct pager *pager, struct page_request *request, enum peer_kind kind, void *buffer) {
        struct way way = { 0 };
        int r;

        for (;;) {
                if (kind == PEER_WRITE && page_map_needs_lost(&pager->map, request))
                        r = -EIO;
                else
                        r = take_way(pager, &way);
                if (r == -EAGAIN)
                        continue;
                if (r < 0)
                        break;
                pthread_mutex_unlock(&pager->lock);
                r = channel_call(way.channel, kind, buffer, request->length, request->offset);
                pthread_mutex_lock(&pager->lock);
                if (!is_lost(pager, &way, r)) {
                        if (r == 0)
                                pager->acknowledged_token = pager->token;
                        page_map_end(&pager->map, request, r == 0, pager->primary);
                        leave_way(pager);
                        return r;
                }
                leave_way(pager);
        }
        page_map_end(&pager->map, request, false, holder_now(pager, &way));
        return r;
}

static int save_all(struct pager *pager, enum page_access access, enum peer_kind kind, void *buffer, uint64_t length,
                    uint64_t offset) {
        struct page_request request = { .access = access, .offset = offset, .length = length };
        int r;

        if (length == 0)
                return 0;
        pthread_mutex_lock(&pager->lock);
        while (page_map_begin(&pager->map, &request) == PAGE_WAIT)
                pthread_cond_wait(&pager->changed, &pager->lock);
        read_ahead_forget(&pager->ahead, length, offset);
        r = save(pager, &request, kind, buffer);
        pager->saved_bytes += r == 0 && access == PAGE_WRITE ? length : 0;
        pthread_cond_broadcast(&pager->changed);
        pthread_mutex_unlock(&pager->lock);
        return r;
}

int pager_write(struct pager *pager, const void *buffer, uint64_t length, uint64_t offset) {
        return save_all(pager, PAGE_WRITE, PEER_WRITE, (void *) buffer, length, offset);
}

int pager_trim(struct pager *pager, uint64_t length, uint64_t offset) {
        return save_all(pager, PAGE_TRIM, PEER_ZERO, NULL, length, offset);
}

int pager_flush(struct pager *pager) {
        struct way way = { 0 };
        int r;

        pthread_mutex_lock(&pager->lock);
        do {
                r = take_way(pager, &way);
                if (r < 0)
                        continue;
                pthread_mutex_unlock(&pager->lock);
                r = channel_call(way.channel, PEER_FLUSH, NULL, 0, 0);
                pthread_mutex_lock(&pager->lock);
                if (is_lost(pager, &way, r))
                        r = -EAGAIN;
                leave_way(pager);
        } while (r == -EAGAIN);
        pthread_mutex_unlock(&pager->lock);
        return r;
}

bool pager_extent(struct pager *pager, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        bool anywhere;

        pthread_mutex_lock(&pager->lock);
        anywhere = page_map_extent(&pager->map, length, offset, ret_length);
        pthread_mutex_unlock(&pager->lock);
        return anywhere;
}
