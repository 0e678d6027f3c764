/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The hypervisor's insides, for the hypervisor-*.c and hypervisor.c alone. Everything here belongs to the loop. */

#include "daemon/host/libvirt/echo.h"
#include "daemon/host/libvirt/hypervisor-call.h"
#include "daemon/host/libvirt/hypervisor-events.h"
#include "daemon/host/libvirt/hypervisor.h"
#include "daemon/host/memory/paging.h"
#include "daemon/host/process.h"
#include "daemon/host/run-delay.h"

enum lane_kind {
        LANE_FENCE,   /* suspend, resume */
        LANE_ACT,     /* start, resize, processors, disks */
        LANE_OBSERVE, /* state, XML, statistics */
        LANE_PROCESS, /* no libvirt: QEMU's processes */
        LANE_KIND_MAX,
        LANE_KIND_INVALID = -EINVAL,
};

#define BALLOON_CALLS_MAX 8 /* at once: each may hold one of libvirtd's 20 workers */
#define DUMP_CALLS_MAX 1    /* at once: they share one disk */

/* One domain being watched. */
struct watch {
        struct hypervisor *hypervisor;
        int pair;
        enum side side;
        char domain[NAME_LEN];
        struct app_names apps;
        uint64_t number;    /* no other watch ever had it: late answers are told by it */
        uint64_t n_changes; /* lifecycle events seen: an inspection that they overtook is worth nothing */

        bool live;          /* inspected since it started: the fields below hold */
        char channel[SOCKET_PATH_LEN];
        char console[CONSOLE_PATH_LEN];
        struct echo *echo;  /* NULL where there is none */
        struct overflow_disks overflow;
        bool balloon;
        bool balloon_asked; /* a balloon call is under way */
        usec_t balloon_seen_usec; /* the balloon's latest sign of life, CLOCK_BOOTTIME; 0: never */
        bool period_asked;  /* since it started */
        struct run_delay run_delay;

        struct process *process; /* NULL while not known */
        struct process *ended;   /* the last one that has ended, or NULL */
        struct paging paging;
        int process_result;      /* of the last search, see process_find() */
        bool absence_told;       /* the sink knows that there is no process */

        bool inspecting, inspect_again; /* by ourselves */
        sd_event_source *retry;         /* inspects again after a failure; NULL: none pending */
};

/* An event on its way to the sink, for what must not be told from within a call of the manager's. */
struct deferred {
        struct event event;
        STAILQ_ENTRY(deferred) link;
};

struct hypervisor {
        sd_event *loop;
        struct sink sink;
        char *uri, *run_dir, *helper_path, *evidence_dir;
        struct lane *lanes[LANE_KIND_MAX];
        struct watcher *watcher;
        bool up;
        bool end_is_told; /* process_end_is_told() */
        struct watch **watches; /* at pair * SIDE_MAX + side; NULL where there is none */
        size_t n_watches;
        uint64_t next_number;
        unsigned n_balloon_calls, n_dump_calls; /* that have not ended */
        STAILQ_HEAD(, deferred) deferred;
        sd_event_source *defer;
};

struct watch *hypervisor_find(const struct hypervisor *hypervisor, int pair, enum side side);
/* The watch that a call was made for; NULL where it is gone or another domain's now. */
struct watch *hypervisor_find_for(const struct hypervisor *hypervisor, const struct call *call);

/* An event of this watch, to be filled in. */
struct event watch_event(const struct watch *watch, enum event_kind kind);

/* Tells it on the next turn of the loop. Returns 0 or -ENOMEM. */
int hypervisor_defer(struct hypervisor *hypervisor, const struct event *event);

/* A call for this watch; the caller sets `done`. NULL when out of memory. */
struct call *watch_call(struct watch *watch, enum call_kind kind, usec_t timeout_usec);
/* Hands it to the lane; frees it on failure. */
int call_submit(struct call *call, enum lane_kind lane);

/* What an inspection found: tells it, and keeps the means to reach the guest. */
void watch_set_live(struct watch *watch, const struct domain_facts *facts);
/* It does not run, or not what we knew: forgets those means. */
void watch_set_dead(struct watch *watch);

/* Inspects: the process first, which needs no libvirt, then what libvirt says. With an action its EVENT_DONE follows;
 * without, it is repeated until it succeeds. Returns 0 or a negative errno, after which no answer comes. */
int watch_inspect(struct watch *watch, const struct action *action, usec_t timeout_usec);
/* The same by ourselves; joins one that is under way. */
void watch_refresh(struct watch *watch);

/* Answers a call's action with EVENT_DONE, where anybody waits for it. */
void call_answer(const struct call *call, int result, const char *text);

/* lane_call.late: looks again at what the stuck call has done. */
void call_on_late(struct lane_call *lane_call);
