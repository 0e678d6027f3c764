/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The engine's actions, each turned into a call on its lane and its answer into events. */

#include <signal.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/helper/protocol.h"
#include "daemon/host/libvirt/hypervisor-watch.h"

#define ACTION_DEFAULT_USEC (5 * USEC_PER_SEC) /* for one without a deadline */
#define ACTION_MIN_USEC (10 * USEC_PER_MSEC)
#define ACTION_MAX_USEC (600 * USEC_PER_SEC)
#define PROBE_TIMEOUT_USEC USEC_PER_SEC

static usec_t action_timeout(const struct action *action, usec_t fallback_usec) {
        usec_t t = action->deadline_usec > 0 ? action->deadline_usec : fallback_usec;

        return t < ACTION_MIN_USEC ? ACTION_MIN_USEC : t > ACTION_MAX_USEC ? ACTION_MAX_USEC : t;
}

/* An answer without a call; on the next turn of the loop. */
static int action_answer(struct hypervisor *hypervisor, const struct action *action, int result, const char *text) {
        struct event event = { .kind = EVENT_DONE, .pair = action->pair, .side = action->side, .app = action->app,
                               .action = (int) action->kind, .action_id = action->id, .result = result };

        text_copy(event.text, sizeof(event.text), text);
        return hypervisor_defer(hypervisor, &event);
}

static int action_refuse(struct hypervisor *hypervisor, const struct action *action, int result) {
        const char *text = result == -EBUSY ? "an earlier call for this domain is stuck in libvirt" : strerror(-result);

        return action_answer(hypervisor, action, result, text);
}

static void on_done(struct lane_call *lane_call, int result, const char *text) {
        call_answer((struct call *) lane_call, result, text);
}

static struct call *action_call(struct watch *watch, const struct action *action, enum call_kind kind) {
        struct call *call = watch_call(watch, kind, action_timeout(action, ACTION_DEFAULT_USEC));

        if (!call)
                return NULL;
        call->app = action->app;
        call->action = (int) action->kind;
        call->action_id = action->id;
        call->lane.done = on_done;
        call->lane.late = call_on_late;
        return call;
}

/* Freeze, start, resize, processors and disks: one call each. */
static int act_call(struct watch *watch, const struct action *action, enum call_kind kind, enum lane_kind lane) {
        struct hypervisor *hypervisor = watch->hypervisor;
        struct call *call = action_call(watch, action, kind);
        int r;

        if (!call)
                return -ENOMEM;
        snprintf(call->app_name, sizeof(call->app_name), "%s", action->app_name);
        snprintf(call->target, sizeof(call->target), "%.*s", NAME_LEN - 1, action->text);
        call->bytes = action->bytes;
        call->count = action->count;
        r = call_submit(call, lane);
        return r < 0 ? action_refuse(hypervisor, action, r) : 0;
}

static int act_helper(struct watch *watch, const struct action *action, enum helper_op op) {
        struct hypervisor *hypervisor = watch->hypervisor;
        struct call *call = action_call(watch, action, CALL_SIGNAL);
        int r;

        if (!call)
                return -ENOMEM;
        call->helper_op = op;
        call->helper_path = strdup(hypervisor->helper_path);
        if (!call->helper_path) {
                call_free(call);
                return -ENOMEM;
        }
        r = call_submit(call, LANE_PROCESS);
        return r < 0 ? action_refuse(hypervisor, action, r) : 0;
}

/* Kill and stop go through the pidfd at once, and through the helper only where we may not. */
static int act_signal(struct watch *watch, const struct action *action, int signal, enum helper_op op) {
        struct hypervisor *hypervisor = watch->hypervisor;
        int r;

        if (!watch->process)
                return action_answer(hypervisor, action, -ESRCH, "its QEMU process is not known");
        r = process_signal(process_pidfd(watch->process), signal);
        if (r == -EPERM && hypervisor->helper_path)
                return act_helper(watch, action, op);
        if (r == -ESRCH && signal == SIGKILL)
                return action_answer(hypervisor, action, 0, "it had ended");
        return action_answer(hypervisor, action, r, r < 0 ? strerror(-r) : "");
}

