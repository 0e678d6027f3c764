/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The outside world on virtual time. What the files of the simulator share:
 *
 *   simulate.c        life cycle, the loop
 *   world-vm.c        QEMU and the guest's kernel: boot, crash, hang, plug, end
 *   world-agent.c     the guest agents: links, messages
 *   world-app.c       the applications that they supervise; world-rehearsal.c tries a standby
 *   world-liar.c      agents that say what is not so
 *   world-host.c      what failoverd sees and does: calls on libvirt, links, its own life
 *   world-policy.c    the policy in force: whose place is where
 *   world-store.c     the store
 *   world-holder.c    the memory server that holds shared regions
 *   world-overflow.c  disks on memory servers, for applications that start short
 *   world-memory.c    what of a region is really in memory
 *   world-record.c    the recording of what failoverd's engine is told and decides
 *   timeline.c        the language of faults; inject.c carries its lines out
 *   checker.c         what must always hold
 *   foretell.c        what `failoverctl check` says, held against what happens
 *   print.c           what is shown
 */

#include "daemon/core/engine.h"
#include "daemon/core/readiness.h"
#include "daemon/core/update.h"
#include "daemon/replay/recorder.h"
#include "daemon/sim/checker.h"
#include "daemon/sim/queue.h"
#include "daemon/sim/simulate.h"
#include "daemon/sim/timeline.h"

/* The world was there before the timeline begins, so that no instant is 0. */
#define ANSWER_USEC 200 /* of what is not waited for */
#define SIM_BEGIN_USEC (100 * USEC_PER_SEC)
#define SIM_REAL_USEC (UINT64_C(1800000000) * USEC_PER_SEC)
#define SIM_COMMANDS_MAX 64

enum guest {
        GUEST_OFF,
        GUEST_BOOTING,
        GUEST_RUNNING,
        GUEST_PANICKED,
        GUEST_HUNG,
        GUEST_ENDED, /* powered off, or failed to boot; QEMU lives on */
};

/* Lanes of libvirt calls: one call a domain at a time in each. */
enum sim_lane { LANE_FENCE, LANE_ACT, LANE_OBSERVE, LANE_MAX };

struct sim_app {
        enum application_state state;
        bool configured, granted; /* the memory that it waits for */
        uint64_t token, bytes;
        uint64_t told_token; /* with which it was last told to start */
        uint64_t start_id, stop_id, request_id, attach_id, attach_bytes;
        uint64_t touch_id, canary_id; /* of a rehearsal */
        bool restart;
        unsigned life; /* of what was begun last; what was scheduled before is void */
        enum failure_cause cause;
        int code;
        bool hard;
        /* faults */
        bool start_fails, stop_sticks, check_fails, disk_sticks, canary_fails, canary_hangs;
        usec_t start_usec, stop_usec; /* 0: default */
        bool fills;         /* it uses all the memory that the policy gives it */
        bool disk;          /* its overflow disk is attached */
        unsigned disk_host; /* that is about to change, by this life of failoverd; 0: it is not */
};

struct sim_vm {
        /* QEMU */
        bool process, process_stopped, paused, kill_sticks, killed;
        bool suspended; /* paused, by an operator */
        int pid;
        unsigned life;
        uint64_t requested[POLICY_APPLICATIONS_MAX], plugged[POLICY_APPLICATIONS_MAX];
        uint64_t plugged_before[POLICY_APPLICATIONS_MAX]; /* the latest change */
        usec_t plugged_usec[POLICY_APPLICATIONS_MAX];
        unsigned plugging[POLICY_APPLICATIONS_MAX]; /* number of the latest change */
        unsigned disks[POLICY_APPLICATIONS_MAX];    /* bits: this disk is attached */
        enum domain_state domain; /* as libvirt has it */
        enum domain_reason reason;
        usec_t size_told_usec;

        /* guest */
        enum guest guest;
        unsigned boot;
        usec_t touch_usec[POLICY_APPLICATIONS_MAX]; /* its application touches its region since then */
        uint64_t touches_bytes[POLICY_APPLICATIONS_MAX]; /* it touches no more than that; 0: all of it */
        uint64_t others_bytes[POLICY_APPLICATIONS_MAX]; /* what else runs there has of the region's node */
        uint64_t others_told[POLICY_APPLICATIONS_MAX];  /* as its agent last told failoverd */
        uint8_t paged_out[POLICY_APPLICATIONS_MAX][USAGE_EXTENTS_MAX / 8]; /* bits: this extent is in the swap */
        bool boot_fails, no_echo, no_balloon, page_out_fails;
        usec_t alive_usec; /* the last instant at which its kernel lived; 0: not in this boot */
        usec_t boot_usec;  /* until its kernel answers; 0: default */
        usec_t unheard_usec; /* the last one at which it did not, or could not be asked */
        unsigned unplug_percent; /* of what it is asked to give up; 100 is all */
        unsigned plug_percent;   /* of what it is given and brings online; 100 is all */
        usec_t plug_usec;        /* for each GiB; 0: default */
        struct item *deferred;   /* what waits for the guest to run again; owned */
        size_t n_deferred, n_deferred_allocated;

