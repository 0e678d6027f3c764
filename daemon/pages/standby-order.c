/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The part of standby-disks.h that looks at the VM, and changes its files. */

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml.h"
#include "daemon/pages/context-disk.h"
#include "daemon/pages/standby-disks.h"

#define DEFINED_MAX 64 /* files of a definition that are looked at */
#define MERGES_MAX 64 /* of one disk: as many overlays as failing checkpoints could have left, and more */

/* The sources of a VM's disks; freed with its scope. */
struct sources {
        struct context_disk *disks;
        size_t n;
};

static void sources_deinit(struct sources *sources) {
        context_disks_free(sources->disks, sources->n);
}

static int look(const char *xml, struct sources *ret, struct error *error) {
        struct sources sources = { 0 };
        int r = context_disks_look(xml, &sources.disks, &sources.n, error);

        if (r == 0) {
                sources_deinit(ret);
                *ret = sources;
        }
        return r;
}

/* ---- merging ---- */

static int look_again(struct context_vm *vm, struct sources *sources, struct error *error) {
        int r = context_vm_read_xml(vm, error);

        return r < 0 ? r : look(vm->xml, sources, error);
}

static const struct context_disk *chain_of(const struct sources *sources, const char *target, size_t *ret_n) {
        size_t i = 0;

        while (i < sources->n && strcmp(sources->disks[i].target, target) != 0)
                i++;
        *ret_n = context_chain_length(sources->disks + i, sources->n - i);
        return sources->disks + i;
}

/* The files of one disk, and what is done to them. */
struct ordering {
        const char *dir;
        struct standby_disks *disks;
        struct standby_frozen *frozen; /* by the checkpoint that counts; NULL: there is none */
        struct context_vm *vm;
        const char *target;
        struct sources *sources; /* of all disks, as they were seen last */
        const struct context_progress *progress;
};

/* Keeps what a merge came to, of those that were noted. */
static int note_end(const struct ordering *ordering, const struct context_disk *chain, size_t n, struct error *error) {
        struct standby_frozen *frozen = ordering->frozen;

        if (!frozen || (!standby_disks_merged(frozen, chain, n) && !standby_disks_unmerged(frozen, chain, n)))
                return 0;
        return standby_disks_keep(ordering->dir, ordering->disks, error);
}

/* One that has failed, but for one of which nobody knows whether it is over. */
static void note_failure(const struct ordering *ordering) {
        const struct context_disk *chain;
        size_t n;

        if (!context_chain_is_idle(ordering->vm, ordering->target) ||
            look_again(ordering->vm, ordering->sources, NULL) < 0)
                return;
        chain = chain_of(ordering->sources, ordering->target, &n);
        if (n > 0)
                (void) note_end(ordering, chain, n, NULL);
}