static void on_preflight(struct lane_call *lane_call, int result, const char *text) {
        struct call *call = (struct call *) lane_call;
        struct watch *watch = hypervisor_find_for(call->hypervisor, call);
        struct preflight unknown = { 0 };

        if (watch) {
                struct event event = watch_event(watch, EVENT_PREFLIGHT);

                text_copy(unknown.text, sizeof(unknown.text), text);
                event.preflight = result == 0 ? &call->facts.preflight : &unknown;
                sink_event(&call->hypervisor->sink, &event);
        }
        call_answer(call, result, text);
}

static int act_preflight(struct watch *watch, const struct action *action) {
        struct hypervisor *hypervisor = watch->hypervisor;
        struct call *call = action_call(watch, action, CALL_PREFLIGHT);
        int r;

        if (!call)
                return -ENOMEM;
        call->lane.done = on_preflight;
        r = call_submit(call, LANE_OBSERVE);
        return r < 0 ? action_refuse(hypervisor, action, r) : 0;
}

static void on_dump(struct lane_call *lane_call, int result, const char *text) {
        struct call *call = (struct call *) lane_call;

        /* An overdue one still writes. */
        if (!lane_call->overdue)
                call->hypervisor->n_dump_calls--;
        call_answer(call, result, text);
}

static void on_late_dump(struct lane_call *lane_call) {
        struct call *call = (struct call *) lane_call;

        call->hypervisor->n_dump_calls--;
        call_on_late(lane_call);
}

static int act_dump(struct watch *watch, const struct action *action) {
        struct hypervisor *hypervisor = watch->hypervisor;
        struct call *call;
        int r;

        if (!hypervisor->evidence_dir)
                return action_answer(hypervisor, action, -EOPNOTSUPP, "no place for it is configured");
        if (hypervisor->n_dump_calls >= DUMP_CALLS_MAX)
                return action_answer(hypervisor, action, -EBUSY, "another guest is being dumped");
        call = action_call(watch, action, CALL_DUMP);
        if (!call)
                return -ENOMEM;
        call->evidence_dir = strdup(hypervisor->evidence_dir);
        if (!call->evidence_dir) {
                call_free(call);
                return -ENOMEM;
        }
        snprintf(call->failover_id, sizeof(call->failover_id), "%.*s", FAILOVER_ID_LEN - 1, action->text);
        call->bytes = action->bytes;
        call->lane.done = on_dump;
        call->lane.late = on_late_dump;
        r = call_submit(call, LANE_OBSERVE);
        if (r < 0)
                return action_refuse(hypervisor, action, r);
        hypervisor->n_dump_calls++;
        return 0;
}

static void on_balloon(struct lane_call *lane_call, int result, const char *text) {
        struct call *call = (struct call *) lane_call;
        struct watch *watch = hypervisor_find_for(call->hypervisor, call);
        struct event event;

        /* An overdue one still holds libvirt: it counts until it ends. */
        if (!lane_call->overdue)
                call->hypervisor->n_balloon_calls--;
        if (!watch)
                return;
        watch->balloon_asked = false;
        event = watch_event(watch, EVENT_SECOND_PATH);
        event.path = PATH_BALLOON;
        event.age_usec = result == 0 ? call->age_usec : USEC_INFINITY;
        if (result == 0 && call->age_usec < clock_usec(CLOCK_BOOTTIME))
                watch->balloon_seen_usec = clock_usec(CLOCK_BOOTTIME) - call->age_usec;
        sink_event(&call->hypervisor->sink, &event);
}

static void on_late_balloon(struct lane_call *lane_call) {
        struct call *call = (struct call *) lane_call;

        call->hypervisor->n_balloon_calls--;
        call_on_late(lane_call);
}

static int act_probe_balloon(struct watch *watch, const struct action *action) {
        struct hypervisor *hypervisor = watch->hypervisor;
        struct event event = watch_event(watch, EVENT_SECOND_PATH);
        struct call *call;
        int r = -EBUSY;

        if (hypervisor->n_balloon_calls < BALLOON_CALLS_MAX) {
                call = watch_call(watch, CALL_BALLOON, action_timeout(action, PROBE_TIMEOUT_USEC));
                if (!call)
                        return -ENOMEM;
                call->lane.done = on_balloon;
                call->lane.late = on_late_balloon;
                r = call_submit(call, LANE_OBSERVE);
        }
        if (r == 0) {
                hypervisor->n_balloon_calls++;
                watch->balloon_asked = true;
                return 0;
        }
        event.path = PATH_BALLOON;
        event.age_usec = USEC_INFINITY;
        return hypervisor_defer(hypervisor, &event);
}