        /* agent */
        bool agent_up, agent_stopped, touch_fails, agent_old;
        unsigned agent_life;
        struct sim_app apps[POLICY_APPLICATIONS_MAX];
        uint64_t last_ask;   /* id of the latest MESSAGE_ASK */
        usec_t last_to_agent_usec, last_from_agent_usec;
        unsigned repeat_percent, lie_percent; /* of what it says */
        bool stated_dead; /* by an operator, of a process that could not be ended: what follows is his doing */
        bool lied; /* since the guest has booted: its word is nothing to rest on */

        /* failoverd's view of it */
        bool held;         /* a pidfd is open */
        bool absence_told;
        bool link_up, link_cut;
        bool greeted;      /* its agent has said hello on this link; until then nothing else counts */
        unsigned link;     /* number of the connection's session */
        usec_t heard_usec; /* something came over it */
        unsigned lose_percent;
        usec_t lag_usec;
        usec_t dump_usec; /* a dump takes so long; 0: the default */

        bool starved;              /* it gets no processor */
        usec_t starved_usec;       /* since when */
        usec_t waited_told_usec;   /* its waiting was told up to then */
        usec_t crowded_until_usec; /* it gets so little of a processor that health checks time out */

        /* faults of its hypervisor calls */
        usec_t hang_until_usec;
        bool lane_stuck[LANE_MAX];
        struct item stuck[LANE_MAX]; /* takes effect when libvirt answers again; kind ITEM_CALL_END */
        bool start_fails;
        unsigned calls_fail_percent;
        bool bad_autostart, bad_channel, bad_requested, bad_device, huge_pages, kvm;
};

/* An application's regions at their holder, and at its mirror. */
enum sim_region { SIM_REGION_NONE, SIM_REGION_PRIMARY, SIM_REGION_COPY };
struct sim_region_place {
        enum sim_region is; /* as that server sees it */
        uint64_t token;
        bool latest;        /* has all that was ever acknowledged */
        enum side side;     /* whose writes it takes, also while failoverd cannot reach it */
        unsigned boot;      /* of the guest that was told of it; 0: none since it was granted */
};
struct sim_regions {
        struct sim_region_place places[2];
        int at;         /* the place of the last grant */
        uint64_t token; /* of that grant */
        enum side side; /* whose they are to write */
        bool written;   /* the application has been started with them */
        unsigned boot;  /* of the guest that was told of them; 0: none since they were granted */
        uint64_t without; /* the token under which the policy makes do without them; 0: none */
};

struct sim_pair {
        bool present;
        char name[NAME_LEN];
        const struct pair_policy *policy; /* in the policy in force, or in the last one that had it */
        struct sim_vm vms[SIDE_MAX];
        struct record step, owner; /* what the store holds safely at each level */
        bool step_known, owner_known;
        struct record last; /* what was written last; outlives the store, for the person who is asked */
        unsigned wake; /* number of the latest */
        struct sim_regions regions[POLICY_APPLICATIONS_MAX];
        struct machine_states seen;
        struct checker_pair checker;
        unsigned followed[POLICY_APPLICATIONS_MAX]; /* number of the latest FOLLOW */
        usec_t look_usec[POLICY_APPLICATIONS_MAX];  /* until the next look */
        uint64_t looked[POLICY_APPLICATIONS_MAX];   /* what the last one found */
};

struct sim_command {
        uint64_t id;
        usec_t asked_usec;
        char what[64];
};

/* A failure that was caused after asking what would follow. */
struct sim_foretold {
        bool active;
        int slot;
        struct readiness_case one;
        usec_t limit_usec; /* of the failover, from its detection */
        bool begun;
        int result;        /* of the first flow that ended; -EINPROGRESS: none */
        usec_t took_usec;
};

