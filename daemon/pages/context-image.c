/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-image.h"

#include <gnutls/crypto.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/whole.h"

#define LEVEL 1 /* of zstd: the VM waits meanwhile */

static const char *const context_phase_table[] = {
        [CONTEXT_STATE_OUT] = "writing memory",
        [CONTEXT_SAVE] = "saving",
        [CONTEXT_VERIFY] = "verifying",
        [CONTEXT_FETCH] = "fetching",
        [CONTEXT_STATE_IN] = "starting",
        [CONTEXT_MERGE] = "merging disks",
};
DEFINE_ENUM_TABLE(context_phase, context_phase_table)

/* What writing and reading an image have in common. */
struct stream {
        const struct context_io *io;
        const struct context_progress *progress;
        enum context_phase phase;
        uint64_t offset;     /* of the next chunk, or byte, in the space */
        uint64_t done_bytes; /* of the image */
        unsigned char *image, *room; /* one chunk, as it is and as it is stored, with its head */
        gnutls_hash_hd_t hash;       /* of the image; NULL: none */
};

static void stream_deinit(struct stream *stream) {
        unsigned char sum[CONTEXT_SUM_BYTES];

        if (stream->hash)
                gnutls_hash_deinit(stream->hash, sum);
        free(stream->image);
        free(stream->room);
}

#define _cleanup_stream_ _cleanup_(stream_deinit)

static int stream_init(struct stream *stream, struct error *error) {
        stream->offset = PAGE_BYTES;
        stream->image = malloc(CONTEXT_CHUNK_BYTES);
        stream->room = calloc(1, CONTEXT_IO_MAX);
        if (!stream->image || !stream->room || gnutls_hash_init(&stream->hash, GNUTLS_DIG_SHA256) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        return 0;
}

/* The sum of all that went through. */
static void stream_sum(struct stream *stream, char ret[static CONTEXT_SUM_LEN]) {
        unsigned char sum[CONTEXT_SUM_BYTES];

        gnutls_hash_output(stream->hash, sum);
        context_sum_text(sum, ret);
}

int context_tell(const struct context_progress *progress, enum context_phase phase, uint64_t done_bytes,
                 uint64_t total_bytes) {
        if (progress && progress->tell && progress->tell(progress->userdata, phase, done_bytes, total_bytes) != 0)
                return -ECANCELED;
        return 0;
}

static int stream_tell(struct stream *stream, uint64_t total_bytes, struct error *error) {
        if (context_tell(stream->progress, stream->phase, stream->done_bytes, total_bytes) < 0)
                return error_set(error, -ECANCELED, "it was given up");
        return 0;
}

static int server_failed(struct error *error, int r) {
        if (r == -ENOSPC)
                return error_set(error, r, "the memory server has no room for it");
        if (r == -ENOTCONN)
                return error_set(error, r, "the memory server does not answer any more");
        if (r == -EPERM || r == -ESHUTDOWN)
                return error_set(error, r, "somebody else has taken this context meanwhile");
        return error_set(error, r, "the memory server: %s", strerror(-r));
}

/* ---- writing ---- */

/* Up to a chunk of the file; less only at its end. Returns how much. */
static ssize_t read_chunk(int fd, unsigned char *buffer) {
        size_t n = 0;

        while (n < CONTEXT_CHUNK_BYTES) {
                ssize_t got = read(fd, buffer + n, CONTEXT_CHUNK_BYTES - n);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                n += (size_t) got;
        }
        return (ssize_t) n;
}

/* The first `n` bytes of `image`, as chunk `number`. */
static int store_chunk(struct stream *stream, uint64_t number, size_t n, struct error *error) {
        unsigned char *stored = stream->room + CONTEXT_CHUNK_HEAD_BYTES;
        size_t packed = ZSTD_compress(stored, ZSTD_compressBound(CONTEXT_CHUNK_BYTES), stream->image, n, LEVEL);
        struct context_chunk chunk = { number, (uint32_t) n, (uint32_t) packed, { 0 } };
        uint64_t used;
        int r;

        if (ZSTD_isError(packed))
                return error_set(error, -EIO, "zstd: %s", ZSTD_getErrorName(packed));
        r = context_chunk_encode(&chunk, stored, stream->room);
        if (r < 0)
                return error_set(error, r, "out of memory");
        used = context_round_up(CONTEXT_CHUNK_HEAD_BYTES + packed);
        memset(stored + packed, 0, used - CONTEXT_CHUNK_HEAD_BYTES - packed);
        if (stream->offset + used + 2 * CONTEXT_MANIFEST_MAX > stream->io->size_bytes)
                return error_set(error, -ENOSPC, "the VM's state is larger than was to be expected of its memory");
        r = stream->io->write(stream->io->userdata, stream->room, used, stream->offset);
        if (r < 0)
                return server_failed(error, r);
        stream->offset += used;
        return 0;
}

int context_image_write(const struct context_io *io, int fd, struct context_manifest *manifest,
                        const struct context_progress *progress, struct error *error) {
        _cleanup_stream_ struct stream stream = { .io = io, .progress = progress, .phase = CONTEXT_SAVE };
        off_t total = lseek(fd, 0, SEEK_END);
        uint64_t number = 0;
        ssize_t n;
        int r = stream_init(&stream, error);

        if (r < 0)
                return r;
        if (total < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return error_set(error, -errno, "the spool file: %s", strerror(errno));
        while ((n = read_chunk(fd, stream.image)) > 0) {
                (void) gnutls_hash(stream.hash, stream.image, (size_t) n);
                r = store_chunk(&stream, number++, (size_t) n, error);
                stream.done_bytes += (uint64_t) n;
                if (r == 0)
                        r = stream_tell(&stream, (uint64_t) total, error);
                if (r < 0)
                        return r;
        }
        if (n < 0)
                return error_set(error, (int) n, "the spool file: %s", strerror((int) -n));
        manifest->image_bytes = stream.done_bytes;
        manifest->stored_bytes = stream.offset - PAGE_BYTES;
        manifest->n_chunks = number;
        stream_sum(&stream, manifest->sum);
        return 0;
}

static int write_head(const struct context_io *io, const struct context_head *head, struct error *error) {
        unsigned char page[PAGE_BYTES];
        int r;

        context_head_encode(head, page);
        r = io->write(io->userdata, page, sizeof(page), 0);
        if (r == 0)
                r = io->flush(io->userdata);
        return r < 0 ? server_failed(error, r) : 0;
}

/* Where the manifest goes: behind the chunks, and not where the one is that counts now. */
static uint64_t manifest_offset(const struct context_manifest *manifest, const struct context_head *head) {
        uint64_t first = PAGE_BYTES + manifest->stored_bytes;

        return head->manifest_offset == first ? first + CONTEXT_MANIFEST_MAX : first;
}

static void claim(struct context_head *head, const char *holder) {
        head->state = *holder ? CONTEXT_CLAIMED : CONTEXT_SAVED;
        memset(head->holder, 0, sizeof(head->holder));
        memcpy(head->holder, holder, strnlen(holder, sizeof(head->holder) - 1));
}

int context_commit(const struct context_io *io, const struct context_manifest *manifest, const struct context_key *key,
                   const char *holder, struct context_head *head, struct error *error) {
        struct context_head next = { .manifest_offset = manifest_offset(manifest, head) };
        _cleanup_free_ char *text = NULL;
        size_t length = 0;
        int r = context_manifest_encode(manifest, &text, &length);

        if (r < 0)
                return error_set(error, r, "its description: %s", strerror(-r));
        next.manifest_bytes = length;
        claim(&next, holder);
        if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, length, next.manifest_sum) < 0 ||
            (key && context_key_seal(key, next.manifest_sum, next.seal) < 0))
                return error_set(error, -ENOMEM, "out of memory");
        for (size_t at = 0; at < length && r == 0; at += CONTEXT_IO_MAX)
                r = io->write(io->userdata, text + at, length - at < CONTEXT_IO_MAX ? length - at : CONTEXT_IO_MAX,
                              next.manifest_offset + at);
        if (r == 0)
                r = io->flush(io->userdata);
        if (r < 0)
                return server_failed(error, r);
        r = write_head(io, &next, error);
        if (r == 0)
                *head = next;
        return r;
}

