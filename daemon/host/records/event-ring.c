/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/records/event-ring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/replay/describe.h"
#include "daemon/replay/recorder.h"

/* A file is full when its events take so many bytes, or so many times what its snapshot takes; one that a flow goes on
 * in may become twice as long. */
#define FILE_BYTES (256 * KIB)
#define FILE_SNAPSHOTS 4
/* Signs of life may wait in memory until so many bytes of them have come, or so long after something of weight. */
#define WAITING_BYTES 8192
#define CALM_USEC (10 * USEC_PER_SEC)
/* After a failure it is tried again so much later. */
#define RETRY_USEC (60 * USEC_PER_SEC)

DEFINE_CLEANUP(DIR *, closedir)

struct ring_file {
        uint64_t number; /* its name */
        uint64_t bytes;
        usec_t begun_usec; /* CLOCK_BOOTTIME */
};

struct event_ring {
        int dir_fd;
        uint64_t life, number; /* number: of the latest file */
        struct ring_file files[EVENT_RING_FILES_MAX]; /* the oldest first; the last is written to while `fd` is open */
        size_t n_files;

        int fd;
        uint64_t snapshot_bytes; /* of the present file */
        struct recorder recorder;
        usec_t weighed_usec; /* when something of weight happened last */
        usec_t retry_usec;   /* it has failed; not before this */
        bool said;
};

/* ---- files ----------------------------------------------------------------------------------------------- */

static void file_name(uint64_t number, char name[static 32]) {
        snprintf(name, 32, "%010" PRIu64 ".events", number);
}

/* When a file of a former life was begun, by its first line; 0 where that cannot be told. */
static usec_t read_begun(int fd) {
        char head[256];
        ssize_t n = pread(fd, head, sizeof(head) - 1, 0);
        const char *at;

        if (n <= 0)
                return 0;
        head[n] = 0;
        head[strcspn(head, "\n")] = 0;
        at = strstr(head, " time_usec=");
        return at ? strtoull(at + strlen(" time_usec="), NULL, 10) : 0;
}

static int by_number(const void *a, const void *b) {
        const struct ring_file *x = a, *y = b;

        return x->number < y->number ? -1 : x->number > y->number;
}

static void remove_file(struct event_ring *ring, size_t i) {
        char name[32];

        file_name(ring->files[i].number, name);
        (void) unlinkat(ring->dir_fd, name, 0);
        ring->n_files--;
        memmove(&ring->files[i], &ring->files[i + 1], (ring->n_files - i) * sizeof(*ring->files));
}

/* Makes room for one more. The latest two stay. */
static void prune(struct event_ring *ring) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < ring->n_files; i++)
                bytes += ring->files[i].bytes;
        while (ring->n_files > 2 && (bytes > EVENT_RING_BYTES_MAX || ring->n_files == EVENT_RING_FILES_MAX)) {
                bytes -= ring->files[0].bytes;
                remove_file(ring, 0);
        }
}

