/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agents/pager/spread-internal.h"

#define SAVED_PAGES_MAX 2048 /* between two questions to the servers */

/* A request is carried out in pieces, each of pages that are at one holder. Each is one request in the table. */

static uint64_t first_page(const struct page_request *request) {
        return request->offset / PAGE_BYTES;
}

static uint64_t n_pages(const struct page_request *request) {
        return (request->offset + request->length + PAGE_BYTES - 1) / PAGE_BYTES - first_page(request);
}

static bool is_whole(const struct page_request *request) {
        return request->offset % PAGE_BYTES == 0 && request->length % PAGE_BYTES == 0;
}

/* Where the next piece ends: whole pages, or, of a page that is saved in part, that part alone. With the lock held. */
static uint64_t piece_end(struct spread *spread, enum page_access access, uint64_t offset, uint64_t end,
                          unsigned *ret_holder) {
        uint64_t page_end = offset / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES, next;

        *ret_holder = page_map_run(&spread->map, offset, end, &next);
        if (access != PAGE_WRITE)
                return next;
        if (offset % PAGE_BYTES != 0 || end < page_end)
                return page_end < end ? page_end : end;
        return next % PAGE_BYTES == 0 ? next : next / PAGE_BYTES * PAGE_BYTES;
}

/* The next piece is under way: nobody else is at its pages, and they stay where they are. With the lock held. */
static void begin_piece(struct spread *spread, struct page_request *piece, enum page_access access, uint64_t offset,
                        uint64_t end, unsigned *ret_holder) {
        enum page_verdict verdict;

        do {
                *piece = (struct page_request) { .access = access, .offset = offset };
                piece->length = piece_end(spread, access, offset, end, ret_holder) - offset;
                verdict = page_map_begin(&spread->map, piece);
                if (verdict == PAGE_JOINED) /* the pager below it knows how to share a fetch; this one waits */
                        page_map_leave(piece);
                if (verdict != PAGE_GO)
                        pthread_cond_wait(&spread->changed, &spread->lock);
        } while (verdict != PAGE_GO);
}

/* With the lock held. */
static void end_piece(struct spread *spread, struct page_request *piece, bool done, unsigned holder) {
        page_map_end(&spread->map, piece, done, holder);
        pthread_cond_broadcast(&spread->changed);
}

static struct pager *pager_of(struct spread *spread, unsigned holder) {
        return spread->shares[holder - 1].pager;
}

static int read_piece(struct spread *spread, char *buffer, uint64_t offset, uint64_t end, uint64_t *ret_end) {
        struct page_request piece;
        unsigned holder;
        int r = 0;

        pthread_mutex_lock(&spread->lock);
        begin_piece(spread, &piece, PAGE_READ, offset, end, &holder);
        pthread_mutex_unlock(&spread->lock);
        *ret_end = offset + piece.length;
        if (holder == PAGE_NOBODY)
                memset(buffer, 0, piece.length);
        else
                r = pager_read(pager_of(spread, holder), buffer, piece.length, offset);
        pthread_mutex_lock(&spread->lock);
        end_piece(spread, &piece, r == 0, PAGE_NOBODY);
        pthread_mutex_unlock(&spread->lock);
        return r;
}

int spread_read(struct spread *spread, void *buffer, uint64_t length, uint64_t offset) {
        uint64_t at = offset, end = offset + length, next;
        int r = 0;

        if (spread->options.save == SAVE_FIXED)
                return pager_read(spread->shares[0].pager, buffer, length, offset);
        for (; at < end && r == 0; at = next)
                r = read_piece(spread, (char *) buffer + (at - offset), at, end, &next);
        return r;
}

static void leave_over(struct spread *spread, const struct page_request *piece, unsigned holder) {
        leftovers_add(&spread->leftovers, holder, first_page(piece), n_pages(piece));
        pthread_cond_broadcast(&spread->leftover);
}

/* Holders whose leftovers of these pages will be gone soon. */
static unsigned being_swept(struct spread *spread, unsigned holders) {
        for (unsigned h = 1; h <= spread->n_shares; h++)
                if (spread->shares[h - 1].swept < 0)
                        holders &= ~HOLDER_BIT(h);
        return holders;
}

/* Holders whose servers do not serve now: saves need not wait for them. */
static unsigned not_serving(struct spread *spread) {
        unsigned holders = 0;

        for (unsigned h = 1; h <= spread->n_shares; h++)
                if (!pager_is_serving(pager_of(spread, h)))
                        holders |= HOLDER_BIT(h);
        return holders;
}

/* Where the piece goes, which is at `present`: 0 where nobody takes it. Of a page in part, the rest has to be there, or
 * be zeroes. With the lock held, which is let go where a leftover has to go first. */
static unsigned choose(struct spread *spread, const struct page_request *piece, unsigned present, unsigned left_out) {
        unsigned holder, left, away = not_serving(spread);

        if (!is_whole(piece) && present != PAGE_NOBODY)
                return left_out & HOLDER_BIT(present) ? 0 : present;
        for (;;) {
                left = leftovers_at(&spread->leftovers, first_page(piece), n_pages(piece));
                holder = placement_save(&spread->placement, present, n_pages(piece), left_out | left | away);
                if (holder == 0)
                        holder = placement_save(&spread->placement, present, n_pages(piece), left_out | left);
                if (holder > 0 || being_swept(spread, left & ~left_out) == 0)
                        return holder;
                pthread_cond_wait(&spread->changed, &spread->lock);
        }
}

