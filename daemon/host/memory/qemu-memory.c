/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/qemu-memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define MAPPINGS_MAX 4096 /* writable ones that could be a backend's */
#define CMDLINE_MAX (256 * KIB)

/* libvirt's names of memory backends: of a device with the alias ua-NAME, "mem" and the alias. */
#define DEVICE_ID_PREFIX "memua-"

struct mapping {
        struct memory_block block;
        bool guarded; /* a mapping that nobody may touch follows at once */
};

struct look {
        struct qemu_memory *memory;
        struct mapping mappings[MAPPINGS_MAX]; /* by rising address */
        size_t n_mappings;
};

static FILE *open_in(const char *directory, const char *name) {
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        return fopen(path, "re");
}

/* ---- the command line ---- */

/* One -object of the flat JSON that libvirt writes. What is no memory backend is passed over. */
static int add_backend(struct qemu_memory *memory, const char *word) {
        const char *id = strstr(word, "\"id\":\""), *size = strstr(word, "\"size\":");
        struct memory_backend *backend = &memory->backends[memory->n_backends];

        if (!strstr(word, "\"qom-type\":\"memory-backend-") || !id || !size)
                return 0;
        if (memory->n_backends == MEMORY_BACKENDS_MAX)
                return -EBADMSG;
        *backend = (struct memory_backend) { .size_bytes = strtoull(size + strlen("\"size\":"), NULL, 10) };
        if (sscanf(id + strlen("\"id\":\""), "%127[^\"]", backend->id) != 1)
                return -EBADMSG;
        memory->n_backends++;
        return 0;
}

static int read_backends(const char *directory, struct qemu_memory *memory) {
        _cleanup_free_ char *text = malloc(CMDLINE_MAX);
        _cleanup_fclose_ FILE *f = open_in(directory, "cmdline");
        bool object = false;
        size_t n;
        int r = 0;

        if (!f)
                return -errno;
        if (!text)
                return -ENOMEM;
        n = fread(text, 1, CMDLINE_MAX - 1, f);
        if (ferror(f))
                return errno > 0 ? -errno : -EIO;
        text[n] = '\0';
        for (const char *word = text; r >= 0 && word < text + n; word += strlen(word) + 1) {
                if (object)
                        r = add_backend(memory, word);
                object = strcmp(word, "-object") == 0;
        }
        return r < 0 ? r : memory->n_backends > 0 ? 0 : -EBADMSG;
}

/* ---- mappings ---- */

static bool begins(const char *text, const char *with) {
        return strncmp(text, with, strlen(with)) == 0;
}

/* Could a guest's memory be behind it? Anonymous memory, a memfd, or a file on hugetlbfs or in libvirt's ram
 * directory. */
static bool is_memory(const char *modes, const char *path) {
        if (!begins(modes, "rw-"))
                return false;
        return path[0] == '\0' || begins(path, "/memfd:") || strstr(path, "/libvirt/qemu/");
}

/* Takes the first line of a mapping. `ret`: where the lines after it go, NULL for a mapping of no interest. */
static int add_mapping(struct look *look, const char *line, struct mapping **ret) {
        struct mapping *last = look->n_mappings > 0 ? &look->mappings[look->n_mappings - 1] : NULL;
        struct mapping mapping = { .block.found = true };
        char modes[5];
        int path = 0;

        *ret = NULL;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %" SCNu64 " %n", &mapping.block.start, &mapping.block.end,
                   modes, &mapping.block.inode, &path) < 4 ||
            path == 0)
                return -EBADMSG;
        if (last && last->block.end == mapping.block.start && begins(modes, "---"))
                last->guarded = true;
        if (!is_memory(modes, line + path))
                return 0;
        if (look->n_mappings == MAPPINGS_MAX)
                return -EBADMSG;
        look->mappings[look->n_mappings] = mapping;
        *ret = &look->mappings[look->n_mappings++];
        return 0;
}

static bool is_resident(const char *line, uint64_t *ret_kib) {
        return sscanf(line, "Rss: %" SCNu64, ret_kib) == 1 || sscanf(line, "Shared_Hugetlb: %" SCNu64, ret_kib) == 1 ||
               sscanf(line, "Private_Hugetlb: %" SCNu64, ret_kib) == 1;
}

/* Paged out. Of a memory file this tells what its pages in a page map do not: whether they are in the swap or were
 * given back (Documentation/filesystems/proc.rst: shmem). */
static bool is_swapped(const char *line, uint64_t *ret_kib) {
        return sscanf(line, "Swap: %" SCNu64, ret_kib) == 1;
}