struct sim {
        struct queue queue;
        usec_t now_usec;
        usec_t boot_offset_usec; /* CLOCK_BOOTTIME begins anew at a power loss */
        int64_t clock_step_usec; /* CLOCK_REALTIME was set by so much */
        unsigned power;          /* rises at each power loss: what was being written then is not */
        uint64_t random;         /* 0: none */
        FILE *out;
        const struct simulate_options *options;
        struct simulate_result result;
        bool failed; /* out of memory */

        const struct policy *file_policy; /* what failoverd reads when it starts */
        const struct policy *policy;      /* in force: the engine's, which knows what was taken out too */
        struct policy **policies;         /* all that were; owned */
        size_t n_policies;
        struct sim_pair *pairs;      /* by slot */
        int n_pairs;

        /* failoverd */
        struct engine *engine; /* NULL while it does not run */
        struct update update;
        struct recorder recorder;
        uint64_t record_number, record_random; /* of the segment; of the instant of the next one */
        unsigned host;      /* its life */
        unsigned wake;      /* number of the engine's latest wake */
        usec_t stalled_until_usec;
        int die_after;      /* actions until it is killed; 0: it is not */
        usec_t die_down_usec;
        struct message message; /* scratch: too large to make anew each time */

        struct rights rights; /* of the space that the timeline speaks of; without ranges: of none */

        bool reclaim;       /* memory can be taken back by force */
        bool pool_limited;  /* the kernel holds what VMs have in memory to the pool */
        uint64_t swap_bytes; /* the swap takes so much of what VMs have */
        bool tells_signals; /* the kernel tells how a process has ended */

        /* libvirt, store */
        bool libvirt_up, libvirt_twice;
        unsigned fail_call; /* calls of the hypervisor until one fails; 0: none does */
        bool fail_done;     /* it has had its effect */
        usec_t libvirt_hang_usec;
        usec_t holder_down_usec, mirror_down_usec; /* until when they are */
        usec_t holder_slow_usec;                   /* for each answer */
        bool holder_refuses;
        usec_t overflow_usec; /* an overflow disk takes so long to come; 0: the default */
        usec_t store_stall_usec, store_fail_usec;
        bool store_tears; /* the next write of an owner damages all that is on disk */
        bool store_torn;  /* it has, and nothing can be written there before failoverd starts anew */
        bool store_gone;  /* what is written is not there any more at the next start */
        bool store_lost;  /* found at the next start */

        struct timeline timeline;
        size_t next_line;
        bool ended;
        int next_pid;
        uint64_t next_command;
        struct sim_command commands[SIM_COMMANDS_MAX];
        size_t n_commands;
        usec_t healed_usec, armed_usec; /* since when, 0: not */
        struct checker checker;
        struct sim_foretold foretold;
        usec_t until_usec;
};

static inline struct sim_vm *sim_vm(struct sim *sim, int pair, int side) {
        return &sim->pairs[pair].vms[side];
}

static inline usec_t sim_real_usec(const struct sim *sim) {
        return SIM_REAL_USEC + sim->now_usec + (usec_t) sim->clock_step_usec;
}

static inline const struct pair_policy *sim_policy(const struct sim *sim, int pair) {
        return sim->pairs[pair].policy;
}

/* simulate.c */
uint64_t sim_draw(uint64_t *random); /* splitmix64 */
void sim_add(struct sim *sim, struct item item, usec_t delay_usec);
/* A latency: as given, or anywhere between half and twice of it where there is a seed. */
usec_t sim_latency(struct sim *sim, usec_t usec);
bool sim_chance(struct sim *sim, unsigned percent);
unsigned sim_below(struct sim *sim, unsigned n); /* any number below it; 0 where there is no seed */
void sim_pair_init(struct sim_pair *pair, const char *name); /* both VMs off */
bool sim_is_released(const struct pair *pair); /* it was taken out of the policy, and its memory is back */
usec_t sim_since(const struct sim *sim); /* time since the timeline's beginning */

/* world-vm.c */
void vm_start(struct sim *sim, int pair, int side);
void vm_kill(struct sim *sim, int pair, int side, enum domain_reason reason, usec_t delay_usec);
void vm_panic(struct sim *sim, int pair, int side);
void vm_resize(struct sim *sim, int pair, int side, int app, uint64_t bytes);
void vm_pause(struct sim *sim, int pair, int side, enum domain_reason reason);
void vm_go_on(struct sim *sim, int pair, int side);
void vm_runs_again(struct sim *sim, const struct item *item);
void vm_release_deferred(struct sim *sim, int pair, int side);
void vm_reset(struct sim *sim, int pair, int side);
void vm_item(struct sim *sim, struct item *item);
bool vm_guest_acts(const struct sim_vm *vm); /* its kernel runs and gets processor time */