/* What the servers have answered grows old with each page that is saved. */
static void note_saved(struct spread *spread, unsigned holder, uint64_t n) {
        placement_note_saved(&spread->placement, holder, n);
        spread->n_saved += n;
        if (spread->n_saved >= SAVED_PAGES_MAX) {
                spread->n_saved = 0;
                pthread_cond_signal(&spread->hurry);
        }
}

/* The new copy is acknowledged: from now on it is the page. */
static void settle(struct spread *spread, struct page_request *piece, unsigned present, unsigned holder) {
        if (present != holder)
                note_saved(spread, holder, n_pages(piece));
        if (present != holder && present != PAGE_NOBODY) {
                leave_over(spread, piece, present);
                spread->n_moved += n_pages(piece);
        }
        end_piece(spread, piece, true, holder);
}

/* Where a spread that begins anew would find two copies and not know which is the latest, there is only one before the
 * client hears of it; but for one at a server that does not serve, whose space is about to be given up. */
static void await_sweep(struct spread *spread, const struct page_request *piece) {
        if (spread->options.returned != RETURN_ASKED)
                return;
        while (being_swept(spread, leftovers_at(&spread->leftovers, first_page(piece), n_pages(piece))) != 0)
                pthread_cond_wait(&spread->changed, &spread->lock);
}

/* Nobody took it. Where it was, it may be either of two; where it was not, what has come of it goes. */
static void give_up(struct spread *spread, struct page_request *piece, unsigned present, unsigned tried) {
        bool unclean = present != PAGE_NOBODY && tried & HOLDER_BIT(present);

        end_piece(spread, piece, false, unclean ? present : PAGE_NOBODY);
}

/* With the lock held, which is let go meanwhile. */
static int save_piece(struct spread *spread, struct page_request *piece, unsigned present, void *buffer) {
        unsigned tried = 0, holder;
        int r = -ENOSPC;

        while ((holder = choose(spread, piece, present, tried)) > 0) {
                pthread_mutex_unlock(&spread->lock);
                r = pager_write(pager_of(spread, holder), buffer, piece->length, piece->offset);
                pthread_mutex_lock(&spread->lock);
                if (r == 0) {
                        settle(spread, piece, present, holder);
                        return 0;
                }
                tried |= HOLDER_BIT(holder);
                if (holder != present)
                        leave_over(spread, piece, holder);
                if (r == -ENOSPC || r == -EDQUOT)
                        placement_note_full(&spread->placement, holder);
        }
        give_up(spread, piece, present, tried);
        return r;
}

int spread_write(struct spread *spread, const void *buffer, uint64_t length, uint64_t offset) {
        uint64_t at = offset, end = offset + length;
        struct page_request piece;
        unsigned holder;
        int r = 0;

        if (spread->options.save == SAVE_FIXED)
                return pager_write(spread->shares[0].pager, buffer, length, offset);
        pthread_mutex_lock(&spread->lock);
        for (; at < end && r == 0; at += piece.length) {
                begin_piece(spread, &piece, PAGE_WRITE, at, end, &holder);
                r = save_piece(spread, &piece, holder, (char *) buffer + (at - offset));
                await_sweep(spread, &piece);
        }
        pthread_mutex_unlock(&spread->lock);
        return r;
}

int spread_trim(struct spread *spread, uint64_t length, uint64_t offset) {
        uint64_t at = offset, end = offset + length;
        struct page_request piece;
        unsigned holder;
        int r = 0;

        if (spread->options.save == SAVE_FIXED)
                return pager_trim(spread->shares[0].pager, length, offset);
        pthread_mutex_lock(&spread->lock);
        for (; at < end && r == 0; at += piece.length) {
                begin_piece(spread, &piece, PAGE_TRIM, at, end, &holder);
                pthread_mutex_unlock(&spread->lock);
                r = holder == PAGE_NOBODY ? 0 : pager_trim(pager_of(spread, holder), piece.length, at);
                pthread_mutex_lock(&spread->lock);
                end_piece(spread, &piece, r == 0, holder);
                await_sweep(spread, &piece);
        }
        pthread_mutex_unlock(&spread->lock);
        return r;
}

/* Of those that have pages: one that is down and has none has nothing to be flushed. */
int spread_flush(struct spread *spread) {
        int r = 0;

        if (spread->options.save == SAVE_FIXED)
                return pager_flush(spread->shares[0].pager);
        for (unsigned h = 1; h <= spread->n_shares && r == 0; h++) {
                bool has_pages;

                pthread_mutex_lock(&spread->lock);
                has_pages = spread->map.n_held[h] > 0;
                pthread_mutex_unlock(&spread->lock);
                r = has_pages ? pager_flush(pager_of(spread, h)) : 0;
        }
        return r;
}

bool spread_extent(struct spread *spread, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        bool anywhere;

        if (spread->options.save == SAVE_FIXED)
                return pager_extent(spread->shares[0].pager, length, offset, ret_length);
        pthread_mutex_lock(&spread->lock);
        anywhere = page_map_extent(&spread->map, length, offset, ret_length);
        pthread_mutex_unlock(&spread->lock);
        return anywhere;
}
