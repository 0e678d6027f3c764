/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/syslog.h>
#include <systemd/sd-journal.h>

#include "agents/pager/plugin.h"
#include "daemon/memserver/journal-stream.h"

static int priority(enum pager_event event) {
        switch (event) {
        case PAGER_PAGES_LOST:
        case PAGER_NO_SERVER:
        case PAGER_GIVEN_AWAY:
                return LOG_ERR;
        case PAGER_WAITING:
        case PAGER_TAKEN_OVER:
        case PAGER_ALONE:
                return LOG_WARNING;
        default:
                return LOG_NOTICE;
        }
}

void plugin_warn(const char *text) {
        fprintf(stderr, "<4>%s; such ones are told once an hour\n", text);
}

void plugin_tell(const struct space_name *name, enum pager_event event, const char *text) {
        const char *word = pager_event_to_string(event), *comma = *text ? ", " : "";

        if (journal_is_there())
                (void) sd_journal_send("MESSAGE=%s/%s/%s: %s%s%s", name->node, name->owner, name->space, word, comma,
                                       text, "MESSAGE_ID=%s", pager_event_message_id(event), "PRIORITY=%d",
                                       priority(event), "NODE=%s", name->node, "OWNER=%s", name->owner, "SPACE=%s",
                                       name->space, "EVENT=%s", word, "SYSLOG_IDENTIFIER=failover-pager", NULL);
        else
                fprintf(stderr, "%s/%s/%s: %s%s%s\n", name->node, name->owner, name->space, word, comma, text);
}
