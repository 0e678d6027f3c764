/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the manager's files share: manager.c (object, events), manager-act.c (actions), manager-policy.c (policy and
 * start-up), manager-bus.c (what the bus asks for), manager-facts.c (what is only shown), manager-recordings.c (what is
 * kept of what was recorded), manager-overflow.c (disks on memory servers), manager-places.c (which disks there are),
 * manager-regions.c (mirrors of shared regions), manager-standbys.c (VMs that stand alone). */

#include "daemon/bus/bus.h"
#include "daemon/host/agents/agent-link.h"
#include "daemon/host/children/standbys.h"
#include "daemon/host/libvirt/hypervisor.h"
#include "daemon/host/memory/reclaim.h"
#include "daemon/host/memory/resident-survey.h"
#include "daemon/host/pressure.h"
#include "daemon/host/records/event-ring.h"
#include "daemon/host/records/evidence.h"
#include "daemon/host/store/file-writer.h"
#include "daemon/host/store/store.h"
#include "daemon/manager/manager-overflow.h"
#include "daemon/manager/manager.h"
#include "daemon/manager/wakes.h"
#include "daemon/pages/name-server.h"
#include "daemon/pages/region-holder.h"

/* Processor time of a QEMU process, seen twice. */
struct processor_use {
        int pid;
        usec_t seen_usec[2], used_usec[2]; /* the later one last; seen 0: not yet */
};

struct manager_pair {
        int slot;
        char name[NAME_LEN]; /* of the pair that the slot was set up for; empty: free */
        char domains[SIDE_MAX][NAME_LEN];
        struct agent_link *links[SIDE_MAX];
        struct processor_use processor[SIDE_MAX];
        uint32_t followed; /* bits by application: its region is on its way (ACTION_FOLLOW) */
        uint8_t untended[POLICY_APPLICATIONS_MAX]; /* bits by region: it was said that its mirror is not to be had */
        int told_pids[SIDE_MAX]; /* of the processes that the pool's limit was last told of; 0: none */
        usec_t kept_usec[RECORD_KIND_MAX]; /* when a recording of such a decision was kept last, 0: never */
};

/* An answer that the manager owes itself, since the adapter could not even begin. */
struct owed {
        struct event event;
        struct owed *next;
};

/* A VM that stands alone, and what was taken in of what its standby has told. */
struct vm_told {
        char domain[NAME_LEN];
        usec_t until_usec; /* CLOCK_REALTIME */
        struct stat seen;  /* standbys_read_events() */
        int failed;        /* what was said of the last attempt to start its standby */
        struct vm_told *next;
};

/* A policy that takes effect once its file is safe on disk. */
struct coming_policy {
        struct policy *policy; /* NULL: none is coming */
        uint64_t request_id;   /* of the bus */
        char *report;          /* warnings, may be NULL */
};

struct manager {
        sd_event *loop;
        struct sink sink;
        struct engine *engine;
        struct update update;
        bool stepping;

        struct hypervisor *hypervisor;
        struct store *store;
        struct evidence *evidence;  /* of failovers */
        struct evidence *decisions; /* of what was decided not to do: recordings only */
        struct event_ring *events;  /* NULL: nothing is recorded */
        struct pressure *pressure;
        struct reclaim *reclaim;
        struct resident_survey *survey;
        struct overflow *overflow;
        struct region_holder *regions;
        sd_event_source *regions_timer;
        int tended_slot, tended_app; /* whose mirrors are looked after next */
        struct standbys *standbys;
        sd_event_source *standbys_timer;
        struct vm_told *vms_told;  /* owned list */
        struct name_server *names; /* NULL: no names are served */
        struct bus *bus;
        struct bus_interface bus_interface;

        struct manager_pair **pairs; /* by slot */
        int n_pairs;
        struct agent_poll *agent_poll;
        struct wakes *wakes;

        struct owed *owed;
        sd_event_source *owed_source;

        char *policy_path;
        char *evidence_dir, *decisions_dir;
        char *last_policy_path; /* copy of the policy in force, for a start with a broken file */
        struct file_writer *policy_writer, *last_policy_writer;
        struct coming_policy coming;
        bool policy_is_last;  /* the file was not taken at the start, and the policy that was in force last stays so */
        char *policy_refused; /* why the file was not taken at the start, a line each, as the one in force last was */
        bool last_policy_again; /* another one came into force while the copy was being written */
        bool user, debug;
        bool store_lost;
        usec_t decision_kept_usec; /* of any pair; 0: never */
        usec_t started_usec;
        struct host_facts facts;
        usec_t facts_usec;
};

