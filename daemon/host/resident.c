/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/resident.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

#define BACKENDS_MAX 128
#define BACKEND_ID_LEN 128
#define MAPPINGS_MAX 4096 /* writable ones that could be a backend's */
#define CMDLINE_MAX (256 * KIB)

/* libvirt's names of memory backends: of a device with the alias ua-NAME, "mem" and the alias. */
#define DEVICE_ID_PREFIX "mem" APP_ALIAS_PREFIX

struct backend {
        char id[BACKEND_ID_LEN];
        uint64_t size_bytes;
        struct resident_part resident;
};

struct mapping {
        uint64_t start, end, inode, resident_bytes;
        bool guarded; /* a mapping that nobody may touch follows at once */
};

struct look {
        struct backend backends[BACKENDS_MAX];
        size_t n_backends;
        struct mapping mappings[MAPPINGS_MAX]; /* by rising address */
        size_t n_mappings;
        uint64_t total_bytes;
};

static FILE *open_in(const char *directory, const char *name) {
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        return fopen(path, "re");
}

int resident_read(const char *directory, uint64_t *ret_bytes) {
        _cleanup_fclose_ FILE *f = open_in(directory, "statm");
        uint64_t pages;

        if (!f)
                return -errno;
        if (fscanf(f, "%*u %" SCNu64, &pages) != 1)
                return -EIO;
        *ret_bytes = pages * (uint64_t) sysconf(_SC_PAGESIZE);
        return 0;
}

/* ---- the command line ---- */

/* One -object of the flat JSON that libvirt writes. What is no memory backend is passed over. */
static int add_backend(struct look *look, const char *word) {
        const char *id = strstr(word, "\"id\":\""), *size = strstr(word, "\"size\":");
        struct backend *backend = &look->backends[look->n_backends];

        if (!strstr(word, "\"qom-type\":\"memory-backend-") || !id || !size)
                return 0;
        if (look->n_backends == BACKENDS_MAX)
                return -EBADMSG;
        *backend = (struct backend) { .size_bytes = strtoull(size + strlen("\"size\":"), NULL, 10) };
        if (sscanf(id + strlen("\"id\":\""), "%127[^\"]", backend->id) != 1)
                return -EBADMSG;
        look->n_backends++;
        return 0;
}

static int read_backends(const char *directory, struct look *look) {
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
                        r = add_backend(look, word);
                object = strcmp(word, "-object") == 0;
        }
        return r < 0 ? r : look->n_backends > 0 ? 0 : -EBADMSG;
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
        struct mapping mapping = { 0 };
        char modes[5];
        int path = 0;

        *ret = NULL;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %" SCNu64 " %n", &mapping.start, &mapping.end, modes,
                   &mapping.inode, &path) < 4 || path == 0)
                return -EBADMSG;
        if (last && last->end == mapping.start && begins(modes, "---"))
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

static int read_mappings(const char *directory, struct look *look) {
        _cleanup_fclose_ FILE *f = open_in(directory, "smaps");
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
                        look->total_bytes += kib * KIB;
                        if (mapping)
                                mapping->resident_bytes += kib * KIB;
                }
        }
        if (ferror(f))
                return errno > 0 ? -errno : -EIO;
        return look->total_bytes > 0 ? 0 : -ESRCH; /* a process that is ending has no mappings any more */
}

/* ---- bringing both together ---- */

/* Is there a block of exactly this size that ends with mapping `i` and its guard page? The kernel splits a block
 * where parts of it get different properties, and what lies below it by chance may touch it. */
static bool find_block(const struct look *look, size_t i, uint64_t size_bytes, struct mapping *ret) {
        struct mapping block = look->mappings[i];

        if (!block.guarded)
                return false;
        while (block.end - block.start < size_bytes && i-- > 0) {
                const struct mapping *below = &look->mappings[i];

                if (below->end != block.start || below->inode != block.inode)
                        return false;
                block.start = below->start;
                block.resident_bytes += below->resident_bytes;
        }
        *ret = block;
        return block.end - block.start == size_bytes;
}

/* Would QEMU have mapped `a` before `b`? */
static bool mapped_before(const struct mapping *a, const struct mapping *b) {
        return a->inode != 0 ? a->inode < b->inode : a->start > b->start;
}

/* Gives all backends of one size their blocks, where there are as many of these, of one kind. */
static void match_size(struct look *look, uint64_t size_bytes) {
        struct mapping found[BACKENDS_MAX];
        size_t n_found = 0, n_backends = 0;

        for (size_t i = 0; i < look->n_backends; i++)
                n_backends += look->backends[i].size_bytes == size_bytes;
        for (size_t i = 0; i < look->n_mappings; i++) {
                struct mapping block;
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
        for (size_t i = 0, k = 0; i < look->n_backends; i++)
                if (look->backends[i].size_bytes == size_bytes)
                        look->backends[i].resident = (struct resident_part) { true, found[k++].resident_bytes };
}

static int find_app(const struct app_names *apps, const char *id) {
        for (int i = 0; begins(id, DEVICE_ID_PREFIX) && i < POLICY_APPLICATIONS_MAX; i++)
                if (apps->names[i][0] != '\0' && strcmp(apps->names[i], id + strlen(DEVICE_ID_PREFIX)) == 0)
                        return i;
        return NO_APP;
}

static void add_up(const struct look *look, const struct app_names *apps, struct resident_parts *ret) {
        struct resident_parts parts = {
                .total_bytes = look->total_bytes, .system.known = true, .overhead.known = true,
        };
        uint64_t guest_bytes = 0;

        for (size_t i = 0; i < look->n_backends; i++) {
                const struct backend *backend = &look->backends[i];
                int app = find_app(apps, backend->id);

                guest_bytes += backend->resident.bytes;
                if (!backend->resident.known)
                        parts.overhead.known = false;
                if (app != NO_APP)
                        parts.apps[app] = backend->resident;
                else if (backend->resident.known)
                        parts.system.bytes += backend->resident.bytes;
                else
                        parts.system.known = false;
        }
        /* A device that was plugged in later is not on the command line, and nobody tells which mapping is its. */
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                if (apps->names[i][0] != '\0' && !parts.apps[i].known)
                        parts.overhead.known = false;
        if (parts.overhead.known)
                parts.overhead.bytes = look->total_bytes - guest_bytes;
        *ret = parts;
}

int resident_read_parts(const char *directory, const struct app_names *apps, struct resident_parts *ret) {
        _cleanup_free_ struct look *look = calloc(1, sizeof(*look));
        int r;

        if (!look)
                return -ENOMEM;
        r = read_backends(directory, look);
        if (r >= 0)
                r = read_mappings(directory, look);
        if (r < 0)
                return r;
        for (size_t i = 0; i < look->n_backends; i++)
                if (!look->backends[i].resident.known)
                        match_size(look, look->backends[i].size_bytes);
        add_up(look, apps, ret);
        return 0;
}
