/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An inspection has two stages. The first looks for QEMU's process and needs no libvirt, so that a VM can be killed
 * while libvirt is away. The second asks libvirt for the state and the live XML. What lifecycle events have
 * overtaken meanwhile is thrown away and asked again.
 */

#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-watch.h"

#define PROCESS_TIMEOUT_USEC USEC_PER_SEC
#define REFRESH_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define RETRY_USEC USEC_PER_SEC
#define PROCESS_RETRY_USEC (5 * USEC_PER_SEC)

struct call *watch_call(struct watch *watch, enum call_kind kind, usec_t timeout_usec) {
        struct call *call = call_new(kind, watch->domain, timeout_usec);

        if (!call)
                return NULL;
        call->hypervisor = watch->hypervisor;
        call->pair = watch->pair;
        call->side = watch->side;
        call->watch_number = watch->number;
        call->n_changes = watch->n_changes;
        call->apps = watch->apps;
        return call;
}

int call_submit(struct call *call, enum lane_kind lane) {
        int r = lane_submit(call->hypervisor->lanes[lane], &call->lane);

        if (r < 0)
                call_free(call);
        return r;
}

void call_answer(const struct call *call, int result, const char *text) {
        struct event event = { .kind = EVENT_DONE, .pair = call->pair, .side = call->side, .app = call->app,
                               .action = call->action, .action_id = call->action_id, .result = result };

        if (call->action == ACTION_KIND_INVALID)
                return;
        text_copy(event.text, sizeof(event.text), text);
        sink_event(&call->hypervisor->sink, &event);
}

void call_on_late(struct lane_call *lane_call) {
        struct call *call = (struct call *) lane_call;
        struct watch *watch = hypervisor_find_for(call->hypervisor, call);

        if (watch)
                watch_refresh(watch);
}

static void on_heard(void *userdata) {
        struct watch *watch = userdata;
        struct event event = watch_event(watch, EVENT_SECOND_PATH);

        event.path = PATH_ECHO;
        event.age_usec = 0;
        sink_event(&watch->hypervisor->sink, &event);
}

static void on_ignored_done(struct lane_call *lane_call, int result, const char *text) {
}

/* Without a period QEMU never asks the guest's balloon. Once a start; that it is refused leaves a way less to hear
 * from the guest, which preflight tells. */
static void watch_set_period(struct watch *watch) {
        struct call *call;

        if (watch->period_asked)
                return;
        watch->period_asked = true;
        call = watch_call(watch, CALL_STATS_PERIOD, REFRESH_TIMEOUT_USEC);
        if (!call)
                return;
        call->lane.done = on_ignored_done;
        call_submit(call, LANE_ACT);
}

void watch_set_live(struct watch *watch, const struct domain_facts *facts) {
        watch->live = true;
        strcpy(watch->channel, facts->channel_path);
        strcpy(watch->console, facts->console_path);
        watch->overflow = facts->overflow;
        watch->balloon = facts->balloon;
        if (watch->echo && strcmp(echo_path(watch->echo), facts->echo_path) != 0)
                watch->echo = echo_free(watch->echo);
        /* Without memory for it there is a way less to hear from the guest, and no more harm than that. */
        if (!watch->echo && facts->echo_path[0] != '\0' &&
            echo_new(watch->hypervisor->loop, facts->echo_path, on_heard, watch, &watch->echo) < 0)
                watch->echo = NULL;
        if (facts->balloon && !facts->preflight.balloon_stats)
                watch_set_period(watch);
}

void watch_set_dead(struct watch *watch) {
        watch->live = false;
        watch->channel[0] = '\0';
        watch->echo = echo_free(watch->echo);
        watch->balloon = false;
        watch->period_asked = false;
}

static void watch_tell_process(struct watch *watch, bool up, int pid, int how) {
        struct event event = watch_event(watch, EVENT_PROCESS);

        event.up = up;
        event.pid = pid;
        event.result = how;
        watch->absence_told = !up;
        sink_event(&watch->hypervisor->sink, &event);
}

static void on_process_gone(struct process *process, int how, void *userdata) {
        struct watch *watch = userdata;

        if (process == watch->process) {
                process_free(watch->ended);
                watch->ended = process; /* how it ended may follow */
                watch->process = NULL;
                watch->process_result = -ESRCH;
                if (watch->live)
                        watch_refresh(watch); /* libvirt will have heard of it by then, or runs another one */
        } else if (watch->process)
                return; /* of no account any more */
        watch_tell_process(watch, false, process_pid(process), how);
}

static void watch_adopt_process(struct watch *watch, struct call *call) {
        struct process *process;

        if (watch->process)
                return;
        if (process_new(watch->hypervisor->loop, call->pid, call->pidfd, watch->hypervisor->end_is_told,
                        on_process_gone, watch, &process) < 0)
                return; /* the next inspection tries again */
        call->pidfd = -1;
        watch->process = process;
        watch->balloon_seen_usec = 0; /* that was another guest's */
        watch_tell_process(watch, true, call->pid, 0);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct watch *watch = userdata;

        watch->retry = sd_event_source_disable_unref(watch->retry);
        watch_refresh(watch);
        return 0;
}

