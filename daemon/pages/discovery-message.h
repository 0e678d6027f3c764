/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What memory servers, their clients and an arbitrator say to each other in datagrams (failover-discovery(7)): who has
 * how much room. Numbers are big-endian, lengths are fixed by kind and count, and what is not used is zero, so that
 * there is one text for one message. Each datagram ends in an HMAC-SHA256 over all before it.
 *
 * Pure but for the HMAC, which is GnuTLS's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/error.h"
#include "daemon/base/units.h"
#include "daemon/memserver/space-name.h"

#define DISCOVERY_VERSION 2
#define DISCOVERY_ENTRIES_MAX 16
#define DISCOVERY_NONCE_LEN 16
#define DISCOVERY_HOST_LEN 16
#define DISCOVERY_BYTES_MAX 808 /* the longest datagram */
#define DISCOVERY_PAGES_MAX (UINT64_C(1) << 44) /* of one server */
#define DISCOVERY_KEY_MIN 16    /* bytes */
#define DISCOVERY_KEY_MAX 256

enum discovery_kind {
        DISCOVERY_ASK = 1,  /* a client's, to a broadcast address or the arbitrator: who takes pages? */
        DISCOVERY_ANSWER,   /* a server's, of itself, or the arbitrator's, of all; with the nonce that was asked with */
        DISCOVERY_ANNOUNCE, /* a server's, to the arbitrator, by itself */
};

/* One server. */
struct discovery_entry {
        uint64_t identity; /* random, of one run of the server; not 0. Its control socket tells the same */
        uint64_t total_pages, free_pages;
        uint32_t age_msec; /* how old this is, where somebody else tells it */
        bool willing;
};

struct discovery_message {
        enum discovery_kind kind;
        usec_t time_usec; /* CLOCK_REALTIME of whoever sends it */
        unsigned char nonce[DISCOVERY_NONCE_LEN];
        unsigned char to[DISCOVERY_HOST_LEN]; /* IPv6, or mapped IPv4, to which it is sent: a copy of it says nothing to
                                               * who is asked elsewhere. An answer, which has a nonce for that, has
                                               * zeroes */
        uint16_t to_port;
        struct space_name name; /* an ask: whose pages */
        uint64_t held_pages;    /* an ask: that there are already, and ... */
        uint64_t holder;        /* ... where: an identity; 0: nowhere, or at several */
        unsigned n_entries;     /* an ask has those that the client can reach, of which only the identity counts; an
                                   announcement has one */
        unsigned pick;          /* an answer: the entry, from 1, that the arbitrator chose; 0: none */
        struct discovery_entry entries[DISCOVERY_ENTRIES_MAX];
};

struct discovery_key {
        unsigned char bytes[DISCOVERY_KEY_MAX];
        size_t n;
};

/* The contents of a file that only its owner can read. -EPERM where others can, -EINVAL for a key that is too short or
 * too long. */
int discovery_key_load(const char *path, struct discovery_key *ret, struct error *error);

/* Without the HMAC. What encodes decodes to the same. Returns the length. */
size_t discovery_encode(const struct discovery_message *message, unsigned char buffer[static DISCOVERY_BYTES_MAX]);
/* -EBADMSG for anything malformed, -EPROTONOSUPPORT for another version. */
int discovery_decode(const unsigned char *bytes, size_t n, struct discovery_message *ret);

/* A whole datagram. Returns its length, or a negative errno of GnuTLS's failure. */
int discovery_seal(const struct discovery_key *key, const struct discovery_message *message,
                   unsigned char buffer[static DISCOVERY_BYTES_MAX]);
/* -EACCES where the HMAC is another one: nothing else of it has been looked at. And as of discovery_decode(). */
int discovery_open(const struct discovery_key *key, const unsigned char *bytes, size_t n,
                   struct discovery_message *ret);
