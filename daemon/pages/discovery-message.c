/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/discovery-message.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

#define MAC_LEN 32
#define HEADER_LEN 56
#define ASK_LEN (3 * NAME_LEN + 16)
#define ENTRY_LEN 32

static const unsigned char magic[4] = "FOPG";

int discovery_key_load(const char *path, struct discovery_key *ret, struct error *error) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        struct discovery_key key;
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return error_set(error, -errno, "%s: %s", path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return error_set(error, -EINVAL, "%s: not a file", path);
        if (st.st_mode & (S_IRWXG | S_IRWXO))
                return error_set(error, -EPERM, "%s: others than its owner may read it: chmod 600", path);
        if (st.st_size < DISCOVERY_KEY_MIN || st.st_size > DISCOVERY_KEY_MAX)
                return error_set(error, -EINVAL, "%s: a key has %d to %d bytes: head -c 32 /dev/urandom > %s", path,
                                 DISCOVERY_KEY_MIN, DISCOVERY_KEY_MAX, path);
        n = read(fd, key.bytes, sizeof(key.bytes));
        if (n != st.st_size)
                return error_set(error, -EIO, "%s: cannot be read as a whole", path);
        key.n = (size_t) n;
        *ret = key;
        explicit_bzero(&key, sizeof(key));
        return 0;
}

static unsigned char *put(unsigned char *at, uint64_t number, size_t n) {
        for (size_t i = 0; i < n; i++)
                at[i] = (unsigned char) (number >> (8 * (n - 1 - i)));
        return at + n;
}

static uint64_t get(const unsigned char **at, size_t n) {
        uint64_t number = 0;

        for (size_t i = 0; i < n; i++)
                number = number << 8 | (*at)[i];
        *at += n;
        return number;
}

static unsigned char *put_name(unsigned char *at, const char *name) {
        size_t n = strnlen(name, NAME_LEN - 1);

        memset(at, 0, NAME_LEN);
        memcpy(at, name, n);
        return at + NAME_LEN;
}

/* A word, and nothing behind it. */
static int get_name(const unsigned char **at, char ret[static NAME_LEN]) {
        size_t n = strnlen((const char *) *at, NAME_LEN);

        if (n == NAME_LEN)
                return -EBADMSG;
        for (size_t i = n; i < NAME_LEN; i++)
                if ((*at)[i] != 0)
                        return -EBADMSG;
        memcpy(ret, *at, NAME_LEN);
        *at += NAME_LEN;
        return space_word_is_valid(ret) ? 0 : -EBADMSG;
}

static size_t length_of(enum discovery_kind kind, unsigned n_entries) {
        return HEADER_LEN + (kind == DISCOVERY_ASK ? ASK_LEN : 0) + n_entries * ENTRY_LEN;
}

size_t discovery_encode(const struct discovery_message *message, unsigned char buffer[static DISCOVERY_BYTES_MAX]) {
        unsigned char *at = buffer;

        assert(message->n_entries <= DISCOVERY_ENTRIES_MAX);
        memcpy(at, magic, sizeof(magic));
        at = put(at + sizeof(magic), DISCOVERY_VERSION, 1);
        at = put(at, message->kind, 1);
        at = put(at, message->n_entries, 1);
        at = put(at, message->pick, 1);
        at = put(at, message->time_usec, 8);
        memcpy(at, message->nonce, DISCOVERY_NONCE_LEN);
        at += DISCOVERY_NONCE_LEN;
        memcpy(at, message->to, DISCOVERY_HOST_LEN);
        at = put(at + DISCOVERY_HOST_LEN, message->to_port, 2);
        at = put(at, 0, 6);
        if (message->kind == DISCOVERY_ASK) {
                at = put_name(at, message->name.node);
                at = put_name(at, message->name.owner);
                at = put_name(at, message->name.space);
                at = put(at, message->held_pages, 8);
                at = put(at, message->holder, 8);
        }
        for (unsigned i = 0; i < message->n_entries; i++) {
                const struct discovery_entry *entry = &message->entries[i];

                at = put(at, entry->identity, 8);
                at = put(at, entry->total_pages, 8);
                at = put(at, entry->free_pages, 8);
                at = put(at, entry->age_msec, 4);
                at = put(at, entry->willing, 4);
        }
        return (size_t) (at - buffer);
}

