/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Saves that wait for a mirror together. One message at a time is on its way; the saves that come meanwhile go in the
 * next one, when its answer is there. The first of them sends it and wakes the others. So a save that comes alone waits
 * for nobody, and the more there are, the less each costs. One that has no room in a bundle goes alone, in its turn:
 * what is sent beside others, over the same connection, costs more threads' waking than it saves time.
 */

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/bundle.h"
#include "daemon/memserver/copy-internal.h"

_Static_assert(BUNDLE_BYTES <= PEER_PIECE_BYTES, "a bundle goes over as a whole");

/* A save, on its caller's stack. */
struct waiting_save {
        struct bundle_save save;
        struct waiting_save *next;
        sem_t turn;
        bool done; /* its turn has come because it is done, and not because it leads those that follow it */
        int result;
};

void bundler_init(struct bundler *bundler) {
        *bundler = (struct bundler) { .last = &bundler->first };
        (void) pthread_mutex_init(&bundler->lock, NULL);
}

void bundler_deinit(struct bundler *bundler) {
        (void) pthread_mutex_destroy(&bundler->lock);
        free(bundler->bundle);
}

/* Takes those that go together from the front of the queue, which is not empty. Returns the first. With the lock
 * held. */
static struct waiting_save *take_saves(struct bundler *bundler) {
        struct waiting_save *first = bundler->first, *last = first;
        uint64_t bytes = first->save.length;

        for (size_t n = 1; n < BUNDLE_SAVES_MAX && last->next; n++) {
                bytes += last->next->save.length;
                if (bytes > BUNDLE_DATA_MAX)
                        break;
                last = last->next;
        }
        bundler->first = last->next;
        if (!bundler->first)
                bundler->last = &bundler->first;
        last->next = NULL;
        return first;
}

/* In one message, or one by one where memory is out. */
static int send_saves(struct copy *copy, const struct waiting_save *first) {
        struct bundler *bundler = &copy->bundler;
        struct bundle_save saves[BUNDLE_SAVES_MAX];
        size_t n = 0, length;
        int r = 0;

        for (const struct waiting_save *save = first; save; save = save->next)
                saves[n++] = save->save;
        if (n > 1 && !bundler->bundle)
                bundler->bundle = malloc(BUNDLE_BYTES);
        if (n > 1 && bundler->bundle) {
                length = bundle_encode(saves, n, bundler->bundle);
                return copy_request(copy, PEER_WRITE, bundler->bundle, length,
                                    mirror_bundle_offset(page_space_size(copy->space->pages)));
        }
        for (size_t i = 0; i < n && r == 0; i++)
                r = copy_request(copy, PEER_WRITE, (void *) saves[i].data, saves[i].length, saves[i].offset);
        return r;
}

/* Sends what it leads, and lets those go and the next ones begin. */
static int lead(struct copy *copy, struct waiting_save *first) {
        struct bundler *bundler = &copy->bundler;
        struct waiting_save *leader = NULL, *next;
        int r = send_saves(copy, first);

        pthread_mutex_lock(&bundler->lock);
        if (bundler->first)
                leader = take_saves(bundler);
        bundler->busy = leader != NULL;
        pthread_mutex_unlock(&bundler->lock);
        if (leader)
                (void) sem_post(&leader->turn);
        for (struct waiting_save *save = first->next; save; save = next) {
                next = save->next; /* it is gone with its turn */
                save->done = true;
                save->result = r;
                (void) sem_post(&save->turn);
        }
        return r;
}

/* Waits until it is done, or leads. */
static void wait_turn(struct bundler *bundler, struct waiting_save *save) {
        bool wait;

        pthread_mutex_lock(&bundler->lock);
        wait = bundler->busy;
        bundler->busy = true;
        if (wait) {
                *bundler->last = save;
                bundler->last = &save->next;
        }
        pthread_mutex_unlock(&bundler->lock);
        while (wait && sem_wait(&save->turn) < 0 && errno == EINTR)
                ;
}

int copy_save_bundled(struct copy *copy, const void *buffer, uint64_t length, uint64_t offset) {
        struct waiting_save save = { .save = { buffer, length, offset } };
        int r;

        (void) sem_init(&save.turn, 0, 0);
        wait_turn(&copy->bundler, &save);
        r = save.done ? save.result : lead(copy, &save);
        (void) sem_destroy(&save.turn);
        return r;
}
