/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The plain model of a policy: what the operator wants, as data. Text goes in and out at the edge
 * (policy/text.h); the engine, the agents' configuration and the command line all read this one model. It
 * uses libc only.
 *
 * A policy owns everything below it. Strings are never NULL unless a comment says so. All limits below are
 * enforced by the parser, so that a reader of the model can rely on them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/enum-table.h"
#include "daemon/base/units.h"

#define POLICY_VERSION 1

/* Linux's memory block on x86-64: a guest plugs nothing of a virtio-mem device that is no multiple of it. */
#define GUEST_BLOCK_BYTES (128 * MIB)

/* Longest name of a pair, domain or application, with its NUL. Names match [A-Za-z0-9][A-Za-z0-9_.-]*. */
#define NAME_LEN 64

#define POLICY_PAIRS_MAX 1024
#define POLICY_APPLICATIONS_MAX 16 /* of one pair */
#define POLICY_WORDS_MAX 32        /* of one command */
#define POLICY_RULES_MAX 16        /* severity rules of one application */
#define POLICY_FLAPS_MAX 16        /* failovers that are remembered for the flap limit */
#define CANARY_TIMEOUT_USEC (10 * USEC_PER_SEC) /* where the policy says nothing */
#define POLICY_RESOURCES_MAX 8     /* disks, and addresses, of one application */
#define POLICY_SERVERS_MAX 64      /* memory servers */
#define POLICY_REGIONS_MAX 4       /* shared regions of one application */
#define OVERFLOW_SERVERS_MAX 6     /* of one overflow: as many as a pager speaks to */
#define POLICY_VMS_MAX 64          /* VMs that stand alone */
#define VM_DOMAIN_MAX 40           /* letters of such a one's domain */

/* The two members of a pair. Which of them is active changes with every failover; which of them the policy
 * lists first does not: SIDE_A is the policy's `active` domain, its home side. */
