/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/syslog.h>
#include <systemd/sd-journal.h>

#include "daemon/memserver/journal-stream.h"
#include "daemon/memserver/plugin.h"

static int priority(enum space_event_kind kind) {
        switch (kind) {
        case EVENT_ALONE:
        case EVENT_MOVE_LOST:
                return LOG_ERR;
        case EVENT_MIRROR_LOST:
        case EVENT_PROMOTED:
        case EVENT_REPLACED:
                return LOG_WARNING;
        default:
                return LOG_NOTICE;
        }
}

void plugin_tell(const struct event *event) {
        const struct space_name *name = &event->name;
        const char *kind = space_event_kind_to_string(event->kind), *comma = *event->text ? ", " : "";

        if (journal_is_there())
                (void) sd_journal_send("MESSAGE=%s/%s/%s: %s%s%s", name->node, name->owner, name->space, kind, comma,
                                       event->text, "MESSAGE_ID=%s", event_message_id(event->kind), "PRIORITY=%d",
                                       priority(event->kind), "NODE=%s", name->node, "OWNER=%s", name->owner,
                                       "SPACE=%s", name->space, "EVENT=%s", kind,
                                       "SYSLOG_IDENTIFIER=failover-memserver", NULL);
        else
                fprintf(stderr, "%s/%s/%s: %s%s%s\n", name->node, name->owner, name->space, kind, comma, event->text);
}
