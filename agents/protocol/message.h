/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What failoverd and a guest agent say to each other, as data. The codec (codec.h) turns a message into one
 * line of JSON and back; both ends use this one struct.
 *
 * Protocol rules (failover-agent-protocol(7)):
 *  - One message is one line of UTF-8 JSON of at most MESSAGE_LINE_MAX bytes with its newline.
 *  - Unknown keys are ignored; unknown types are answered with nothing and counted. So a newer daemon talks to
 *    an older agent. The version both speak is min(hello.version, PROTOCOL_VERSION); below
 *    PROTOCOL_VERSION_MIN the daemon answers with `refuse` and its reason.
 *  - The host opens the conversation with `welcome` whenever it (re)connects, under a new random session; the
 *    agent answers `hello` with that session, and repeats the session in everything it sends. A message with
 *    another session is stale or replayed and is dropped. Each side numbers its messages (`seq`, rising by one
 *    in a session); a number that does not rise is dropped as a replay.
 *  - The host repeats `welcome`, in the same session, each second while no line has come for a second (an agent
 *    that starts sends nothing until it is welcomed), and takes a new session where ten in a row had no answer.
 *    The agent answers a welcome with `hello` unless it has greeted in that very session before. A hello begins
 *    the agent's numbering anew; one that comes when the agent has greeted already tells that the agent has
 *    started anew, and the host configures it again.
 *  - Requests carry an `id`; the answer carries the same one. Commands are idempotent: the agent answers a
 *    repeated command by the state that it finds.
 *  - `token` is the application's fencing token. It rises at each grant. The agent refuses a start with a
 *    token below the highest that it has seen for that application, and keeps that in its run-time state.
 */

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"

#define PROTOCOL_VERSION 4
#define PROTOCOL_VERSION_MIN 1
#define PROTOCOL_VERSION_REHEARSE 2 /* first that knows touch and canary */
#define PROTOCOL_VERSION_MANAGES 3  /* first that knows manages */
#define PROTOCOL_VERSION_REMOTE 4   /* first that knows the regions of a start, and overflow */
#define MESSAGE_LINE_MAX (64 * 1024)
#define MESSAGE_TEXT_LEN 256
#define MESSAGE_DEPTH_MAX 8 /* of nested JSON */
/* Disks that are overflow: their serial number begins so; as many are looked after in a guest. */
#define OVERFLOW_SERIAL "failover-overflow"
#define OVERFLOW_DISKS_MAX 8
#define SESSION_LEN 33      /* 128 random bits in hexadecimal */

enum message_type {
        /* host to guest */
        MESSAGE_WELCOME,   /* session, version */
        MESSAGE_CONFIGURE, /* specs: the applications of this pair as this side runs them. Replaces the last */
        MESSAGE_PING,      /* nonce */
        MESSAGE_ATTACH,    /* id, app, node, bytes: online what was plugged on that guest NUMA node */
        MESSAGE_DETACH,    /* id, app, node, bytes: get ready to give that much up (compact, drop cache) */
        MESSAGE_START,     /* id, app, token, node, bytes; regions, where it has any */
        MESSAGE_STOP,      /* id, app: stop it and let its addresses go */
        MESSAGE_RESTART,   /* id, app, token, regions as above: restart in place */
        MESSAGE_GRANT,     /* id of a request, app, bytes */
        MESSAGE_REFUSE,    /* id of a request or hello, app, text */
        MESSAGE_CHECK,     /* id, app: could it be started here? (start command present, ...) */
        MESSAGE_TOUCH,     /* id, app, node, bytes: take so much of that node, write and verify all of it, let it go */
        MESSAGE_CANARY,    /* id, app: run its canary; without one, check */
        MESSAGE_FAULT,     /* id, app, text: drills only. "app-kill", "panic", "hang", "agent-stop" */
        MESSAGE_MANAGES,   /* app, node, bytes: so much of the region is this VM's from now on (N: variant 4). text:
                            * "swap" where applications are to be bounded by that at once, else "keep" */
        MESSAGE_ANSWER,    /* id of an `ask`, result, text */
        MESSAGE_OVERFLOW,  /* text: serial number of an overflow disk, which is to be let go of. Said again and again;
                            * without it for a while, the disk is used again */
        MESSAGE_ROOM,      /* text: serial number of an overflow disk; bytes: what memory servers could hold of it now,
                            * what they have included. Said when it changes, and now and then; older agents ignore it */