/* Stopped by a signal, QEMU answers nobody, and the question would only hang. Its guest has certainly shown no sign
 * of life since the last one. */
static bool process_is_stopped(const struct watch *watch, const struct process_stat *stat) {
        return watch->balloon_seen_usec && (stat->state == 'T' || stat->state == 't');
}

static int tell_stopped(struct watch *watch) {
        struct event event = watch_event(watch, EVENT_SECOND_PATH);

        event.path = PATH_BALLOON;
        event.age_usec = clock_usec(CLOCK_BOOTTIME) - watch->balloon_seen_usec;
        return hypervisor_defer(watch->hypervisor, &event);
}

static int tell_waited(struct watch *watch) {
        struct event event = watch_event(watch, EVENT_WAITED);

        if (!watch->process ||
            run_delay_look(&watch->run_delay, "/proc", process_pid(watch->process), &event.age_usec) < 0)
                return 0;
        return hypervisor_defer(watch->hypervisor, &event);
}

/* Looks at the process, and tells where the host is swapping its memory. False where there is none to look at. */
static bool look_at_process(struct watch *watch, struct process_stat *ret_stat) {
        struct event event = watch_event(watch, EVENT_PAGING);

        if (!watch->process || process_read_stat(process_pid(watch->process), ret_stat) < 0)
                return false;
        event.bytes =
                paging_look(&watch->paging, process_pid(watch->process), ret_stat->faults, clock_usec(CLOCK_BOOTTIME));
        if (event.bytes > 0)
                (void) hypervisor_defer(watch->hypervisor, &event);
        return true;
}

void hypervisor_look_for_paging(struct hypervisor *hypervisor) {
        for (size_t i = 0; i < hypervisor->n_watches; i++) {
                struct process_stat stat;

                if (hypervisor->watches[i])
                        (void) look_at_process(hypervisor->watches[i], &stat);
        }
}

static int act_probe(struct watch *watch, const struct action *action) {
        struct process_stat stat;

        if (action->count > 0)
                (void) tell_waited(watch); /* without it silence counts as it is */
        /* A port that cannot be written to is silence, which is what its detector counts. */
        if (watch->echo)
                echo_probe(watch->echo);
        if (look_at_process(watch, &stat) && watch->balloon && process_is_stopped(watch, &stat))
                return tell_stopped(watch);
        return watch->balloon && !watch->balloon_asked ? act_probe_balloon(watch, action) : 0;
}

int hypervisor_act(struct hypervisor *hypervisor, const struct action *action) {
        struct watch *watch = hypervisor_find(hypervisor, action->pair, action->side);
        int r;

        if (!watch)
                return action->kind == ACTION_PROBE ? 0
                                                    : action_answer(hypervisor, action, -ENOENT, "not watched");
        switch (action->kind) {
        case ACTION_FREEZE:
                return act_call(watch, action, CALL_FREEZE, LANE_FENCE);
        case ACTION_KILL:
                return act_signal(watch, action, SIGKILL, HELPER_KILL);
        case ACTION_STOP_PROCESS:
                return act_signal(watch, action, SIGSTOP, HELPER_STOP);
        case ACTION_START_DOMAIN:
                return act_call(watch, action, CALL_START, LANE_ACT);
        case ACTION_RESIZE:
                return act_call(watch, action, CALL_RESIZE, LANE_ACT);
        case ACTION_VCPUS:
                return act_call(watch, action, CALL_VCPUS, LANE_ACT);
        case ACTION_TAKE_VCPUS:
                return act_call(watch, action, CALL_TAKE_VCPUS, LANE_ACT);
        case ACTION_ATTACH_DISK:
                return act_call(watch, action, CALL_ATTACH_DISK, LANE_ACT);
        case ACTION_DETACH_DISK:
                return act_call(watch, action, CALL_DETACH_DISK, LANE_ACT);
        case ACTION_INSPECT:
                r = watch_inspect(watch, action, action_timeout(action, ACTION_DEFAULT_USEC));
                return r < 0 && r != -ENOMEM ? action_refuse(hypervisor, action, r) : r;
        case ACTION_PREFLIGHT:
                return act_preflight(watch, action);
        case ACTION_DUMP:
                return act_dump(watch, action);
        case ACTION_PROBE:
                return act_probe(watch, action);
        default:
                return action_answer(hypervisor, action, -EOPNOTSUPP, "no action of the hypervisor's");
        }
}
