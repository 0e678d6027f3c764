/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the standby says of itself. failoverd may be dead just then, so each event is kept: beside the document, where
 * failoverd reads it, and on the disk, where it survives a boot of the host. The first is memory and written at once;
 * the second is a thread's, since nothing that is done for the VM may wait for a disk.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syslog.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/pages/standby.h"

static usec_t latest(const struct standby_events *events) {
        return events->n_events > 0 ? events->events[events->n_events - 1].time_usec : 0;
}

/* What keeps it from being kept is logged; nothing else is held up by it. */
static void keep(struct standby *standby) {
        struct error error = ERROR_INIT;

        if (standby_events_write(standby->dir, &standby->events, false, &error) < 0)
                fprintf(stderr, "<4>VM %s: what was told is not kept for failoverd: %s, ignoring\n", standby->domain,
                        error_text(&error));
        error_deinit(&error);
}

static int read_from(struct standby *standby, const char *dir) {
        struct error error = ERROR_INIT;
        int r = standby_events_read(dir, standby->domain, &standby->events, &error);

        if (r < 0 && r != -ENOENT)
                fprintf(stderr, "<4>VM %s: %s, ignoring\n", standby->domain, error_text(&error));
        error_deinit(&error);
        return r;
}

void standby_events_load(struct standby *standby) {
        snprintf(standby->events.domain, sizeof(standby->events.domain), "%s", standby->domain);
        if (read_from(standby, standby->dir) == 0) /* the copy may be older */
                return;
        if (standby->state_dir && read_from(standby, standby->state_dir) == 0) {
                standby->copying.events = standby->events;
                keep(standby);
        }
}

static void *copy_run(void *userdata) {
        struct standby_copying *copying = userdata;

        (void) standby_events_write(copying->dir, &copying->events, true, &copying->error);
        copying->over = true;
        return NULL;
}

/* One that failed is tried again with the next event. */
static void collect(struct standby *standby) {
        struct standby_copying *copying = &standby->copying;

        (void) pthread_join(copying->thread, NULL);
        copying->begun = false;
        if (copying->error.message)
                fprintf(stderr, "<4>VM %s: what was told would not survive a boot of the host: %s, ignoring\n",
                        standby->domain, error_text(&copying->error));
        error_deinit(&copying->error);
}

void standby_events_copy(struct standby *standby) {
        struct standby_copying *copying = &standby->copying;

        if (copying->begun && copying->over)
                collect(standby);
        if (copying->begun || !standby->state_dir || latest(&copying->events) == latest(&standby->events))
                return;
        copying->dir = standby->state_dir;
        copying->events = standby->events;
        copying->over = false;
        copying->begun = thread_start_joined(copy_run, copying, &copying->thread) == 0;
}

void standby_events_end(struct standby *standby) {
        if (standby->copying.begun)
                collect(standby);
}

static int priority(enum standby_news news) {
        switch (news) {
        case NEWS_HELD:
                return LOG_CRIT;
        case NEWS_DECIDED:
        case NEWS_UNPROTECTED:
                return LOG_ERR;
        default:
                return LOG_NOTICE;
        }
}

void standby_note(struct standby *standby, enum standby_news news, const char *format, ...) {
        struct standby_document *document = &standby->document;
        const usec_t now = clock_usec(CLOCK_REALTIME), last = latest(&standby->events);
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(document->news_text, sizeof(document->news_text), format, arguments);
        va_end(arguments);
        text_clean(document->news_text);
        document->news = (int) news;
        document->news_usec = now > last ? now : last + 1;
}

void standby_tell(struct standby *standby) {
        const struct standby_document *document = &standby->document;

        if (document->news_usec <= latest(&standby->events)) /* or there was nothing */
                return;
        standby_events_add(&standby->events, (enum standby_news) document->news, document->news_text,
                           document->news_usec);
        keep(standby);
        standby_events_copy(standby);
        fprintf(stderr, "<%d>%s\n", priority((enum standby_news) document->news), document->news_text);
}
