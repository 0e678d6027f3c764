/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/label.h"

#include <endian.h>
#include <string.h>

static const char *const label_state_table[] = {
        [LABEL_NONE] = "none",
        [LABEL_FILLING] = "filling",
        [LABEL_COMPLETE] = "complete",
        [LABEL_GONE] = "gone",
};
DEFINE_ENUM_TABLE(label_state, label_state_table)

/* The page: this, then numbers of 64 bits, least byte first, then three names of NAME_LEN, then zeroes. */
static const char magic[16] = "failover-copy-1";

enum { SIZE, TOKEN, SESSION, LINK, NUMBER, ANSWERED, DEADLINE, STATE, N_NUMBERS };

#define NAMES_AT (sizeof(magic) + N_NUMBERS * sizeof(uint64_t))

void label_encode(const struct label *label, unsigned char ret[static LABEL_BYTES]) {
        const uint64_t numbers[N_NUMBERS] = {
                [SIZE] = label->size_bytes, [TOKEN] = label->token,       [SESSION] = label->session,
                [LINK] = label->link,       [NUMBER] = label->number,     [ANSWERED] = label->answered,
                [STATE] = label->state,     [DEADLINE] = label->deadline_usec,
        };

        memset(ret, 0, LABEL_BYTES);
        memcpy(ret, magic, sizeof(magic));
        for (size_t i = 0; i < N_NUMBERS; i++) {
                uint64_t number = htole64(numbers[i]);
                memcpy(ret + sizeof(magic) + i * sizeof(number), &number, sizeof(number));
        }
        memcpy(ret + NAMES_AT, &label->name, sizeof(label->name));
}

int label_decode(const unsigned char page[static LABEL_BYTES], struct label *ret) {
        uint64_t numbers[N_NUMBERS];
        struct space_name name;

        if (memcmp(page, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        memcpy(numbers, page + sizeof(magic), sizeof(numbers));
        memcpy(&name, page + NAMES_AT, sizeof(name));
        if (!memchr(name.node, 0, NAME_LEN) || !memchr(name.owner, 0, NAME_LEN) || !memchr(name.space, 0, NAME_LEN) ||
            le64toh(numbers[STATE]) >= LABEL_STATE_MAX)
                return -EBADMSG;
        *ret = (struct label) {
                .name = name,
                .size_bytes = le64toh(numbers[SIZE]),
                .token = le64toh(numbers[TOKEN]),
                .session = le64toh(numbers[SESSION]),
                .link = le64toh(numbers[LINK]),
                .number = le64toh(numbers[NUMBER]),
                .answered = le64toh(numbers[ANSWERED]),
                .deadline_usec = le64toh(numbers[DEADLINE]),
                .state = (enum label_state) le64toh(numbers[STATE]),
        };
        return 0;
}
