/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/describe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* From this share on (parts per million) stalled tasks are told. */
#define STALLED_PPM 500000

static bool say(char text[static DESCRIBE_LEN], const char *who, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static bool say(char text[static DESCRIBE_LEN], const char *who, const char *format, ...) {
        int n = snprintf(text, DESCRIBE_LEN, "%-10s ", who);
        va_list ap;

        va_start(ap, format);
        vsnprintf(text + n, (size_t) (DESCRIBE_LEN - n), format, ap);
        va_end(ap);
        for (char *p = text; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        *p = '?';
        return true;
}

static const char *vm_name(const struct pair_policy *policy, enum side side) {
        return policy && side >= 0 && side < SIDE_MAX ? policy->members[side].domain : "-";
}

static const char *outcome(int result) {
        return result ? strerror(-result) : "good";
}

/* ---- actions --------------------------------------------------------------------------------------------- */

static bool describe_sent(const struct action *action, const char *vm, char text[static DESCRIBE_LEN]) {
        static const bool weighs[MESSAGE_TYPE_MAX] = {
                [MESSAGE_ATTACH] = true,  [MESSAGE_DETACH] = true, [MESSAGE_START] = true,  [MESSAGE_STOP] = true,
                [MESSAGE_RESTART] = true, [MESSAGE_GRANT] = true,  [MESSAGE_REFUSE] = true, [MESSAGE_FAULT] = true,
                [MESSAGE_TOUCH] = true,   [MESSAGE_CANARY] = true, [MESSAGE_ANSWER] = true,
                [MESSAGE_MANAGES] = true,
        };
        const struct message *m = action->message;
        const char *word = message_type_to_string(m->type);

        if (!weighs[m->type])
                return false;
        if (m->type == MESSAGE_ANSWER)
                return say(text, vm, "to its agent: %s (%s): %s", word, outcome(m->result), m->text);
        if (m->type == MESSAGE_MANAGES)
                return say(text, vm, "to its agent: %s %" PRIu64 " MiB of %s", word, m->bytes / MIB, m->app);
        if (m->type == MESSAGE_START || m->type == MESSAGE_RESTART)
                return say(text, vm, "to its agent: %s %s, token %" PRIu64, word, m->app, m->token);
        return say(text, vm, "to its agent: %s %s", word, m->app[0] ? m->app : m->text);
}

bool describe_action(const struct action *action, const char *pair, const struct pair_policy *policy,
                     char text[static DESCRIBE_LEN]) {
        const char *vm = vm_name(policy, action->side);

        pair = pair ? pair : "-";
        switch (action->kind) {
        case ACTION_PERSIST:
                return action->level == PERSIST_OWNER && say(text, pair, "write the owners to disk");
        case ACTION_FREEZE:
        case ACTION_DUMP:
        case ACTION_KILL:
        case ACTION_STOP_PROCESS:
        case ACTION_START_DOMAIN:
        case ACTION_DROP_LINK:
                return say(text, vm, "%s", action_kind_to_string(action->kind));
        case ACTION_RESIZE:
                return say(text, vm, "resize %s to %" PRIu64 " MiB", action->app_name, action->bytes / MIB);
        case ACTION_PAGE_OUT:
                return say(text, vm, "page out %s from %" PRIu64 " MiB on, %" PRIu64 " MiB", action->app_name,
                           action->offset / MIB, action->bytes / MIB);
        case ACTION_VCPUS:
                return say(text, vm, "%u processors", action->count);
        case ACTION_TAKE_VCPUS:
                return say(text, vm, "down to %u processor%s", action->count, action->count == 1 ? "" : "s");
        case ACTION_ATTACH_DISK:
        case ACTION_DETACH_DISK:
                return say(text, vm, "%s %s of %s", action_kind_to_string(action->kind), action->text,
                           action->app_name);
        case ACTION_GRANT_STATE:
                return say(text, vm, "grant the state of %s, token %" PRIu64, action->app_name, action->bytes);
        case ACTION_SEND:
                return describe_sent(action, vm, text);
        case ACTION_RECORD:
                return say(text, vm, "[%s] %s", record_kind_to_string(action->record_kind), action->text);
        case ACTION_PHASE:
                return say(text, pair, "phase: %s", phase_to_string(action->phase));
        case ACTION_FLOW_ENDED:
                return say(text, pair, "the %s has ended (%s): %s", flow_kind_to_string(action->flow.kind),
                           outcome(action->result), action->text);
        case ACTION_DRILL_ENDED:
                return say(text, pair, "drill (%s): %s", drill_level_to_string(action->drill.level),
                           drill_verdict(&action->drill));
        case ACTION_REPLY:
                return say(text, "operator", "answer (%s): %s", outcome(action->result), action->text);
        default:
                return false;
        }
}

/* ---- events ---------------------------------------------------------------------------------------------- */

static bool describe_heard(const struct message *m, const char *vm, char text[static DESCRIBE_LEN]) {
        switch (m->type) {
        case MESSAGE_PONG:
                return false;
        case MESSAGE_HELLO:
                return say(text, vm, "agent: hello, boot %s", m->boot);
        case MESSAGE_FAILED:
                return say(text, vm, "agent: %s failed: %s %d%s%s%s", m->app, failure_cause_to_string(m->cause),
                           m->code, m->hard ? ", hard to repair there" : "", m->text[0] ? ": " : "", m->text);
        case MESSAGE_RESULT:
                return say(text, vm, "agent: %s %s%s%s", m->app, m->result ? strerror(-m->result) : "done",
                           m->text[0] ? ": " : "", m->text);
        case MESSAGE_REQUEST:
        case MESSAGE_USES:
                return say(text, vm, "agent: %s %s %" PRIu64 " MiB", m->app,
                           m->type == MESSAGE_USES ? "uses" : "is short by", m->bytes / MIB);
        default:
                return say(text, vm, "agent: %s%s%s%s%s", message_type_to_string(m->type), m->app[0] ? " " : "", m->app,
                           m->text[0] ? " " : "", m->text);
        }
}

static bool describe_command(const struct operator_command *command, const char *pair, char text[static DESCRIBE_LEN]) {
        return say(text, "operator", "%s %s%s%s%s%s", command_verb_to_string(command->verb), pair,
                   command->verb == COMMAND_DRILL ? " " : "",
                   command->verb != COMMAND_DRILL ? ""
                   : command->level == DRILL_LEVEL_REHEARSE ? "rehearse" : drill_fault_to_string(command->fault),
                   command->dry_run ? " (dry run)" : "", command->force ? " (by force)" : "");
}

/* Does it tell only what is known? */
static bool is_no_news(const struct event *event, const struct member_state *member) {
        switch (event->kind) {
        case EVENT_DOMAIN:
                return member->domain == event->domain && member->reason == event->reason;
        case EVENT_PROCESS:
                return member->process_known && member->process_alive == event->up && event->result == 0 &&
                       (!event->up || member->pid == event->pid);
        case EVENT_DEVICE_SIZE:
                return event->app < 0 ||
                       (member->plugged_usec[event->app] && member->plugged_bytes[event->app] == event->bytes);
        case EVENT_LINK:
                return member->link_up == event->up && event->text[0] == 0;
        case EVENT_PREFLIGHT:
                return event->preflight->defined && event->preflight->text[0] == 0;
        default:
                return false;
        }
}

/* What is about a VM. */
static bool describe_vm_event(const struct event *event, const struct pair *pair, char text[static DESCRIBE_LEN]) {
        const char *vm = pair ? vm_name(pair->policy, event->side) : "-";
        bool has_app = pair && event->app >= 0 && (size_t) event->app < pair->policy->n_applications;

        switch (event->kind) {
        case EVENT_DOMAIN:
                return say(text, vm, "domain %s (%s)", domain_state_to_string(event->domain),
                           domain_reason_to_string(event->reason));
        case EVENT_PROCESS:
                if (event->up)
                        return say(text, vm, "QEMU runs, pid %d", event->pid);
                if (event->result > 0)
                        return say(text, vm, "QEMU's process was ended by signal %d", event->result);
                return say(text, vm, "QEMU's process %s",
                           event->result == PROCESS_ENDED_AS_ASKED ? "has ended as it was asked to" : "is gone");
        case EVENT_REBOOTED:
                return say(text, vm, "the guest was reset");
        case EVENT_WATCHDOG:
                return say(text, vm, "its watchdog fired");
        case EVENT_IO_ERROR:
                return say(text, vm, "disk error%s %s", event->up ? ", QEMU paused it" : "", event->text);
        case EVENT_MEMORY_FAILURE:
                return say(text, vm, "memory became inaccessible");
        case EVENT_PAGING:
                return say(text, vm, "the host swaps it, %" PRIu64 " pages a second", event->bytes);
        case EVENT_SPACE:
                return say(text, vm, event->up ? "memory servers answer for what it has there"
                                               : "no memory server answers for what it has there");
        case EVENT_OVERFLOW:
                return say(text, vm, "the overflow disk of %s is %s",
                           has_app ? pair->policy->applications[event->app].name : "-",
                           event->up ? "attached" : "not attached");
        case EVENT_DEVICE_SIZE:
                return say(text, vm, "%s: %" PRIu64 " MiB plugged",
                           has_app ? pair->policy->applications[event->app].name : "-", event->bytes / MIB);
        case EVENT_PREFLIGHT:
                return say(text, vm, "looked at: %s",
                           event->preflight->text[0] ? event->preflight->text : "it is not defined");
        case EVENT_LINK:
                return say(text, vm, "agent's channel %s%s%s", event->up ? "connected" : "lost",
                           event->text[0] ? ": " : "", event->text);
        case EVENT_MESSAGE:
                return describe_heard(event->message, vm, text);
        case EVENT_DONE:
                return event->result &&
                       say(text, vm, "%s failed: %s", action_kind_to_string((enum action_kind) event->action),
                           event->text[0] ? event->text : strerror(-event->result));
        default:
                return false;
        }
}

bool describe_event(const struct event *event, const struct engine *engine, char text[static DESCRIBE_LEN]) {
        const struct pair *pair = event->pair >= 0 && event->pair < engine->n_pairs ? engine->pairs[event->pair] : NULL;
        const char *name = pair ? pair->policy->name : event->pair < 0 ? "all" : "-";

        switch (event->kind) {
        case EVENT_POLICY:
                return say(text, "failoverd", "a policy of %zu pairs", event->policy->n_pairs);
        case EVENT_RESTORED:
                return say(text, name, "record %" PRIu64 " restored%s%s", event->record->seq,
                           event->record->flow.kind ? ", under way: " : "",
                           event->record->flow.kind ? flow_kind_to_string(event->record->flow.kind) : "");
        case EVENT_STORE_LOST:
                return say(text, "failoverd", "the store was lost");
        case EVENT_READY:
                return say(text, "failoverd", "ready");
        case EVENT_RECLAIM:
                return say(text, "host", "memory can%s be taken back by force: %s", event->up ? "" : "not",
                           event->text);
        case EVENT_HYPERVISOR:
                return say(text, "libvirt", "%s", event->up ? "connected" : "lost");
        case EVENT_PRESSURE:
                return event->bytes >= STALLED_PPM &&
                       say(text, "host", "tasks stalled %" PRIu64 " %% of a second", event->bytes / 10000);
        case EVENT_COMMAND:
                return describe_command(event->command, name, text);
        default:
                if (pair && event->side >= 0 && is_no_news(event, &pair->members[event->side]))
                        return false;
                return describe_vm_event(event, pair, text);
        }
}
