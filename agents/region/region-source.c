/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/region-source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/protocol/json-text.h"
#include "agents/protocol/message.h"
#include "agents/region/names-client.h"
#include "daemon/base/cleanup.h"

static void free_secret(char *text) {
        if (text)
                explicit_bzero(text, strlen(text));
        free(text);
}

void region_source_deinit(struct region_source *source) {
        free_secret(source->uri);
        free(source->names);
        free(source->psk_file);
        free(source->certificates);
        *source = (struct region_source) { 0 };
}

static int copy_text(const char *from, char **ret) {
        *ret = from ? strdup(from) : NULL;
        return from && !*ret ? -ENOMEM : 0;
}

int region_source_copy(const struct region_source *from, struct region_source *ret) {
        struct region_source copy = *from;
        int r;

        copy.uri = copy.names = copy.psk_file = copy.certificates = NULL;
        r = copy_text(from->uri, &copy.uri) | copy_text(from->names, &copy.names) |
            copy_text(from->psk_file, &copy.psk_file) | copy_text(from->certificates, &copy.certificates);
        if (r < 0) {
                region_source_deinit(&copy);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

char *region_uri_beside(const char *uri, const char *suffix) {
        int n = (int) strcspn(uri, "?");
        char *beside = NULL;

        return asprintf(&beside, "%.*s%s%s", n, uri, suffix, uri + n) < 0 ? NULL : beside;
}

/* The descriptor's contents from its beginning, wherever others have read to. */
static int read_list(int fd, struct region_list *ret, struct error *error) {
        _cleanup_free_ char *text = malloc(MESSAGE_LINE_MAX);
        size_t used = 0;
        ssize_t n;
        int r;

        if (!text)
                return error_set(error, -ENOMEM, "out of memory");
        while (used < MESSAGE_LINE_MAX &&
               (n = pread(fd, text + used, MESSAGE_LINE_MAX - used, (off_t) used)) != 0) {
                if (n < 0)
                        return error_set(error, -errno, "%s", strerror(errno));
                used += (size_t) n;
        }
        r = region_list_decode(text, used, ret, error);
        explicit_bzero(text, used);
        return r;
}

/* The list that this program was given; an empty one where it was given none. */
static int find_list(struct region_list *ret, struct error *error) {
        const char *variable = secure_getenv(REGION_LIST_VARIABLE), *dir = secure_getenv("CREDENTIALS_DIRECTORY");
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int file = -1;
        char *end = NULL;
        long fd = variable ? strtol(variable, &end, 10) : -1;
        int r;

        if (variable && (*end || end == variable || fd < 0))
                return error_set(error, -EINVAL, "$" REGION_LIST_VARIABLE " is no descriptor's number");
        if (!variable) {
                *ret = (struct region_list) { 0 };
                if (!dir)
                        return 0;
                if (asprintf(&path, "%s/" REGION_LIST_CREDENTIAL, dir) < 0)
                        return error_set(error, -ENOMEM, "out of memory");
                file = open(path, O_RDONLY | O_CLOEXEC);
                if (file < 0)
                        return errno == ENOENT ? 0 : error_set(error, -errno, "%s: %s", path, strerror(errno));
        }
        r = read_list(variable ? (int) fd : file, ret, error);
        if (r < 0)
                error_prefix(error, "%s", variable ? "$" REGION_LIST_VARIABLE : path);
        return r;
}

/* What is configured, where the program does not say otherwise. */
static int take_entry(struct region_source *source, const struct failover_region_options *options,
                      const struct region_entry *entry, struct error *error) {
        if (options->flags & FAILOVER_REGION_WRITE && !entry->write)
                return error_set(error, -EPERM, "is configured to be read only");
        if (options->kind != 0 && options->kind != entry->kind)
                return error_set(error, -EINVAL, "is configured as kind %d", entry->kind);
        source->kind = entry->kind;
        source->size_bytes = options->size ? options->size : entry->size_bytes;
        if (source->size_bytes > entry->size_bytes)
                return error_set(error, -ERANGE, "has %llu bytes", (unsigned long long) entry->size_bytes);
        source->epochs = entry->epochs;
        source->reports = entry->reports;
        source->deadline_usec = entry->deadline_msec * USEC_PER_MSEC;
        source->write_back_usec = entry->write_back_msec * USEC_PER_MSEC;
        source->bandwidth_bytes = entry->bandwidth_bytes;
        return copy_text(entry->uri, &source->uri);
}

static int take_options(struct region_source *source, const struct failover_region_options *options) {
        if (options->deadline > 0)
                source->deadline_usec = options->deadline * USEC_PER_MSEC;
        if (source->deadline_usec == 0)
                source->deadline_usec = REGION_DEADLINE_MSEC * USEC_PER_MSEC;
        if (options->write_back > 0)
                source->write_back_usec = options->write_back * USEC_PER_MSEC;
        if (options->bandwidth > 0)
                source->bandwidth_bytes = options->bandwidth;
        if (source->kind == 0)
                source->kind = options->kind ? options->kind : FAILOVER_REGION_VIRTUAL;
        if (source->size_bytes == 0)
                source->size_bytes = options->size;
        source->write = options->flags & FAILOVER_REGION_WRITE;
        if (!source->uri && !options->uri && copy_text(names_socket(options->names), &source->names) < 0)
                return -ENOMEM;
        if (options->uri && copy_text(options->uri, &source->uri) < 0)
                return -ENOMEM;
        return copy_text(options->psk_file, &source->psk_file) |
               copy_text(options->certificates, &source->certificates);
}

/* A program's own options, before anything else is looked at. */
static int check(const char *name, const struct failover_region_options *options, struct error *error) {
        unsigned known = FAILOVER_REGION_WRITE | FAILOVER_REGION_LAZY | FAILOVER_REGION_UNLOCKED;

        if (!text_is_name(name) || strlen(name) >= NAME_LEN)
                return error_set(error, -EINVAL, "a region's name is 1 to %d letters, digits, \"_\", \".\" and \"-\"",
                                 NAME_LEN - 1);
        if (options->kind < 0 || options->kind > REGION_KIND_MAX || options->flags & ~known ||
            options->size > REGION_SIZE_MAX)
                return error_set(error, -EINVAL, "kind, flags or size are not among those that there are");
        if (options->buffers == 1 || options->buffers > 16 ||
            (options->buffers > 0 && options->flags & FAILOVER_REGION_WRITE))
                return error_set(error, -EINVAL, "a stream has 2 to 16 buffers, and is read here");
        if (options->uri && !region_uri_is_valid(options->uri))
                return error_set(error, -EINVAL, "the URI is none of NBD");
        return 0;
}

int region_source_find(const char *name, const struct failover_region_options *options, struct region_source *ret,
                       struct error *error) {
        struct region_source source = { 0 };
        struct region_list list = { 0 };
        const struct region_entry *entry = NULL;
        int r = check(name, options, error);

        if (r < 0)
                return r;
        strcpy(source.name, name);
        if (!options->uri)
                r = find_list(&list, error);
        if (r == 0)
                entry = region_list_find(&list, name);
        if (entry)
                r = take_entry(&source, options, entry, error);
        region_list_deinit(&list);
        if (r == 0)
                r = take_options(&source, options);
        if (r == -ENOMEM)
                error_set(error, r, "out of memory");
        if (r == 0 && source.write_back_usec > 0 && source.kind < FAILOVER_REGION_REAL_TO_VIRTUAL)
                r = error_set(error, -EINVAL, "kinds 1 and 2 write through: there is nothing to write back");
        if (r == 0 && options->flags & FAILOVER_REGION_LAZY && (source.size_bytes == 0 || source.kind > 2))
                r = error_set(error, -EINVAL, "to be set up at the first access it has to be of kind 1 or 2, and its "
                              "size has to be known");
        if (r < 0) {
                region_source_deinit(&source);
                return r;
        }
        *ret = source;
        return 0;
}

int region_source_resolve(struct region_source *source, usec_t timeout_usec, struct error *error) {
        struct names_message request = { .type = NAMES_RESOLVE, .kind = source->kind, .write = source->write }, answer;
        int r;

        if (source->uri)
                return 0;
        strcpy(request.name, source->name);
        r = names_ask(source->names, &request, timeout_usec, &answer, NULL, error);
        if (r < 0)
                return r;
        if (source->size_bytes > answer.size_bytes)
                r = error_set(error, -ERANGE, "has %llu bytes", (unsigned long long) answer.size_bytes);
        else {
                source->uri = steal_ptr(answer.uri);
                source->size_bytes = source->size_bytes ? source->size_bytes : answer.size_bytes;
        }
        names_deinit(&answer);
        return r;
}

void region_source_doubt(struct region_source *source) {
        if (!source->names)
                return;
        free_secret(source->uri);
        source->uri = NULL;
}