static int begin_merge(const struct ordering *ordering, const struct context_merge *merge, struct error *error) {
        if (!merge->base->format)
                return error_set(error, -ENOTSUP, "disk %s: libvirt does not say of what format %s is",
                                 ordering->target, merge->base->path);
        if (!ordering->frozen)
                return 0;
        if (standby_disks_merging(ordering->frozen, merge) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        return standby_disks_keep(ordering->dir, ordering->disks, error);
}

/* One merge of that disk. 1: it was done, and the sources are as they are now; 0: there is none to do. */
static int merge_once(const struct ordering *ordering, struct error *error) {
        struct standby_frozen *frozen = ordering->frozen;
        _cleanup_free_ char *top = NULL;
        struct context_merge merge;
        size_t n;
        const struct context_disk *chain = chain_of(ordering->sources, ordering->target, &n);
        int r = 0;

        if (n > 0 && frozen && standby_disks_merged(frozen, chain, n))
                r = standby_disks_keep(ordering->dir, ordering->disks, error);
        if (r < 0)
                return r;
        if (n == 0 || !context_chain_plan(chain, n, frozen ? standby_disks_frozen_path(frozen, ordering->target) : NULL,
                                          &merge))
                return 0;
        top = strdup(merge.top->path);
        r = top ? begin_merge(ordering, &merge, error) : error_set(error, -ENOMEM, "out of memory");
        if (r < 0)
                return r;
        r = context_chain_merge(ordering->vm, &merge, ordering->progress, error);
        if (r < 0) {
                note_failure(ordering);
                return r;
        }
        r = look_again(ordering->vm, ordering->sources, error);
        if (r < 0)
                return r;
        chain = chain_of(ordering->sources, ordering->target, &n);
        r = n > 0 ? note_end(ordering, chain, n, error) : 0;
        if (r == 0 && context_chain_find(chain, n, top))
                r = error_set(error, -EAGAIN, "disk %s: %s could not be merged into the file behind it",
                              ordering->target, top);
        return r < 0 ? r : 1;
}

int standby_disks_check(const struct standby_disks *disks, uint64_t saved_usec, const struct context_vm *vm,
                        struct error *error) {
        const struct standby_frozen *frozen = standby_disks_find(disks, saved_usec);
        _cleanup_(sources_deinit) struct sources live = { 0 };
        int r = look(vm->xml, &live, error);

        for (size_t i = 0, n; i < live.n && r == 0; i += n) {
                const struct context_disk *chain = live.disks + i;
                struct context_merge merge;
                bool merges;

                n = context_chain_length(chain, live.n - i);
                if (!chain->writable || chain->kind != CONTEXT_DISK_FILE)
                        continue;
                merges = context_chain_plan(chain, n, frozen ? standby_disks_frozen_path(frozen, chain->target) : NULL,
                                            &merge);
                r = context_chain_check(vm, chain, merges ? &merge : NULL, error);
        }
        return r;
}

static int merge_disk(const struct ordering *ordering, struct error *error) {
        int r = 1;

        for (int i = 0; r > 0 && i < MERGES_MAX; i++)
                r = merge_once(ordering, error);
        return r < 0 ? r : 0;
}

/* ---- what nobody needs ---- */

struct needed {
        const struct sources *live;
        const struct standby_disks *disks;
};

static bool is_needed(const struct needed *needed, const char *path) {
        bool found = context_chain_find(needed->live->disks, needed->live->n, path);

        for (size_t i = 0; i < needed->disks->n_frozen && !found; i++)
                found = context_chain_find(needed->disks->frozen[i].disks, needed->disks->frozen[i].n_disks, path);
        return found;
}

static int remove_unneeded(const char *overlay, unsigned number, void *userdata) {
        if (!is_needed(userdata, overlay) && !context_disk_is_used(overlay) && unlink(overlay) < 0)
                fprintf(stderr, "<4>%s, which no checkpoint needs any more, cannot be removed: %s, ignoring\n", overlay,
                        strerror(errno));
        return 0;
}

/* ---- the definition ---- */

/* Files of a disk as the definition names them; libvirt looks for those behind the last one itself. */
struct defined {
        char *paths[DEFINED_MAX]; /* owned */
        size_t n;
};

static void defined_deinit(struct defined *defined) {
        for (size_t i = 0; i < defined->n; i++)
                free(defined->paths[i]);
}

static bool is_start_of(const struct defined *defined, const struct context_disk *chain, size_t n) {
        bool same = defined->n <= n;

        for (size_t i = 0; i < defined->n && same; i++)
                same = chain[i].path && strcmp(defined->paths[i], chain[i].path) == 0;
        return same;
}

/* What the VM writes of that disk is an overlay, and the definition has the same disk otherwise. */
static bool is_other(const struct defined *defined, const struct context_disk *chain, size_t n) {
        const size_t own = n > 0 && chain->path ? context_chain_own_length(chain->path) : 0;

        return defined->n > 0 && own > 0 && context_chain_is_overlay(chain->path) &&
               context_chain_own_length(defined->paths[0]) == own &&
               strncmp(chain->path, defined->paths[0], own) == 0 && !is_start_of(defined, chain, n);
}

static int libvirt_failed(const struct context_vm *vm, struct error *error) {
        return error_set(error, -EIO, "the definition of VM %s does not have the disks that it writes to: %s", vm->name,
                         virGetLastErrorMessage());
}

/* Collects the sources of one disk. */
struct collecting {
        const char *target;
        struct defined defined;
};

static int collect(const struct domain_source *source, void *userdata) {
        struct collecting *collecting = userdata;
        struct defined *defined = &collecting->defined;

        if (strcmp(source->target, collecting->target) != 0 || defined->n == ELEMENTSOF(defined->paths))
                return 0;
        defined->paths[defined->n] = strdup(source->path);
        return defined->paths[defined->n] ? (defined->n++, 0) : -ENOMEM;
}

/* Mends what `*xml` says of that disk. 1 where that was something else. */
static int mend(char **xml, const struct context_disk *chain, size_t n, struct error *error) {
        struct collecting collecting = { .target = chain->target };
        char *mended = NULL;
        int r = domain_xml_sources(*xml, collect, &collecting, error);

        if (r == 0 && is_other(&collecting.defined, chain, n)) {
                r = domain_xml_replace_disk(*xml, chain->target, chain->path, &mended, error);
                if (r == 0) {
                        free(*xml);
                        *xml = mended;
                        r = 1;
                }
        }
        defined_deinit(&collecting.defined);
        return r;
}

static int define(const struct context_vm *vm, const struct sources *live, struct error *error) {
        _cleanup_free_ char *xml = NULL;
        bool overlaid = false, other = false;
        virDomainPtr defined;

        for (size_t i = 0; i < live->n && !overlaid; i++)
                overlaid = live->disks[i].writable && context_chain_is_overlay(live->disks[i].path);
        if (!overlaid)
                return 0;
        xml = virDomainGetXMLDesc(vm->domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
        if (!xml)
                return libvirt_failed(vm, error);
        for (size_t i = 0, n; i < live->n; i += n) {
                int r;

                n = context_chain_length(live->disks + i, live->n - i);
                r = live->disks[i].writable ? mend(&xml, live->disks + i, n, error) : 0;
                if (r < 0)
                        return r;
                other = other || r > 0;
        }
        defined = other ? virDomainDefineXML(vm->connection, xml) : NULL;
        if (other && !defined)
                return libvirt_failed(vm, error);
        if (defined)
                (void) virDomainFree(defined);
        return 0;
}

int standby_disks_define(const struct context_vm *vm, struct error *error) {
        _cleanup_(sources_deinit) struct sources live = { 0 };
        int r = look(vm->xml, &live, error);

        return r < 0 ? r : define(vm, &live, error);
}

int standby_disks_order(const char *dir, struct standby_disks *disks, uint64_t saved_usec, struct context_vm *vm,
                        const struct context_progress *progress, struct error *error) {
        _cleanup_(sources_deinit) struct sources live = { 0 };
        const struct needed needed = { &live, disks };
        const size_t n_before = disks->n_frozen;
        struct ordering ordering = { .dir = dir, .disks = disks, .vm = vm, .sources = &live, .progress = progress };
        int r = look(vm->xml, &live, error);

        if (r < 0)
                return r;
        standby_disks_forget(disks, saved_usec);
        ordering.frozen = disks->n_frozen > 0 ? disks->frozen : NULL;
        if (n_before > disks->n_frozen)
                r = standby_disks_keep(dir, disks, error);
        for (size_t i = 0; i < live.n && r == 0; i++) {
                char target[NAME_LEN];

                if (!live.disks[i].writable || live.disks[i].kind != CONTEXT_DISK_FILE)
                        continue;
                memcpy(target, live.disks[i].target, sizeof(target));
                ordering.target = target;
                r = merge_disk(&ordering, error);
        }
        if (r == 0)
                r = define(vm, &live, error);
        for (size_t i = 0; i < live.n && r == 0; i++)
                if (live.disks[i].writable && live.disks[i].kind == CONTEXT_DISK_FILE)
                        (void) context_chain_scan(live.disks[i].path, remove_unneeded, (void *) &needed);
        return r;
}
