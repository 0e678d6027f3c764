/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/process.h"
#include "daemon/pages/context-overlay.h"
#include "daemon/pages/standby-watch.h"
#include "daemon/pages/standby.h"

#define TOLD_USEC USEC_PER_SEC
#define LOOK_MSEC 100
#define PROVE_USEC (10 * USEC_PER_SEC)

/* The program is the one who guards the VM, and nobody else is asked; but a VM that was given to a pair meanwhile is
 * not started beside what failoverd does for it. */
static int permit(void *userdata, const char *vm, enum context_act act, struct error *error) {
        return act == CONTEXT_STARTS ? standby_policy_wants(userdata, error) : 0;
}

/* Libvirt says nothing of how far it is with a start: so long it may take to read what the VM has. */
#define STALL_USEC (600 * USEC_PER_SEC)
#define STALL_BYTES_PER_SEC (32 * MIB)

/* What stands still for longer than it can take is stuck, and is ended, to be begun anew. */
static void feed(struct standby *standby, enum context_phase phase, uint64_t done_bytes) {
        const usec_t now = clock_usec(CLOCK_BOOTTIME);
        const usec_t patience = STALL_USEC + standby->vm->memory_bytes / STALL_BYTES_PER_SEC * USEC_PER_SEC;

        if (standby->moved_usec == 0 || standby->phase != (int) phase || standby->phase_bytes != done_bytes) {
                standby->phase = (int) phase;
                standby->phase_bytes = done_bytes;
                standby->moved_usec = now;
        }
        if (now < standby->moved_usec + patience)
                standby_feed();
}

/* While a checkpoint is taken: a VM whose process has ended is not waited for. */
static int tell(void *userdata, enum context_phase phase, uint64_t done_bytes, uint64_t total_bytes) {
        struct standby *standby = userdata;
        bool ended = standby->pidfd >= 0 && process_ended(standby->pidfd);

        feed(standby, phase, done_bytes);
        if (standby->pidfd >= 0 && !ended)
                standby_seen(&standby->document.record, &standby->sight, clock_usec(CLOCK_BOOTTIME));
        standby_worked(&standby->document.record, clock_usec(CLOCK_BOOTTIME));
        snprintf(standby->document.doing, sizeof(standby->document.doing), "%s", context_phase_to_string(phase));
        if (clock_usec(CLOCK_BOOTTIME) >= standby->document.time_usec + TOLD_USEC)
                (void) standby_keep(standby, NULL);
        return *standby->stop || ended;
}

