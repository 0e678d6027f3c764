/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/manager/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

/* One id a kind, made once and kept for ever: the last two digits are the kind's place in the list. */
static const char *const message_ids[] = {
        [RECORD_ARMED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3000",
        [RECORD_UNPROTECTED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3001",
        [RECORD_SUSPECTED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3002",
        [RECORD_CLEARED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3003",
        [RECORD_DECIDED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3004",
        [RECORD_IGNORED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3005",
        [RECORD_FENCED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3006",
        [RECORD_FENCE_FAILED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3007",
        [RECORD_GRANTED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3008",
        [RECORD_REFUSED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3009",
        [RECORD_STARTED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3010",
        [RECORD_RESTARTED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3011",
        [RECORD_APP_FAILED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3012",
        [RECORD_ENDED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3013",
        [RECORD_RESERVE_USED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3014",
        [RECORD_HELD] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3015",
        [RECORD_PAUSED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3016",
        [RECORD_RESUMED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3017",
        [RECORD_DOUBT] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3018",
        [RECORD_TABLE_MISMATCH] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3019",
        [RECORD_STORE] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3020",
        [RECORD_PROTOCOL] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3021",
        [RECORD_DRILL] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3022",
        [RECORD_DRILL_MISSED] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3023",
        [RECORD_HANDED_OVER] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3024",
        [RECORD_RECLAIM] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3025",
        [RECORD_OVERFLOW] = "8c1d5cd3a4f74b1e9c6d9f4a2b7e3030",
};

const char *journal_message_id(enum record_kind kind) {
        return kind >= 0 && kind < RECORD_KIND_MAX ? message_ids[kind] : NULL;
}

static int priority(enum record_kind kind) {
        switch (kind) {
        case RECORD_FENCE_FAILED:
        case RECORD_HELD:
        case RECORD_TABLE_MISMATCH:
                return LOG_CRIT;
        case RECORD_DECIDED:
        case RECORD_UNPROTECTED:
        case RECORD_REFUSED:
        case RECORD_STORE:
        case RECORD_RESERVE_USED:
        case RECORD_APP_FAILED:
        case RECORD_DRILL_MISSED:
                return LOG_ERR;
        case RECORD_SUSPECTED:
        case RECORD_DOUBT:
        case RECORD_PROTOCOL:
        case RECORD_ENDED:
        case RECORD_RECLAIM:
        case RECORD_RESTARTED:
                return LOG_WARNING;
        default:
                return LOG_NOTICE;
        }
}

/* Standard error is the journal's own stream under systemd: then the structured way is enough. */
static bool have_journal(void) {
        return getenv("JOURNAL_STREAM") != NULL && access("/run/systemd/journal/socket", W_OK) == 0;
}

static void print_events(const char *events) {
        if (events)
                fprintf(stderr, "recorded: %s\n", events);
}

void journal_record(enum record_kind kind, const char *pair, const char *vm, const char *text, const char *events) {
        if (!have_journal()) {
                fprintf(stderr, "%s: %s\n", record_kind_to_string(kind), text);
                print_events(events);
                return;
        }
        sd_journal_send("MESSAGE=%s", text, "MESSAGE_ID=%s", journal_message_id(kind), "PRIORITY=%i", priority(kind),
                        "FAILOVER_RECORD=%s", record_kind_to_string(kind), "PAIR=%s", pair ? pair : "", "VM=%s",
                        vm ? vm : "", "EVENTS=%s", events ? events : "", NULL);
}

static unsigned long long since(const struct flow *flow, enum phase phase) {
        usec_t from = flow->phase_usec[PHASE_FAULT] ? flow->phase_usec[PHASE_FAULT] : flow->phase_usec[PHASE_DETECTED];

        return flow->phase_usec[phase] > from ? (flow->phase_usec[phase] - from) / USEC_PER_MSEC : 0;
}

void journal_phase(const char *pair, const char *id, enum phase phase, const struct flow *flow) {
        if (!have_journal()) {
                fprintf(stderr, "phase: %s %s after %llu ms\n", id, phase_to_string(phase), since(flow, phase));
                return;
        }
        sd_journal_send("MESSAGE=%s: %s after %llu ms", id, phase_to_string(phase), since(flow, phase),
                        "MESSAGE_ID=" JOURNAL_PHASE_ID, "PRIORITY=%i", LOG_NOTICE, "PAIR=%s", pair, "FAILOVER_ID=%s",
                        id,
                        "PHASE=%s", phase_to_string(phase), NULL);
}

void journal_flow_ended(const char *pair, const char *id, int result, const char *text, const char *events) {
        if (!have_journal()) {
                fprintf(stderr, "ended: %s: %s\n", id, text);
                print_events(events);
                return;
        }
        sd_journal_send("MESSAGE=%s: %s", id, text, "MESSAGE_ID=" JOURNAL_FLOW_ENDED_ID, "PRIORITY=%i",
                        result < 0 ? LOG_ERR : LOG_NOTICE, "PAIR=%s", pair, "FAILOVER_ID=%s", id, "RESULT=%i", result,
                        "EVENTS=%s", events ? events : "", NULL);
}
