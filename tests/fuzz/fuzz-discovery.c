/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/pages/arbitrator.h"
#include "daemon/pages/discovery-guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One input is a row of datagrams, each behind its length in two bytes, as one who has the key may send them to an
 * arbitrator: what decodes encodes to the same bytes, and no row of them brings it down. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct guard guard;
        static struct arbitrator arbitrator;
        unsigned char bytes[DISCOVERY_BYTES_MAX], address[16] = { 0 };
        struct discovery_message message, answer;
        usec_t now = 1;

        guard = (struct guard) { 0 };
        arbitrator = (struct arbitrator) { 0 };
        while (size > 2) {
                size_t n = (size_t) (data[0] << 8 | data[1]);

                n = n < size - 2 ? n : size - 2;
                if (discovery_decode(data + 2, n, &message) == 0) {
                        assert(discovery_encode(&message, bytes) == n && memcmp(bytes, data + 2, n) == 0);
                        address[0] = message.nonce[0];
                        if (guard_admit(&guard, address, &message, message.time_usec, now) == 0 &&
                            message.kind == DISCOVERY_ANNOUNCE)
                                (void) arbitrator_hear(&arbitrator, &message, now);
                        assert(message.kind == DISCOVERY_ANSWER ||
                               guard_admit(&guard, address, &message, message.time_usec, now) != 0);
                        if (message.kind == DISCOVERY_ASK) {
                                arbitrator_answer(&arbitrator, &message, now, &answer);
                                assert(answer.n_entries <= DISCOVERY_ENTRIES_MAX && answer.pick <= answer.n_entries);
                                assert(discovery_encode(&answer, bytes) <= DISCOVERY_BYTES_MAX);
                        }
                        now += message.nonce[1] * USEC_PER_MSEC;
                }
                data += 2 + n;
                size -= 2 + n;
        }
        return 0;
}