enum side { SIDE_A, SIDE_B, SIDE_MAX, SIDE_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(side); /* "a", "b" */

static inline enum side side_other(enum side side) {
        return side == SIDE_A ? SIDE_B : SIDE_A;
}

/* H: a hot-standby application's region goes to the standby at failure, a plain one's back to the monitor.
 * AUTO: declared where the application starts and learned from the agent; plain until then. MEMORY: no application,
 * but a region of each side's VM by which it is extended and which it releases by hand (N: variant 5). */
enum application_kind {
        APPLICATION_HOT_STANDBY,
        APPLICATION_PLAIN,
        APPLICATION_AUTO,
        APPLICATION_MEMORY,
        APPLICATION_KIND_MAX,
        APPLICATION_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(application_kind); /* "hot-standby", "plain", "auto", "memory" */

/* H: severity. HARD is "minor but hard to repair there": failing over is quicker than repairing. */
enum severity {
        SEVERITY_MINOR,
        SEVERITY_HARD,
        SEVERITY_MAJOR,
        SEVERITY_CRITICAL,
        SEVERITY_MAX,
        SEVERITY_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(severity); /* "minor", "hard", "major", "critical" */

/* How an application failed, as its agent saw it. */
enum failure_cause {
        FAILURE_EXIT,   /* code: exit status */
        FAILURE_SIGNAL, /* code: signal number */
        FAILURE_CHECK,  /* health check failed often enough; code: its exit status */
        FAILURE_MEMORY, /* the kernel took its memory away: out of memory or a memory error */
        FAILURE_START,  /* it could not be started; code: errno or exit status */
        FAILURE_CAUSE_MAX,
        FAILURE_CAUSE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(failure_cause); /* "exit", "signal", "check", "memory", "start" */

/* First rule that matches decides; with none, policy_severity() has the defaults. */
struct severity_rule {
        enum failure_cause cause;
        int code; /* exit status or signal number to match; -1 matches every one */
        enum severity severity;
};

/* What an announced or unannounced stop of the guest's own means: wait for it, or fail over. */
enum guest_stop { GUEST_STOP_WAIT, GUEST_STOP_FAILOVER, GUEST_STOP_MAX, GUEST_STOP_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(guest_stop); /* "wait", "failover" */

/* A living active VM does not let go of a disk or address in time. */
enum exclusive_stuck { EXCLUSIVE_REFUSE, EXCLUSIVE_FENCE_VM, EXCLUSIVE_STUCK_MAX, EXCLUSIVE_STUCK_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(exclusive_stuck); /* "refuse", "fence-vm" */

/* How a region leaves a VM that lives on (N: two rights). */
enum handover_mode {
        HANDOVER_LAZY,  /* its management moves at once; the old user's memory is taken back as it is needed */
        HANDOVER_EAGER, /* H as written: the old user gives the memory up first */
        HANDOVER_MODE_MAX,
        HANDOVER_MODE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(handover_mode); /* "lazy", "eager" */

/* When memory that a VM uses and does not manage any more is taken back before its manager needs it (N: variant 3). */
enum early_when {
        EARLY_NEVER,
        EARLY_AT_ACCESS,
        EARLY_IN_BACKGROUND,
        EARLY_BOTH,
        EARLY_WHEN_MAX,
        EARLY_WHEN_INVALID = -EINVAL
};
DECLARE_ENUM_TABLE(early_when); /* "never", "access", "background", "both" */

/* What is held against the limit. */
enum early_measure {
        EARLY_NUMBER, /* of accesses */
        EARLY_RATE,   /* accesses in 1000 seconds */
        EARLY_VOLUME, /* bytes accessed */
        EARLY_TIME,   /* since management was lost, in microseconds */
        EARLY_MEASURE_MAX,
        EARLY_MEASURE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(early_measure); /* "number", "rate", "volume", "time" */

/* All accesses, or those since management was lost. */
enum early_count { EARLY_SINCE_LOST, EARLY_TOTAL, EARLY_COUNT_MAX, EARLY_COUNT_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(early_count); /* "since-lost", "total" */

/* Which extents go: those below the limit, or those above. EARLY_TIME: always those above. */
enum early_take { EARLY_QUIET, EARLY_BUSY, EARLY_TAKE_MAX, EARLY_TAKE_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(early_take); /* "quiet", "busy" */

/* May what VMs have together be more than the pool for a while, because some of it can be paged out? */
enum overcommit {
        OVERCOMMIT_NONE, /* no: a region that changes hands is given up before it is given out */
        OVERCOMMIT_SWAP, /* yes, as far as the policy's limit on swap goes */
        OVERCOMMIT_MAX,
        OVERCOMMIT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(overcommit); /* "none", "swap" */

/* What a guest does with memory that its VM uses and does not manage any more (N: variant 4). In either case it starts
 * nothing there and tells of less at once. */
enum lost_memory {
        LOST_KEEP, /* its applications keep what they have there, and get no more */
        LOST_SWAP, /* they are bounded by what the VM manages; what is beyond that goes to the guest's swap */
        LOST_MEMORY_MAX,
        LOST_MEMORY_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(lost_memory); /* "keep", "swap" */

struct early_release_keys {
        enum early_when when;
        enum early_measure measure;
        enum early_count count;
        enum early_take take;
        usec_t after_usec;      /* limit of EARLY_TIME */
        unsigned accesses;      /* limit of EARLY_NUMBER and EARLY_RATE */
        uint64_t volume_bytes;  /* limit of EARLY_VOLUME */
        unsigned percent;       /* of the mean over all extents of that VM, in place of these limits; 0: not so */
        uint64_t rate_bytes;    /* taken back at most in a second */
        usec_t watch_usec;      /* an extent is judged no sooner after it was lost */
};

/* In which order a request to move memory by hand asks its VMs (N: variant 5). */
enum assignment_order {
        ASSIGN_AT_ONCE,        /* what is to be extended before it was released waits there */
        ASSIGN_RELEASES_FIRST,
        ASSIGN_CYCLES,         /* release a piece, extend by it, release the next */
        ASSIGNMENT_ORDER_MAX,
        ASSIGNMENT_ORDER_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(assignment_order); /* "at-once", "releases-first", "cycles" */

/* Which places of the pool a VM is extended by that nobody manages (N: choosing what to extend with). */
enum assignment_choice {
        ASSIGN_NEAREST,     /* next to its own; among those what fits best */
        ASSIGN_CLOSEST_FIT, /* what fits best; among those the nearest, and so below */
        ASSIGN_LARGEST,     /* the largest stretch, so that it has few */
        ASSIGN_SMALLEST,    /* the smallest, so that large ones stay whole */
        ASSIGNMENT_CHOICE_MAX,
        ASSIGNMENT_CHOICE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(assignment_choice); /* "nearest", "closest-fit", "largest", "smallest" */

/* A request asks for more than the pool has. */
enum assignment_short { ASSIGN_REFUSE, ASSIGN_PARTLY, ASSIGNMENT_SHORT_MAX, ASSIGNMENT_SHORT_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(assignment_short); /* "refuse", "partly" */

struct assign_keys {
        enum assignment_order order;
        enum assignment_choice choose;
        enum assignment_short on_short;
        uint64_t piece_bytes;   /* of one request to a VM, at most; at least an extent is asked for. 0: not split */
        unsigned overlap;       /* ASSIGN_CYCLES: so many pieces may be released that nobody was extended by yet */
        usec_t patience_usec;   /* a VM may make no progress for so long, and take ten times as long for a piece */
};

/* What a guest may ask for itself, through its agent, of memory that is otherwise moved by hand. */
enum guest_requests {
        GUEST_REQUESTS_NONE,
        GUEST_REQUESTS_RELEASE,
        GUEST_REQUESTS_ALL,
        GUEST_REQUESTS_MAX,
        GUEST_REQUESTS_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(guest_requests); /* "none", "release", "release-and-extend" */

struct guest_request_keys {
        enum guest_requests allow;
        uint64_t limit_bytes; /* a VM comes to manage no more by its own asking; 0: what its region holds */
        usec_t every_usec;    /* asked no more often */
};

/* A store that was there and is gone or unreadable. */
enum store_lost { STORE_LOST_HOLD, STORE_LOST_TRUST_RUNNING, STORE_LOST_MAX, STORE_LOST_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(store_lost); /* "hold", "trust-running" */

/* Whether a region's memory is touched before the application needs it: plugged is not usable, and the first touch of
 * fresh memory is slow. */
enum prefault { PREFAULT_NONE, PREFAULT_BACKGROUND, PREFAULT_BEFORE_START, PREFAULT_MAX, PREFAULT_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(prefault); /* "none", "background", "before-start" */

enum yes_no { SAID_NO, SAID_YES, YES_NO_MAX, YES_NO_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(yes_no); /* "no", "yes" */

/* When an application's VM has overflow. */
enum overflow_when {
        OVERFLOW_ALWAYS, /* while the application is there */
        OVERFLOW_SHORT,  /* in place of what the pool has not enough for when its region moves (I: part 6) */
        OVERFLOW_WHEN_MAX,
        OVERFLOW_WHEN_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(overflow_when); /* "always", "short" */

/* Memory beyond a VM's own: a disk to swap to, whose pages are on memory servers (T, I). */
struct overflow_keys {
        char servers[OVERFLOW_SERVERS_MAX][NAME_LEN]; /* the first is the primary at first */
        size_t n_servers;                             /* 0: there is no overflow */
        enum yes_no mirror;                           /* each page at two of them */
        enum overflow_when when;
        uint64_t size_bytes;
};

/* A memory server that spaces may be opened at (failover-memserver(8)). */
struct memory_server {
        char name[NAME_LEN];
        char *control;           /* path of its control socket on this host */
        char *uri;               /* NBD URI without an export name */
        char *psk;               /* file of pre-shared keys; NULL: none */
        char *certificates;      /* directory of X.509 certificates; NULL: none */
        char *guests;            /* the same URI as guests reach it; NULL: they do not */
        enum yes_no unencrypted; /* may be spoken to over a network without TLS */
        uint64_t memory_bytes;   /* what it may hold of this host's memory, and of the pool; 0: it is elsewhere */
};

/* A region's holder does not answer, or has lost it. */
enum holder_lost { HOLDER_LOST_HOLD, HOLDER_LOST_START, HOLDER_LOST_MAX, HOLDER_LOST_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(holder_lost); /* "hold", "start" */

#define REGION_KIND_RESIDENT 3 /* R: kinds from this one on are filled before access, and written back */

/* A shared region in which an application keeps its state, so that the standby finds it there (R). */
struct state_region {
        char name[NAME_LEN];
        char holder[NAME_LEN];   /* a memory server; "": not said, which the checks refuse */
        char mirror[NAME_LEN];   /* another one, which gets each write too and stands in for it; "": none */
        uint64_t size_bytes;
        unsigned kind;           /* R: 1 to 4 */
        usec_t write_back_usec;  /* kinds 3 and 4: so often; 0: on request and at close alone */
        enum holder_lost on_lost;
};

/* A command line; empty (n_words 0) where there is none. NULL-terminated. */
struct command {
        char **words;
        size_t n_words;
};

/* How an application is run on one side. Either `unit` or `start` is set. */
struct application_side {
        char *unit;            /* systemd unit in the guest; NULL for a command */
        struct command start;  /* stays in the foreground; ends when the application ends */
        struct command stop;   /* empty: SIGTERM to the application's processes */
        struct command health; /* exit 0 is healthy; empty: running is healthy */
        struct command canary; /* tried on the standby in a rehearsal: exit 0 is good. Empty: its start command is
                                * there */
};

struct address {
        char *cidr; /* "192.0.2.10/24" or "2001:db8::10/64" */
        char *link; /* name of the network link in the guest */
};

struct application {
        char name[NAME_LEN];
        bool retired; /* taken out of the policy while it held memory: stopped, released, then forgotten. Never in
                       * a policy's text */
        enum application_kind kind;
        uint64_t memory_bytes; /* size of its region, a multiple of the extent */
        enum prefault prefault; /* where it is started by a failover, switch or return */
        struct application_side sides[SIDE_MAX];

