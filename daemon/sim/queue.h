/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is still to happen, by virtual time: the simulator's only clock. Items of the same instant come out in the
 * order in which they went in.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/event.h"

/* A message between failoverd and an agent, small enough to travel by value. Texts are static strings. */
struct sim_message {
        enum message_type type;
        uint64_t id, token, bytes, nonce, usec;
        int result, code;
        enum failure_cause cause;
        bool hard;
        uint64_t states; /* hello, pong: four bits for each application's state */
        const char *text;
};

enum item_kind {
        ITEM_NOTHING,
        /* in the world */
        ITEM_LINE,          /* value: number of the timeline's line */
        ITEM_BOOTED,        /* a guest's kernel is up, its agent starts */
        ITEM_PLUG,          /* the guest has plugged or unplugged as far as it goes; value: bytes */
        ITEM_QEMU_GONE,     /* value: enum domain_reason */
        ITEM_LIBVIRT_SEES,  /* libvirt notes that the process is gone */
        ITEM_TO_AGENT,      /* message */
        ITEM_APP_STARTED,
        ITEM_APP_HEALTHY,
        ITEM_APP_STOPPED,
        ITEM_WAIT_OVER,     /* memory that was granted or is to be attached has not come */
        ITEM_TOUCHED,       /* id: of the touch */
        ITEM_CANARY_OVER,   /* id: of the canary */
        ITEM_AGENT_UP,
        ITEM_RESET,         /* the guest boots anew in the same QEMU */
        ITEM_STARVED_OVER,
        ITEM_HANG_OVER,     /* libvirt answers for this domain again */
        ITEM_LINK_BACK,
        ITEM_LIBVIRT_BACK,
        ITEM_STORE_BACK,
        ITEM_FAILOVERD_START,
        ITEM_STALL_OVER,
        ITEM_FORETOLD,      /* what was foretold must have happened */
        /* at failoverd's door; dropped when failoverd that was meant is no more, late while it is stopped */
        ITEM_WAKE,          /* value: number of the wake */
        ITEM_FROM_AGENT,    /* message */
        ITEM_CALL_END,      /* a call on hypervisor or store: its effect, then its answer */
        ITEM_EVENT,         /* event kind in `action`, the rest by kind */
        ITEM_PREFLIGHT,
        ITEM_LOOK,          /* at a region that is followed; value: number of the FOLLOW */
        ITEM_PAGED_OUT,     /* offset, value: bytes */
        ITEM_OVERFLOW,      /* up: an overflow disk is attached, or it is not any more; life: of the VM */
};

struct item {
        usec_t at_usec;
        uint64_t order;
        enum item_kind kind;
        short pair;
        signed char side, app;
        unsigned life;   /* of the VM, the agent or the link that it is about; a later life ignores it */
        unsigned host;   /* failoverd's life */
        int action;      /* enum action_kind, or enum event_kind for ITEM_EVENT */
        int result;
        uint64_t id, value, offset;
        bool up;
        enum domain_state domain;
        enum domain_reason reason;
        struct record *record; /* of a PERSIST that is under way; owned */
        struct sim_message message;
        const char *text;
};

struct queue {
        struct item *items;  /* pool */
        size_t *heap, *unused; /* indexes into it */
        size_t n_heap, n_unused, n_items;
        uint64_t order;
};

void queue_deinit(struct queue *queue);
/* Adds a copy and stamps its order. False when out of memory. */
bool queue_add(struct queue *queue, const struct item *item);
/* Adds one that was taken out again, later: it stays before what came after it. */
bool queue_put_off(struct queue *queue, const struct item *item, usec_t at_usec);
/* Takes the earliest item out; false when there is none. */
bool queue_take(struct queue *queue, struct item *ret);
/* Hands every item to `visit`, which may change all of it but its time. */
void queue_each(struct queue *queue, void (*visit)(struct item *item, void *userdata), void *userdata);
/* When the earliest is due; USEC_INFINITY when there is none. */
usec_t queue_next(const struct queue *queue);
