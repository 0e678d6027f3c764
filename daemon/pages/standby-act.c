/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/host/process.h"
#include "daemon/pages/standby-watch.h"
#include "daemon/pages/standby.h"

#define TOLD_USEC USEC_PER_SEC

/* The program is the one who guards the VM, and nobody else is asked; but a VM that was given to a pair meanwhile is
 * not started beside what failoverd does for it. */
static int permit(void *userdata, const char *vm, enum context_act act, struct error *error) {
        return act == CONTEXT_STARTS ? standby_policy_wants(userdata, error) : 0;
}

/* While a checkpoint is taken: a VM whose process has ended is not waited for. */
static int tell(void *userdata, enum context_phase phase, uint64_t done_bytes, uint64_t total_bytes) {
        struct standby *standby = userdata;
        bool ended = standby->pidfd >= 0 && process_ended(standby->pidfd);

        if (standby->pidfd >= 0 && !ended)
                standby_seen(&standby->document.record, &standby->sight, clock_usec(CLOCK_BOOTTIME));
        standby_worked(&standby->document.record, clock_usec(CLOCK_BOOTTIME));
        snprintf(standby->document.doing, sizeof(standby->document.doing), "%s", context_phase_to_string(phase));
        if (clock_usec(CLOCK_BOOTTIME) >= standby->document.time_usec + TOLD_USEC)
                (void) standby_keep(standby, NULL);
        return *standby->stop || ended;
}

static struct context_job job_of(struct standby *standby) {
        return (struct context_job) {
                .servers = &standby->servers,
                .uri = standby->policy->hypervisor_uri,
                .spool = standby->spool,
                .key = standby->key,
                .progress = { tell, standby },
                .permit = permit,
                .userdata = standby,
                .guard = true,
        };
}

static void name_slot(const struct standby *standby, int slot, char ret[static NAME_LEN]) {
        snprintf(ret, NAME_LEN, STANDBY_CONTEXT_FORMAT, standby->domain, 'a' + slot);
}

/* Whatever is in that place. What an earlier life of this program has begun there is gone with it. */
static int clear(struct standby *standby, int slot, struct error *error) {
        struct context_job job = job_of(standby);
        struct error why = ERROR_INIT;
        char name[NAME_LEN];
        int r;

        job.force = true;
        name_slot(standby, slot, name);
        r = context_remove(&job, name, &why);
        if (r < 0 && r != -ENOENT)
                r = error_set(error, r, "%s", error_text(&why));
        error_deinit(&why);
        return r == -ENOENT ? 0 : r;
}

/* A disk that the VM writes goes on changing. Its snapshot would make a chain of files that nobody here shortens. Then
 * the same as is asked when it is to go on: with what is refused then it would only seem to be armed. */
static int check_disks(const struct context_vm *vm, struct error *error) {
        struct context_disk *disks = NULL;
        size_t n = 0;
        int r = context_disks_look(vm->xml, &disks, &n, error);

        for (size_t i = 0; i < n && r == 0; i++)
                if (disks[i].writable)
                        r = error_set(error, -ENOTSUP, "the VM can write to its disk %s, and a checkpoint would not go "
                                      "with what is on it later: take the disk off, or make it read-only",
                                      disks[i].target);
        if (r == 0 && context_disks_check(disks, n, NULL, 0, false, error) < 0) {
                r = -ENOTSUP;
                error_prefix(error, "the VM could not go on from a checkpoint");
        }
        context_disks_free(disks, n);
        return r;
}

/* Whether there is any use in a checkpoint. Of a transient VM nothing is left that says how it ended. */
static int check_vm(struct standby *standby, struct error *error) {
        struct context_vm vm = { 0 };
        int r = context_vm_find(standby->connection, standby->domain, &vm, error);

        if (r == 0 && virDomainIsPersistent(vm.domain) == 0)
                r = error_set(error, -ENOTSUP, "the VM is transient, and libvirt would not say how it ended: define it "
                              "(`virsh define`)");
        if (r == 0)
                r = check_disks(&vm, error);
        context_vm_deinit(&vm);
        return r;
}