        usec_t stop_timeout_usec; /* then SIGKILL */
        usec_t health_interval_usec;
        usec_t health_timeout_usec;
        unsigned health_failures; /* in a row, 1..100 */
        usec_t health_grace_usec; /* after a start, failed checks do not count for so long, or until one has passed */

        usec_t canary_timeout_usec;

        unsigned restart_budget; /* restarts in place within restart_window_usec; 0 is none */
        usec_t restart_window_usec;
        usec_t restart_expected_usec; /* how long a restart takes; 0: not known. Longer than
                                       * failover_expected_usec means hard to repair here */

        struct severity_rule rules[POLICY_RULES_MAX];
        size_t n_rules;

        unsigned vcpus; /* plugged beside the base ones while it runs; 0 is none */
        char *disks[POLICY_RESOURCES_MAX]; /* target names ("vdb") of disks that move with it */
        size_t n_disks;
        struct address addresses[POLICY_RESOURCES_MAX];
        size_t n_addresses;
        struct overflow_keys overflow; /* of the VM in which it is */
        struct state_region regions[POLICY_REGIONS_MAX];
        size_t n_regions;
};

/* One VM of a pair. */
struct member {
        char domain[NAME_LEN];
        uint64_t base_bytes;   /* boot memory: the floor that it has as a standby */
        uint64_t memory_bytes; /* what it holds as an active VM before applications start; >= base_bytes. The
                                * part above the base is plugged into its application devices in order
                                * (H: state A of the worked example) */
        struct overflow_keys overflow;
};

struct pair_policy {
        char name[NAME_LEN];
        bool retired; /* taken out of the policy while its applications held memory. Never in a policy's text */
        struct member members[SIDE_MAX];

