/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of the pair's machine share. None of it is for use outside daemon/core/.
 *
 *   pair.c          life cycle, queries, persisting
 *   pair-facts.c    events become facts
 *   pair-answers.c  what actions came to becomes facts
 *   pair-reasons.c  the state that the operator sees, and why
 *   pair-message.c  an agent's messages become facts
 *   pair-watch.c    one VM: its facts, its heart, silence
 *   pair-dump.c     one VM: dumped before the fence destroys it
 *   pair-fence.c    one VM: certain not to act any more
 *   pair-rebuild.c  one VM: built anew
 *   pair-member.c   one VM: told what it runs, of the right size
 *   pair-app.c      goals of one application outside a flow; what its failure leads to
 *   retired.c       one that the policy took out: out of its VMs; what waits for that
 *   pair-state.c    the right to write one application's shared regions
 *   pair-overflow.c the overflow disk of one application that starts short
 *   pair-flow.c     the flow under way
 *   pair-move.c     one application's way in it
 *   pair-handover.c a region's usage follows its management
 *   assigned.c      what VMs are assigned by hand: one VM follows it
 *   pair-command.c  operators' commands
 *   pair-drill.c    drills and their verdicts
 *   pair-rehearse.c the drill that leaves the active VM alone
 */

#include "daemon/core/assigned.h"
#include "daemon/core/engine.h"

struct step {
        struct engine *engine;
        struct pair *pair;
        struct update *update;
        usec_t now;
        usec_t wake;  /* earliest instant at which something is due ... */
        usec_t wake_latest; /* ... and at which something is that cannot wait */
        bool again;   /* a fact changed while goals were compared: compare once more */
        bool changed; /* what operators see has changed */
};

/* engine.c */
struct step step_begin(struct engine *engine, struct pair *pair, struct update *update);

/* engine-policy.c */
void engine_apply_policy(struct engine *engine, const struct event *event, struct update *update);
/* The table that policy and records add up to. -ENOSPC where the pool does not cover it; with `to_given`, less
 * is counted for the monitor where that is what the pool lacks. */
int engine_build_table(struct engine *engine, const struct policy *policy, struct pair **pairs, int n_pairs,
                       bool to_given, struct table *ret);
/* What the active VM holds above its base before applications start. */
void pair_hold_initial(struct pair *pair);

/* step.c: how goals ask for things */

void step_wake(struct step *step, usec_t at_usec);
/* The same for what may be up to so late. */
void step_wake_between(struct step *step, usec_t at_usec, usec_t latest_usec);
/* Asks for what has been found due, where that is not what was asked for last. */
void step_ask_to_wake(struct step *step);
/* What a pair goes by has changed: its goals are compared once more, another pair's in a step of its own. */
void step_look_again(struct step *step, struct pair *pair);
/* Adds a (done) action for a request and marks it as out. */
struct action *step_act(struct step *step, enum action_kind kind, enum side side, int app, struct request *request,
                        usec_t deadline_usec);
