/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/pages/context-internal.h"
#include "daemon/pages/context-overlay.h"
#include "daemon/pages/context.h"

void context_resuming_deinit(struct context_resuming *resuming) {
        context_spool_close(&resuming->spool);
        context_place_close(&resuming->place);
        resuming->manifest = context_manifest_free(resuming->manifest);
}

/* `looks`: to read it alone. */
static int take(const struct context_job *job, const char *name, bool looks, struct context_resuming *resuming,
                struct error *error) {
        const struct context_entry *entry;
        struct context_list list;
        int r = context_find(job->servers, name, &list, &entry, error);

        if (r < 0)
                return r;
        if (context_entry_unfinished(entry) && context_entry_connections(entry) == 0)
                r = error_set(error, -ENODATA, "context %s was never finished: its save was cut off, and its VM has "
                              "not been ended by it; drop it", name);
        if (r == 0)
                r = context_entry_idle(job->servers, entry, job->force, error);
        if (r == 0) {
                r = looks ? context_place_look(job->servers, entry, &resuming->place, error)
                          : context_place_take(job->servers, entry, job->force || job->guard, &resuming->place, error);
                resuming->taken = r == 0;
        }
        context_list_deinit(&list);
        return r;
}

static int check_vm(const struct context_job *job, virConnectPtr connection, const struct context_manifest *manifest,
                    const struct context_vm *instead, struct error *error) {
        int r = job->permit(job->userdata, manifest->vm, CONTEXT_STARTS, error);

        if (r < 0)
                return r;
        if (instead && strcmp(instead->uuid, manifest->uuid) != 0)
                return error_set(error, -EINVAL, "it is a context of VM %s, not of %s", manifest->vm, instead->name);
        for (size_t i = 0; i < manifest->n_disks && instead; i++)
                if (manifest->disks[i].overlay)
                        return error_set(error, -ENOTSUP, "it is a checkpoint with a disk, and what the VM has written "
                                         "since would be taken from the context that is saved; end the VM, and resume "
                                         "it");
        if (instead)
                return 0;
        r = context_vm_present(connection, manifest->vm, manifest->uuid, error);
        return r > 0 ? -EBUSY : r;
}

static int check_disks(const struct context_job *job, const struct context_manifest *manifest,
                       const struct context_vm *instead, struct error *error) {
        struct context_disk *spare = NULL;
        size_t n_spare = 0;
        int r = instead ? context_disks_look(instead->xml, &spare, &n_spare, error) : 0;

        if (r == 0)
                r = context_disks_check(manifest->disks, manifest->n_disks, spare, n_spare, job->force, error);
        context_disks_free(spare, n_spare);
        return r;
}

/* The caller's disks in place of those that the context names, with overlays of their own. */
static int take_disks(const struct context_job *job, struct context_manifest *manifest, struct error *error) {
        struct context_disk *disks = NULL;
        int r = context_disks_copy(job->disks, job->n_disks, &disks);

        if (r < 0)
                return error_set(error, r, "out of memory");
        context_disks_free(manifest->disks, manifest->n_disks);
        manifest->disks = disks;
        manifest->n_disks = job->n_disks;
        return context_overlays_name(disks, job->n_disks, job->overlays, error);
}

/* Somebody was cut off who was about to resume it here, and that was the caller. Whether the VM is there is looked at
 * next, and libvirt starts none twice. */
static bool is_own_claim(const struct context_job *job, const struct context_resuming *resuming) {
        char mine[CONTEXT_HOLDER_LEN], *at;

        context_claim_text(job, "resumed", mine);
        at = strstr(mine, " at ");
        return job->guard && at && strncmp(resuming->head.holder, mine, (size_t) (at - mine) + 4) == 0;
}

/* Its VM is nowhere, as far as the context says. */
static int check_claim(const struct context_job *job, const struct context_resuming *resuming, struct error *error) {
        const struct context_manifest *manifest = resuming->manifest;
        char host[NAME_LEN] = "";

        if (job->force)
                return 0;
        if (resuming->head.state == CONTEXT_CLAIMED && !is_own_claim(job, resuming))
                return error_set(error, -EBUSY, "who %s was cut off, and its VM may be there, running or paused. Where "
                                 "you know that it is not, say so by --force", resuming->head.holder);
        context_host(host);
        if (manifest->checkpoint && (strcmp(manifest->host, host) != 0 || strcmp(manifest->uri, job->uri) != 0))
                return error_set(error, -EBUSY, "it is a checkpoint, and whether its VM still runs on %s under %s "
                                 "cannot be seen from here. Where you know that it does not, say so by --force",
                                 manifest->host, manifest->uri);
        return 0;
}