        usec_t beat_usec;           /* between heartbeats */
        unsigned beats_missed;      /* suspected after this many in a row */
        usec_t confirm_usec;        /* the second path must be silent this long after suspicion */
        usec_t act_timeout_usec;    /* deadline for one step on a guest or hypervisor */
        usec_t objective_usec;      /* recovery-time objective, fault to application started */
        usec_t failover_expected_usec; /* what "longer than a failover" compares with */

        enum guest_stop on_guest_shutdown, on_guest_reboot; /* announced by the agent */
        usec_t guest_stop_timeout_usec; /* how long `wait` waits before it becomes a failure */
        enum exclusive_stuck on_exclusive_stuck;
        enum handover_mode handover;
        enum lost_memory lost_memory;
        struct guest_request_keys guest_requests;
        struct early_release_keys early_release;

        uint64_t core_dump_limit_bytes; /* a larger guest is not dumped */
        usec_t core_dump_within_usec;   /* a failed guest is dumped before it is killed, so long at most; 0: not */

        usec_t drill_every_usec; /* a drill is wanted so often; 0: nobody asks */

        unsigned flap_limit; /* failovers within flap_window_usec; one more is held */
        usec_t flap_window_usec;

        char *on_event; /* systemd unit started at each alert, "%i" takes the pair; NULL is none */

