/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <gnutls/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/pages/context-image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One input is a space as a memory server may hand it out: head, chunks, manifest. So that what comes behind the sums
 * is reached, they are made right where there is something to make them of. */

#define SPACE_MAX (256 * KIB)

struct space {
        unsigned char bytes[SPACE_MAX];
        uint64_t size;
};

static int space_read(void *userdata, void *buffer, uint64_t length, uint64_t offset) {
        const struct space *space = userdata;

        assert(length <= CONTEXT_IO_MAX && offset <= space->size && length <= space->size - offset);
        memcpy(buffer, space->bytes + offset, length);
        return 0;
}

static void mend_chunks(struct space *space) {
        uint64_t offset = PAGE_BYTES, number = 0;
        struct context_chunk chunk;

        while (offset + CONTEXT_CHUNK_HEAD_BYTES <= space->size &&
               context_chunk_decode(space->bytes + offset, number, &chunk) == 0 &&
               chunk.stored_bytes <= space->size - offset - CONTEXT_CHUNK_HEAD_BYTES) {
                int r = context_chunk_encode(&chunk, space->bytes + offset + CONTEXT_CHUNK_HEAD_BYTES,
                                             space->bytes + offset);
                assert(r == 0);
                offset += context_round_up(CONTEXT_CHUNK_HEAD_BYTES + chunk.stored_bytes);
                number++;
        }
}

/* Where the manifest is stands in the head's page: failover-context(5). */
static void mend_head(struct space *space) {
        unsigned char *page = space->bytes;
        uint64_t offset, length;

        if (space->size < PAGE_BYTES)
                return;
        memcpy(&offset, page + 32, sizeof(offset));
        memcpy(&length, page + 40, sizeof(length));
        if (offset <= space->size && length <= space->size - offset)
                (void) gnutls_hash_fast(GNUTLS_DIG_SHA256, space->bytes + offset, length, page + 48);
        (void) gnutls_hash_fast(GNUTLS_DIG_SHA256, page, PAGE_BYTES - CONTEXT_SUM_BYTES,
                                page + PAGE_BYTES - CONTEXT_SUM_BYTES);
}

/* What was understood says the same when it is written and read again. */
static void check_manifest(const struct context_manifest *manifest) {
        struct context_manifest *again = NULL;
        char *text = NULL, *same = NULL;
        size_t length, same_length;

        if (context_manifest_encode(manifest, &text, &length) < 0)
                return;
        assert(context_manifest_decode(text, length, &again, NULL) == 0);
        assert(context_manifest_encode(again, &same, &same_length) == 0);
        assert(length == same_length && memcmp(text, same, length) == 0);
        context_manifest_free(again);
        free(text);
        free(same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct space space;
        const struct context_io io = { space_read, NULL, NULL, &space, size };
        struct context_manifest *manifest = NULL;
        struct error error = ERROR_INIT;
        struct context_head head;
        int r;

        if (size > SPACE_MAX)
                return 0;
        memcpy(space.bytes, data, size);
        space.size = size;
        mend_chunks(&space);
        mend_head(&space);
        r = context_open(&io, &head, &manifest, &error);
        assert(r == 0 || (error.code == r && error.message));
        if (r == 0) {
                check_manifest(manifest);
                r = context_image_read(&io, manifest, -1, CONTEXT_VERIFY, NULL, &error);
                assert(r == 0 || (error.code == r && error.message));
        }
        context_manifest_free(manifest);
        error_deinit(&error);
        return 0;
}
