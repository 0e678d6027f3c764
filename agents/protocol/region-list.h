/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The shared regions that a program may open, as the guest agent hands them to it: in a descriptor that it inherits
 * (REGION_LIST_VARIABLE has its number), or as a systemd credential (REGION_LIST_CREDENTIAL). One object of JSON:
 *
 *   {"failover-regions":1,"regions":[{"name":"orders","size":268435456,"kind":3,"write":true,"write-back-ms":200,
 *     "uri":"nbd+unix:///CAPABILITY?socket=/path","deadline-ms":5000,"bandwidth":0,"epochs":true,
 *     "reports":true}]}
 *
 * Unknown keys are ignored. The URI holds the capability of its space: it is secret, and goes into no message.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/error.h"
#include "policy/policy.h"

#define REGION_LIST_VERSION 1
#define REGION_LIST_VARIABLE "FAILOVER_REGIONS_FD"
#define USERFAULTFD_VARIABLE "FAILOVER_USERFAULTFD_FD" /* number of an open /dev/userfaultfd */
#define REGION_LIST_CREDENTIAL "failover-regions"
#define REGION_LIST_MAX 32     /* regions; with the longest URIs they still fit into a message line */
#define REGION_URI_LENGTH_MAX 1024
#define REGION_KIND_MAX 4      /* R: the four kinds, from 1 on */
#define REGION_SIZE_MAX (UINT64_C(1) << 46)
#define REGION_MSEC_MAX (24 * 3600 * 1000)

struct region_entry {
        char name[NAME_LEN];
        uint64_t size_bytes;
        int kind;                 /* 1 to REGION_KIND_MAX */
        bool write;
        uint64_t write_back_msec; /* kinds 3, 4; 0: on request and at close */
        char *uri;                /* owned; secret */
        uint64_t deadline_msec;   /* 0: the library's own */
        uint64_t bandwidth_bytes; /* a second; 0: no limit */
        bool epochs;              /* the holder applies a write-back whole or not at all */
        bool reports;             /* the holder takes reports of the region's use (region-report.h) */
};

struct region_list {
        struct region_entry *entries; /* owned */
        size_t n_entries;
};

/* 0 and a heap string with its newline in `ret` (caller frees), -EINVAL where it would not read back, -E2BIG,
 * -ENOMEM. */
int region_list_encode(const struct region_list *list, char **ret);

/* Everything in it is checked, also that no name comes twice. On success `ret` is the caller's (region_list_deinit()).
 * -EBADMSG for anything malformed, -EPROTONOSUPPORT for another version, -E2BIG, -ENOMEM. No message quotes a URI. */
int region_list_decode(const char *text, size_t length, struct region_list *ret, struct error *error);

/* NULL where no region has that name. */
const struct region_entry *region_list_find(const struct region_list *list, const char *name);

/* Overwrites the URIs before they are freed. */
void region_list_deinit(struct region_list *list);

/* Non-zero for the URI of a space: an NBD one, printable, without blanks. */
int region_uri_is_valid(const char *uri);
