/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/resident.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/helper-client.h"
#include "daemon/host/memory/qemu-memory.h"
#include "daemon/host/memory/resident-sample.h"

int resident_read(const char *directory, uint64_t *ret_bytes) {
        _cleanup_fclose_ FILE *f = NULL;
        char path[256];
        uint64_t pages;

        snprintf(path, sizeof(path), "%s/statm", directory);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        if (fscanf(f, "%*u %" SCNu64, &pages) != 1)
                return -EIO;
        *ret_bytes = pages * (uint64_t) sysconf(_SC_PAGESIZE);
        return 0;
}

#define HELPER_USEC (2 * USEC_PER_SEC) /* for an answer of failoverd-helper */

static int find_app(const struct app_names *apps, const char *name) {
        for (int i = 0; name && i < POLICY_APPLICATIONS_MAX; i++)
                if (apps->names[i][0] != '\0' && strcmp(apps->names[i], name) == 0)
                        return i;
        return NO_APP;
}

static void add_up(const struct qemu_memory *memory, const struct app_names *apps, struct resident_parts *ret) {
        struct resident_parts parts = {
                .total_bytes = memory->total_bytes, .system.known = true, .overhead.known = true,
        };
        uint64_t guest_bytes = 0;

        for (size_t i = 0; i < memory->n_backends; i++) {
                const struct memory_backend *backend = &memory->backends[i];
                int app = find_app(apps, memory_backend_app(backend));

                guest_bytes += backend->block.resident_bytes;
                if (!backend->block.found)
                        parts.overhead.known = false;
                if (app != NO_APP)
                        parts.apps[app] = (struct resident_part){ .known = backend->block.found,
                                                                  .bytes = backend->block.resident_bytes,
                                                                  .swapped_bytes = backend->block.swapped_bytes };
                else if (backend->block.found)
                        parts.system.bytes += backend->block.resident_bytes;
                else
                        parts.system.known = false;
        }
        /* A device that was plugged in later is not on the command line, and nobody tells which mapping is its. */
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                if (apps->names[i][0] != '\0' && !parts.apps[i].known)
                        parts.overhead.known = false;
        if (parts.overhead.known)
                parts.overhead.bytes = memory->total_bytes - guest_bytes;
        *ret = parts;
}

int resident_read_parts(const char *directory, const struct app_names *apps, struct resident_parts *ret) {
        _cleanup_free_ struct qemu_memory *memory = malloc(sizeof(*memory));
        int r;

        if (!memory)
                return -ENOMEM;
        r = qemu_memory_read(directory, true, memory);
        if (r < 0)
                return r;
        add_up(memory, apps, ret);
        return 0;
}

/* Two samples that know nothing of each other. */
static void add_sample(struct resident_part *part, struct resident_estimate found) {
        part->bytes += found.bytes;
        part->error_bytes = (uint64_t) hypot((double) part->error_bytes, (double) found.error_bytes);
}

int resident_sample_parts(const char *directory, const struct app_names *apps, struct drand48_data *random,
                          struct resident_parts *ret) {
        _cleanup_free_ struct qemu_memory *memory = malloc(sizeof(*memory));
        struct resident_parts parts = { .system.known = true };
        _cleanup_close_ int page_map = -1;
        char path[256];
        int r;

        if (!memory)
                return -ENOMEM;
        r = qemu_memory_read(directory, false, memory);
        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "%s/pagemap", directory);
        page_map = open(path, O_RDONLY | O_CLOEXEC);
        if (page_map < 0)
                return -errno;
        for (size_t i = 0; i < memory->n_backends; i++) {
                const struct memory_backend *backend = &memory->backends[i];
                int app = find_app(apps, memory_backend_app(backend));
                struct resident_part *part = app == NO_APP ? &parts.system : &parts.apps[app];
                struct resident_estimate found;

                part->known = backend->block.found && (app != NO_APP || part->known);
                if (!part->known)
                        continue;
                r = resident_sample(page_map, backend->block.start, backend->block.end - backend->block.start, random,
                                    &found);
                if (r < 0)
                        return r;
                add_sample(part, found);
        }
        *ret = parts;
        return 0;
}

static int sample_region(const char *helper_path, struct helper_request *request, struct drand48_data *random,
                         struct resident_part *ret) {
        _cleanup_close_ int page_map = -1;
        struct resident_estimate found;
        struct helper_reply reply;
        int r;

        r = helper_ask(helper_path, request, HELPER_USEC, &reply, &page_map);
        if (r >= 0)
                r = resident_sample(page_map, reply.start, reply.bytes, random, &found);
        if (r >= 0)
                *ret = (struct resident_part) { .known = true, .bytes = found.bytes, .error_bytes = found.error_bytes };
        return r;
}

int resident_sample_regions(const char *helper_path, const char *domain, const struct app_names *apps,
                            struct drand48_data *random, struct resident_parts *ret) {
        struct resident_parts parts = { 0 };
        int result = -ENOENT;

        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                struct helper_request request = { .op = HELPER_LOOK };
                int r;

                if (apps->names[i][0] == '\0')
                        continue;
                snprintf(request.domain, sizeof(request.domain), "%s", domain);
                memcpy(request.app, apps->names[i], sizeof(request.app));
                r = sample_region(helper_path, &request, random, &parts.apps[i]);
                if (r >= 0)
                        result = 0;
                else if (result < 0)
                        result = r;
                if (r == -ENOTCONN || r == -ETIMEDOUT)
                        break; /* it answers nobody */
        }
        if (result >= 0)
                *ret = parts;
        return result;
}
