/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is said on the control socket, as data: failover-memserver-protocol(7). One request is one line of JSON, and so
 * is each answer to it. A request has any number of answers that carry an item, and then one with the result.
 */

#include "agents/protocol/fields.h"
#include "agents/protocol/region-report.h"
#include "daemon/base/enum-table.h"
#include "daemon/memserver/copy.h"
#include "daemon/memserver/label.h"
#include "daemon/memserver/report.h"
#include "daemon/memserver/server.h"

#define CONTROL_VERSION 1
#define CONTROL_URI_LEN 1024

enum control_call {
        CONTROL_OPEN,
        CONTROL_GRANT,
        CONTROL_LOOK,
        CONTROL_DROP,
        CONTROL_MIRROR,
        CONTROL_UNMIRROR,
        CONTROL_PROMOTE,
        CONTROL_HAND_OVER,
        CONTROL_STAY,
        CONTROL_SPACES,
        CONTROL_CLIENTS,
        CONTROL_LOAD,
        CONTROL_DRAIN,
        CONTROL_WATCH,
        CONTROL_CALL_MAX,
        CONTROL_CALL_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(control_call); /* "open", "grant", "look", "drop", "mirror", "unmirror", "promote", "hand-over",
                                    "stay", "spaces", "clients", "load", "drain", "watch" */

struct control_request {
        int version;
        uint64_t id;
        enum control_call call;
        char node[NAME_LEN], owner[NAME_LEN], space[NAME_LEN];
        int role; /* enum space_role */
        uint64_t size_bytes, quota_bytes, token;
        usec_t since_usec; /* span until now; 0: all */
        uint64_t after;    /* number of the last event seen */
        bool on;
        char uri[CONTROL_URI_LEN]; /* holds a capability */
        usec_t deadline_usec, lost_usec;
        uint64_t rate_bytes; /* a second */
        bool relaxed, force, persist;
};

/* A space as it is told. */
struct space_status {
        char node[NAME_LEN], owner[NAME_LEN], space[NAME_LEN];
        int role; /* enum space_role */
        uint64_t size_bytes, held_bytes, quota_bytes, token, connections;
        int mirror, hand_over;    /* enum copy_state, of the primary's copies elsewhere */
        uint64_t filled_bytes;    /* by the filling, or hand-over, under way */
        int copy;                 /* enum label_state, of a mirror here */
        uint64_t silent_usec;     /* since its primary was heard; 0: never */
        bool persist;
        uint64_t epochs;          /* number of the last one that was applied; 0: none */
        uint64_t epoch_age_usec;  /* since then; 0: not applied by this server */
        uint64_t staged_bytes;    /* of the next one, and part of held_bytes */
        char writer[EPOCH_WRITER_LEN]; /* who stages it; "": nobody */
        char text[COPY_TEXT_LEN]; /* what is wrong with a copy */
        uint64_t mirror_session, hand_over_session; /* by which those copies can be known where they are; 0: not yet */
        uint64_t session;         /* of a mirror here: the same number; 0: none has begun */
        uint64_t capacity_bytes;  /* that it could hold now, with held_bytes; one page at least. 0: not told */
        uint64_t saved_bytes, returned_bytes; /* of a primary, metered since it was opened here */
        uint64_t report_age_usec; /* since its client told what follows; 0: it has not */
        char client[REPORT_CLIENT_LEN];
        struct region_report report; /* that client's word */
};

struct client_status {
        char node[NAME_LEN], owner[NAME_LEN];
        uint64_t held_bytes, quota_bytes;
        uint64_t span_usec; /* that the following counts cover */
        uint64_t saved_bytes, saved_pages, returned_bytes, returned_pages;
};

struct load_status {
        uint64_t memory_bytes, memory_used_bytes, spill_bytes, spill_used_bytes, spill_errors, table_bytes;
        uint64_t spaces, clients;
        bool draining;
        uint64_t latest_event;
        uint64_t identity; /* by which discovery knows it */
};

struct event_status {
        uint64_t number;
        uint64_t age_usec;
        int kind; /* enum space_event_kind */
        char node[NAME_LEN], owner[NAME_LEN], space[NAME_LEN];
        char text[EVENT_TEXT_LEN];
};

extern const struct fields space_status_fields, client_status_fields, load_status_fields, event_status_fields;

/* Decodes one line (`length` bytes, without its newline). -EBADMSG for anything malformed, -EPROTONOSUPPORT for
 * another version, -EOPNOTSUPP for an unknown call; `ret` has the id as soon as it is known,
 * so that the answer can carry it. */
int control_decode(const char *line, size_t length, struct control_request *ret, struct error *error);

/* The lines of an answer; the caller frees them. -ENOMEM. */
int control_encode_item(uint64_t id, const char *what, const struct fields *fields, const void *object, char **ret);
int control_encode_capability(uint64_t id, const char *capability, char **ret);
/* `result` is 0 or a negative errno, `text` says why and may be NULL. */
int control_encode_result(uint64_t id, int result, const char *text, char **ret);