/* Adds a message to the agent of that side; never NULL. */
struct message *step_send(struct step *step, enum side side, enum message_type type, int app);
/* The same, as a request that waits for its result. */
struct message *step_ask(struct step *step, enum side side, enum message_type type, int app, struct request *request);
/* A line of history. `side` may be SIDE_INVALID. */
void step_say(struct step *step, enum record_kind kind, enum side side, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* May this request be sent now? Otherwise sees to it that the pair is woken when it may. */
bool request_free(struct step *step, const struct request *request);
/* A request has ended. A failure delays the next one: 0.25 s, doubling up to 30 s. */
void request_end(struct step *step, struct request *request, bool ok);
/* Forgets a message request that was not answered within `limit_usec`; true when it did so now. */
bool request_expire(struct step *step, struct request *request, usec_t limit_usec);
void request_reset(struct request *request);

/* pair.c */

struct pair *pair_new(int slot, const struct pair_policy *policy);
struct pair *pair_free(struct pair *pair);
/* Compares facts with goals until nothing changes, then computes state, persists and asks to be woken. */
void pair_advance(struct step *step);
void pair_dirty(struct pair *pair);       /* the record changed */
void pair_owner_dirty(struct pair *pair); /* an owner or token changed: to be safe on disk before a start */
/* Are the owners as they stand now safe enough to start on? Safe on disk, or the write is late and the copy in
 * the run-time directory is safe (said loudly). */
bool pair_owner_safe(const struct pair *pair);
bool pair_step_safe(const struct pair *pair);
/* The same, or the run-time directory fails or is late; sees to it that the pair is woken when it is. */
bool pair_step_written(struct step *step);
/* Is it safe that a flow is under way? Or late, as above. */
bool pair_flow_written(struct step *step);
struct holder pair_holder(const struct pair *pair, enum side side);
const char *pair_domain(const struct pair *pair, enum side side);
/* A member that could take applications over now. */
bool member_usable(const struct pair *pair, enum side side);
/* An operator ended it after its pair was taken out: it is free for other uses, and nothing is asked of it. */
bool member_left_for_good(const struct pair *pair, enum side side);
/* What keeps a member from playing its part now, as a sentence that names it; false where nothing does. */
bool member_trouble(const struct pair *pair, enum side side, usec_t now_usec, char text[EVENT_TEXT_LEN]);
/* The process is seen to be gone. */
bool member_is_gone(const struct member_state *member);
const char *pair_app_name(const struct pair *pair, int app);
/* Is it certain that this side can act no more? */
bool member_fenced(const struct pair *pair, enum side side);
bool pair_is_hot(const struct pair *pair, int app);
/* No application: a region for what is assigned by hand. */
bool pair_is_memory(const struct pair *pair, int app);
/* Does it own a hot-standby application? */
bool pair_owns_hot(const struct pair *pair, enum side side);
/* failoverd has just started, and that side may still be able to take over: its agent has not had the time to say
 * so. Sees to it that the pair is woken when that is over. */
bool pair_too_early(struct step *step, enum side to);
/* Is it known what runs on that side: has its agent said so, or is its VM off? */
bool pair_side_known(const struct pair *pair, enum side side);
/* Could this token have been given by a failoverd? They rise by one, or to the time in seconds. What comes from outside
 * is not believed beyond that: a token that cannot rise any more would be the end of an application. */
bool pair_token_likely(const struct step *step, int app, uint64_t token);
/* Raises an application's token above any that may have been given before. */
void pair_renew_token(struct step *step, int app);
bool pair_flow_active(const struct pair *pair);

/* An application without a record is owned by that side; the table learns what memory it has there. */
void pair_adopt(struct step *step, int app, enum side side);

/* pair-facts.c */
/* How much of a region counts as lost where `bytes` of it became inaccessible. */
uint64_t engine_region_lost_bytes(const struct engine *engine, const struct region *region, uint64_t bytes);
void pair_event(struct step *step, const struct event *event);
/* This side's operating system counts as failed. Ignored while it is fenced, absent on purpose, or failed. */
void member_fail(struct step *step, enum side side, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Its processor state and memory are gone: forget everything that lived there. */
void member_lost(struct step *step, enum side side);

/* pair-answers.c */
/* EVENT_DONE: what an action came to. */
void pair_answered(struct step *step, const struct event *event);

/* pair-reasons.c */
/* Once the facts are settled: the state that the operator sees with its reasons, and what a failure would come to. */
void pair_judge(struct step *step);

/* pair-message.c */
void pair_message(struct step *step, enum side side, const struct message *message);
/* step_say() for what a guest can cause again and again: a few lines in a while, so that it fills nobody's history. */
void member_say(struct step *step, enum record_kind kind, enum side side, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* pair-watch.c */
void advance_watch(struct step *step, enum side side);
/* A memory server that does not answer excuses a guest's silence for so long. Its pager gives pages up earlier, so a
 * guest that is silent for longer has another reason. */
#define STALL_MAX_USEC (60 * USEC_PER_SEC)
/* Silence of this VM before that instant does not count. */
usec_t member_void_usec(const struct engine *engine, const struct member_state *member);
/* Is the host in so much trouble that this guest's own checks may fail of it? */
bool member_starved(const struct step *step, enum side side);
/* Between the last two probes of it its QEMU waited so long for a processor. */
void member_waited(struct step *step, enum side side, usec_t waited_usec);
/* What this VM has on memory servers is served, or is not. */
void member_space(struct step *step, enum side side, bool served);
/* So long its silence is excused yet by the stall under way; 0: no longer, or there is none. */
usec_t member_excuse_usec(const struct member_state *member, usec_t now);
/* The host swaps this VM's memory. */
void member_paged(struct step *step, enum side side, uint64_t pages_per_sec);
/* It is not ours any more: out of the engine's counts. */
void member_leave(struct step *step, enum side side);

/* pair-fence.c, pair-rebuild.c, pair-member.c */
/* From now on this side must not act any more. Nothing where that is so already. */
void member_fence(struct step *step, enum side side);
void fence_enter(struct step *step, enum side side, enum fence_state state);
void advance_fence(struct step *step, enum side side);
/* A person stated that this VM's process is dead (--force), and no other process of it has been seen since. */
bool member_stated_dead(const struct pair *pair, enum side side);
/* switch or return with --force: only while a flow waits for a fence that cannot be confirmed. */
void command_force(struct step *step, const struct operator_command *command);
void advance_rebuild(struct step *step, enum side side);
void advance_agent(struct step *step, enum side side);
void advance_memory(struct step *step, enum side side);
/* pair-dump.c */
/* It stands still: is it to be dumped before it is killed? */
bool dump_begin(struct step *step, enum side side);
void advance_dump(struct step *step, enum side side);
void dump_done(struct step *step, enum side side, const struct event *event);
/* pair-app.c */
/* H: severity of its latest failure, and by what. Minor is repaired in place unless that is hard there: it keeps coming
 * back, the agent says so, or the repair would take longer than a failover. */
enum severity app_severity(const struct pair *pair, int app, usec_t now_usec, const char **ret_why);
void advance_app(struct step *step, int app);
/* Asks a side to give an application's region up (H: resource detach); the table follows as it does. */
void app_release(struct step *step, int app, enum side side);
/* True once everything that side was asked to give up is seen to be gone from it. */
bool app_released(const struct pair *pair, int app, enum side side);
/* Arbitrates an agent's request for memory (H: resource request). Returns 0 or -errno with a reason. */
int app_request(struct step *step, int app, enum side side, uint64_t bytes, char reason[MESSAGE_TEXT_LEN]);
/* True when all its disks are attached to that side; asks for the next one otherwise. */
bool app_disks_attached(struct step *step, int app, enum side side);
bool app_disks_gone(struct step *step, int app, enum side side);
/* Asks for the next of its disks to be detached there, where nothing is asked about them already. */
void app_disk_detach(struct step *step, int app, enum side side);
/* A side that does not own it has not let go of a disk. Nothing of the application runs there, so where its guest
 * stands still, or refuses again and again, the VM counts as failed and is built anew; one that owns another
 * hot-standby application only where the policy's exclusive-stuck says fence-vm. */
void app_disk_kept(struct step *step, int app, enum side side);
/* Has its region's memory touched on that side, once for each move; app_state.prefaulted tells when it is done. */
void app_prefault(struct step *step, int app, enum side side);
/* The answer to that; false where it is to another question. */
bool app_prefault_answer(struct step *step, enum side side, int app, const struct message *message);
/* Where its disks are is to be asked anew. */
void app_disks_forget(struct app_state *app);
/* Makes the table follow what the agent told: this application uses its region. */
int app_uses(struct step *step, int app, enum side side, uint64_t bytes);

/* pair-state.c */
/* True when its regions are that side's to write, and nobody's besides; has them granted otherwise. To be asked only
 * where the other side can act no more. */
bool app_state_granted(struct step *step, int app, enum side side);
/* Does the agent of that side know what to do with its regions, or are there none? */
bool app_state_understood(const struct pair *pair, int app, enum side side);
/* What was started with them has ended: they are granted anew, under a higher token, before the next start. */
void app_state_spend(struct pair *pair, int app);
/* Its owner has changed: who had its regions may write them on until a holder takes them away. */
void app_state_leaves(struct pair *pair, int app);
/* The guest that does not own it has ended, and with it what it knew of the regions. */
void app_state_forgotten(struct pair *pair, int app);
/* The policy would make do without the holder that refuses, but the other side can still write there. */
bool app_state_waits(const struct pair *pair, int app);
/* It is not recorded whether it has ever run: it may have, so that a region which is not there was lost. */
void app_state_trust(struct pair *pair, int app);
/* The policy has changed: what it brings anew may be new at its holder, and the next start is under a new grant. */
void app_state_renew(struct pair *pair, int app, const struct application *old);
void app_state_done(struct step *step, const struct event *event);

/* pair-overflow.c */
/* True when it may start: `ready`, all else that its start takes is there, and all of its region is, too, or the
 * overflow disk, or that was waited for in vain since. Where it is not ready the wait begins anew later. */
bool app_overflow_there(struct step *step, int app, enum side side, bool ready);
void app_overflow_event(struct step *step, const struct event *event);

/* pair-flow.c */
/* What keeps a flow to that side from beginning now. Asking changes nothing. */
enum flow_blocker flow_blocker(const struct engine *engine, const struct pair *pair, enum side to);
/* Failovers that count for the flap limit now. */
unsigned flow_flaps(const struct engine *engine, const struct pair *pair);
/* NULL when a flow to that side may begin, which is about to happen, else why not. At the flap limit the pair is
 * held. */
const char *flow_blocked(struct step *step, enum side to);
/* Begins a flow. `app` is the failed application of FLOW_APPLICATION_FAILURE, else NO_APP. */
void flow_begin(struct step *step, enum flow_kind kind, enum side from, int app, usec_t detected_usec,
                const char *cause);
/* What began with one application becomes the whole system's: the old side is fenced and all of it moves. */
void flow_take_system(struct step *step);
/* Ends the flow; what has not moved stays where it was. `result` 0 or negative errno. */
void flow_end(struct step *step, int result, const char *text);
void advance_failures(struct step *step);
void advance_flow(struct step *step);

/* pair-move.c */
/* Where the memory comes from that a moving application gets on its new side. */
enum region_source {
        REGION_NOT_NEEDED,
        REGION_IS_THERE,      /* a row of the new side's, left over */
        REGION_COMES_ALONG,   /* the old side's row changes hands */
        REGION_OUT_OF_UNUSED, /* there is no row yet; where overflow makes up for the rest, all that there is */
};
/* `at_from`, `at_to`: its rows, NULL where there is none. */
enum region_source move_region_source(const struct pair *pair, int app, const struct region *at_from,
                                      const struct region *at_to);
/* REGION_OUT_OF_UNUSED: what the pool gives of the region, of so much unused memory: all, a part of whole extents where
 * overflow makes up for the rest, or nothing. */
uint64_t move_pool_bytes(const struct engine *engine, const struct pair *pair, int app, uint64_t unused_bytes);
/* Of what was granted there, so much is still plugged: unused memory stands in for it while a living side gives it
 * up. */
uint64_t move_left_bytes(const struct pair *pair, int app, enum side from);
/* Begins what can be begun of an application's move. Returns how far it has come; PHASE_DECIDED while it has not
 * stopped. May end the flow. */
enum phase move_advance(struct step *step, int app);
/* The new side is out of play: the old side owns the application again, where it certainly does not run on the new. */
void move_take_back(struct step *step, int app);

/* pair-handover.c */
/* May a region move before its old side has given it up? By policy, and where memory can be taken back by force. */
bool handover_possible(const struct engine *engine, const struct pair *pair, int app, enum side from);
/* That side manages the region no more; it still uses so much of it. */
void handover_begin(struct step *step, int app, enum side from, uint64_t bytes);
/* Does unused memory stand in for what that side has not given up yet of a region that moved away? */
bool handover_stood_in_for(const struct step *step, int app, enum side from);
/* Of the `had` bytes of a region on its way back, those that its old side's guest may still have, or come to have: what
 * it has plugged, or, where that is more, what it is asked to have, which it takes in again. As long as it is not known
 * what it is asked for, and where none is seen there (app_released() tells the end), all of them. */
uint64_t handover_left(const struct pair *pair, int app, enum side from, uint64_t had);
/* What an old user's device is asked to have. False: nothing new is to be asked of it now. */
bool handover_wanted(const struct step *step, int app, enum side from, uint64_t *ret_bytes);
/* That side uses nothing of it any more; or it manages it again. Nothing where no handover was under way. */
void handover_ended(struct step *step, int app, enum side from);
/* Says why the region is not handed over lazily, where that is the pool's policy. */
void handover_say_eager(struct step *step, int app, enum side from);
/* Tells a VM's agent how much of a region its VM manages now, where that is less than what it has (N: variant 4). */
void handover_tell_managed(struct step *step, int app, enum side side, uint64_t bytes);
/* Tells an agent that has come anew. */
void handover_tell_all(struct step *step, enum side side);
void handover_undone(struct step *step, int app, enum side from);
void advance_handover(struct step *step, int app);
void handover_usage(struct step *step, const struct event *event);
void handover_paged_out(struct step *step, const struct event *event);

/* assigned.c; what others may ask is in assigned.h */
/* The most that one VM of the pair has of its region of kind memory, or is to have. */
uint64_t assigned_most(const struct pair *pair, int app);
void advance_assigned(struct step *step, int app);
/* A hot-standby application is short of memory: what was assigned by hand is called back for a while. */
void assigned_give_way(struct step *step);
/* Would what is assigned no longer fit, or is an operator's request under way? */
bool assigned_refuses_policy(const struct engine *engine, const struct policy *policy, char *why, size_t size);
/* Start-up: what the records say is made to fit the policy, and each other. */
void assigned_restore(struct engine *engine, struct update *update);
/* Start-up: engine_build_table() from the records. Those of two pairs may be of different times, so that one still says
 * what another VM was given since: what the pool does not cover is then cut where it was given by hand, first to what
 * each VM is to have, and else to nothing, from where it grows again as memory is unused. What a VM has beyond that is
 * a mismatch, and is taken back. Where that does not help nothing is cut, and less is counted for the monitor; -ENOSPC
 * where that does not help either. */
int assigned_build_table(struct engine *engine, struct table *ret, struct update *update);

/* engine-assign.c */
void engine_assign(struct engine *engine, const struct operator_command *command, struct update *update);
/* A guest asks for memory of its VM, or for less; answered to its agent. What it may ask for is checked before. */
void engine_assign_for_guest(struct engine *engine, struct pair *pair, enum side side, const char *request,
                             uint64_t message_id, struct update *update);
/* A guest's request under way, if any, ends: what it was granted its VM has, or gets when it is there. */
void engine_end_guests_request(struct engine *engine, struct update *update);

/* engine-guest.c */
/* MESSAGE_ASK of that VM's agent. */
void engine_guest_asks(struct engine *engine, struct pair *pair, enum side side, const struct message *message,
                       struct update *update);
void guest_answer(struct step *step, enum side side, uint64_t message_id, int result, const char *format, ...)
        __attribute__((format(printf, 5, 6)));
/* Goes on with the request under way, and with VMs that wait for memory; after each event. */
void engine_advance_assignment(struct engine *engine, const struct event *event, struct update *update);

/* pair-command.c */
void pair_command(struct step *step, const struct operator_command *command);
void command_reply(struct step *step, uint64_t id, int result, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* Answers a dry run: one sentence, with what would move. */
void command_plan(struct step *step, const struct operator_command *command, const char *what, enum side from);
/* Why what needs an armed pair that is left alone is refused now; NULL where it is not. */
const char *command_refusal(const struct pair *pair);

/* pair-rehearse.c */
/* Is one under way, whose verdict is still to come? */
bool rehearsal_busy(const struct pair *pair);
void rehearsal_begin(struct step *step, const struct operator_command *command);
/* A flow has begun: whatever there is of a rehearsal ends at once, and what it plugged is the flow's to use. */
void rehearsal_abandon(struct step *step);
/* Memory is short for something else: rehearsals anywhere in the pool give theirs back. */
void rehearsals_give_way(struct step *step);
/* True when this result of an agent's belongs to a rehearsal. */
bool rehearsal_answer(struct step *step, enum side side, int app, const struct message *message);
void advance_rehearsal(struct step *step);

/* pair-drill.c */
void command_drill(struct step *step, const struct operator_command *command);
void advance_drill(struct step *step);
/* The drill has come to this: into the record (but for a plan), history, and to who asked for it. `ok` as far as it
 * came to its end; the objective is judged here, which with the time of the end is filled in. */
void drill_end(struct step *step, struct drill_result *result, uint64_t command_id);
/* The same for a flow that may be a drill's. */
void drill_flow_ended(struct step *step, const struct flow *flow, int result, const char *text);