int context_mark(const struct context_io *io, struct context_head *head, const char *holder, struct error *error) {
        struct context_head next = *head;
        int r;

        claim(&next, holder);
        r = write_head(io, &next, error);
        if (r == 0)
                *head = next;
        return r;
}

/* ---- reading ---- */

static int read_manifest(const struct context_io *io, const struct context_head *head, char *text,
                         struct error *error) {
        unsigned char sum[CONTEXT_SUM_BYTES];
        int r = 0;

        for (uint64_t at = 0; at < head->manifest_bytes && r == 0; at += CONTEXT_IO_MAX) {
                uint64_t left = head->manifest_bytes - at;
                r = io->read(io->userdata, text + at, left < CONTEXT_IO_MAX ? left : CONTEXT_IO_MAX,
                             head->manifest_offset + at);
        }
        if (r < 0)
                return server_failed(error, r);
        if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, head->manifest_bytes, sum) < 0 ||
            memcmp(sum, head->manifest_sum, sizeof(sum)) != 0)
                return error_set(error, -EBADMSG, "its description is damaged: the sum is wrong");
        return 0;
}

int context_open(const struct context_io *io, struct context_head *ret_head, struct context_manifest **ret_manifest,
                 struct error *error) {
        unsigned char page[PAGE_BYTES];
        _cleanup_free_ char *text = NULL;
        struct context_head head;
        int r;

        if (io->size_bytes < PAGE_BYTES)
                return error_set(error, -EBADMSG, "its space is too small to hold a context");
        r = io->read(io->userdata, page, sizeof(page), 0);
        if (r < 0)
                return server_failed(error, r);
        r = context_head_decode(page, &head, error);
        if (r < 0)
                return r;
        if (head.manifest_offset > io->size_bytes || head.manifest_bytes > io->size_bytes - head.manifest_offset)
                return error_set(error, -EBADMSG, "it is truncated: its description would lie behind its end");
        text = malloc(head.manifest_bytes);
        if (!text)
                return error_set(error, -ENOMEM, "out of memory");
        r = read_manifest(io, &head, text, error);
        if (r == 0) {
                r = context_manifest_decode(text, head.manifest_bytes, ret_manifest, error);
                if (r < 0)
                        error_prefix(error, "its description");
        }
        if (r == 0)
                *ret_head = head;
        return r;
}

