/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/pages/context-internal.h"
#include "daemon/pages/context-overlay.h"
#include "daemon/pages/context.h"

#define OVERHEAD_BYTES (128 * MIB) /* of a VM's state beside its memory: video memory, devices */

void context_connection_close(virConnectPtr *connection) {
        if (*connection)
                (void) virConnectClose(*connection);
}

void context_saving_deinit(struct context_saving *saving) {
        context_spool_close(&saving->spool);
        context_place_close(&saving->place);
        context_vm_deinit(&saving->vm);
        saving->manifest = context_manifest_free(saving->manifest);
}

int context_saving_permit(const struct context_job *job, const char *vm, const char *name, virConnectPtr *ret,
                          struct error *error) {
        int r = context_name_check(job->servers, name, error);

        if (r == 0 && !job->live)
                r = job->permit(job->userdata, vm, CONTEXT_ENDS, error);
        return r < 0 ? r : context_vm_connect(job->uri, ret, error);
}

void context_claim_text(const struct context_job *job, const char *verb, char ret[static CONTEXT_HOLDER_LEN]) {
        char host[NAME_LEN], date[32] = "";
        time_t now = time(NULL);
        struct tm utc;

        context_host(host);
        if (gmtime_r(&now, &utc))
                (void) strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &utc);
        snprintf(ret, CONTEXT_HOLDER_LEN, "%s it on %s under %.120s at %s", verb, host, job->uri, date);
}

static int make_manifest(const struct context_job *job, const char *name, const struct context_vm *vm,
                         const char *host, struct context_manifest **ret) {
        _cleanup_free_ struct context_manifest *manifest = calloc(1, sizeof(*manifest));

        if (!manifest)
                return -ENOMEM;
        manifest->version = CONTEXT_VERSION;
        snprintf(manifest->name, sizeof(manifest->name), "%s", name);
        strcpy(manifest->vm, vm->name);
        strcpy(manifest->uuid, vm->uuid);
        snprintf(manifest->host, sizeof(manifest->host), "%s", host);
        manifest->paused = vm->paused;
        manifest->checkpoint = job->live;
        manifest->uri = strdup(job->uri);
        if (!manifest->uri)
                return -ENOMEM;
        *ret = steal_ptr(manifest);
        return 0;
}

static const char *overlays_of(const struct context_job *job, const char *name) {
        return job->overlays ? job->overlays : name;
}

/* Whether all of them can be looked at; what they are like is of interest later, when the VM is paused. */
static int check_disks(const struct context_job *job, const struct context_vm *vm, const char *name,
                       struct error *error) {
        struct context_disk *disks = NULL;
        size_t n = 0;
        int r = context_disks_look(vm->xml, &disks, &n, error);

        if (r == 0)
                r = context_disks_may_save(vm->xml, disks, n, job->force, error);
        if (r == 0 && job->live) {
                r = context_overlays_name(disks, n, overlays_of(job, name), error);
                if (r == 0)
                        r = context_overlays_check(disks, n, error);
        }
        context_disks_free(disks, n);
        return r;
}

/* Where the VM goes on meanwhile, what it writes to its memory is written once more. */
static uint64_t spool_bytes(const struct context_job *job, const struct context_vm *vm) {
        return vm->memory_bytes + OVERHEAD_BYTES + (job->live ? vm->memory_bytes / 4 : 0);
}

int context_saving_prepare(const struct context_job *job, virConnectPtr connection, const char *vm, const char *name,
                           struct context_saving *saving, struct error *error) {
        struct space_name space;
        int r = context_vm_find(connection, vm, &saving->vm, error);

        if (r == 0)
                r = check_disks(job, &saving->vm, name, error);
        if (r == 0)
                r = context_check_free(job->servers, name, error);
        if (r == 0)
                r = context_key_load(job->key, &saving->key, error);
        if (r == 0)
                r = context_spool_open(job->spool, spool_bytes(job, &saving->vm), &saving->spool, error);
        if (r < 0)
                return r;
        /* Its space's owner is the VM, by its UUID where no space can have its name. */
        context_space_name(job->servers, space_word_is_valid(saving->vm.name) ? saving->vm.name : saving->vm.uuid, name,
                           &space);
        r = make_manifest(job, name, &saving->vm, space.node, &saving->manifest);
        if (r < 0)
                return error_set(error, r, "out of memory");
        if (job->dry_run)
                return 0;
        r = context_place_new(job->servers, &space, context_space_bytes(saving->vm.memory_bytes + OVERHEAD_BYTES),
                              job->persistent, &saving->place, error);
        saving->opened = r == 0;
        return r;
}

