/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-format.h"

#include <gnutls/crypto.h>
#include <string.h>
#include <zstd.h>

#include "daemon/base/little-endian.h"

static const char *const context_state_table[] = {
        [CONTEXT_SAVED] = "saved",
        [CONTEXT_CLAIMED] = "claimed",
};
DEFINE_ENUM_TABLE(context_state, context_state_table)

static const char *const context_disk_kind_table[] = {
        [CONTEXT_DISK_FILE] = "file",
        [CONTEXT_DISK_BLOCK] = "block",
        [CONTEXT_DISK_OTHER] = "other",
};
DEFINE_ENUM_TABLE(context_disk_kind, context_disk_kind_table)

void context_sum_text(const unsigned char sum[static CONTEXT_SUM_BYTES], char ret[static CONTEXT_SUM_LEN]) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < CONTEXT_SUM_BYTES; i++) {
                ret[2 * i] = digits[sum[i] >> 4];
                ret[2 * i + 1] = digits[sum[i] & 15];
        }
        ret[CONTEXT_SUM_LEN - 1] = 0;
}

/* The head's page: this, then numbers of 64 bits, least byte first, the manifest's sum, the holder, the seal, zeroes,
 * and as its last bytes the sum of all before. */
static const char head_magic[16] = "failover-context";

enum { HEAD_VERSION, HEAD_STATE, HEAD_OFFSET, HEAD_LENGTH, HEAD_NUMBERS };

#define HEAD_NUMBERS_AT sizeof(head_magic)
#define HEAD_SUM_AT (HEAD_NUMBERS_AT + HEAD_NUMBERS * sizeof(uint64_t))
#define HEAD_HOLDER_AT (HEAD_SUM_AT + CONTEXT_SUM_BYTES)
#define HEAD_SEAL_AT (HEAD_HOLDER_AT + CONTEXT_HOLDER_LEN)
#define HEAD_OWN_SUM_AT (PAGE_BYTES - CONTEXT_SUM_BYTES)

void context_head_encode(const struct context_head *head, unsigned char ret[static PAGE_BYTES]) {
        memset(ret, 0, PAGE_BYTES);
        memcpy(ret, head_magic, sizeof(head_magic));
        le64_put(ret + HEAD_NUMBERS_AT + HEAD_VERSION * sizeof(uint64_t), CONTEXT_VERSION);
        le64_put(ret + HEAD_NUMBERS_AT + HEAD_STATE * sizeof(uint64_t), head->state);
        le64_put(ret + HEAD_NUMBERS_AT + HEAD_OFFSET * sizeof(uint64_t), head->manifest_offset);
        le64_put(ret + HEAD_NUMBERS_AT + HEAD_LENGTH * sizeof(uint64_t), head->manifest_bytes);
        memcpy(ret + HEAD_SUM_AT, head->manifest_sum, CONTEXT_SUM_BYTES);
        memcpy(ret + HEAD_HOLDER_AT, head->holder, strnlen(head->holder, CONTEXT_HOLDER_LEN - 1));
        memcpy(ret + HEAD_SEAL_AT, head->seal, CONTEXT_SUM_BYTES);
        (void) gnutls_hash_fast(GNUTLS_DIG_SHA256, ret, HEAD_OWN_SUM_AT, ret + HEAD_OWN_SUM_AT);
}