int context_resuming_trust(const struct context_job *job, const char *name, struct context_resuming *resuming,
                           struct error *error) {
        const struct context_manifest *manifest = resuming->manifest;
        const char *owner = resuming->place.name.owner;
        struct context_key key;
        int r;

        if (strcmp(manifest->name, name) != 0 ||
            (strcmp(manifest->vm, owner) != 0 && strcmp(manifest->uuid, owner) != 0))
                return error_set(error, -EBADMSG, "it says that it is context %s of VM %s, and is in the place of one "
                                 "of %s", manifest->name, manifest->vm, owner);
        if (job->saved_usec != 0 && manifest->saved_usec != job->saved_usec)
                return error_set(error, -EBADMSG, "it is another one than was saved last: a memory server that was "
                                 "away has kept it from earlier");
        r = context_overlays_trust(manifest, error);
        if (r == 0)
                r = context_key_load(job->key, &key, error);
        if (r < 0)
                return r;
        resuming->vouched = context_key_vouches(&key, resuming->head.manifest_sum, resuming->head.seal);
        explicit_bzero(&key, sizeof(key));
        if (!resuming->vouched && !job->force)
                return error_set(error, -EPERM, "it was not saved with the key in %s: whoever can write at the memory "
                                 "server could have made it, with any VM in it. Bring the same file from host %s, or "
                                 "say by --force that you know where it comes from", job->key, manifest->host);
        return 0;
}

int context_resuming_prepare(const struct context_job *job, virConnectPtr connection, const char *name,
                             const struct context_vm *instead, struct context_resuming *resuming,
                             struct error *error) {
        int r = take(job, name, job->dry_run, resuming, error);

        if (r < 0)
                return r;
        r = context_open(&resuming->place.io, &resuming->head, &resuming->manifest, error);
        if (r == 0)
                r = context_resuming_trust(job, name, resuming, error);
        if (r == 0 && job->disks)
                r = take_disks(job, resuming->manifest, error);
        if (r == 0)
                r = check_claim(job, resuming, error);
        if (r == 0)
                r = check_vm(job, connection, resuming->manifest, instead, error);
        if (r == 0)
                r = check_disks(job, resuming->manifest, instead, error);
        if (r == 0 && !job->dry_run)
                r = context_spool_open(job->spool, resuming->manifest->image_bytes, &resuming->spool, error);
        if (r < 0)
                error_prefix(error, "context %s cannot be resumed", name);
        return r;
}

/* What libvirt would start is in the image. Where nobody vouches for that, it has to be what `context xml` shows. */
static int check_image(const struct context_job *job, virConnectPtr connection,
                       const struct context_resuming *resuming, struct error *error) {
        const struct context_vm vm = { .connection = connection };
        _cleanup_free_ char *xml = NULL;
        int r;

        if (resuming->vouched || job->xml || job->dry_run)
                return 0;
        r = context_vm_image_xml(&vm, resuming->spool.path, &xml, error);
        if (r == 0 && strcmp(xml, resuming->manifest->xml) != 0)
                r = error_set(error, -EPERM, "the VM in its image is not the one that `context xml` shows; say by "
                              "--xml what is to be started");
        return r;
}