/* The end of an inspection of our own: goes on until there is nothing left to find out. */
static void watch_refreshed(struct watch *watch, int result) {
        bool missing = !watch->process && (watch->live || watch->process_result != -ESRCH);
        bool soon = result < 0 || watch->process_result == -EAGAIN;
        usec_t pause = soon ? RETRY_USEC : PROCESS_RETRY_USEC;

        watch->inspecting = false;
        if (watch->inspect_again) {
                watch->inspect_again = false;
                watch_refresh(watch);
                return;
        }
        /* When libvirt comes back everything is inspected anyway. */
        if (watch->retry || !watch->hypervisor->up || (result == 0 && !missing))
                return;
        sd_event_add_time_relative(watch->hypervisor->loop, &watch->retry, CLOCK_MONOTONIC, pause, 0, on_retry, watch);
}

static void inspection_finish(struct call *call, int result, const char *text) {
        struct watch *watch;

        call_answer(call, result, text);
        watch = hypervisor_find_for(call->hypervisor, call);
        if (watch && call->action == ACTION_KIND_INVALID)
                watch_refreshed(watch, result);
}

/* Tells what libvirt said. The sink may end the watch at any event. */
static void inspection_apply(struct watch *watch, const struct call *call) {
        struct hypervisor *hypervisor = watch->hypervisor;
        struct event event = watch_event(watch, EVENT_DOMAIN);
        bool off = call->state == DOMAIN_SHUTOFF || call->state == DOMAIN_UNDEFINED;

        if (off)
                watch_set_dead(watch);
        else
                watch_set_live(watch, &call->facts);
        event.domain = call->state;
        event.reason = call->reason;
        sink_event(&hypervisor->sink, &event);

        watch = hypervisor_find_for(hypervisor, call);
        if (off && watch && !watch->process && watch->process_result == -ESRCH && !watch->absence_told)
                watch_tell_process(watch, false, 0, 0);
        for (int i = 0; !off && i < POLICY_APPLICATIONS_MAX; i++) {
                if (!call->facts.plugged[i].known || !hypervisor_find_for(hypervisor, call))
                        continue;
                event.kind = EVENT_DEVICE_SIZE;
                event.app = i;
                event.bytes = call->facts.plugged[i].bytes;
                sink_event(&hypervisor->sink, &event);
        }
}

static int inspect_state(struct watch *watch, const struct call *identity);

static void on_state(struct lane_call *lane_call, int result, const char *text) {
        struct call *call = (struct call *) lane_call;
        struct watch *watch = hypervisor_find_for(call->hypervisor, call);

        if (watch && result == 0 && call->n_changes != watch->n_changes) {
                result = inspect_state(watch, call);
                if (result == 0)
                        return;
                text = "its state keeps changing";
        } else if (watch && result == 0)
                inspection_apply(watch, call);
        inspection_finish(call, result, text);
}

/* The second stage, for the same answer. Returns a negative errno when it could not be begun. */
static int inspect_state(struct watch *watch, const struct call *identity) {
        usec_t now = lane_now();
        struct call *call;

        if (now >= identity->end_usec)
                return -ETIMEDOUT;
        call = watch_call(watch, CALL_STATE, identity->end_usec - now);
        if (!call)
                return -ENOMEM;
        call->app = identity->app;
        call->action = identity->action;
        call->action_id = identity->action_id;
        call->end_usec = identity->end_usec;
        call->lane.done = on_state;
        call->lane.late = call_on_late;
        return call_submit(call, LANE_OBSERVE);
}

static void on_process_found(struct lane_call *lane_call, int result, const char *text) {
        struct call *call = (struct call *) lane_call;
        struct watch *watch = hypervisor_find_for(call->hypervisor, call);
        int r;

        if (watch) {
                watch->process_result = result;
                if (result == 0)
                        watch_adopt_process(watch, call);
                watch = hypervisor_find_for(call->hypervisor, call);
        }
        r = watch ? inspect_state(watch, call) : -ENOENT;
        if (r < 0)
                inspection_finish(call, r, r == -ENOENT  ? "not watched any more"
                                           : r == -EBUSY ? "an earlier call for this domain is stuck in libvirt"
                                                         : strerror(-r));
}

int watch_inspect(struct watch *watch, const struct action *action, usec_t timeout_usec) {
        usec_t process_usec = timeout_usec / 2 < PROCESS_TIMEOUT_USEC ? timeout_usec / 2 : PROCESS_TIMEOUT_USEC;
        struct hypervisor *hypervisor = watch->hypervisor;
        struct call *call = watch_call(watch, CALL_OPEN_PROCESS, process_usec);
        int r;

        if (!call)
                return -ENOMEM;
        call->end_usec = lane_now() + timeout_usec;
        if (action) {
                call->app = action->app;
                call->action = (int) action->kind;
                call->action_id = action->id;
        }
        /* A search that is stuck, and a process that is known, leave the second stage. */
        if (watch->process || lane_stuck(hypervisor->lanes[LANE_PROCESS], watch->domain)) {
                r = inspect_state(watch, call);
                call_free(call);
                return r;
        }
        call->run_dir = strdup(hypervisor->run_dir);
        call->helper_path = hypervisor->helper_path ? strdup(hypervisor->helper_path) : NULL;
        if (!call->run_dir || (hypervisor->helper_path && !call->helper_path)) {
                call_free(call);
                return -ENOMEM;
        }
        call->lane.done = on_process_found;
        call->lane.late = call_on_late;
        return call_submit(call, LANE_PROCESS);
}

void watch_refresh(struct watch *watch) {
        int r;

        if (watch->inspecting) {
                watch->inspect_again = true;
                return;
        }
        watch->retry = sd_event_source_disable_unref(watch->retry);
        watch->inspecting = true;
        r = watch_inspect(watch, NULL, REFRESH_TIMEOUT_USEC);
        if (r < 0)
                watch_refreshed(watch, r);
}
