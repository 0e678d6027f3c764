/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a save at two servers costs a client. saves SECONDS BYTES THREADS URI [URI]: each thread saves at random places,
 * at one server, which may forward, or at both at once, and goes on when all have answered. A thread has connections of
 * its own. Says how many saves a second there were.
 */

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/peer.h"

#define SERVERS_MAX 2
#define THREADS_MAX 64

struct saver {
        pthread_t thread;
        struct peer *peers[SERVERS_MAX];
        int n_peers, result;
        size_t bytes;
        unsigned seed;
        usec_t until_usec;
        unsigned long n_saves;
};

static void answered(struct peer_call *call) {
        (void) sem_post(&call->answered);
}

static int wait_answered(struct peer_call *call) {
        while (sem_wait(&call->answered) < 0 && errno == EINTR)
                ;
        (void) sem_destroy(&call->answered);
        return call->result;
}

/* At both: neither waits for the other. */
static int save(struct saver *saver, char *data, uint64_t offset) {
        struct peer_call other = { .done = answered };
        int r, r_other = 0;

        if (saver->n_peers > 1) {
                (void) sem_init(&other.answered, 0, 0);
                peer_submit(saver->peers[1], &other, PEER_WRITE, data, saver->bytes, offset);
        }
        r = peer_call(saver->peers[0], PEER_WRITE, data, saver->bytes, offset);
        if (saver->n_peers > 1)
                r_other = wait_answered(&other);
        return r < 0 ? r : r_other;
}

static void *run(void *userdata) {
        struct saver *saver = userdata;
        uint64_t n = peer_size(saver->peers[0]) / saver->bytes;
        char *data = malloc(saver->bytes);

        if (!data)
                return NULL;
        memset(data, 'x', saver->bytes);
        while (saver->result == 0 && clock_usec(CLOCK_MONOTONIC) < saver->until_usec) {
                saver->result = save(saver, data, (unsigned) rand_r(&saver->seed) % n * saver->bytes);
                saver->n_saves++;
        }
        free(data);
        return NULL;
}

static int connect_saver(struct saver *saver, char *const *uris, int n) {
        struct error error = ERROR_INIT;

        for (int i = 0; i < n; i++) {
                struct peer_options options = { .uri = uris[i], .deadline_usec = 10 * USEC_PER_SEC,
                                                .connect_usec = 10 * USEC_PER_SEC };
                if (peer_new(&options, &saver->peers[i], &error) < 0) {
                        fprintf(stderr, "saves: %s\n", error_text(&error));
                        error_deinit(&error);
                        return -1;
                }
                saver->n_peers++;
        }
        return 0;
}

int main(int argc, char *argv[]) {
        static struct saver savers[THREADS_MAX];
        int seconds = argc > 1 ? atoi(argv[1]) : 0, bytes = argc > 2 ? atoi(argv[2]) : 0;
        int n = argc > 3 ? atoi(argv[3]) : 0, n_servers = argc - 4, failed = 0;
        unsigned long n_saves = 0;

        if (seconds <= 0 || bytes <= 0 || n <= 0 || n > THREADS_MAX || n_servers < 1 || n_servers > SERVERS_MAX) {
                fprintf(stderr, "usage: saves SECONDS BYTES THREADS URI [URI]\n");
                return 2;
        }
        for (int i = 0; i < n; i++)
                if (connect_saver(&savers[i], argv + 4, n_servers) < 0)
                        return 1;
        for (int i = 0; i < n; i++) {
                savers[i].bytes = (size_t) bytes;
                savers[i].seed = (unsigned) i;
                savers[i].until_usec = clock_usec(CLOCK_MONOTONIC) + (usec_t) seconds * USEC_PER_SEC;
                if (thread_start_joined(run, &savers[i], &savers[i].thread) < 0)
                        return 1;
        }
        for (int i = 0; i < n; i++) {
                (void) pthread_join(savers[i].thread, NULL);
                n_saves += savers[i].n_saves;
                failed = failed < 0 ? failed : savers[i].result;
                for (int j = 0; j < n_servers; j++)
                        (void) peer_free(savers[i].peers[j]);
        }
        if (failed < 0) {
                fprintf(stderr, "saves: %s\n", strerror(-failed));
                return 1;
        }
        printf("%lu\n", n_saves / (unsigned long) seconds);
        return 0;
}