/* world-agent.c */
void agent_item(struct sim *sim, struct item *item);
void agent_say(struct sim *sim, int pair, int side, int app, const struct sim_message *message);
uint64_t agent_states(const struct sim_vm *vm); /* of its applications, as a message carries them */
void agent_die(struct sim *sim, int pair, int side);
void agent_fault(struct sim *sim, int pair, int side, const char *fault, int app);
void agent_message(struct sim *sim, const struct item *item, struct message *ret);

/* world-app.c */
void app_fails(struct sim *sim, int pair, int side, int app, enum failure_cause cause, int code, bool hard);
void app_memory_came(struct sim *sim, int pair, int side, int app);

/* world-liar.c */
bool liar_knows(const char *lie); /* is this the name of one? */
void liar_say(struct sim *sim, int pair, int side, const char *lie, int app);
bool liar_twist(struct sim *sim, struct item *item); /* what it was about to say; false: it does not say it */

/* world-host.c */
void host_item(struct sim *sim, struct item *item);
void host_act(struct sim *sim, const struct action *action);
void host_tell(struct sim *sim, int pair, int side, enum event_kind kind, usec_t delay_usec, struct item item);
void host_tell_domain(struct sim *sim, int pair, int side);
void host_link(struct sim *sim, int pair, int side, bool up);
void host_repeat_welcome(struct sim *sim, int pair, int side);
void host_libvirt(struct sim *sim, bool up);

/* world-libvirt.c */
void libvirt_call(struct sim *sim, const struct action *action);
bool libvirt_call_fails(struct sim *sim); /* is it the turn of this call to fail? */
void libvirt_call_end(struct sim *sim, struct item *item);
bool libvirt_stuck(const struct sim *sim, const struct sim_vm *vm, int action);
void libvirt_unstick(struct sim *sim, int pair, int side);
void libvirt_inspect(struct sim *sim, int pair, int side, bool answer, uint64_t id);

/* world-failoverd.c */
void failoverd_start(struct sim *sim);
void failoverd_die(struct sim *sim, usec_t down_usec);
void failoverd_step(struct sim *sim, struct event *event);
void failoverd_power_loss(struct sim *sim, usec_t down_usec);

/* world-record.c */
void record_start(struct sim *sim); /* failoverd has been started */
void record_event(struct sim *sim, const struct event *event);
void record_update(struct sim *sim);

/* world-policy.c */
void policy_in_force(struct sim *sim); /* the world follows the engine's policy */
void policy_apply(struct sim *sim, struct policy *policy); /* takes it over */
/* An operator gives the pool what it lacks, where failoverd holds all for that. */
void policy_mend_pool(struct sim *sim);

/* world-store.c */
const struct record *store_newest(const struct sim_pair *pair); /* what it would hand out now; NULL: nothing */
void store_act(struct sim *sim, const struct action *action);
void store_item(struct sim *sim, struct item *item);

/* world-holder.c */
void holder_call(struct sim *sim, const struct action *action);
void holder_call_end(struct sim *sim, const struct item *item);
void holder_written(struct sim *sim, int pair, int side, int app, uint64_t token);
void holder_refresh(struct sim *sim); /* before one of them fails */
void holder_lose(struct sim *sim); /* all that it holds */
void holder_heal(struct sim *sim);

/* world-overflow.c */
void overflow_follow(struct sim *sim, int slot); /* after each step of that pair */
void overflow_item(struct sim *sim, const struct item *item);
bool overflow_lacks(struct sim *sim, int pair, int side, int app);

/* foretell.c */
void foretell_print(struct sim *sim, int slot);
void foretell_cause(struct sim *sim, int slot, uint64_t number);
void foretell_action(struct sim *sim, const struct action *action);
void foretell_judge(struct sim *sim);

/* world-memory.c */
uint64_t memory_others(const struct sim_vm *vm, int app); /* of what is plugged for an application */
void memory_app_started(struct sim *sim, int pair, int side, int app);
void memory_touch(struct sim *sim, int pair, int side, int app, uint64_t bytes);
void memory_follow(struct sim *sim, const struct action *action);
void memory_look(struct sim *sim, struct item *item);
void memory_page_out(struct sim *sim, const struct action *action);
void memory_paged_out(struct sim *sim, struct item *item);
void memory_tell_reclaim(struct sim *sim);

/* print.c */
void print_line(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void print_action(struct sim *sim, const struct action *action);
void print_states(struct sim *sim, int slot);
void print_explanation(struct sim *sim, int slot);
void print_end(struct sim *sim);
