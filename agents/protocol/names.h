/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a program and failoverd's name server say to each other over a unix stream socket (R: names), a line of JSON
 * each way:
 *
 *   -> {"failover-names":1,"register":{"name":"orders","uri":"nbd+unix:///...","size":N,"kinds":[1,2,3,4]}}
 *   <- {"registered":{"name":"orders"}}
 *   -> {"failover-names":1,"resolve":{"name":"orders","kind":3,"write":true}}
 *   <- {"found":{"name":"orders","uri":"...","size":N}}
 *   <- {"refused":"reason"}, to either
 *
 * What was registered ends with its connection. Unknown keys are ignored. A URI may hold a capability and goes into no
 * message.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/protocol/region-list.h"
#include "daemon/base/error.h"

#define NAMES_VERSION 1
#define NAMES_SOCKET "/run/failoverd/names.sock"
#define NAMES_VARIABLE "FAILOVER_NAMES" /* another socket's path */
#define NAMES_LINE_MAX 4096             /* with its newline */
#define NAMES_REASON_LEN 256

enum names_type {
        NAMES_REGISTER,   /* name, uri, size, kinds */
        NAMES_RESOLVE,    /* name, kind, write */
        NAMES_REGISTERED, /* name */
        NAMES_FOUND,      /* name, uri, size */
        NAMES_REFUSED,    /* reason */
        NAMES_TYPE_MAX,
        NAMES_TYPE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(names_type);

struct names_message {
        enum names_type type;
        char name[NAME_LEN];
        char *uri; /* owned; secret */
        uint64_t size_bytes;
        unsigned kinds; /* bit K: kind K is served */
        int kind;
        bool write;
        char reason[NAMES_REASON_LEN]; /* printable */
};

/* 0 and a heap string with its newline in `ret` (caller frees), -EINVAL where it would not read back, -E2BIG, -ENOMEM.
 * What cannot be printed in a reason becomes question marks. */
int names_encode(const struct names_message *message, char **ret);

/* Decodes one line without its newline, a request or an answer. On success `ret` is the caller's (names_deinit()).
 * -EBADMSG, -EPROTONOSUPPORT for another version, -EOPNOTSUPP for what is neither of the types, -E2BIG, -ENOMEM. */
int names_decode(const char *line, size_t length, struct names_message *ret, struct error *error);

void names_deinit(struct names_message *message);
