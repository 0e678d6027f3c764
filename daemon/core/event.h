/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Everything that can happen, as data. An event carries its own time; the engine has no other. The shell
 * (daemon/manager/manager.c, or the simulator) makes events out of what hypervisors, agents, the store and operators
 * say, and hands them to engine_step() one by one.
 *
 * Pairs and applications are named by their index in the engine: `pair` is the slot that the policy event gave
 * out (engine_find_pair()), `app` the application's slot in that pair. Slots are stable while a pair or
 * application stays in the policy.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agents/protocol/message.h"
#include "daemon/core/assignment.h"
#include "daemon/core/drill.h"
#include "policy/policy.h"

#define EVENT_TEXT_LEN 256
#define NO_PAIR (-1)
#define NO_APP (-1)

enum event_kind {
        EVENT_POLICY,        /* policy: a new policy takes effect; the engine keeps its own copy */
        EVENT_RESTORED,      /* pair, record: what the store holds. One for each pair, before EVENT_READY */
        EVENT_STORE_LOST,    /* the store was there once and is gone or unreadable */
        EVENT_READY,         /* start-up is over: records are in, decisions may begin */
        EVENT_WAKE,          /* pair (or NO_PAIR), due_usec: the time that the engine asked for has come */
        EVENT_HYPERVISOR,    /* up: the observing connection came or went */
        EVENT_DOMAIN,        /* pair, side, domain, reason: state of a domain as libvirt reports it */
        EVENT_PROCESS,       /* pair, side, up, pid: QEMU's pidfd was opened, or became readable (gone), or (pid 0)
                              * there is none and libvirt agrees. result: the signal that ended it,
                              * PROCESS_ENDED_AS_ASKED, or PROCESS_END_TO_BE_TOLD: then a second event has it; 0: not
                              * known, or it ended by itself and told of an error */
        EVENT_REBOOTED,      /* pair, side: the guest was reset (raised more than once for one reset) */
        EVENT_WATCHDOG,      /* pair, side: the emulated watchdog fired */
        EVENT_IO_ERROR,      /* pair, side, text: disk error paused or reported; `up` true where QEMU paused */
        EVENT_MEMORY_FAILURE, /* pair, side, app or NO_APP, bytes: memory of the VM became inaccessible */
        EVENT_DEVICE_SIZE,   /* pair, side, app, bytes: QEMU's plugged size of the app's virtio-mem device */
        EVENT_PREFLIGHT,     /* pair, side, preflight: what a look at the domain's XML and channel found */
        EVENT_LINK,          /* pair, side, up: the agent's channel is connected, or was lost */
        EVENT_MESSAGE,       /* pair, side, message: from the agent; session and seq already checked */
        EVENT_SECOND_PATH,   /* pair, side, path, age_usec: a second path's last sign of life, seen now */
        EVENT_WAITED,        /* pair, side, age_usec: between the last two probes, the thread of its QEMU that waited
                              * most waited so long for a processor */
        EVENT_DONE,          /* pair, side, app, action, action_id, result, text: an action has ended */
        EVENT_COMMAND,       /* pair or NO_PAIR, command: an operator asks */
        EVENT_PRESSURE,      /* bytes: share of the last second in which all tasks stalled on memory or CPU,
                              * in parts per million (PSI `full`) */
        EVENT_RECLAIM,       /* up, text: can memory be taken back from a VM by force here, and how or why not.
                              * bytes: the kernel holds all VMs of the pool to so much; 0: it does not.
                              * swap_bytes: what the swap takes of the VMs */
        EVENT_USAGE,         /* pair, app, usage: what both QEMUs have of a region that is followed */
        EVENT_PAGING,        /* pair, side, bytes: pages a second that the host has just had to bring back from swap
                              * for the VM's process, so many that its guest may be waiting for them */
        EVENT_SPACE,         /* pair, side, up: what the VM has on memory servers is served (again), or its pager waits
                              * for a server: the guest may be waiting for pages */
        EVENT_OVERFLOW,      /* pair, side, app, up: the application's overflow disk is attached there, or not */
        EVENT_KIND_MAX,
        EVENT_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(event_kind);

/* A process ended by itself and with success, or by a signal that asks for it (SIGTERM, SIGINT, SIGHUP): somebody
 * wanted that, and where it was libvirt, libvirt tells why. */
#define PROCESS_ENDED_AS_ASKED (-1)
/* The kernel tells how it ended once its parent has taken notice, which is still to come. */
#define PROCESS_END_TO_BE_TOLD (-2)

/* State of a domain, in libvirt's words. */
enum domain_state {
        DOMAIN_UNKNOWN,   /* nothing known, or what was known is too old */
        DOMAIN_UNDEFINED, /* libvirt knows no such domain */
        DOMAIN_SHUTOFF,
        DOMAIN_RUNNING,
        DOMAIN_PAUSED,
        DOMAIN_CRASHED, /* kernel panic; QEMU lives on (on_crash preserve) */
        DOMAIN_STATE_MAX,
        DOMAIN_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(domain_state);

/* Why it is in that state. */
enum domain_reason {
        REASON_UNKNOWN,
        REASON_BOOTED,
        REASON_USER,      /* paused by a call: an operator's, or our own freeze */
        REASON_IO_ERROR,
        REASON_WATCHDOG,
        REASON_PANICKED,
        REASON_SHUTDOWN,  /* the guest shut down by itself */
        REASON_DESTROYED, /* a call ended it: an operator's, or our own */
        REASON_CRASHED,   /* QEMU ended by a signal or by itself */
        REASON_FAILED,    /* libvirt lost it */
        REASON_MIGRATED,
        REASON_SAVED,
        REASON_SNAPSHOT,
        DOMAIN_REASON_MAX,
        DOMAIN_REASON_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(domain_reason);

/* Ways to hear from a guest's kernel beside its agent. */
enum second_path { PATH_ECHO, PATH_BALLOON, SECOND_PATH_MAX, SECOND_PATH_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(second_path);

/* Disks by their target ("vdb"), in a domain's XML. Past DISKS_MAX they are not listed. */
#define DISKS_MAX 32
#define DISK_TARGET_LEN 20

struct disk_list {
        unsigned n;
        char targets[DISKS_MAX][DISK_TARGET_LEN];
};

/* What a look at a domain found. Every `false` is a finding that keeps the pair from being armed, or, where
 * marked, none or (advice) a line in `status`. */
struct preflight {
        bool defined, persistent;
        bool autostart;           /* finding when true */
        bool channel;             /* org.failover1.agent.0 with a unix socket in bind mode */
        bool panic_device;        /* (advice) */
        bool crash_preserved;     /* on_crash preserve; (advice) */
        bool balloon_stats;       /* (advice): second path */
        bool echo_port;           /* (advice): second path, sub-second */
        bool console_log;         /* (advice): what it says on its console goes to a file */
        bool kvm;                 /* its processors are run by KVM, and can be taken away again; no finding */
        bool requested_zero;      /* persistent XML asks for nothing */
        unsigned free_ports;      /* PCIe root ports free in the persistent XML */
        uint64_t base_bytes;      /* boot memory in the XML */
        unsigned vcpus, vcpus_max;
        struct disk_list disks_at_boot; /* in <devices>: attached whenever the domain starts */
        struct disk_list disks_kept;    /* in <metadata>: attached by failoverd, to the side that owns them */
        struct {
                bool present;     /* device with alias ua-NAME */
                int node;         /* guest NUMA node */
                uint64_t size_bytes, block_bytes, requested_bytes;
                bool huge_pages;    /* what backs it cannot be paged out; (advice) where a handover is lazy */
        } apps[POLICY_APPLICATIONS_MAX]; /* by application slot */
        char text[EVENT_TEXT_LEN]; /* why it could not be looked at, else empty */
};

enum command_verb {
        COMMAND_SWITCH, /* planned move to the other side */
        COMMAND_RETURN, /* planned move back to the home side */
        COMMAND_DRILL,  /* level, fault */
        COMMAND_PAUSE,  /* until_usec, text: reason; NO_PAIR pauses all */
        COMMAND_RESUME,
        COMMAND_ADOPT,  /* side: after a lost store, a person says who owns the data */
        COMMAND_ASSIGN, /* request: memory by hand (assignment.h); pair NO_PAIR */
        COMMAND_ASSIGN_CANCEL, /* the request under way ends where it is; pair NO_PAIR */
        COMMAND_VERB_MAX,
        COMMAND_VERB_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(command_verb);

/* Faults that a drill can cause. */
enum drill_fault {
        DRILL_APP_KILL,   /* the agent kills the application's processes */
        DRILL_PANIC,      /* the guest's kernel panics */
        DRILL_HANG,       /* the guest's processors spin in real-time priority */
        DRILL_QEMU_KILL,  /* SIGKILL to the active VM's QEMU */
        DRILL_QEMU_STOP,  /* SIGSTOP to it */
        DRILL_FAULT_MAX,
        DRILL_FAULT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(drill_fault); /* "app-kill", "panic", "hang", "qemu-kill", "qemu-stop" */

struct operator_command {
        enum command_verb verb;
        uint64_t id;           /* echoed in ACTION_REPLY */
        enum drill_level level; /* drill */
        enum drill_fault fault; /* full drill, and a plan of one */
        enum side side;        /* adopt */
        bool dry_run, force;
        usec_t until_usec;     /* pause: end on CLOCK_REALTIME, USEC_INFINITY for none */
        char who[NAME_LEN];    /* for the record: the caller's user name */
        char text[EVENT_TEXT_LEN]; /* reason */
        char request[ASSIGNMENT_TEXT_MAX]; /* assign */
};

struct record; /* daemon/core/record.h */
struct usage;  /* daemon/core/handover.h */

struct event {
        enum event_kind kind;
        usec_t time_usec; /* CLOCK_BOOTTIME; never runs backwards from one event to the next */
        usec_t real_usec; /* CLOCK_REALTIME at that instant, for what outlives the boot */
        int pair;
        enum side side;
        int app;
        bool up;
        int pid;
        uint64_t bytes;
        uint64_t swap_bytes;
        usec_t due_usec;
        enum domain_state domain;
        enum domain_reason reason;
        enum second_path path;
        usec_t age_usec; /* USEC_INFINITY: never heard, or the question itself got no answer */
        int action;      /* enum action_kind (update.h) */
        uint64_t action_id;
        int result;      /* 0 or negative errno */
        char text[EVENT_TEXT_LEN];
        /* Borrowed for the length of the call: */
        const struct policy *policy;
        const struct record *record;
        const struct message *message;
        const struct preflight *preflight;
        const struct operator_command *command;
        const struct usage *usage;
};