/* manager.c */
usec_t manager_now(void);
usec_t manager_realtime(void);
/* Stamps an event, steps the engine, carries out what it wants. */
void manager_event(struct manager *manager, struct event *event);
void manager_owe(struct manager *manager, const struct event *event);

/* manager-recordings.c */
#define RECORDING_PATH_LEN 4352
void manager_open_recordings(struct manager *manager, const char *runtime_dir);
/* Begins to keep what was recorded of a flow. Returns `path`, the file that it will be, or NULL where it is not
 * kept. */
const char *manager_keep_flow(struct manager *manager, const struct pair_policy *policy, const struct flow *flow,
                              char path[static RECORDING_PATH_LEN]);
/* The same of the flows that an earlier life of failoverd did not end, in case that this one does not either. */
void manager_keep_flows_cut_off(struct manager *manager);
/* The same where it was decided not to act. NULL also for other kinds, and where one was kept not long ago. */
const char *manager_keep_decision(struct manager *manager, struct manager_pair *slot, enum record_kind kind,
                                  char path[static RECORDING_PATH_LEN]);

/* manager-regions.c: holders of shared regions, and what looks after their mirrors. */
int manager_open_regions(struct manager *manager, struct error *error);
/* Adds to a report, which may be NULL, what stays at servers of regions that the policy in force has there and `policy`
 * has not. -ENOMEM leaves the report as it is. */
int manager_tell_left(const struct manager *manager, const struct policy *policy, char **report);

/* manager-facts.c */
/* Looks at the processor time that a VM's process has used: cheap, each time its second paths are asked. */
void manager_sample_processor(struct manager *manager, int slot, enum side side);
/* The latest of it, for the document that is kept at a decision; the rest is as it was when somebody asked last. */
const struct host_facts *manager_facts_at_decision(struct manager *manager);
/* Fresh to half a second; valid until the next call. */
const struct host_facts *manager_facts(struct manager *manager);

/* manager-act.c */
void manager_act(struct manager *manager, const struct action *action);
/* After each step: what the table says now of VMs with a region on its way, of the pairs that the event and its
 * actions are about. */
void manager_tell_shares(struct manager *manager, const struct event *event);

/* manager-policy.c */
int manager_load_policy(struct manager *manager, struct policy **ret, char **ret_report);
/* Whether it may take effect now; `why` is set where it may not. */
int manager_try_policy(struct manager *manager, const struct policy *policy, char *why, size_t size);
/* Writes a policy that was found good into its file, off the loop, then lets it take effect and answers the request.
 * Takes policy and report over. -EBUSY while another one is coming. */
int manager_begin_policy(struct manager *manager, struct policy *policy, const char *text, char *report,
                         uint64_t request_id, struct error *error);
/* The policy that was in force last. */
int manager_load_last_policy(struct manager *manager, struct policy **ret);
/* The policy in force as text, without what is being retired. -ENOMEM. */
int manager_print_policy(const struct manager *manager, char **ret_text);
/* Keeps a copy of the policy in force, off the loop; what goes wrong is logged only. */
void manager_keep_last_policy(struct manager *manager);
/* Lets a policy take effect: engine, watches, links. */
void manager_apply_policy(struct manager *manager, const struct policy *policy);
/* Makes watches and links follow the engine's pairs; those of pairs that are no more stay unless `forget_gone`. */
void manager_follow_pairs(struct manager *manager, bool forget_gone);
/* Agent channels follow what the hypervisor tells of the running domains. */
void manager_follow_channel(struct manager *manager, int slot, enum side side);

/* manager-standbys.c */
int manager_open_standbys(struct manager *manager, const struct manager_options *options, struct error *error);
void manager_close_standbys(struct manager *manager);
/* What they tell of their VMs, into the facts. */
void manager_fill_vms(struct manager *manager);

/* manager-bus.c */
/* Keeps what is believed of a pair at the decision to begin a flow, once what it asked for is under way. */
void manager_keep_explanation(struct manager *manager, const struct action *action);
void manager_bus_interface(struct manager *manager, struct bus_interface *ret);
