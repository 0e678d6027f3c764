/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/standby.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/process.h"
#include "daemon/replay/policy-block.h"
#include "policy/text.h"

#define LOOK_MSEC 500
#define KEEP_USEC USEC_PER_SEC

static enum standby_state state_of(const struct standby *standby, usec_t now) {
        return standby_state(standby->vm, &standby->document.record, &standby->sight, now);
}

static const char *weakness_of(const struct standby *standby, usec_t now) {
        const struct standby_record *record = &standby->document.record;
        const bool counts = standby->vm && record->run != 0 && !record->held && !record->wanted;

        return counts ? standby_weakness(standby->vm, record, &standby->sight, now) : NULL;
}

/* What the last look could not do goes before what the last work came to. */
static const char *problem_of(const struct standby *standby) {
        return *standby->unseen ? standby->unseen : standby->document.text;
}

/* Last of all what does no harm before the VM is started anew. */
static const char *text_of(const struct standby *standby, usec_t now) {
        const char *weakness = weakness_of(standby, now), *problem = problem_of(standby);

        return *problem ? problem : weakness ? weakness : standby->undefined;
}

int standby_keep(struct standby *standby, struct error *error) {
        struct standby_document *document = &standby->document, shown;

        document->time_usec = clock_usec(CLOCK_BOOTTIME);
        document->vm = (int) standby->sight.vm;
        document->state = (int) state_of(standby, document->time_usec);
        document->every_usec = standby->vm ? standby->vm->checkpoint_usec : 0;
        document->kept_usec = standby->sight.kept_usec;
        document->flaps_left = standby_flaps_left(standby->vm, &document->record, document->time_usec);
        shown = *document;
        snprintf(shown.text, sizeof(shown.text), "%s", text_of(standby, document->time_usec));
        text_clean(shown.text); /* libvirt may have quoted QEMU */
        return standby_document_write(standby->dir, &shown, error);
}

void standby_feed(void) {
        (void) sd_notify(0, "WATCHDOG=1");
        (void) alarm(STANDBY_ALARM_SEC);
}

/* What is wrong is logged when it begins to be. */
static void say(struct standby *standby, const char *what, struct error *error) {
        char *text = standby->document.text;

        snprintf(text, STANDBY_TEXT_LEN, "%s: %s", what, error_text(error));
        if (strcmp(text, standby->said) != 0)
                fprintf(stderr, "<4>VM %s: %s\n", standby->domain, text);
        snprintf(standby->said, sizeof(standby->said), "%s", text);
        error_deinit(error);
}

static void all_well(struct standby *standby) {
        standby->document.text[0] = standby->said[0] = 0;
}

/* ---- policy ---- */

static void take_servers(struct standby *standby) {
        const struct vm_policy *vm = standby->vm;

        standby->servers.n = 0;
        for (size_t i = 0; i < vm->n_servers; i++)
                context_servers_add(&standby->servers,
                                    &standby->policy->servers[policy_find_server(standby->policy, vm->servers[i])]);
}

/* With what was taken out of it and is not out of its VMs yet. */
static int load(const struct standby *standby, struct policy **ret, struct error *error) {
        struct diagnostics d = { 0 };
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        int r = text_load(standby->policy_path, &text, &size, &d);

        diagnostics_deinit(&d);
        if (r < 0)
                return error_set(error, r, "%s cannot be read: %s", standby->policy_path, strerror(-r));
        r = policy_block_parse_whole(text, size, ret, error);
        return r < 0 ? error_prefix(error, "%s cannot be used", standby->policy_path) : 0;
}

/* The VM's entry. NULL: it has none, or is, or was and may still be, of a pair, which is failoverd's. */
static const struct vm_policy *entry_of(const struct standby *standby, const struct policy *policy) {
        int i = policy_find_vm(policy, standby->domain);

        return i >= 0 && policy_pair_of(policy, standby->domain) < 0 ? &policy->vms[i] : NULL;
}

static bool is_read(const struct standby *standby, const struct stat *st) {
        return standby->policy && memcmp(&st->st_mtim, &standby->policy_time, sizeof(st->st_mtim)) == 0;
}

int standby_policy_wants(const struct standby *standby, struct error *error) {
        struct policy *policy = NULL;
        struct stat st;
        bool wanted;
        int r;

        if (stat(standby->policy_path, &st) < 0)
                return error_set(error, -EAGAIN, "%s: %s", standby->policy_path, strerror(errno));
        if (is_read(standby, &st))
                return 0;
        r = load(standby, &policy, error);
        wanted = r == 0 && entry_of(standby, policy);
        policy_free(policy);
        if (r < 0)
                return -EAGAIN;
        return wanted ? 0 : error_set(error, -EAGAIN, "the policy does not have it stand alone any more");
}

