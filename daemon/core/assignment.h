/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One request at the monitor (N: variant 5): "vm-a=-1GiB vm-b=+1GiB" is compared with the rights and turned into
 * requests to the VMs, split into small ones, and issued in the order that the policy says; never two at once for one
 * VM. Only the host's operator may ask.
 *
 * An assignment is a state machine without effects: assignment_next() gives the requests that may be issued now, their
 * outcomes come in by assignment_done(), until it has ended. Carrying a request out, with the choice of extents where
 * only an amount is asked for, is the caller's, and so is changing the rights. Nothing in it is allocated.
 */

#include "daemon/core/rights.h"

#define ASSIGNMENT_ITEMS_MAX 32
#define ASSIGNMENT_TEXT_MAX 4096 /* of a whole request, with its NUL */
#define ASSIGNMENT_ITEM_LEN (NAME_LEN + 3 * UNITS_TEXT_MAX)
#define ASSIGNMENT_VMS_MAX 64    /* that one request involves */
#define ASSIGNMENT_PARTS_MAX 256
#define ASSIGNMENT_WHY_LEN 160
#define ASSIGNMENT_LINE_LEN (ASSIGNMENT_ITEM_LEN + ASSIGNMENT_WHY_LEN + 128)

enum assignment_kind {
        ASSIGN_RANGE,         /* 0-1GiB=vm-a      goes to vm-a, whoever manages it now */
        ASSIGN_EXTEND,        /* vm-a=+1GiB       by so much */
        ASSIGN_EXTEND_RANGE,  /* vm-a=+0-1GiB     by this range, which nobody manages */
        ASSIGN_RELEASE,       /* vm-a=-1GiB       so much; its guest chooses what */
        ASSIGN_RELEASE_RANGE, /* vm-a=-0-1GiB     this range, which it manages */
        ASSIGN_RELEASE_TOP,   /* vm-a=-top:1GiB   so much at the highest addresses that it manages */
        ASSIGNMENT_KIND_MAX,
        ASSIGNMENT_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(assignment_kind); /* "range", "extend", "extend-range", "release", "release-range", "release-top" */

struct assignment_item {
        enum assignment_kind kind;
        char vm[NAME_LEN];
        struct span span; /* of those with a range */
        uint64_t bytes;   /* of those with an amount */
};

/* Reads items separated by blanks. -EINVAL, with what is wrong and what would be right in `why`. */
int assignment_parse(const char *text, struct assignment_item ret[ASSIGNMENT_ITEMS_MAX], size_t *ret_n, char *why,
                     size_t size);
/* Reads a range: "0-1GiB". -EINVAL. */
int span_parse(const char *text, struct span *ret);
/* The text that reads back as this item. Returns `buffer`. */
const char *assignment_item_format(const struct assignment_item *item, char buffer[ASSIGNMENT_ITEM_LEN]);

struct assignment_policy {
        enum assignment_order order;
        uint64_t piece_bytes; /* size of one request at most, whole extents; 0: not split */
        unsigned overlap;     /* ASSIGN_CYCLES: so many pieces may be released and not yet extended by; 0 is 1 */
        bool best_effort;     /* not enough to extend with: what there is; else refuse */
};

/* A VM that a request may name. */
struct assignment_vm {
        char name[NAME_LEN];
        struct holder holder;
        bool fenced;
};

/* What one VM is asked for. */
struct assignment_request {
        uint64_t id; /* rising, never 0 */
        struct holder vm;
        bool extend;      /* else release */
        bool is_range;    /* else an amount */
        struct span span; /* of a range */
        uint64_t bytes;   /* in either case */
};

enum assignment_outcome {
        ASSIGN_DONE,    /* so many bytes; fewer than asked for: there is no more, or not yet */
        ASSIGN_LATER,   /* extend: what it waits for was not released yet */
        ASSIGN_REFUSED,
        ASSIGN_FAILED,
        ASSIGNMENT_OUTCOME_MAX,
        ASSIGNMENT_OUTCOME_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(assignment_outcome); /* "done", "later", "refused", "failed" */

/* What of one item goes one way: out of a VM, into a VM, or out of one into another. */
struct assignment_part {
        int item;
        int from, to;    /* index in `vms`, -1: nobody */
        bool is_range;
        struct span span;
        uint64_t bytes;
        uint64_t releasing_bytes, released_bytes;
        uint64_t extending_bytes, extended_bytes;
        bool release_over, extend_over; /* no more is asked */
        bool waits;                     /* until something more was released */
};

struct assignment_open {
        struct assignment_request request;
        size_t part;
};

struct assignment {
        bool running, cancelled;
        struct assignment_policy policy;
        uint64_t extent_bytes;
        uint64_t spare_bytes; /* managed by nobody at the beginning, without what was asked for by range */
        uint64_t next_id;     /* goes on from one assignment to the next, so that a late outcome is known as such */

        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        uint64_t had_bytes[ASSIGNMENT_ITEMS_MAX]; /* ASSIGN_RANGE: managed by the VM before */
        uint64_t cut_bytes[ASSIGNMENT_ITEMS_MAX]; /* ASSIGN_EXTEND: asked for beside `items`, and there was no more */
        char why[ASSIGNMENT_ITEMS_MAX][ASSIGNMENT_WHY_LEN]; /* not all of it was done: the first reason */
        size_t n_items;
        struct assignment_vm vms[ASSIGNMENT_VMS_MAX]; /* that are involved */
        size_t n_vms;
        struct assignment_part parts[ASSIGNMENT_PARTS_MAX];
        size_t n_parts;

