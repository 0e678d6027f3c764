/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "agents/region/uffd.h"
#include "daemon/base/clock.h"

#define SPARE_MAX 32

enum fetch_state {
        FETCH_TO_ASK,
        FETCH_UNDER_WAY,
        FETCH_GIVEN_UP, /* nobody waits any more, but its answer may still come */
};

struct fetch {
        struct channel_call call;
        struct failover_region *region;
        struct region_channel *channel;
        struct fetch *next;
        uint64_t first, n;
        uint64_t wanted; /* bits: the pages that somebody waits for */
        bool store;      /* it is one page, and waited for by a store */
        enum fetch_state state;
        usec_t until_usec; /* CLOCK_MONOTONIC */
        char data[CHUNK_BYTES];
};

static char *address_of(struct failover_region *region, uint64_t page) {
        return region->data + page * REGION_PAGE_BYTES;
}

/* Replaced by a mapping of nothing: what is there is gone, and who waited meets it. */
void fetch_poison(struct failover_region *region, uint64_t page) {
        region_table_set_error(&region->table, page);
        region->statistics.errors++;
        (void) mmap(address_of(region, page), REGION_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                    region->nothing_fd, 0);
        (void) uffd_wake(region->uffd, address_of(region, page), REGION_PAGE_BYTES);
}

static void add(struct failover_region *region, struct fetch *fetch) {
        fetch->next = region->fetches;
        region->fetches = fetch;
}

static void remove_fetch(struct failover_region *region, struct fetch *fetch) {
        for (struct fetch **at = &region->fetches; *at; at = &(*at)->next)
                if (*at == fetch) {
                        *at = fetch->next;
                        break;
                }
        if (region->n_spare == SPARE_MAX) {
                free(fetch);
                return;
        }
        fetch->next = region->spare;
        region->spare = fetch;
        region->n_spare++;
}

static uint64_t fetch_bytes(const struct fetch *fetch) {
        uint64_t offset = fetch->first * REGION_PAGE_BYTES, n = fetch->n * REGION_PAGE_BYTES;
        uint64_t left = fetch->region->size_bytes - offset;

        return n < left ? n : left;
}

/* Who waits meets an error; what nobody waits for may be asked for again. With the lock held. */
static void fail(struct fetch *fetch, int code) {
        struct failover_region *region = fetch->region;

        region->n_failures++;
        region->failure = code;
        region_table_failed(&region->table, fetch->first, fetch->n, (uintptr_t) fetch->channel);
        for (uint64_t i = 0; i < fetch->n; i++)
                if (fetch->wanted >> i & 1)
                        fetch_poison(region, fetch->first + i);
        pthread_cond_broadcast(&region->changed);
}

static void put_in_place(struct fetch *fetch) {
        struct failover_region *region = fetch->region;
        uint64_t bytes = fetch_bytes(fetch), whole = fetch->n * REGION_PAGE_BYTES;

        memset(fetch->data + bytes, 0, whole - bytes);
        if (uffd_copy(region->uffd, address_of(region, fetch->first), fetch->data, whole,
                      region->write && !fetch->store) < 0) {
                fail(fetch, -ENOMEM);
                return;
        }
        region_table_filled(&region->table, fetch->first, fetch->n, fetch->first);
        region->statistics.fetched += bytes;
        if (fetch->store) {
                region->statistics.stores_seen++;
                region_table_touch(&region->table, fetch->first);
                pthread_cond_signal(&region->to_write);
        }
        pthread_cond_broadcast(&region->changed);
}

static void fetch_ended(struct channel_call *call, int result) {
        struct fetch *fetch = (struct fetch *) call; /* its first member */
        struct failover_region *region = fetch->region;
        bool kick = false;

        pthread_mutex_lock(&region->lock);
        if (fetch->state == FETCH_GIVEN_UP)
                remove_fetch(region, fetch);
        else if (result == -ENOTCONN) {
                fetch->state = FETCH_TO_ASK;
                kick = true;
        } else {
                if (result < 0)
                        fail(fetch, result);
                else
                        put_in_place(fetch);
                kick = region->wish_n > 0 || region->resident_pages > 0;
                remove_fetch(region, fetch);
        }
        pthread_mutex_unlock(&region->lock);
        if (kick)
                region_fault_kick(region);
}