int standby_policy_read(struct standby *standby, struct error *error) {
        struct policy *policy = NULL;
        struct stat st;
        const struct vm_policy *vm;
        int r;

        if (stat(standby->policy_path, &st) < 0)
                return error_set(error, -errno, "%s: %s", standby->policy_path, strerror(errno));
        if (is_read(standby, &st))
                return 1;
        r = load(standby, &policy, error);
        if (r < 0)
                return r;
        vm = entry_of(standby, policy);
        if (standby->policy && vm && strcmp(standby->policy->hypervisor_uri, policy->hypervisor_uri) != 0) {
                context_connection_close(&standby->connection);
                standby->connection = NULL;
        }
        policy_free(standby->policy);
        standby->policy = policy;
        standby->policy_time = st.st_mtim;
        standby->vm = vm;
        if (!standby->vm)
                return 0;
        take_servers(standby);
        r = process_run_dir(policy->hypervisor_uri, standby->run_dir, sizeof(standby->run_dir));
        return r < 0 ? error_set(error, r, "it is not known where libvirt keeps pid files: %s", strerror(-r)) : 1;
}

/* ---- work ---- */

static const char *state_text(const struct standby *standby) {
        return alone_state_to_string(standby->sight.vm);
}

static void checkpoint(struct standby *standby) {
        struct error error = ERROR_INIT;

        if (standby_checkpoint(standby, &error) < 0)
                say(standby, "no checkpoint could be taken", &error);
        else
                all_well(standby);
}

static void decide(struct standby *standby, usec_t now) {
        struct standby_document *document = &standby->document;
        struct error error = ERROR_INIT;

        standby->sight.tries = 0;
        standby->sight.refused = false;
        standby_decided(&document->record, now);
        document->decided_usec = now;
        document->running_usec = document->lost_usec = 0;
        standby_note(standby, NEWS_DECIDED, "VM %s is %s: it is to go on from its checkpoint of %llu s ago",
                     standby->domain, state_text(standby),
                     (unsigned long long) ((now - document->record.taken_usec) / USEC_PER_SEC));
        if (standby_keep(standby, &error) < 0)
                say(standby, "the decision to fail over is not kept", &error);
        standby_tell(standby);
}

static void hold(struct standby *standby, usec_t now) {
        struct standby_document *document = &standby->document;
        const char *reason = standby_reason(standby->vm, &document->record, &standby->sight, now);
        char before[STANDBY_TEXT_LEN];

        snprintf(before, sizeof(before), "%s", problem_of(standby));
        snprintf(document->text, sizeof(document->text), "%s%s%.400s; see to it, and start the VM", reason,
                 *before ? ": " : "", before);
        standby_held(&document->record);
        standby_note(standby, NEWS_HELD, "VM %s is %s, and does not go on: %s", standby->domain, state_text(standby),
                     document->text);
        (void) standby_keep(standby, NULL);
        standby_tell(standby);
}

static void fence(struct standby *standby) {
        struct error error = ERROR_INIT;

        if (standby_fence(standby, &error) < 0)
                say(standby, "it cannot be made certain that the VM is gone", &error);
}

static void resume(struct standby *standby) {
        struct error error = ERROR_INIT;

        if (standby_resume(standby, &error) < 0) {
                say(standby, "the VM does not go on from its checkpoint", &error);
                return;
        }
        all_well(standby);
        if (standby_keep(standby, &error) < 0) /* it runs, and the next look keeps it */
                say(standby, "it is not kept that the VM goes on", &error);
        standby_tell(standby);
}

static void settle(struct standby *standby) {
        const bool runs = standby->sight.vm == ALONE_RUNS;

        standby_settled(&standby->document.record);
        all_well(standby);
        standby_note(standby, runs ? NEWS_RESUMED : NEWS_CLEARED, "VM %s %s", standby->domain,
                     runs ? "runs again by somebody's doing" : "was ended by somebody, and is left alone");
        (void) standby_keep(standby, NULL);
        standby_tell(standby);
}

static enum standby_news last_news(const struct standby *standby) {
        const struct standby_events *events = &standby->events;

        return events->n_events > 0 ? (enum standby_news) events->events[events->n_events - 1].kind
                                    : STANDBY_NEWS_INVALID;
}

/* Tells when the VM begins to be armed, and when it has not been for a while. */
static void tell_protection(struct standby *standby, usec_t now) {
        const enum standby_state state = state_of(standby, now);
        const char *why = problem_of(standby);

        if (state != STANDBY_UNARMED && state != STANDBY_DEGRADED && state != STANDBY_UNKNOWN)
                standby->weak_usec = 0;
        else if (standby->weak_usec == 0)
                standby->weak_usec = now;
        switch (standby_protection_news(state, last_news(standby), standby->weak_usec, now)) {
        case NEWS_ARMED:
                standby_note(standby, NEWS_ARMED, "VM %s would go on from a checkpoint", standby->domain);
                standby_tell(standby);
                break;
        case NEWS_UNPROTECTED:
                if (!*why)
                        why = weakness_of(standby, now);
                standby_note(standby, NEWS_UNPROTECTED, "VM %s has been %s for %llu s: %s", standby->domain,
                             standby_state_to_string(state),
                             (unsigned long long) ((now - standby->weak_usec) / USEC_PER_SEC),
                             why ? why : "no checkpoint was taken so far");
                standby_tell(standby);
                break;
        default:
                break;
        }
}