        struct assignment_open open[ASSIGNMENT_VMS_MAX]; /* issued and not answered */
        size_t n_open;
};

/* Checks a request against the rights and begins it. `assignment` is zeroed before its first use. Refused with one
 * message in `why` that names the item, the reason and what would work, and nothing is begun: -EBUSY where one runs,
 * -ENOENT for an unknown VM, -EHOSTDOWN for a fenced one, -ENOSPC for more than there is, -E2BIG for too many stretches
 * of memory or VMs, -EINVAL. */
int assignment_begin(struct assignment *assignment, const struct rights *rights, const struct assignment_vm *vms,
                     size_t n_vms, const struct assignment_item *items, size_t n_items,
                     const struct assignment_policy *policy, char *why, size_t size);
/* The next request to issue now; false: none. Once nothing is open and none is left, `running` is false. */
bool assignment_next(struct assignment *assignment, struct assignment_request *ret);
/* How a request ended: `bytes` of it were done, of a range the first so many; the reason where that is not all.
 * Unknown ids are ignored. */
void assignment_done(struct assignment *assignment, uint64_t id, enum assignment_outcome outcome, uint64_t bytes,
                     const char *why);
/* What was asked for by range and its VM does not manage yet: not to be chosen for anybody else. Returns how many. */
size_t assignment_promised(const struct assignment *assignment, struct span ret[ASSIGNMENT_PARTS_MAX]);
/* How many bytes of what a VM (an index in `vms`) was to be extended by it has not been extended by. */
uint64_t assignment_unextended(const struct assignment *assignment, size_t vm);
/* Issues no more; what is open is waited for. */
void assignment_cancel(struct assignment *assignment);

struct assignment_report {
        uint64_t asked_bytes, done_bytes;
        uint64_t under_way_bytes; /* of requests that are open */
        uint64_t refused_bytes;   /* will not be done */
        const char *why;          /* the first reason for that; "" */
};

/* How far one item is, or how it has ended. */
struct assignment_report assignment_report(const struct assignment *assignment, size_t item);
/* The same as a line for people: "vm-a=-1GiB: 512MiB of 1GiB done, 256MiB under way". Returns `buffer`. */
const char *assignment_report_format(const struct assignment *assignment, size_t item,
                                     char buffer[ASSIGNMENT_LINE_LEN]);
/* The request that would do what was not done, "" where there is nothing. Items that do not fit into `buffer` are left
 * out. Returns `buffer`. */
const char *assignment_rest_format(const struct assignment *assignment, char buffer[ASSIGNMENT_TEXT_MAX]);
