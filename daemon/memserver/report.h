/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the program that has a space as its shared region told of it last (agents/protocol/region-report.h). May
 * be used from many threads. */

#include <pthread.h>

#include "agents/protocol/region-report.h"
#include "daemon/base/units.h"

#define REPORT_CLIENT_LEN 96

struct report {
        pthread_mutex_t lock;
        usec_t told_usec; /* CLOCK_BOOTTIME; 0: nothing was told under the present grant */
        char client[REPORT_CLIENT_LEN];
        struct region_report last;
};

void report_init(struct report *report);
void report_deinit(struct report *report);

/* From a program, `client` being how it is called here. -EBADMSG for what is no report. */
int report_hear(struct report *report, const char *client, const unsigned char bytes[static REGION_REPORT_BYTES],
                usec_t now_usec);
/* Another program has the space from now on. */
void report_forget(struct report *report);
/* How old the last one is, never 0, or 0 where there is none; the outputs are set where there is one. */
usec_t report_read(struct report *report, usec_t now_usec, struct region_report *ret,
                   char ret_client[static REPORT_CLIENT_LEN]);