/* A guest whose system crashed meanwhile must not be gone on with. */
static int check_same(struct standby *standby, uint64_t run, struct error *error) {
        standby_look(standby);
        if (standby->sight.vm != ALONE_RUNS || standby->sight.run != run)
                return error_set(error, -ESTALE, "the VM did not run on while its checkpoint was taken: it is %s",
                                 alone_state_to_string(standby->sight.vm));
        return 0;
}

static int take(struct standby *standby, int slot, struct error *error) {
        struct context_manifest *manifest = NULL;
        struct context_job job = job_of(standby);
        uint64_t run = standby->sight.run;
        usec_t begun = clock_usec(CLOCK_BOOTTIME);
        char name[NAME_LEN];
        int r;

        job.live = true;
        name_slot(standby, slot, name);
        r = context_save(&job, standby->domain, name, &manifest, error);
        if (r == 0)
                r = check_same(standby, run, error);
        context_manifest_free(manifest);
        if (r == 0) {
                standby_taken(&standby->document.record, run, begun);
                standby_seen(&standby->document.record, &standby->sight, clock_usec(CLOCK_BOOTTIME));
                r = standby_keep(standby, error);
        }
        return r;
}

static int replace(struct standby *standby, struct error *error) {
        int old = standby->document.record.slot, r = clear(standby, !old, error);

        if (r == 0)
                r = take(standby, !old, error);
        /* Where this one cannot be dropped now, it is when its place is needed again. */
        if (r == 0)
                (void) clear(standby, old, NULL);
        return r;
}

/* What waits for a memory server is watched over: a VM that is lost meanwhile goes on from the checkpoint before. */
static int replace_watched(struct standby *standby, struct error *error) {
        struct standby_record *record = &standby->document.record;
        const uint64_t run = standby->sight.run;
        const int stop_fd = standby->servers.cancel_fd;
        struct standby_watch watch;
        usec_t seen;
        int r = standby_watch_begin(&watch, standby->run_dir, standby->domain, run, stop_fd, error);

        if (r < 0)
                return r;
        standby->servers.cancel_fd = watch.cancel_fd;
        r = replace(standby, error);
        standby->servers.cancel_fd = stop_fd;
        seen = standby_watch_end(&watch);
        if (record->run == run && record->seen_usec < seen)
                record->seen_usec = seen;
        return r;
}

int standby_checkpoint(struct standby *standby, struct error *error) {
        usec_t begun = clock_usec(CLOCK_BOOTTIME);
        int r = check_vm(standby, error);

        if (r == 0)
                r = replace_watched(standby, error);
        standby->document.doing[0] = 0;
        standby->sight.saved_usec = clock_usec(CLOCK_BOOTTIME);
        standby->document.took_usec = standby->sight.saving_usec = standby->sight.saved_usec - begun;
        return r;
}

/* What does not pass is damage and doubt: a checkpoint that is not what it says or is not ours, and disks that have
 * changed since. A server that does not answer, or has just come back without it, and a host short of something may. */
static bool may_pass(int r) {
        return r != -EBADMSG && r != -EPERM && r != -ESTALE && r != -ENOTSUP;
}

int standby_resume(struct standby *standby, struct error *error) {
        struct standby_document *document = &standby->document;
        struct context_manifest *manifest = NULL;
        struct context_job job = job_of(standby);
        usec_t taken = document->record.taken_usec;
        char name[NAME_LEN];
        int r;

        job.keep = true;
        name_slot(standby, document->record.slot, name);
        r = context_resume(&job, name, &manifest, error);
        context_manifest_free(manifest);
        document->doing[0] = 0;
        standby->sight.tried_usec = clock_usec(CLOCK_BOOTTIME);
        if (r < 0) {
                standby_worked(&document->record, standby->sight.tried_usec);
                standby->sight.tries++;
                standby->sight.refused = !may_pass(r);
                return r;
        }
        standby_look(standby);
        document->running_usec = standby->sight.tried_usec;
        document->lost_usec = document->decided_usec > taken ? document->decided_usec - taken : 0;
        standby_resumed(&document->record, standby->sight.vm == ALONE_RUNS ? standby->sight.run : 0,
                        standby->sight.tried_usec);
        standby->sight.tries = 0;
        return standby_keep(standby, error);
}