        struct application *applications;
        size_t n_applications;
};

/* What goes on where a VM that stands alone was. */
enum vm_standby { VM_STANDBY_CONTEXT, VM_STANDBY_MAX, VM_STANDBY_INVALID = -EINVAL };
DECLARE_ENUM_TABLE(vm_standby); /* "context": its last checkpoint, kept on memory servers */

/* A VM without a second VM: its standby is its own context (I: a context resumes). */
struct vm_policy {
        char domain[NAME_LEN];
        uint64_t memory_bytes;      /* of the pool, held for it; QEMU's own overhead beside */
        enum vm_standby standby;
        usec_t checkpoint_usec;     /* a checkpoint is taken so often while it runs */
        char servers[OVERFLOW_SERVERS_MAX][NAME_LEN]; /* where: the first, with a mirror at the second */
        size_t n_servers;
        unsigned flap_limit;        /* failovers within flap_window_usec; one more is held */
        usec_t flap_window_usec;
        char *on_event;             /* as of a pair; "%i" takes the domain */
};

struct policy {
        unsigned version;
        char *hypervisor_uri;

        uint64_t pool_bytes;     /* all that failoverd governs, VM systems and monitor included */
        uint64_t reserve_bytes;  /* kept back for regions lost to memory errors */
        uint64_t extent_bytes;   /* unit of the two rights and of every region */
        uint64_t monitor_bytes;  /* failoverd itself */
        uint64_t overhead_bytes; /* QEMU's own, for each VM, a row of the monitor's */

        enum overcommit overcommit;
        uint64_t swap_bytes; /* OVERCOMMIT_SWAP: so much may be leant on at once; 0: what the host has */
        char pool_group[NAME_LEN]; /* control group above all VMs, which gets the pool's size as its hard limit; "":
                                    * none */

        enum store_lost on_store_lost;
        struct assign_keys assign;

        struct memory_server *servers;
        size_t n_servers;

        struct pair_policy *pairs;
        size_t n_pairs;