/* The disks as they are now, in place of what the manifest says of them. 1 where that is something else. */
static int note_disks(struct context_saving *saving, struct error *error) {
        struct context_manifest *manifest = saving->manifest;
        struct context_disk *disks = NULL;
        size_t n = 0;
        int r = context_disks_look(saving->vm.xml, &disks, &n, error);

        if (r < 0)
                return r;
        r = !context_disks_equal(disks, n, manifest->disks, manifest->n_disks);
        context_disks_free(manifest->disks, manifest->n_disks);
        manifest->disks = disks;
        manifest->n_disks = n;
        return r;
}

static int note_overlays(const struct context_job *job, struct context_saving *saving, struct error *error) {
        struct context_manifest *manifest = saving->manifest;

        return context_overlays_name(manifest->disks, manifest->n_disks, overlays_of(job, manifest->name), error);
}

/* The VM's state into the spool. With a checkpoint it writes into overlays from then on, whatever becomes of it. */
static int take_image(const struct context_job *job, struct context_saving *saving, struct error *error) {
        struct context_manifest *manifest = saving->manifest;
        struct context_checkpoint checkpoint;
        int r;

        if (!job->live)
                return context_vm_image(&saving->vm, saving->spool.path, NULL, 0, &job->progress, error);
        r = note_disks(saving, error);
        if (r >= 0)
                r = note_overlays(job, saving, error);
        if (r < 0)
                return r;
        checkpoint = (struct context_checkpoint) { manifest->disks, manifest->n_disks };
        r = context_vm_image(&saving->vm, saving->spool.path, &checkpoint, spool_bytes(job, &saving->vm),
                             &job->progress, error);
        saving->overlaid = r == 0 && !job->overlays;
        return r;
}