/* Takes note of a file that a former life left. */
static void find_file(struct event_ring *ring, const char *name) {
        struct ring_file file = { 0 };
        char expected[32];
        _cleanup_close_ int fd = -1;
        struct stat st;

        file.number = strtoull(name, NULL, 10);
        file_name(file.number, expected);
        fd = openat(ring->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (strcmp(name, expected) != 0 || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return;
        file.bytes = (uint64_t) st.st_size;
        file.begun_usec = read_begun(fd);
        if (ring->n_files == EVENT_RING_FILES_MAX) { /* the oldest goes: it may be this one */
                qsort(ring->files, ring->n_files, sizeof(*ring->files), by_number);
                if (ring->files[0].number > file.number) {
                        (void) unlinkat(ring->dir_fd, name, 0);
                        return;
                }
                remove_file(ring, 0);
        }
        ring->files[ring->n_files++] = file;
}

static int find_files(struct event_ring *ring) {
        int fd = openat(ring->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!dir) {
                closep(&fd);
                return -errno;
        }
        while ((entry = readdir(dir)))
                if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
                        find_file(ring, entry->d_name);
        qsort(ring->files, ring->n_files, sizeof(*ring->files), by_number);
        if (ring->n_files > 0)
                ring->number = ring->files[ring->n_files - 1].number;
        return 0;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

int event_ring_new(const char *directory, struct event_ring **ret) {
        struct event_ring *ring;
        int r;

        if (mkdir(directory, 0700) < 0 && errno != EEXIST)
                return -errno;
        ring = calloc(1, sizeof(*ring));
        if (!ring)
                return -ENOMEM;
        *ring = (struct event_ring) { .fd = -1, .recorder = RECORDER_INIT, .life = clock_usec(CLOCK_REALTIME) };
        ring->dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = ring->dir_fd < 0 ? -errno : find_files(ring);
        if (r < 0) {
                event_ring_free(ring);
                return r;
        }
        *ret = ring;
        return 0;
}

static int flush(struct event_ring *ring) {
        struct buffer *out = &ring->recorder.out;
        size_t written = 0;

        while (written < out->n && !out->failed) {
                ssize_t n = write(ring->fd, out->bytes + written, out->n - written);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                written += (size_t) n;
                ring->files[ring->n_files - 1].bytes += (uint64_t) n;
        }
        if (out->failed)
                return -ENOMEM;
        buffer_clear(out);
        return 0;
}

struct event_ring *event_ring_free(struct event_ring *ring) {
        if (!ring)
                return NULL;
        if (ring->fd >= 0)
                (void) flush(ring);
        closep(&ring->fd);
        closep(&ring->dir_fd);
        recorder_deinit(&ring->recorder);
        free(ring);
        return NULL;
}

/* The present file is of no use any more; another one is begun later. */
static void give_up(struct event_ring *ring, int result, usec_t now_usec) {
        if (!ring->said)
                fprintf(stderr, "what failoverd is told and decides is not recorded at the moment: %s, ignoring\n",
                        strerror(-result));
        ring->said = true;
        closep(&ring->fd);
        ring->fd = -1;
        buffer_clear(&ring->recorder.out);
        ring->number++; /* what comes next does not follow what was */
        ring->retry_usec = now_usec + RETRY_USEC;
}

/* ---- recording ------------------------------------------------------------------------------------------- */

/* Begins a file with the engine as it is. */
static int begin_file(struct event_ring *ring, const struct engine *engine, usec_t now_usec) {
        struct segment_head head = { .life = ring->life, .segment = ++ring->number, .time_usec = now_usec };
        char name[32];
        int r;

        if (ring->fd >= 0 && flush(ring) < 0)
                return -EIO;
        closep(&ring->fd);
        prune(ring);
        file_name(ring->number, name);
        ring->fd = openat(ring->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (ring->fd < 0)
                return -errno;
        ring->files[ring->n_files++] = (struct ring_file) { .number = ring->number, .begun_usec = now_usec };
        r = recorder_segment(&ring->recorder, engine, &head);
        ring->snapshot_bytes = ring->recorder.out.n;
        return r < 0 ? r : flush(ring);
}

static bool flow_under_way(const struct engine *engine) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && engine->pairs[i]->record.flow.kind != FLOW_NONE)
                        return true;
        return false;
}

static bool file_is_full(const struct event_ring *ring, const struct engine *engine) {
        uint64_t bytes = ring->files[ring->n_files - 1].bytes - ring->snapshot_bytes,
                 most = FILE_SNAPSHOTS * ring->snapshot_bytes;

        if (most < FILE_BYTES)
                most = FILE_BYTES;
        return bytes >= 2 * most || (bytes >= most && !flow_under_way(engine));
}

void event_ring_event(struct event_ring *ring, const struct engine *engine, const struct event *event) {
        char text[DESCRIBE_LEN];
        int r = 0;

        if (event->time_usec < ring->retry_usec)
                return;
        if (ring->fd < 0 || file_is_full(ring, engine))
                r = begin_file(ring, engine, event->time_usec);
        if (r >= 0)
                r = recorder_event(&ring->recorder, event);
        if (r >= 0 && describe_event(event, engine, text)) {
                ring->weighed_usec = event->time_usec;
                r = flush(ring); /* it is there also where the engine does not survive it */
        }
        if (r < 0)
                give_up(ring, r, event->time_usec);
}

void event_ring_update(struct event_ring *ring, const struct engine *engine, const struct update *update) {
        int r;

        if (ring->fd < 0)
                return;
        r = recorder_update(&ring->recorder, engine, update);
        if (r > 0)
                ring->weighed_usec = engine->now_usec;
        if (r >= 0 && (engine->now_usec - ring->weighed_usec < CALM_USEC || ring->recorder.out.n >= WAITING_BYTES))
                r = flush(ring);
        if (r < 0)
                give_up(ring, r, engine->now_usec);
        else
                ring->said = false;
}

/* ---- taking ---------------------------------------------------------------------------------------------- */

/* The last file that was begun by then; the first of all where there is none. */
static size_t find_first(const struct event_ring *ring, usec_t from_usec) {
        size_t i = ring->n_files - 1;

        while (i > 0 && ring->files[i].begun_usec > from_usec)
                i--;
        return i;
}

int event_ring_take(struct event_ring *ring, usec_t from_usec, uint64_t max_bytes,
                    struct event_ring_part ret[static EVENT_RING_FILES_MAX]) {
        uint64_t bytes = 0;
        size_t first, next;
        int n = 0;

        if (ring->fd >= 0 && flush(ring) < 0)
                return -EIO;
        if (ring->n_files == 0)
                return 0;
        first = next = find_first(ring, from_usec);
        for (size_t i = first; i < ring->n_files; i++)
                bytes += ring->files[i].bytes;
        /* How it began, and how it ended. */
        while (bytes > max_bytes && next + 2 < ring->n_files)
                bytes -= ring->files[++next].bytes;
        for (size_t i = first; i < ring->n_files; i = i == first ? next + 1 : i + 1) {
                char name[32];

                file_name(ring->files[i].number, name);
                ret[n] = (struct event_ring_part) { .bytes = ring->files[i].bytes };
                ret[n].fd = openat(ring->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
                if (ret[n].fd >= 0)
                        n++;
        }
        return n;
}

void event_ring_parts_close(struct event_ring_part *parts, int n_parts) {
        for (int i = 0; i < n_parts; i++)
                closep(&parts[i].fd);
}
