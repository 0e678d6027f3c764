/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Overflow disks of the VMs that the policy governs, and the pagers behind them. */

#include "daemon/core/overflow.h"
#include "daemon/core/pair.h"
#include "daemon/host/children/pagers.h"
#include "daemon/host/libvirt/domain-xml.h"

struct manager;
struct overflow;

/* One disk, there or wanted. */
struct overflow_place {
        struct overflow *overflow;
        char name[PAGER_NAME_LEN];       /* "DOMAIN" or "DOMAIN@APPLICATION" */
        int pair;                        /* NO_PAIR: of a domain that the policy does not have any more */
        enum side side;
        char app[NAME_LEN];              /* empty: the VM's own */
        const struct overflow_keys *keys; /* the policy's, during a look; NULL: it is not wanted */
        char serial[OVERFLOW_SERIAL_LEN]; /* as attached; empty: it is not */
        bool busy, attaching;            /* a call is under way */
        bool detaching;                  /* the guest has been asked to let go of the device itself */
        usec_t retry_usec;               /* nothing is done before */
        usec_t asked_usec, asked_last_usec, started_usec, idle_usec, dead_usec;
        bool was_alive, asked, was_late; /* for what is said once */
        int was_known;         /* so is this: the pager's `known` */
        uint64_t lost_bytes;
        uint64_t told_bytes;   /* of room, to the guest; 0: nothing */
        usec_t told_usec;      /* when */
        bool was_short;        /* of room, and that was said */
        struct pager_status status;
        struct overflow_sight sight;
        enum overflow_work work; /* what was next at the last look */
        char text[256];          /* what goes wrong; empty: nothing */
};

struct overflow {
        struct manager *manager;
        struct pagers *pagers;
        sd_event_source *timer;
        bool hurries; /* the start of an application waits for its disk */
        usec_t all_usec; /* when all places are looked at again, not just those of pairs that wait */
        char node[NAME_LEN];
        struct overflow_place **places; /* owned, and each of them; by name */
        size_t n_places;
};

int overflow_new(struct manager *manager, const struct pagers_options *options, struct overflow **ret,
                 struct error *error);
/* After each step, of that pair: a disk that a start waits for is looked after at once. */
void overflow_follow(struct overflow *overflow, int slot);
/* After the hypervisor, which may still answer. Pagers go on. Takes NULL; returns NULL. */
struct overflow *overflow_free(struct overflow *overflow);
