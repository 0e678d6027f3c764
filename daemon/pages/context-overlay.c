/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-overlay.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml.h"
#include "daemon/pages/context-chain.h"

#define ASIDE_MAX 1000 /* old overlays of one name */

/* Not the name of an overlay of a standby's, whose numbers would make it longer each time. */
static char *overlay_name(const char *path, const char *name) {
        char *overlay;

        return asprintf(&overlay, "%.*s.%s", (int) context_chain_own_length(path), path, name) < 0 ? NULL : overlay;
}

int context_overlays_name(struct context_disk *disks, size_t n, const char *name, struct error *error) {
        for (size_t i = 0; i < n; i++) {
                struct context_disk *disk = &disks[i];

                if (!disk->writable)
                        continue;
                if (disk->kind != CONTEXT_DISK_FILE || !disk->format)
                        return error_set(error, -ENOTSUP, "the VM writes to %s, which is no disk in a file that could "
                                         "be kept as it is now; save the VM instead, which ends it", disk->target);
                free(disk->overlay);
                disk->overlay = overlay_name(disk->path, name);
                if (!disk->overlay)
                        return error_set(error, -ENOMEM, "out of memory");
        }
        return 0;
}

int context_overlays_check(const struct context_disk *disks, size_t n, struct error *error) {
        for (size_t i = 0; i < n; i++)
                if (disks[i].overlay && access(disks[i].overlay, F_OK) == 0)
                        return error_set(error, -EEXIST, "%s is there already: what a VM wrote after an earlier "
                                         "checkpoint of that name; take another name", disks[i].overlay);
        return 0;
}

static int is_of(const struct domain_source *source, void *userdata) {
        const struct context_disk *disk = userdata;

        return !source->block && strcmp(source->target, disk->target) == 0 && strcmp(source->path, disk->path) == 0;
}

int context_overlays_trust(const struct context_manifest *manifest, struct error *error) {
        for (size_t i = 0; i < manifest->n_disks; i++) {
                struct context_disk *disk = &manifest->disks[i];
                _cleanup_free_ char *expected = overlay_name(disk->path, manifest->name);
                size_t own = context_chain_own_length(disk->path);
                int r;

                if (!disk->overlay)
                        continue;
                if (!expected)
                        return error_set(error, -ENOMEM, "out of memory");
                r = domain_xml_sources(manifest->xml, is_of, disk, error);
                if (r < 0)
                        return r;
                if (r == 0 || (strcmp(disk->overlay, expected) != 0 &&
                               (strncmp(disk->overlay, disk->path, own) != 0 || !disk->overlay[own] ||
                                context_chain_own_length(disk->overlay) != own)))
                        return error_set(error, -EPERM, "it names %s as overlay of disk %s, which is not what a "
                                         "checkpoint makes", disk->overlay, disk->target);
        }
        return 0;
}

/* Whose file it is, and who may read and write it, is as with the one behind it, where libvirt leaves that as it is. */
static void give_away(const struct context_disk *disk) {
        struct stat st;

        if (stat(disk->path, &st) == 0) {
                (void) !chown(disk->overlay, st.st_uid, st.st_gid);
                (void) chmod(disk->overlay, st.st_mode & 07777);
        }
}

/* The old overlay keeps what the lost VM wrote, for whoever wants to look for it. */
static int set_aside(const char *overlay, char **ret, struct error *error) {
        for (int i = 1; i <= ASIDE_MAX; i++) {
                _cleanup_free_ char *aside = NULL;

                if (asprintf(&aside, "%s.lost-%d", overlay, i) < 0) {
                        aside = NULL;
                        return error_set(error, -ENOMEM, "out of memory");
                }
                if (renameat2(AT_FDCWD, overlay, AT_FDCWD, aside, RENAME_NOREPLACE) == 0) {
                        *ret = steal_ptr(aside);
                        return 0;
                }
                if (errno == ENOENT)
                        return 0;
                if (errno != EEXIST)
                        break;
        }
        return error_set(error, -errno, "%s cannot be set aside: %s", overlay, strerror(errno));
}

static int create_overlay(const struct context_disk *disk, struct error *error) {
        const char *arguments[] = { "qemu-img", "create", "-q", "-f", "qcow2", "-F", disk->format, "-b", disk->path,
                                    disk->overlay, NULL };
        int r, status;
        pid_t pid;

        r = posix_spawnp(&pid, arguments[0], NULL, NULL, (char *const *) arguments, environ);
        if (r != 0)
                return error_set(error, -r, "qemu-img: %s", strerror(r));
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return error_set(error, -errno, "qemu-img: %s", strerror(errno));
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return error_set(error, -EIO, "qemu-img could not create %s", disk->overlay);
        give_away(disk);
        return 0;
}

static void take_back(const struct context_disk *disk, const char *aside) {
        (void) unlink(disk->overlay);
        if (aside)
                (void) rename(aside, disk->overlay);
}

int context_overlays_put(const struct context_manifest *manifest, struct context_overlays *ret, struct error *error) {
        struct context_overlays overlays = { .aside = calloc(manifest->n_disks + 1, sizeof(char *)) };
        int r = overlays.aside ? 0 : error_set(error, -ENOMEM, "out of memory");

        for (size_t i = 0; i < manifest->n_disks && r == 0; i++) {
                const struct context_disk *disk = &manifest->disks[i];

                if (!disk->overlay)
                        continue;
                r = set_aside(disk->overlay, &overlays.aside[i], error);
                if (r < 0)
                        break;
                overlays.n = i + 1;
                r = create_overlay(disk, error);
        }
        if (r < 0) {
                context_overlays_take_back(manifest, &overlays);
                context_overlays_deinit(&overlays);
                return r;
        }
        *ret = overlays;
        return 0;
}

void context_overlays_take_back(const struct context_manifest *manifest, struct context_overlays *overlays) {
        for (size_t i = 0; i < overlays->n; i++)
                if (manifest->disks[i].overlay)
                        take_back(&manifest->disks[i], overlays->aside[i]);
}

void context_overlays_deinit(struct context_overlays *overlays) {
        for (size_t i = 0; overlays->aside && i < overlays->n; i++)
                free(overlays->aside[i]);
        free(overlays->aside);
        *overlays = (struct context_overlays) { 0 };
}

int context_overlays_xml(const struct context_manifest *manifest, const char *instead, char **ret,
                         struct error *error) {
        _cleanup_free_ char *xml = instead ? strdup(instead) : NULL;

        if (instead && !xml)
                return error_set(error, -ENOMEM, "out of memory");
        for (size_t i = 0; i < manifest->n_disks; i++) {
                const struct context_disk *disk = &manifest->disks[i];
                char *next = NULL;
                int r;

                if (!disk->overlay)
                        continue;
                r = domain_xml_replace_disk(xml ? xml : manifest->xml, disk->target, disk->overlay, &next, error);
                if (r < 0)
                        return r;
                free(xml);
                xml = next;
        }
        *ret = steal_ptr(xml);
        return 0;
}
