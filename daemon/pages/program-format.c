/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/program-format.h"

#include <gnutls/crypto.h>
#include <string.h>

#include "daemon/base/little-endian.h"
#include "daemon/memserver/space-name.h"

/* The head's page: this, the version and two numbers, name, sum and seal, zeroes, and the sum of all before. What is
 * sealed is what stands before the seal. */
static const char magic[16] = "failover-program";

#define VERSION_AT sizeof(magic)
#define IMAGE_AT (VERSION_AT + sizeof(uint64_t))
#define PUT_AT (IMAGE_AT + sizeof(uint64_t))
#define NAME_AT (PUT_AT + sizeof(uint64_t))
#define SUMS_AT (NAME_AT + NAME_LEN)
#define SEAL_AT (SUMS_AT + CONTEXT_SUM_BYTES)
#define OWN_SUM_AT (PAGE_BYTES - CONTEXT_SUM_BYTES)

void program_head_encode(const struct program_head *head, unsigned char ret[static PAGE_BYTES]) {
        memset(ret, 0, PAGE_BYTES);
        memcpy(ret, magic, sizeof(magic));
        le64_put(ret + VERSION_AT, PROGRAM_VERSION);
        le64_put(ret + IMAGE_AT, head->image_bytes);
        le64_put(ret + PUT_AT, head->put_usec);
        memcpy(ret + NAME_AT, head->name, strnlen(head->name, NAME_LEN - 1));
        memcpy(ret + SUMS_AT, head->sums, CONTEXT_SUM_BYTES);
        memcpy(ret + SEAL_AT, head->seal, CONTEXT_SUM_BYTES);
        (void) gnutls_hash_fast(GNUTLS_DIG_SHA256, ret, OWN_SUM_AT, ret + OWN_SUM_AT);
}

int program_head_decode(const unsigned char page[static PAGE_BYTES], struct program_head *ret, struct error *error) {
        static const unsigned char zeroes[PAGE_BYTES];
        unsigned char sum[CONTEXT_SUM_BYTES];
        struct program_head head = { 0 };

        if (memcmp(page, zeroes, PAGE_BYTES) == 0)
                return error_set(error, -ENODATA, "it was never finished: putting it there was cut off");
        if (memcmp(page, magic, sizeof(magic)) != 0)
                return error_set(error, -EBADMSG, "it does not begin with the head of a program");
        if (gnutls_hash_fast(GNUTLS_DIG_SHA256, page, OWN_SUM_AT, sum) < 0 ||
            memcmp(sum, page + OWN_SUM_AT, sizeof(sum)) != 0)
                return error_set(error, -EBADMSG, "its head is damaged: the sum is wrong");
        if (le64_take(page + VERSION_AT) != PROGRAM_VERSION)
                return error_set(error, -EPROTONOSUPPORT, "it is of version %llu, and this program knows version %d",
                                 (unsigned long long) le64_take(page + VERSION_AT), PROGRAM_VERSION);
        head.image_bytes = le64_take(page + IMAGE_AT);
        head.put_usec = le64_take(page + PUT_AT);
        memcpy(head.name, page + NAME_AT, NAME_LEN - 1);
        memcpy(head.sums, page + SUMS_AT, CONTEXT_SUM_BYTES);
        memcpy(head.seal, page + SEAL_AT, CONTEXT_SUM_BYTES);
        if (head.image_bytes == 0 || head.image_bytes > PROGRAM_IMAGE_MAX || !space_word_is_valid(head.name))
                return error_set(error, -EBADMSG, "its head says what cannot be");
        *ret = head;
        return 0;
}

static int sum_of(const struct program_head *head, unsigned char ret[static CONTEXT_SUM_BYTES]) {
        unsigned char page[PAGE_BYTES];

        program_head_encode(head, page);
        return gnutls_hash_fast(GNUTLS_DIG_SHA256, page, SEAL_AT, ret) < 0 ? -ENOMEM : 0;
}

int program_head_seal(struct program_head *head, const struct context_key *key) {
        unsigned char sum[CONTEXT_SUM_BYTES];
        int r = sum_of(head, sum);

        return r < 0 ? r : context_key_seal(key, sum, head->seal);
}

bool program_head_is_vouched_for(const struct program_head *head, const struct context_key *key) {
        unsigned char sum[CONTEXT_SUM_BYTES];

        return sum_of(head, sum) == 0 && context_key_vouches(key, sum, head->seal);
}
