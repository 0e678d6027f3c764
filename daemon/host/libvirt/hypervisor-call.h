/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Each thing that may take long, as a function run on a worker: a struct call goes in with all that is needed,
 * copied, and comes back with what was found. Nothing here touches the loop or the hypervisor object.
 */

#include "daemon/core/update.h"
#include "daemon/host/libvirt/domain-xml.h"
#include "daemon/host/libvirt/hypervisor-lane.h"

enum call_kind {
        CALL_FREEZE,
        CALL_START,
        CALL_RESIZE,       /* app_name, bytes */
        CALL_VCPUS,        /* count */
        CALL_TAKE_VCPUS,   /* count */
        CALL_ATTACH_DISK,  /* target */
        CALL_DETACH_DISK,  /* target */
        CALL_ATTACH_OVERFLOW, /* app_name, socket */
        CALL_DETACH_OVERFLOW, /* app_name */
        CALL_STATE,        /* apps; out: state, reason, facts where it runs */
        CALL_PREFLIGHT,    /* apps; out: facts */
        CALL_BALLOON,      /* out: age_usec */
        CALL_STATS_PERIOD, /* asks QEMU for balloon statistics each second */
        CALL_OPEN_PROCESS, /* run_dir, helper_path; out: pid, pidfd */
        CALL_DUMP,         /* evidence_dir, failover_id, bytes, side */
        CALL_SIGNAL,       /* helper_path, helper_op */
        CALL_KIND_MAX,
        CALL_KIND_INVALID = -EINVAL,
};

struct hypervisor;

struct call {
        struct lane_call lane; /* first; domain, timeout and callbacks are in it */
        enum call_kind kind;

        /* For the loop, untouched by the worker: whom to answer */
        struct hypervisor *hypervisor;
        int pair;
        enum side side;
        int app;
        int action;           /* enum action_kind; ACTION_KIND_INVALID: nobody waits for an answer */
        uint64_t action_id;
        uint64_t watch_number; /* of the watch that it was made for */
        uint64_t n_changes;    /* of the watch, when it was made */
        usec_t end_usec;       /* CLOCK_MONOTONIC: when the action's time is over */

        /* In */
        char app_name[NAME_LEN], target[NAME_LEN], failover_id[FAILOVER_ID_LEN];
        uint64_t bytes;
        unsigned count;
        struct app_names apps;
        char *run_dir, *helper_path, *evidence_dir, *socket; /* owned; NULL where not needed */
        void (*told)(void *userdata, int result, const char *text); /* CALL_*_OVERFLOW: whom to answer */
        void *told_userdata;
        int helper_op;

        /* Out */
        enum domain_state state;
        enum domain_reason reason;
        struct domain_facts facts;
        usec_t age_usec;
        int pid, pidfd; /* pidfd -1 where none; owned */
};

/* A call of a kind with its `run` and `release` set; `done` is the caller's to set. NULL when out of memory. */
struct call *call_new(enum call_kind kind, const char *domain, usec_t timeout_usec);
struct call *call_free(struct call *call);

/* libvirt's states and reasons in ours: as virDomainGetState() tells them, and as lifecycle events do. An event
 * after which one has to look (defined, undefined: it may run on) gives DOMAIN_STATE_INVALID. */
enum domain_state domain_state_from_libvirt(int state, int reason, enum domain_reason *ret_reason);
enum domain_state domain_state_from_event(int event, int detail, enum domain_reason *ret_reason);