int context_resuming_fetch(const struct context_job *job, virConnectPtr connection, struct context_resuming *resuming,
                           struct error *error) {
        _cleanup_close_ int fd = -1;
        int r;

        if (!job->dry_run) {
                fd = open(resuming->spool.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (fd < 0)
                        return error_set(error, -errno, "%s: %s", resuming->spool.path, strerror(errno));
        }
        r = context_image_read(&resuming->place.io, resuming->manifest, fd, fd < 0 ? CONTEXT_VERIFY : CONTEXT_FETCH,
                               &job->progress, error);
        if (r == 0)
                r = check_image(job, connection, resuming, error);
        if (r < 0)
                error_prefix(error, "context %s cannot be resumed", resuming->manifest->name);
        return r;
}

/* Starts the VM, with empty overlays where it is from a checkpoint. Where this fails, the VM is not there and all is as
 * before, unless `*ret_unknown`. */
static int start(const struct context_job *job, virConnectPtr connection, const struct context_resuming *resuming,
                 bool *ret_unknown, struct error *error) {
        const struct context_manifest *manifest = resuming->manifest;
        struct context_overlays overlays = { 0 };
        _cleanup_free_ char *xml = NULL;
        int r = context_overlays_xml(manifest, job->xml, &xml, error);

        *ret_unknown = false;
        if (r == 0)
                r = context_overlays_put(manifest, &overlays, error);
        if (r < 0)
                return r;
        r = context_vm_start(connection, resuming->spool.path, xml, manifest->paused, &job->progress, error);
        if (r < 0) {
                *ret_unknown = !context_vm_absent(connection, job->uri, manifest->uuid);
                if (!*ret_unknown)
                        context_overlays_take_back(manifest, &overlays);
        }
        context_overlays_deinit(&overlays);
        return r;
}

int context_resuming_start(const struct context_job *job, virConnectPtr connection,
                           struct context_resuming *resuming, struct error *error) {
        struct context_manifest *manifest = resuming->manifest;
        char holder[CONTEXT_HOLDER_LEN];
        bool unknown = false;
        int r = check_vm(job, connection, manifest, NULL, error); /* fetching has taken its time */

        if (r == 0)
                r = check_disks(job, manifest, NULL, error);
        context_claim_text(job, "resumed", holder);
        if (r == 0)
                r = context_mark(&resuming->place.io, &resuming->head, holder, error);
        if (r == 0) {
                r = start(job, connection, resuming, &unknown, error);
                if (r < 0 && !unknown)
                        (void) context_mark(&resuming->place.io, &resuming->head, "", NULL);
        }
        if (r < 0 && unknown) {
                error_prefix(error, "whether VM %s was started is not known; look (`virsh domstate %s`). Context %s is "
                             "kept: where the VM is there, drop it, and where it is not, resume it with --force",
                             manifest->vm, manifest->vm, manifest->name);
                return r;
        }
        if (r < 0) {
                error_prefix(error, "context %s was not resumed, and is still there", manifest->name);
                return r;
        }
        r = job->keep ? context_mark(&resuming->place.io, &resuming->head, "", error)
                      : context_place_drop(&resuming->place, error);
        if (r < 0 && job->keep && job->guard) { /* it stays claimed, and the claim is the caller's own */
                if (error)
                        error_deinit(error);
                r = 0;
        }
        if (r < 0)
                error_prefix(error, "VM %s runs, but its context is still there", manifest->vm);
        return r;
}

int context_resume(const struct context_job *job, const char *name, struct context_manifest **ret,
                   struct error *error) {
        _cleanup_(context_resuming_deinit) struct context_resuming resuming = CONTEXT_RESUMING_INIT;
        _cleanup_connection_ virConnectPtr connection = NULL;
        int r = context_vm_connect(job->uri, &connection, error);

        if (r == 0)
                r = context_resuming_prepare(job, connection, name, NULL, &resuming, error);
        if (r == 0)
                r = context_resuming_fetch(job, connection, &resuming, error);
        if (r == 0 && !job->dry_run)
                r = context_resuming_start(job, connection, &resuming, error);
        if (r == 0)
                *ret = steal_ptr(resuming.manifest);
        return r;
}

int context_describe(const struct context_job *job, const char *name, struct context_manifest **ret,
                     struct error *error) {
        _cleanup_(context_resuming_deinit) struct context_resuming resuming = CONTEXT_RESUMING_INIT;
        int r = take(job, name, true, &resuming, error);

        if (r == 0) {
                r = context_open(&resuming.place.io, &resuming.head, &resuming.manifest, error);
                if (r < 0)
                        error_prefix(error, "context %s", name);
        }
        if (r == 0)
                *ret = steal_ptr(resuming.manifest);
        return r;
}

int context_remove(const struct context_job *job, const char *name, struct error *error) {
        return context_drop_named(job->servers, name, job->force, error);
}