static struct context_job job_of(struct standby *standby) {
        standby->moved_usec = 0;
        return (struct context_job) {
                .servers = &standby->servers,
                .uri = standby->policy->hypervisor_uri,
                .spool = standby->spool,
                .key = standby->key,
                .progress = { tell, standby },
                .permit = permit,
                .userdata = standby,
                .guard = true,
                .overlays = standby->overlays,
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

        standby_feed();
        job.force = true;
        name_slot(standby, slot, name);
        r = context_remove(&job, name, &why);
        if (r < 0 && r != -ENOENT)
                r = error_set(error, r, "%s", error_text(&why));
        error_deinit(&why);
        return r == -ENOENT ? 0 : r;
}

/* The same as is asked when it is to go on: with what is refused then it would only seem to be armed. What it writes to
 * the VM itself has in use. */
static int check_use(const struct context_disk *disks, size_t n, struct error *error) {
        _cleanup_free_ struct context_disk *own = calloc(n + 1, sizeof(*own));
        size_t n_own = 0;

        if (!own)
                return error_set(error, -ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++)
                if (disks[i].writable)
                        own[n_own++] = disks[i];
        if (context_disks_check(disks, n, own, n_own, false, error) < 0) {
                error_prefix(error, "the VM could not go on from a checkpoint");
                return -ENOTSUP;
        }
        return 0;
}

static int check_disks(struct standby *standby, const struct context_vm *vm, struct error *error) {
        struct context_disk *disks = NULL;
        size_t n = 0;
        int r = context_disks_look(vm->xml, &disks, &n, error);

        if (r == 0)
                r = standby_disks_fit(disks, n, error);
        if (r == 0)
                r = context_chain_name(disks, n, standby->overlays, error);
        if (r == 0)
                r = context_overlays_name(disks, n, standby->overlays, error);
        if (r == 0)
                r = check_use(disks, n, error);
        context_disks_free(disks, n);
        return r;
}

/* Whether there is any use in a checkpoint. Of a transient VM nothing is left that says how it ended. */
static int check_vm(struct standby *standby, struct error *error) {
        bool panic = false, hang = false;
        struct context_vm vm = { 0 };
        int r = context_vm_find(standby->connection, standby->domain, &vm, error);

        if (r == 0 && virDomainIsPersistent(vm.domain) == 0)
                r = error_set(error, -ENOTSUP, "the VM is transient, and libvirt would not say how it ended: define it "
                              "(`virsh define`)");
        if (r == 0)
                r = context_vm_alarms(&vm, &panic, &hang, error);
        if (r == 0)
                r = check_disks(standby, &vm, error);
        standby->document.hears_panic = panic;
        standby->document.hears_hang = hang;
        context_vm_deinit(&vm);
        return r;
}

/* What libvirt says is waited for: after much work it may take its time. */
static void look_patiently(struct standby *standby, uint64_t run) {
        const usec_t until = clock_usec(CLOCK_BOOTTIME) + STANDBY_WAIT_USEC;

        standby_look(standby);
        while (standby->sight.vm == ALONE_UNKNOWN && standby->sight.run == run && !*standby->stop &&
               clock_usec(CLOCK_BOOTTIME) < until) {
                standby_feed();
                (void) poll(NULL, 0, LOOK_MSEC);
                standby_look(standby);
        }
}

/* A guest whose system crashed meanwhile must not be gone on with. */
static int check_same(struct standby *standby, uint64_t run, struct error *error) {
        const struct standby_sight *sight = &standby->sight;

        look_patiently(standby, run);
        if (sight->vm == ALONE_UNKNOWN && sight->run == run)
                return error_set(error, -EAGAIN, "it is not known whether the VM ran on while its checkpoint was "
                                 "taken: %s", standby->unseen);
        if (sight->vm != ALONE_RUNS || sight->run != run)
                return error_set(error, -ESTALE, "the VM did not run on while its checkpoint was taken: it is %s",
                                 alone_state_to_string(sight->vm));
        return 0;
}

/* Before the record says that the checkpoint counts. */
static int keep_disks(struct standby *standby, const struct context_manifest *manifest, struct error *error) {
        const size_t n = standby->disks.n_frozen;
        int r = standby_disks_add(&standby->disks, manifest);

        if (r < 0)
                return error_set(error, r, "out of memory");
        return standby->disks.n_frozen == n ? 0 : standby_disks_keep(standby->dir, &standby->disks, error);
}

static int take(struct standby *standby, int slot, struct error *error) {
        struct context_manifest *manifest = NULL;
        struct context_job job = job_of(standby);
        uint64_t run = standby->sight.run;
        usec_t begun = clock_usec(CLOCK_BOOTTIME);
        char name[NAME_LEN];
        int r;

        standby_feed();
        job.live = true;
        name_slot(standby, slot, name);
        standby->defined = false;
        r = context_save(&job, standby->domain, name, &manifest, error);
        if (r == 0)
                r = check_same(standby, run, error);
        if (r == 0)
                r = keep_disks(standby, manifest, error);
        if (r == 0) {
                standby_taken(&standby->document.record, run, begun, manifest->saved_usec);
                standby_seen(&standby->document.record, &standby->sight, clock_usec(CLOCK_BOOTTIME));
                r = standby_keep(standby, error);
        }
        context_manifest_free(manifest);
        return r;
}

/* By which the newest checkpoint is known, where it is of this run; 0: none counts. */
static uint64_t counts(const struct standby *standby) {
        const struct standby_record *record = &standby->document.record;

        return record->run == standby->sight.run ? record->saved_usec : 0;
}

/* The disks can be put in order, and have overlays put before them. */
static int check_order(struct standby *standby, struct error *error) {
        struct context_vm vm = { 0 };
        int r = context_vm_find(standby->connection, standby->domain, &vm, error);

        standby_feed();
        if (r == 0)
                r = standby_disks_check(&standby->disks, counts(standby), &vm, error);
        context_vm_deinit(&vm);
        return r;
}

/* Whether a checkpoint can be begun: all servers answer, the spool has room, and nothing else is done with the disks.
 * By a name that none of them has. */
static int check_begin(struct standby *standby, struct error *error) {
        struct context_manifest *manifest = NULL;
        struct context_job job = job_of(standby);
        char name[NAME_LEN];
        int r = check_order(standby, error);

        if (r < 0)
                return r;
        standby_feed();
        job.live = job.dry_run = true;
        name_slot(standby, STANDBY_SLOTS, name);
        r = context_save(&job, standby->domain, name, &manifest, error);
        context_manifest_free(manifest);
        return r;
}

/* What the checkpoint before has frozen is not needed apart any more. */
static int order_disks(struct standby *standby, struct error *error) {
        const struct context_job job = job_of(standby);
        struct context_vm vm = { 0 };
        int r = context_vm_find(standby->connection, standby->domain, &vm, error);

        standby_feed();
        if (r == 0)
                r = standby_disks_order(standby->dir, &standby->disks, counts(standby), &vm, &job.progress, error);
        context_vm_deinit(&vm);
        return r;
}

/* The one that the VM would go on from stays as it is, and is the other one then. The one before is not given up for
 * what cannot even be begun: the newest may lead to the same end again. */
static int replace(struct standby *standby, struct error *error) {
        struct standby_record *record = &standby->document.record;
        const int slot = !record->slot;
        int r = check_begin(standby, error);

        if (r < 0)
                return r;
        standby_replacing(record);
        r = standby_keep(standby, error);
        if (r == 0)
                r = clear(standby, slot, error);
        if (r == 0)
                r = order_disks(standby, error);
        return r < 0 ? r : take(standby, slot, error);
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
        if (record->run == run && (seen == 0 || record->seen_usec < seen))
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
        standby->sight.failed = r < 0 ? standby->sight.failed + 1 : 0;
        return r;
}

int standby_define(struct standby *standby, struct error *error) {
        struct context_vm vm = { 0 };
        int r = 0;

        if (standby->defined)
                return 0;
        r = context_vm_find(standby->connection, standby->domain, &vm, error);
        if (r == 0 && virDomainIsPersistent(vm.domain) == 1)
                r = standby_disks_define(&vm, error);
        context_vm_deinit(&vm);
        standby->defined = r == 0;
        return r;
}

/* What does not pass is damage and doubt: a checkpoint that is not what it says or is not ours, and disks that have
 * changed since. A server that does not answer, or has just come back without it, and a host short of something may. */
static bool may_pass(int r) {
        return r != -EBADMSG && r != -EPERM && r != -ESTALE && r != -ENOTSUP;
}

static int resume_at(struct standby *standby, const struct context_servers *servers, struct error *error) {
        const struct standby_record *record = &standby->document.record;
        const struct standby_frozen *frozen = standby_disks_find(&standby->disks, record->saved_usec);
        struct context_manifest *manifest = NULL;
        struct context_job job = job_of(standby);
        char name[NAME_LEN];
        int r = frozen ? context_chain_name(frozen->disks, frozen->n_disks, standby->overlays, error) : 0;

        if (r < 0)
                return r;
        standby_feed();
        job.servers = servers;
        job.keep = true;
        job.saved_usec = record->saved_usec;
        job.disks = frozen ? frozen->disks : NULL;
        job.n_disks = frozen ? frozen->n_disks : 0;
        name_slot(standby, record->slot, name);
        standby->defined = false;
        r = context_resume(&job, name, &manifest, error);
        context_manifest_free(manifest);
        return r;
}

/* What is damaged at one server, or is another one there, may be whole at the next. `r`: what is wrong so far. */
static int resume_copies(struct standby *standby, int r, struct error *error) {
        for (size_t i = 0; i < standby->servers.n && r == -EBADMSG && standby->servers.n > 1; i++) {
                const struct context_servers one = { .at = { standby->servers.at[i] }, .n = 1,
                                                     .cancel_fd = standby->servers.cancel_fd };
                struct error why = ERROR_INIT;
                int tried = resume_at(standby, &one, &why);

                if (tried == 0 && error)
                        error_deinit(error);
                if (tried == 0 || may_pass(tried))
                        r = tried == -ENOENT ? r : tried;
                error_deinit(&why);
        }
        return r;
}

static int resume(struct standby *standby, struct error *error) {
        int r = resume_at(standby, &standby->servers, error);

        return r == -EBADMSG ? resume_copies(standby, r, error) : r;
}

int standby_resume(struct standby *standby, struct error *error) {
        struct standby_document *document = &standby->document;
        int r = resume(standby, error);

        document->doing[0] = 0;
        standby->sight.tried_usec = clock_usec(CLOCK_BOOTTIME);
        if (r < 0) {
                if (standby_failed(&document->record, &standby->sight, !may_pass(r)))
                        fprintf(stderr, "<4>VM %s is to go on from the checkpoint before\n", standby->domain);
                return r;
        }
        standby_look(standby);
        document->running_usec = standby->sight.tried_usec;
        document->lost_usec = document->decided_usec > document->record.taken_usec
                                      ? document->decided_usec - document->record.taken_usec : 0;
        standby_resumed(&document->record, standby->sight.vm == ALONE_RUNS ? standby->sight.run : 0,
                        standby->sight.tried_usec);
        standby->sight.tries = 0;
        standby_note(standby, NEWS_STARTED, "VM %s goes on from its checkpoint, %llu ms after that was decided; the "
                     "work of %llu s is lost", standby->domain,
                     (unsigned long long) ((document->running_usec - document->decided_usec) / USEC_PER_MSEC),
                     (unsigned long long) (document->lost_usec / USEC_PER_SEC));
        return 0;
}

void standby_prove(struct standby *standby) {
        const struct standby_record *record = &standby->document.record;
        struct standby_proof *proof = &standby->proof;
        struct standby_sight *sight = &standby->sight;
        const usec_t now = clock_usec(CLOCK_BOOTTIME);
        char name[NAME_LEN];

        if (standby_proof_ended(proof)) {
                sight->kept = proof->kept;
                sight->kept_saved_usec = proof->saved_usec;
                sight->reachable = proof->reachable;
                if (proof->copies > 0)
                        sight->kept_usec = now;
                standby->document.copies = (int) proof->copies;
        }
        if (proof->begun || record->run == 0 || record->wanted || now < standby->proved_usec + PROVE_USEC)
                return;
        standby->proved_usec = now;
        name_slot(standby, record->slot, name);
        (void) standby_proof_begin(proof, &standby->servers, name, record->saved_usec);
}
