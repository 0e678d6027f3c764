/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One application in this guest and what is under way with it. Its life:
 *
 *   stopped -> (waiting for memory) -> starting -> running -> failed | stopping -> stopped
 *
 * The agent never restarts by itself: the monitor judges the severity and asks for it (H: severity report).
 */

#include "agents/guest/canary.h"
#include "agents/guest/health.h"
#include "agents/guest/process.h"
#include "agents/guest/state.h"
#include "agents/guest/touch.h"

struct supervisor;
struct unit_status;

/* An answer that the host awaits; id 0: none. */
struct pending {
        uint64_t id;
        usec_t deadline_usec;
        uint64_t bytes;
        int node;
};

struct supervised {
        struct supervisor *supervisor;
        struct application_spec spec; /* spec.app stays when the host drops it from its configuration */
        bool configured;              /* spec.run is there */
        enum application_state state;
        uint64_t token; /* highest seen */
        int node;
        uint64_t bytes;
        char *regions; /* as its start brought them, owned; NULL: none. Secret */

        struct group group;
        struct process main, stop_command, detach_helper;
        struct health health;
        struct touch touch;
        struct canary canary;
        struct timer poll; /* memory that was asked for to come, or processes to be gone */
        struct timer attach_poll;

        struct pending start, request, attach, detach, stop; /* `start` also answers a restart */
        bool restart;      /* start again when the stop is complete */
        bool stop_failed;  /* the stop command has failed: signals do it */
        bool starting_unit;
        bool told_healthy;
        enum application_kind told_kind; /* as told with its use */
        bool killing;      /* SIGKILL has been sent: keep sending */
        usec_t started_usec;
        uint64_t oom_kills; /* counter when it started */

        unsigned quick_failures; /* in a row, each within QUICK_USEC of its start */
        enum failure_cause cause;
        int code;
        bool hard;
        char text[MESSAGE_TEXT_LEN];
};

int supervised_init(struct supervised *app, struct supervisor *supervisor, const char *name);
/* Lets go of it without touching its processes. */
void supervised_deinit(struct supervised *app);

/* Takes over a spec (moved from `spec`). What runs goes on. */
void supervised_configure(struct supervised *app, struct application_spec *spec);
/* Continues from what an earlier agent wrote down. */
void supervised_adopt(struct supervised *app, const struct state_record *record);

/* The host's messages, each answered by a `result` now or later. */
void supervised_start(struct supervised *app, const struct message *message);
void supervised_stop(struct supervised *app, const struct message *message);
void supervised_restart(struct supervised *app, const struct message *message);
void supervised_grant(struct supervised *app, const struct message *message);
void supervised_refuse(struct supervised *app, const struct message *message);
void supervised_attach(struct supervised *app, const struct message *message);
void supervised_detach(struct supervised *app, const struct message *message);
void supervised_check(struct supervised *app, const struct message *message);
void supervised_kill(struct supervised *app, const struct message *message); /* drill */

/* Says again what a new session has to know: the failure, the request for memory. */
void supervised_repeat(struct supervised *app);

/* What systemd says of its unit. */
void supervised_unit_changed(struct supervised *app, const struct unit_status *status);
void supervised_unit_done(struct supervised *app, bool start, int result, const char *text);

struct application_report supervised_report(const struct supervised *app);
