/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/report.h"

#include <stdio.h>
#include <string.h>

void report_init(struct report *report) {
        *report = (struct report) { 0 };
        (void) pthread_mutex_init(&report->lock, NULL);
}

void report_deinit(struct report *report) {
        (void) pthread_mutex_destroy(&report->lock);
}

int report_hear(struct report *report, const char *client, const unsigned char bytes[static REGION_REPORT_BYTES],
                usec_t now_usec) {
        struct region_report told;
        int r = region_report_decode(bytes, &told);

        if (r < 0)
                return r;
        pthread_mutex_lock(&report->lock);
        report->last = told;
        report->told_usec = now_usec;
        snprintf(report->client, sizeof(report->client), "%s", client);
        pthread_mutex_unlock(&report->lock);
        return 0;
}

void report_forget(struct report *report) {
        pthread_mutex_lock(&report->lock);
        report->told_usec = 0;
        pthread_mutex_unlock(&report->lock);
}

usec_t report_read(struct report *report, usec_t now_usec, struct region_report *ret,
                   char ret_client[static REPORT_CLIENT_LEN]) {
        usec_t age = 0;

        pthread_mutex_lock(&report->lock);
        if (report->told_usec > 0) {
                age = now_usec > report->told_usec ? now_usec - report->told_usec : 1;
                *ret = report->last;
                memcpy(ret_client, report->client, REPORT_CLIENT_LEN);
        }
        pthread_mutex_unlock(&report->lock);
        return age;
}