/* Pages that have been set to be in progress. NULL: out of memory, and they are not any more. */
static struct fetch *new_fetch(struct failover_region *region, uint64_t first, uint64_t n,
                               struct region_channel *channel) {
        struct fetch *fetch = region->spare;

        if (fetch) {
                region->spare = fetch->next;
                region->n_spare--;
        } else
                fetch = malloc(sizeof(*fetch));
        if (!fetch) {
                region_table_failed(&region->table, first, n, (uintptr_t) channel);
                return NULL;
        }
        memset(fetch, 0, offsetof(struct fetch, data));
        fetch->call.done = fetch_ended;
        fetch->region = region;
        fetch->channel = channel;
        fetch->first = first;
        fetch->n = n;
        fetch->until_usec = clock_usec(CLOCK_MONOTONIC) + region->source.deadline_usec;
        add(region, fetch);
        return fetch;
}

bool fetch_room(struct failover_region *region) {
        unsigned n = 0;

        for (struct fetch *fetch = region->fetches; fetch; fetch = fetch->next)
                n++;
        return n < FETCHES_MAX;
}

bool fetch_under_way(struct failover_region *region) {
        for (struct fetch *fetch = region->fetches; fetch; fetch = fetch->next)
                if (fetch->state != FETCH_GIVEN_UP)
                        return true;
        return false;
}

/* The reader whose next page it is, or who has come near the end of what was fetched for it; NULL: none. */
static struct read_ahead *find_reader(struct failover_region *region, uint64_t page) {
        for (unsigned i = 0; i < STREAMS_MAX; i++) {
                struct read_ahead *reader = &region->streams[i];

                if (reader->window > 0 && page <= reader->next && page + reader->window >= reader->next) {
                        reader->used = ++region->clock;
                        return reader;
                }
        }
        return NULL;
}

/* A reader that begins at this page, in the place of the one that was idle longest. */
static void new_reader(struct failover_region *region, uint64_t page) {
        struct read_ahead *reader = &region->streams[0];

        for (unsigned i = 1; i < STREAMS_MAX; i++)
                if (region->streams[i].used < reader->used)
                        reader = &region->streams[i];
        *reader = (struct read_ahead) { .next = page + 1, .window = 1, .used = ++region->clock };
}

/* Takes what follows along, in requests of a chunk each: twice as much as the last time. */
static void go_ahead(struct failover_region *region, struct read_ahead *reader, struct region_channel *channel) {
        uint64_t most = region->resident_pages / 4, end;

        most = region->resident_pages > 0 && most < WINDOW_PAGES_MAX ? most : WINDOW_PAGES_MAX;
        reader->window = reader->window * 2 < most ? reader->window * 2 : most;
        end = reader->next + reader->window;
        while (reader->next < end && fetch_room(region)) {
                uint64_t n = end - reader->next < CHUNK_PAGES ? end - reader->next : CHUNK_PAGES;

                n = region_table_take_along(&region->table, reader->next, n, (uintptr_t) channel);
                if (n == 0 || !new_fetch(region, reader->next, n, channel))
                        break;
                reader->next += n;
        }
}

void fetch_begin(struct failover_region *region, uint64_t page, bool store, struct region_channel *channel) {
        struct read_ahead *reader = find_reader(region, page);
        struct fetch *fetch = new_fetch(region, page, 1, channel);

        if (!fetch) {
                fetch_poison(region, page);
                return;
        }
        fetch->wanted = 1;
        fetch->store = store;
        if (!reader) {
                new_reader(region, page);
                return;
        }
        reader->next = page + 1;
        go_ahead(region, reader, channel);
}

void fetch_join(struct failover_region *region, uint64_t page) {
        struct read_ahead *reader = find_reader(region, page);

        for (struct fetch *fetch = region->fetches; fetch; fetch = fetch->next)
                if (page >= fetch->first && page < fetch->first + fetch->n && fetch->state != FETCH_GIVEN_UP) {
                        fetch->wanted |= UINT64_C(1) << (page - fetch->first);
                        if (reader && page + reader->window / 2 >= reader->next)
                                go_ahead(region, reader, fetch->channel);
                        return;
                }
}