        struct vm_policy *vms;
        size_t n_vms;
};

/* An empty policy with every default that does not depend on the text. NULL when out of memory. */
struct policy *policy_new(void);

/* Frees a policy, also a half-built one. Takes NULL; returns NULL. */
struct policy *policy_free(struct policy *policy);

/* Defaults of one pair and one application, as `policy.yaml`(5) lists them. */
void pair_policy_init(struct pair_policy *pair);
void vm_policy_init(struct vm_policy *vm);
void application_init(struct application *application);
void application_deinit(struct application *application);

/* A deep copy, or NULL when out of memory. */
struct policy *policy_copy(const struct policy *policy);

/* Word by word. */
bool command_equal(const struct command *a, const struct command *b);
/* Do both say the same? In doubt, no. */
bool pair_policy_same(const struct pair_policy *a, const struct pair_policy *b);
/* Appends a copy of an application, as a retired plain one. -E2BIG past POLICY_APPLICATIONS_MAX, -ENOMEM. */
int pair_policy_retire(struct pair_policy *pair, const struct application *application);
/* Appends a copy of a pair whose applications are all retired. -E2BIG past POLICY_PAIRS_MAX, -ENOMEM. */
int policy_retire_pair(struct policy *policy, const struct pair_policy *pair);
/* Takes retired pairs and applications out again, for the policy's text. */
void policy_drop_retired(struct policy *policy);

/* What the monitor's row holds: failoverd itself, the memory servers on this host, and VMs that stand alone. */
uint64_t policy_monitor_bytes(const struct policy *policy);
/* Of that, the VMs, with what QEMU itself takes for each. */
uint64_t policy_vms_bytes(const struct policy *policy);
/* What of a region may be overflow where the pool is short. */
uint64_t application_remote_bytes(const struct application *application);

/* Index of a memory server by name, or -ENOENT. */
int policy_find_server(const struct policy *policy, const char *name);
/* Index of a VM that stands alone by its domain, or -ENOENT. */
int policy_find_vm(const struct policy *policy, const char *domain);
/* Index of the pair that a domain is of, retired ones too, or -ENOENT. */
int policy_pair_of(const struct policy *policy, const char *domain);
/* The domain of a VM that stands alone in `old` and is a pair's in `next`; NULL: none. */
const char *policy_paired_vm(const struct policy *old, const struct policy *next);
/* Index of a pair or application by name, or -ENOENT. */
int policy_find_pair(const struct policy *policy, const char *name);
int pair_policy_find_application(const struct pair_policy *pair, const char *name);
/* Index of a shared region by name, or -ENOENT. */
int application_find_region(const struct application *application, const char *name);
/* Index of the one of kind `memory` that is not retired, or -ENOENT. */
int pair_policy_find_memory(const struct pair_policy *pair);

/* The severity of a failure (H: severity). `cause` and `code` are the agent's report; the rules decide first,
 * then: lost memory is critical, a failed start is hard, anything else is minor. Pure. */
enum severity application_severity(const struct application *application, enum failure_cause cause, int code);
/* Index of the rule that decides it, or -1 where it is by default. */
int application_find_rule(const struct application *application, enum failure_cause cause, int code);
/* True where the application holds something that only one side may hold. */
bool application_is_exclusive(const struct application *application);

/* What may be plugged into a side: the regions of the applications that can start there and one of kind `memory`, and
 * at least what the member holds above its base. */
uint64_t member_pluggable_bytes(const struct pair_policy *pair, enum side side);

/* What Linux needs free before it can plug so much: its page structures, 1.6 %. */
uint64_t member_structures_bytes(uint64_t plugged_bytes);

/* Least boot memory that a member needs so that its applications' regions can be plugged: what the guest
 * system itself needs plus 1.6 % of everything that may be plugged, for page structures. */
uint64_t member_floor_bytes(const struct pair_policy *pair, enum side side);

/* Appends one word to a command; -ENOMEM or -E2BIG past POLICY_WORDS_MAX. */
int command_append(struct command *command, const char *word);
int command_copy(const struct command *from, struct command *ret);
void command_deinit(struct command *command);