static bool all_zero(const unsigned char *bytes, size_t n) {
        return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

int context_head_decode(const unsigned char page[static PAGE_BYTES], struct context_head *ret, struct error *error) {
        unsigned char sum[CONTEXT_SUM_BYTES];
        uint64_t numbers[HEAD_NUMBERS];
        struct context_head head;

        if (all_zero(page, PAGE_BYTES))
                return error_set(error, -ENODATA, "it was never finished: its save was cut off");
        if (memcmp(page, head_magic, sizeof(head_magic)) != 0)
                return error_set(error, -EBADMSG, "it does not begin with the head of a context");
        for (size_t i = 0; i < HEAD_NUMBERS; i++)
                numbers[i] = le64_take(page + HEAD_NUMBERS_AT + i * sizeof(uint64_t));
        if (gnutls_hash_fast(GNUTLS_DIG_SHA256, page, HEAD_OWN_SUM_AT, sum) < 0 ||
            memcmp(sum, page + HEAD_OWN_SUM_AT, sizeof(sum)) != 0)
                return error_set(error, -EBADMSG, "its head is damaged: the sum is wrong");
        if (numbers[HEAD_VERSION] != CONTEXT_VERSION)
                return error_set(error, -EPROTONOSUPPORT, "it is of version %llu, and this program knows version %d",
                                 (unsigned long long) numbers[HEAD_VERSION], CONTEXT_VERSION);
        if (numbers[HEAD_STATE] >= CONTEXT_STATE_MAX || numbers[HEAD_OFFSET] % PAGE_BYTES != 0 ||
            numbers[HEAD_OFFSET] < PAGE_BYTES || numbers[HEAD_LENGTH] == 0 ||
            numbers[HEAD_LENGTH] > CONTEXT_MANIFEST_MAX || page[HEAD_HOLDER_AT + CONTEXT_HOLDER_LEN - 1] != 0)
                return error_set(error, -EBADMSG, "its head says what cannot be");
        head = (struct context_head) {
                .state = (enum context_state) numbers[HEAD_STATE],
                .manifest_offset = numbers[HEAD_OFFSET],
                .manifest_bytes = numbers[HEAD_LENGTH],
        };
        memcpy(head.manifest_sum, page + HEAD_SUM_AT, CONTEXT_SUM_BYTES);
        memcpy(head.holder, page + HEAD_HOLDER_AT, CONTEXT_HOLDER_LEN);
        memcpy(head.seal, page + HEAD_SEAL_AT, CONTEXT_SUM_BYTES);
        *ret = head;
        return 0;
}

/* A chunk's head: this, its numbers and its sum. The sum is of the numbers and the stored bytes. */
static const char chunk_magic[8] = "chunk-1";

#define CHUNK_NUMBERS_AT sizeof(chunk_magic)
#define CHUNK_NUMBERS_BYTES (2 * sizeof(uint64_t))
#define CHUNK_SUM_AT (CHUNK_NUMBERS_AT + CHUNK_NUMBERS_BYTES)

static void put_chunk_numbers(const struct context_chunk *chunk, unsigned char ret[static CHUNK_NUMBERS_BYTES]) {
        le64_put(ret, chunk->number);
        le64_put(ret + sizeof(uint64_t), (uint64_t) chunk->image_bytes << 32 | chunk->stored_bytes);
}

static int sum_chunk(const struct context_chunk *chunk, const void *stored,
                     unsigned char ret[static CONTEXT_SUM_BYTES]) {
        unsigned char numbers[CHUNK_NUMBERS_BYTES];
        gnutls_hash_hd_t hash;

        if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
                return -ENOMEM;
        put_chunk_numbers(chunk, numbers);
        (void) gnutls_hash(hash, numbers, sizeof(numbers));
        (void) gnutls_hash(hash, stored, chunk->stored_bytes);
        gnutls_hash_deinit(hash, ret);
        return 0;
}

int context_chunk_encode(struct context_chunk *chunk, const void *stored,
                         unsigned char ret[static CONTEXT_CHUNK_HEAD_BYTES]) {
        int r = sum_chunk(chunk, stored, chunk->sum);

        if (r < 0)
                return r;
        memset(ret, 0, CONTEXT_CHUNK_HEAD_BYTES);
        memcpy(ret, chunk_magic, sizeof(chunk_magic));
        put_chunk_numbers(chunk, ret + CHUNK_NUMBERS_AT);
        memcpy(ret + CHUNK_SUM_AT, chunk->sum, CONTEXT_SUM_BYTES);
        return 0;
}

int context_chunk_decode(const unsigned char head[static CONTEXT_CHUNK_HEAD_BYTES], uint64_t number,
                         struct context_chunk *ret) {
        struct context_chunk chunk;
        uint64_t sizes = le64_take(head + CHUNK_NUMBERS_AT + sizeof(uint64_t));

        chunk.number = le64_take(head + CHUNK_NUMBERS_AT);
        chunk.image_bytes = (uint32_t) (sizes >> 32);
        chunk.stored_bytes = (uint32_t) sizes;
        if (memcmp(head, chunk_magic, sizeof(chunk_magic)) != 0 || chunk.number != number || chunk.image_bytes == 0 ||
            chunk.image_bytes > CONTEXT_CHUNK_BYTES || chunk.stored_bytes == 0 ||
            chunk.stored_bytes > ZSTD_compressBound(CONTEXT_CHUNK_BYTES))
                return -EBADMSG;
        memcpy(chunk.sum, head + CHUNK_SUM_AT, CONTEXT_SUM_BYTES);
        *ret = chunk;
        return 0;
}

int context_chunk_check(const struct context_chunk *chunk, const void *stored) {
        unsigned char sum[CONTEXT_SUM_BYTES];
        int r = sum_chunk(chunk, stored, sum);

        if (r < 0)
                return r;
        return memcmp(sum, chunk->sum, sizeof(sum)) == 0 ? 0 : -EBADMSG;
}

uint64_t context_chunk_room(void) {
        return context_round_up(CONTEXT_CHUNK_HEAD_BYTES + ZSTD_compressBound(CONTEXT_CHUNK_BYTES));
}

uint64_t context_space_bytes(uint64_t image_bytes) {
        uint64_t chunks = image_bytes / CONTEXT_CHUNK_BYTES + 1;

        return PAGE_BYTES + chunks * context_chunk_room() + 2 * context_round_up(CONTEXT_MANIFEST_MAX);
}