void fetch_wish(struct failover_region *region, uint64_t page, uint64_t n, struct region_channel *channel) {
        uint64_t most = n < CHUNK_PAGES ? n : CHUNK_PAGES;
        uint64_t along = region_table_take_along(&region->table, page + 1, most - 1, (uintptr_t) channel);

        region->wish_first += along;
        region->wish_n -= along;
        (void) new_fetch(region, page, 1 + along, channel);
}

/* The next one to be asked, which is under way then. */
static struct fetch *take_to_ask(struct failover_region *region) {
        struct fetch *found = NULL;

        pthread_mutex_lock(&region->lock);
        for (struct fetch *fetch = region->fetches; fetch; fetch = fetch->next)
                if (fetch->state == FETCH_TO_ASK)
                        found = fetch; /* the one that has waited longest */
        if (found) {
                found->state = FETCH_UNDER_WAY;
                region->statistics.fetches++;
        }
        pthread_mutex_unlock(&region->lock);
        return found;
}

void fetch_submit(struct failover_region *region) {
        struct fetch *fetch;

        while (region_channel_is_up(&region->reading) && (fetch = take_to_ask(region)))
                channel_submit(fetch->channel->channel, &fetch->call, PEER_READ, fetch->data, fetch_bytes(fetch),
                               fetch->first * REGION_PAGE_BYTES);
}

/* Ends those past their deadline. When the next one is, and whether one waits to be asked. */
static usec_t give_up(struct failover_region *region, bool *ret_to_ask) {
        usec_t now = clock_usec(CLOCK_MONOTONIC), next = USEC_INFINITY;
        struct fetch *following;

        *ret_to_ask = false;
        pthread_mutex_lock(&region->lock);
        for (struct fetch *fetch = region->fetches; fetch; fetch = following) {
                following = fetch->next;
                if (fetch->state == FETCH_GIVEN_UP)
                        continue;
                if (fetch->until_usec > now) {
                        next = fetch->until_usec < next ? fetch->until_usec : next;
                        *ret_to_ask = *ret_to_ask || fetch->state == FETCH_TO_ASK;
                        continue;
                }
                fail(fetch, -ETIMEDOUT);
                if (fetch->state == FETCH_UNDER_WAY)
                        fetch->state = FETCH_GIVEN_UP;
                else
                        remove_fetch(region, fetch);
        }
        pthread_mutex_unlock(&region->lock);
        return next;
}

usec_t fetch_retry(struct failover_region *region) {
        struct error error = ERROR_INIT;
        bool to_ask;
        usec_t next = give_up(region, &to_ask), now = clock_usec(CLOCK_MONOTONIC);

        if (!to_ask)
                return next;
        if (now < region->retry_at_usec && !region_channel_is_up(&region->reading))
                return region->retry_at_usec < next ? region->retry_at_usec : next;
        if (region_channel_make(&region->reading, next > now ? next - now : 1, &error) < 0) {
                error_deinit(&error);
                region->retry_usec = region->retry_usec < RETRY_MIN_USEC       ? RETRY_MIN_USEC
                                     : 2 * region->retry_usec < RETRY_MAX_USEC ? 2 * region->retry_usec
                                                                               : RETRY_MAX_USEC;
                region->retry_at_usec = clock_usec(CLOCK_MONOTONIC) + region->retry_usec;
                return 0;
        }
        region->retry_usec = 0;
        fetch_submit(region);
        return give_up(region, &to_ask);
}

void fetch_free_all(struct failover_region *region) {
        struct fetch *next;

        for (struct fetch *fetch = region->fetches; fetch; fetch = next) {
                next = fetch->next;
                free(fetch);
        }
        for (struct fetch *fetch = region->spare; fetch; fetch = next) {
                next = fetch->next;
                free(fetch);
        }
        region->fetches = region->spare = NULL;
}