static int store_image(const struct context_job *job, struct context_saving *saving, struct error *error) {
        _cleanup_close_ int fd = open(saving->spool.path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        int r;

        if (fd < 0)
                return error_set(error, -errno, "%s: %s", saving->spool.path, strerror(errno));
        r = context_image_write(&saving->place.io, fd, saving->manifest, &job->progress, error);
        if (r == 0)
                r = saving->place.io.flush(saving->place.io.userdata) < 0
                            ? error_set(error, -EIO, "the memory server could not keep what it was given") : 0;
        if (r == 0)
                r = context_image_read(&saving->place.io, saving->manifest, -1, CONTEXT_VERIFY, &job->progress, error);
        return r;
}

static int save(const struct context_job *job, struct context_saving *saving, struct error *error) {
        char holder[CONTEXT_HOLDER_LEN] = "";
        uint64_t now;
        int r = job->live ? 0 : job->permit(job->userdata, saving->vm.name, CONTEXT_ENDS, error);

        if (r == 0 && !job->live)
                r = context_vm_suspend(&saving->vm, error);
        if (r == 0) /* a disk may have come or gone since it was looked at */
                r = context_vm_read_xml(&saving->vm, error);
        if (r == 0)
                r = check_disks(job, &saving->vm, saving->manifest->name, error);
        if (r == 0)
                r = take_image(job, saving, error);
        if (r == 0)
                r = context_vm_image_xml(&saving->vm, saving->spool.path, &saving->manifest->xml, error);
        if (r == 0)
                r = note_disks(saving, error);
        if (r >= 0 && job->live)
                r = note_overlays(job, saving, error);
        if (r >= 0)
                r = store_image(job, saving, error);
        if (r < 0)
                return r;
        now = clock_usec(CLOCK_REALTIME);
        saving->manifest->saved_usec = now;
        if (!job->live) /* and until then it is not whole for anybody else */
                context_claim_text(job, "saved", holder);
        r = context_commit(&saving->place.io, saving->manifest, &saving->key, holder, &saving->head, error);
        return r < 0 ? r : context_place_finish(&saving->place, now, error);
}

/* Adds to what is said already. */
static void add_text(struct error *error, const char *text) {
        _cleanup_free_ char *before = strdup(error_text(error));

        if (before)
                (void) error_set(error, error->code, "%s; %s", before, text);
}

static int let_go_on(struct context_saving *saving, struct error *error) {
        bool suspended = saving->vm.suspended;
        struct error more = ERROR_INIT;
        char text[512];
        int r = context_vm_go_on(&saving->vm, &more);

        if (r < 0 && error)
                add_text(error, error_text(&more));
        else if (suspended && error) {
                snprintf(text, sizeof(text), "VM %s goes on as it was", saving->vm.name);
                add_text(error, text);
        }
        error_deinit(&more);
        return r;
}

static void tell_kept(const struct context_saving *saving, struct error *error) {
        const char *name = saving->manifest->name;
        char text[512];

        snprintf(text, sizeof(text), "context %s is kept: where VM %s is there, drop it (`failoverctl context drop "
                 "%s`), and where it has ended, resume it with --force", name, saving->vm.name, name);
        if (error)
                add_text(error, text);
}

/* Whoever was waited for just then, somebody wanted it to end. */
static void give_up(struct context_saving *saving, int r, struct error *error) {
        if (r == -ECANCELED)
                (void) error_set(error, r, "it was given up");
        context_saving_undo(saving, error);
}

int context_saving_run(const struct context_job *job, struct context_saving *saving, struct error *error) {
        int r = save(job, saving, error);

        saving->whole = r == 0;
        if (r < 0)
                give_up(saving, r, error);
        return r;
}

/* The last thing before the VM ends: its context is still there, at the mirror too. A server that was lost meanwhile
 * would have taken it along. */
static int check_kept(const struct context_saving *saving, struct error *error) {
        struct context_manifest *manifest = NULL;
        struct context_head head;
        int r = context_place_check(&saving->place, error);

        if (r == 0)
                r = context_open(&saving->place.io, &head, &manifest, error);
        if (r == 0 && memcmp(head.manifest_sum, saving->head.manifest_sum, sizeof(head.manifest_sum)) != 0)
                r = error_set(error, -ESTALE, "it is another one");
        context_manifest_free(manifest);
        if (r < 0)
                error_prefix(error, "its context, which was whole, is not there any more");
        return r;
}

int context_saving_end(const struct context_job *job, struct context_saving *saving, struct error *error) {
        int r = job->permit(job->userdata, saving->vm.name, CONTEXT_ENDS, error);

        if (r == 0)
                r = check_kept(saving, error);
        if (r < 0) {
                give_up(saving, r, error);
                return r;
        }
        r = context_vm_end(&saving->vm, job->uri, error);
        if (r < 0) { /* the VM may be gone in a moment, and then its context is all that there is of it */
                (void) let_go_on(saving, error);
                tell_kept(saving, error);
                return r;
        }
        /* Some formats are written once more when they are closed. */
        r = note_disks(saving, error);
        if (r > 0)
                r = context_commit(&saving->place.io, saving->manifest, &saving->key, "", &saving->head, error);
        else if (r == 0)
                r = context_mark(&saving->place.io, &saving->head, "", error);
        if (r < 0)
                error_prefix(error, "the VM is saved as context %s and has ended, but that could not be noted: "
                             "resume it with --force", saving->manifest->name);
        return r;
}

void context_saving_undo(struct context_saving *saving, struct error *error) {
        int there = let_go_on(saving, error);
        struct error more = ERROR_INIT;
        char text[512];

        /* A VM can fail by itself while it is saved. */
        if (there == 0 && saving->whole && context_vm_active(saving->manifest->uri, saving->vm.uuid, NULL) != 1)
                there = -ESHUTDOWN;
        if (there < 0 && saving->whole) {
                tell_kept(saving, error);
                return;
        }
        if (saving->opened && context_place_drop(&saving->place, &more) < 0 && error)
                add_text(error, error_text(&more));
        error_deinit(&more);
        saving->opened = saving->whole = false;
        for (size_t i = 0; saving->overlaid && error && i < saving->manifest->n_disks; i++) {
                const struct context_disk *disk = &saving->manifest->disks[i];

                if (!disk->overlay)
                        continue;
                snprintf(text, sizeof(text), "the VM goes on in an overlay of its disk %s: `virsh blockcommit %s %s "
                         "--active --pivot` takes it back", disk->target, saving->vm.name, disk->target);
                add_text(error, text);
        }
}

int context_save(const struct context_job *job, const char *vm, const char *name, struct context_manifest **ret,
                 struct error *error) {
        _cleanup_(context_saving_deinit) struct context_saving saving = CONTEXT_SAVING_INIT;
        _cleanup_connection_ virConnectPtr connection = NULL;
        int r = context_saving_permit(job, vm, name, &connection, error);

        if (r == 0)
                r = context_saving_prepare(job, connection, vm, name, &saving, error);
        if (r == 0 && !job->dry_run) {
                r = context_saving_run(job, &saving, error);
                if (r == 0 && !job->live)
                        r = context_saving_end(job, &saving, error);
        }
        if (r == 0)
                *ret = steal_ptr(saving.manifest);
        return r;
}