/* What was read of the space, from `offset` on. */
struct window {
        uint64_t offset, length;
        unsigned char *bytes; /* CONTEXT_IO_MAX of them */
};

/* The `n` bytes of the space from `offset` on, which only goes up; none lies past `end`. NULL with `*ret_r` set. */
static const unsigned char *window_at(struct window *window, const struct context_io *io, uint64_t offset, uint64_t n,
                                      uint64_t end, int *ret_r) {
        uint64_t kept = 0, more;

        if (offset > end || n > end - offset) {
                *ret_r = -EBADMSG;
                return NULL;
        }
        if (offset + n <= window->offset + window->length)
                return window->bytes + (offset - window->offset);
        if (offset < window->offset + window->length) {
                kept = window->offset + window->length - offset;
                memmove(window->bytes, window->bytes + (offset - window->offset), kept);
        }
        more = end - offset - kept < CONTEXT_IO_MAX - kept ? end - offset - kept : CONTEXT_IO_MAX - kept;
        *ret_r = io->read(io->userdata, window->bytes + kept, more, offset + kept);
        window->offset = offset;
        window->length = *ret_r < 0 ? 0 : kept + more;
        return *ret_r < 0 ? NULL : window->bytes;
}

static int damaged(struct error *error, uint64_t number, const char *how) {
        return error_set(error, -EBADMSG, "it is damaged: chunk %llu (the image's MiB %llu) %s",
                         (unsigned long long) number, (unsigned long long) number, how);
}

/* Gets chunk `number`, unpacked, into `image`. Returns its length. */
static int load_chunk(struct stream *stream, struct window *window, uint64_t number, uint64_t end,
                      struct error *error) {
        const unsigned char *at;
        struct context_chunk chunk;
        size_t n;
        int r = 0;

        at = window_at(window, stream->io, stream->offset, CONTEXT_CHUNK_HEAD_BYTES, end, &r);
        if (!at)
                return r == -EBADMSG ? damaged(error, number, "is missing") : server_failed(error, r);
        if (context_chunk_decode(at, number, &chunk) < 0)
                return damaged(error, number, "is none");
        at = window_at(window, stream->io, stream->offset, CONTEXT_CHUNK_HEAD_BYTES + chunk.stored_bytes, end, &r);
        if (!at)
                return r == -EBADMSG ? damaged(error, number, "is cut off") : server_failed(error, r);
        r = context_chunk_check(&chunk, at + CONTEXT_CHUNK_HEAD_BYTES);
        if (r < 0)
                return r == -EBADMSG ? damaged(error, number, "has a wrong sum") : error_set(error, r, "out of memory");
        n = ZSTD_decompress(stream->image, CONTEXT_CHUNK_BYTES, at + CONTEXT_CHUNK_HEAD_BYTES, chunk.stored_bytes);
        if (ZSTD_isError(n) || n != chunk.image_bytes)
                return damaged(error, number, "cannot be unpacked");
        stream->offset += context_round_up(CONTEXT_CHUNK_HEAD_BYTES + chunk.stored_bytes);
        return (int) n;
}

int context_image_read(const struct context_io *io, const struct context_manifest *manifest, int fd,
                       enum context_phase phase, const struct context_progress *progress, struct error *error) {
        _cleanup_stream_ struct stream stream = { .io = io, .progress = progress, .phase = phase };
        uint64_t end = PAGE_BYTES + manifest->stored_bytes;
        struct window window = { 0 };
        char sum[CONTEXT_SUM_LEN];
        int r = stream_init(&stream, error);

        if (r < 0)
                return r;
        if (end > io->size_bytes)
                return error_set(error, -EBADMSG, "it is truncated: its space ends before its image does");
        window.bytes = stream.room;
        for (uint64_t number = 0; number < manifest->n_chunks; number++) {
                int n = load_chunk(&stream, &window, number, end, error);

                if (n < 0)
                        return n;
                (void) gnutls_hash(stream.hash, stream.image, (size_t) n);
                r = fd >= 0 ? whole_write(fd, stream.image, (size_t) n) : 0;
                if (r < 0)
                        return error_set(error, r, "the spool file: %s", strerror(-r));
                stream.done_bytes += (uint64_t) n;
                r = stream_tell(&stream, manifest->image_bytes, error);
                if (r < 0)
                        return r;
        }
        stream_sum(&stream, sum);
        if (stream.done_bytes != manifest->image_bytes || strcmp(sum, manifest->sum) != 0)
                return error_set(error, -EBADMSG, "it is damaged: the sum of the whole image is wrong");
        return 0;
}