static int decode_ask(const unsigned char **at, struct discovery_message *message) {
        if (get_name(at, message->name.node) < 0 || get_name(at, message->name.owner) < 0 ||
            get_name(at, message->name.space) < 0)
                return -EBADMSG;
        message->held_pages = get(at, 8);
        message->holder = get(at, 8);
        return 0;
}

static int decode_entry(const unsigned char **at, struct discovery_entry *entry) {
        uint64_t willing;

        entry->identity = get(at, 8);
        entry->total_pages = get(at, 8);
        entry->free_pages = get(at, 8);
        entry->age_msec = (uint32_t) get(at, 4);
        willing = get(at, 4);
        entry->willing = willing == 1;
        return entry->identity == 0 || willing > 1 || entry->free_pages > entry->total_pages ||
               entry->total_pages > DISCOVERY_PAGES_MAX ? -EBADMSG : 0;
}

/* How many entries a kind may have. */
static bool fits(const struct discovery_message *message) {
        switch (message->kind) {
        case DISCOVERY_ASK:
                return message->n_entries <= DISCOVERY_ENTRIES_MAX && message->pick == 0;
        case DISCOVERY_ANSWER:
                return message->n_entries <= DISCOVERY_ENTRIES_MAX && message->pick <= message->n_entries;
        case DISCOVERY_ANNOUNCE:
                return message->n_entries == 1 && message->pick == 0;
        default:
                return false;
        }
}

/* Where it is sent to, which an answer does not say. */
static int decode_to(const unsigned char **at, struct discovery_message *message) {
        static const unsigned char nowhere[DISCOVERY_HOST_LEN];
        bool somewhere;

        memcpy(message->to, *at, DISCOVERY_HOST_LEN);
        *at += DISCOVERY_HOST_LEN;
        message->to_port = (uint16_t) get(at, 2);
        somewhere = message->to_port != 0;
        if (get(at, 6) != 0 || somewhere == (message->kind == DISCOVERY_ANSWER) ||
            somewhere == (memcmp(message->to, nowhere, DISCOVERY_HOST_LEN) == 0))
                return -EBADMSG;
        return 0;
}

int discovery_decode(const unsigned char *bytes, size_t n, struct discovery_message *ret) {
        struct discovery_message message = { 0 };
        const unsigned char *at = bytes + sizeof(magic);

        if (n < HEADER_LEN || memcmp(bytes, magic, sizeof(magic)) != 0)
                return -EBADMSG;
        if (get(&at, 1) != DISCOVERY_VERSION)
                return -EPROTONOSUPPORT;
        message.kind = (enum discovery_kind) get(&at, 1);
        message.n_entries = (unsigned) get(&at, 1);
        message.pick = (unsigned) get(&at, 1);
        message.time_usec = get(&at, 8);
        memcpy(message.nonce, at, DISCOVERY_NONCE_LEN);
        at += DISCOVERY_NONCE_LEN;
        if (!fits(&message) || n != length_of(message.kind, message.n_entries))
                return -EBADMSG;
        if (decode_to(&at, &message) < 0)
                return -EBADMSG;
        if (message.kind == DISCOVERY_ASK && decode_ask(&at, &message) < 0)
                return -EBADMSG;
        for (unsigned i = 0; i < message.n_entries; i++)
                if (decode_entry(&at, &message.entries[i]) < 0)
                        return -EBADMSG;
        *ret = message;
        return 0;
}

static int authenticate(const struct discovery_key *key, const unsigned char *bytes, size_t n,
                        unsigned char ret[static MAC_LEN]) {
        return gnutls_hmac_fast(GNUTLS_MAC_SHA256, key->bytes, key->n, bytes, n, ret) < 0 ? -EIO : 0;
}

int discovery_seal(const struct discovery_key *key, const struct discovery_message *message,
                   unsigned char buffer[static DISCOVERY_BYTES_MAX]) {
        size_t n = discovery_encode(message, buffer);
        int r = authenticate(key, buffer, n, buffer + n);

        return r < 0 ? r : (int) (n + MAC_LEN);
}

int discovery_open(const struct discovery_key *key, const unsigned char *bytes, size_t n,
                   struct discovery_message *ret) {
        unsigned char mac[MAC_LEN];

        if (n < HEADER_LEN + MAC_LEN || n > DISCOVERY_BYTES_MAX)
                return -EBADMSG;
        n -= MAC_LEN;
        if (authenticate(key, bytes, n, mac) < 0 || gnutls_memcmp(mac, bytes + n, MAC_LEN) != 0)
                return -EACCES;
        return discovery_decode(bytes, n, ret);
}