static int read_mappings(const char *directory, bool resident, struct look *look) {
        _cleanup_fclose_ FILE *f = open_in(directory, resident ? "smaps" : "maps");
        _cleanup_free_ char *line = NULL;
        struct mapping *mapping = NULL;
        size_t size = 0;
        ssize_t n;
        int r;

        if (!f)
                return -errno;
        errno = 0;
        while ((n = getline(&line, &size, f)) > 0) {
                uint64_t kib = 0;

                if (line[n - 1] == '\n')
                        line[n - 1] = '\0';
                if (line[0] < 'A' || line[0] > 'Z') {
                        r = add_mapping(look, line, &mapping);
                        if (r < 0)
                                return r;
                } else if (is_resident(line, &kib)) {
                        look->memory->total_bytes += kib * KIB;
                        if (mapping)
                                mapping->block.resident_bytes += kib * KIB;
                } else if (mapping && is_swapped(line, &kib))
                        mapping->block.swapped_bytes += kib * KIB;
        }
        if (ferror(f))
                return errno > 0 ? -errno : -EIO;
        return look->n_mappings > 0 ? 0 : -ESRCH; /* a process that is ending has no mappings any more */
}

/* ---- bringing both together ---- */

/* Is there a block of exactly this size that ends with mapping `i` and its guard page? The kernel splits a block
 * where parts of it get different properties, and what lies below it by chance may touch it. */
static bool find_block(const struct look *look, size_t i, uint64_t size_bytes, struct memory_block *ret) {
        struct memory_block block = look->mappings[i].block;

        if (!look->mappings[i].guarded)
                return false;
        while (block.end - block.start < size_bytes && i-- > 0) {
                const struct memory_block *below = &look->mappings[i].block;

                if (below->end != block.start || below->inode != block.inode)
                        return false;
                block.start = below->start;
                block.resident_bytes += below->resident_bytes;
                block.swapped_bytes += below->swapped_bytes;
        }
        *ret = block;
        return block.end - block.start == size_bytes;
}

/* Would QEMU have mapped `a` before `b`? */
static bool mapped_before(const struct memory_block *a, const struct memory_block *b) {
        return a->inode != 0 ? a->inode < b->inode : a->start > b->start;
}

/* Gives all backends of one size their blocks, where there are as many of these, of one kind. */
static void match_size(struct look *look, uint64_t size_bytes) {
        struct memory_block found[MEMORY_BACKENDS_MAX];
        size_t n_found = 0, n_backends = 0;

        for (size_t i = 0; i < look->memory->n_backends; i++)
                n_backends += look->memory->backends[i].size_bytes == size_bytes;
        for (size_t i = 0; i < look->n_mappings; i++) {
                struct memory_block block;
                size_t at = n_found;

                if (!find_block(look, i, size_bytes, &block))
                        continue;
                if (n_found == n_backends || (n_found > 0 && (found[0].inode == 0) != (block.inode == 0)))
                        return;
                for (; at > 0 && mapped_before(&block, &found[at - 1]); at--)
                        found[at] = found[at - 1];
                found[at] = block;
                n_found++;
        }
        if (n_found != n_backends)
                return;
        for (size_t i = 0, k = 0; i < look->memory->n_backends; i++)
                if (look->memory->backends[i].size_bytes == size_bytes)
                        look->memory->backends[i].block = found[k++];
}

int qemu_memory_read(const char *directory, bool resident, struct qemu_memory *ret) {
        _cleanup_free_ struct look *look = calloc(1, sizeof(*look));
        int r;

        if (!look)
                return -ENOMEM;
        *ret = (struct qemu_memory) { 0 };
        look->memory = ret;
        r = read_backends(directory, ret);
        if (r >= 0)
                r = read_mappings(directory, resident, look);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ret->n_backends; i++)
                if (!ret->backends[i].block.found)
                        match_size(look, ret->backends[i].size_bytes);
        return 0;
}

const char *memory_backend_app(const struct memory_backend *backend) {
        return begins(backend->id, DEVICE_ID_PREFIX) ? backend->id + strlen(DEVICE_ID_PREFIX) : NULL;
}

int qemu_memory_find(const struct qemu_memory *memory, const char *app, struct memory_block *ret) {
        for (size_t i = 0; i < memory->n_backends; i++) {
                const char *name = memory_backend_app(&memory->backends[i]);

                if (!name || strcmp(name, app) != 0)
                        continue;
                if (!memory->backends[i].block.found)
                        return -EBADMSG;
                *ret = memory->backends[i].block;
                return 0;
        }
        return -ENOENT;
}

int qemu_memory_locate(int pid, const char *app, struct memory_block *ret) {
        _cleanup_free_ struct qemu_memory *memory = malloc(sizeof(*memory));
        char directory[32];
        int r;

        if (!memory)
                return -ENOMEM;
        snprintf(directory, sizeof(directory), "/proc/%d", pid);
        r = qemu_memory_read(directory, false, memory);
        return r < 0 ? r : qemu_memory_find(memory, app, ret);
}
