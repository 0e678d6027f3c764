/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the standby of a VM that stands alone (failover-standby(8)) keeps and tells, as one JSON file in its directory:
 * the record by which it goes on after a crash, and how it is, for failoverd to show. It is written as a whole or not
 * at all. Times are CLOCK_BOOTTIME.
 */

#include "daemon/base/error.h"
#include "daemon/core/context-standby.h"

#define STANDBY_TEXT_LEN 512
#define STANDBY_NEWS_LEN 256 /* EVENT_TEXT_LEN of daemon/core: it goes into history */
#define STANDBY_COPIES_MAX 64
#define STANDBY_DOCUMENT_FILE "standby.json"
#define STANDBY_ALIVE_FILE "alive"

struct standby_document {
        char domain[NAME_LEN];
        struct standby_record record;
        usec_t time_usec;       /* when this was written */
        int vm;                 /* enum alone_state */
        int state;              /* enum standby_state */
        usec_t every_usec;      /* of the policy */
        usec_t took_usec;       /* the last attempt at a checkpoint */
        usec_t decided_usec;    /* when the last failover was decided; 0: there was none */
        usec_t running_usec;    /* when the VM ran again by it; 0: it has not */
        usec_t lost_usec;       /* so much of its work was lost by it */
        int copies;             /* memory servers that have the checkpoint, as they told last */
        usec_t kept_usec;       /* when they told that they have it; 0: not so far */
        int flaps_left;         /* so many failovers more, as the policy counts */
        bool hears_panic, hears_hang; /* the VM has what tells of it */
        int news;               /* enum standby_news: what this record was kept with, to be told when that is done, */
        usec_t news_usec;       /* under this time (CLOCK_REALTIME); 0: nothing */
        char news_text[STANDBY_NEWS_LEN];
        char doing[32];         /* what takes its time now; empty: nothing */
        char text[STANDBY_TEXT_LEN]; /* what is wrong; empty: nothing */
};

/* -ENOENT where there is none, -EBADMSG where it is none. */
int standby_document_read(const char *dir, struct standby_document *ret, struct error *error);
int standby_document_write(const char *dir, const struct standby_document *document, struct error *error);