/* After a failover, and a crash in the midst of one: it is to be started anew, one day, with what it writes now. Apart
 * from what work comes to: each is tried again by itself, and is over by itself. */
static void define(struct standby *standby) {
        char text[STANDBY_TEXT_LEN] = "";
        struct error error = ERROR_INIT;

        if (standby_define(standby, &error) < 0)
                snprintf(text, sizeof(text), "the VM is not defined as it runs: %s", error_text(&error));
        if (*text && strcmp(text, standby->undefined) != 0)
                fprintf(stderr, "<4>VM %s: %s\n", standby->domain, text);
        snprintf(standby->undefined, sizeof(standby->undefined), "%s", text);
        error_deinit(&error);
}

/* One look, and what follows from it. True where the next one comes at once. */
static bool look(struct standby *standby) {
        struct standby_document *document = &standby->document;
        struct error error = ERROR_INIT;
        enum standby_work work;
        usec_t now;
        int r = 0;

        standby_look(standby);
        standby_prove(standby);
        if (standby->sight.vm == ALONE_RUNS)
                define(standby);
        else
                standby->undefined[0] = 0; /* how it would run is another question then */
        now = clock_usec(CLOCK_BOOTTIME);
        tell_protection(standby, now);
        work = standby_next(standby->vm, &document->record, &standby->sight, now);
        if (work != STANDBY_REST || now >= document->time_usec + KEEP_USEC)
                r = standby_keep(standby, &error);
        if (r < 0 && (work == STANDBY_FENCE || work == STANDBY_RESUME)) {
                /* It would look like somebody's wish to who has no record of the decision. */
                say(standby, "the VM is not ended and let go on before the decision to do so is kept", &error);
                return false;
        }
        error_deinit(&error);
        switch (work) {
        case STANDBY_CHECKPOINT:
                checkpoint(standby);
                break;
        case STANDBY_DECIDE:
                decide(standby, now);
                break;
        case STANDBY_HOLD:
                hold(standby, now);
                break;
        case STANDBY_FENCE:
                fence(standby);
                break;
        case STANDBY_RESUME:
                resume(standby);
                break;
        case STANDBY_SETTLE:
                settle(standby);
                break;
        default:
                return false;
        }
        return work == STANDBY_DECIDE;
}

int standby_run(struct standby *standby, struct error *error) {
        struct error read = ERROR_INIT;
        int r = standby_document_read(standby->dir, &standby->document, &read);

        if (r < 0 && r != -ENOENT)
                fprintf(stderr, "<4>VM %s: %s: no checkpoint counts until the next one, ignoring\n", standby->domain,
                        error_text(&read));
        error_deinit(&read);
        if (standby_disks_load(standby->dir, &standby->disks, &read) < 0)
                fprintf(stderr, "<4>VM %s: %s: a checkpoint counts with the disks that it names, ignoring\n",
                        standby->domain, error_text(&read));
        error_deinit(&read);
        snprintf(standby->document.domain, sizeof(standby->document.domain), "%s", standby->domain);
        standby->document.doing[0] = 0;
        if (!standby->document.record.held)
                standby->document.text[0] = 0; /* of the life before */
        standby->sight.saving_usec = standby->document.took_usec;
        standby_events_load(standby);
        standby_tell(standby); /* what an earlier life was killed before it had told */
        for (;;) {
                if (standby_stuck(standby))
                        return error_set(error, -ETIMEDOUT, "%s; begun anew", standby->unseen);
                standby_feed();
                standby_events_copy(standby);
                r = standby_policy_read(standby, error);
                if (r < 0 && standby->vm) { /* what was wanted is wanted until somebody says otherwise */
                        say(standby, "the policy is not read", error);
                        r = 1;
                }
                if (r <= 0 || *standby->stop)
                        return r < 0 ? r : 0;
                if (!look(standby))
                        (void) poll(NULL, 0, LOOK_MSEC);
        }
}

void standby_deinit(struct standby *standby) {
        standby_events_end(standby);
        standby_proof_deinit(&standby->proof);
        standby_disks_deinit(&standby->disks);
        standby_asking_end(standby);
        context_connection_close(&standby->connection);
        if (standby->pidfd >= 0)
                (void) close(standby->pidfd);
        policy_free(standby->policy);
        free(standby->spool);
        free(standby->key);
}