        /* guest to host */
        MESSAGE_HELLO,    /* version, agent version in text, boot, bytes: memory total, system, known apps */
        MESSAGE_PONG,     /* nonce, apps: state of each application; bytes: memory that the guest has available */
        MESSAGE_REQUEST,  /* id, app, bytes: short by so much (H: resource request) */
        MESSAGE_USES,     /* app, node, bytes, kind: this application uses this region (H: tells the monitor) */
        MESSAGE_RESULT,   /* id, app, result (0 or -errno), text, bytes. Answers attach, detach, start, stop,
                           * restart, check, fault; touch with bytes as touched and usec; canary with code and, in
                           * text, the end of its output */
        MESSAGE_FAILED,   /* app, token, cause, code, hard, text (H: severity report) */
        MESSAGE_HEALTHY,  /* app, token: first passed health check after a start */
        MESSAGE_GOING,    /* text: "shutdown" or "reboot": an orderly stop of the guest has begun */
        MESSAGE_ASK,      /* id, text: memory for this VM, as an item of a request without the VM's name: "+1GiB" */
        MESSAGE_TYPE_MAX,
        MESSAGE_TYPE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(message_type);

/* State of an application inside one guest. */
enum application_state {
        APPLICATION_STOPPED,
        APPLICATION_WAITING, /* for memory that was asked for */
        APPLICATION_STARTING,
        APPLICATION_RUNNING,
        APPLICATION_STOPPING,
        APPLICATION_FAILED,
        APPLICATION_STATE_MAX,
        APPLICATION_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(application_state);

struct application_report {
        char app[NAME_LEN];
        enum application_state state;
        uint64_t token;
        uint64_t bytes; /* memory in use by it, 0 where the guest cannot tell */
        /* of one that does not run: */
        uint64_t node_bytes;  /* memory online on its region's node; 0: none, or the agent does not tell */
        uint64_t spare_bytes; /* so much of that can go without harm to what else runs there */
        unsigned missed_checks; /* of one that runs: health checks that failed in a row by now, less than would count */
};

/* An application as one side runs it: what `configure` carries for each. */
struct application_spec {
        char app[NAME_LEN];
        int node; /* guest NUMA node of its region, -1 where it has none of its own */
        uint64_t memory_bytes;
        struct application_side run;
        usec_t stop_timeout_usec, health_interval_usec, health_timeout_usec, health_grace_usec;
        usec_t canary_timeout_usec; /* 0: the default (an older host does not tell) */
        unsigned health_failures;
        struct address addresses[POLICY_RESOURCES_MAX];
        size_t n_addresses;
};

struct message {
        enum message_type type;
        char session[SESSION_LEN];
        uint64_t seq;
        uint64_t id;
        char app[NAME_LEN];
        uint64_t token;
        uint64_t bytes;
        uint64_t nonce;
        uint64_t usec; /* how long it took */
        int node;
        int result; /* 0 or negative errno */
        unsigned version;
        enum application_kind kind;
        enum failure_cause cause;
        int code;
        bool hard; /* the agent says that it is hard to repair here */
        char boot[40];                /* hello: kernel boot id */
        char system[NAME_LEN];        /* hello: what runs there, "systemd 252" or "initramfs" */
        char text[MESSAGE_TEXT_LEN];  /* for people, printable; never parsed but where stated above */
        struct application_report apps[POLICY_APPLICATIONS_MAX]; /* hello, pong */
        size_t n_apps;
        char *regions; /* start, restart: a region list (region-list.h) in one line; owned, secret */
        struct application_spec *specs; /* configure only; owned */
        size_t n_specs;
};

/* Releases what a spec owns; the struct itself is the caller's. */
void application_spec_deinit(struct application_spec *spec);

#define REGIONS_TEXT_MAX 16384 /* of a message's list */

/* Releases what a message owns (specs, regions). The struct itself is the caller's. */
void message_deinit(struct message *message);
