/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The public calls on what a program shares (failover-region.h). */

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/protocol/json-text.h"
#include "agents/region/names-lease.h"
#include "agents/region/region-internal.h"
#include "agents/region/share-header.h"
#include "agents/region/share-server.h"
#include "agents/region/window.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/unix-socket.h"

#define EXPORT __attribute__((visibility("default")))

struct failover_share {
        char name[NAME_LEN];
        int kind;
        usec_t deadline_usec;
        int memory_fd, file_fd, listen_fd;
        struct share_header *header;
        char *data;          /* where it is no stream */
        uint64_t data_bytes; /* whole pages */
        struct window window;
        bool published; /* the window's block: what is left is to wait for room */
        pthread_mutex_t lock;
        char *dir, *socket; /* to be removed; NULL: none */
        char *uri;          /* secret */
        struct share_server *server;
        struct names_lease *lease; /* NULL: it has no name */
        pid_t pid;                 /* its threads and its server are that process's */
};

static bool is_resident(const struct failover_share *share) {
        return share->kind == FAILOVER_REGION_VIRTUAL_TO_REAL || share->kind == FAILOVER_REGION_REAL;
}

static void share_free(struct failover_share *share) {
        (void) names_lease_free(share->lease);
        (void) share_server_free(share->server);
        window_deinit(&share->window);
        if (share->data)
                (void) munmap(share->data, share->data_bytes);
        if (share->header) {
                explicit_bzero(share->header->capability, sizeof(share->header->capability));
                (void) munmap(share->header, SHARE_HEADER_BYTES);
        }
        if (share->socket)
                (void) unlink(share->socket);
        if (share->dir)
                (void) rmdir(share->dir);
        if (share->uri)
                explicit_bzero(share->uri, strlen(share->uri));
        for (int *fd = (int[]) { share->memory_fd, share->file_fd, share->listen_fd }, i = 0; i < 3; i++)
                if (fd[i] >= 0)
                        (void) close(fd[i]);
        (void) pthread_mutex_destroy(&share->lock);
        free(share->dir);
        free(share->socket);
        free(share->uri);
        free(share);
}

static int check(const char *name, const struct failover_share_options *options, struct error *error) {
        if (!text_is_name(name) || strlen(name) >= NAME_LEN)
                return error_set(error, -EINVAL, "a region's name is 1 to %d letters, digits, \"_\", \".\" and \"-\"",
                                 NAME_LEN - 1);
        if (options->kind < 0 || options->kind > REGION_KIND_MAX || options->flags & ~FAILOVER_SHARE_WRITE ||
            options->size > REGION_SIZE_MAX || (options->size == 0 && !options->file))
                return error_set(error, -EINVAL, "kind, flags or size are not among those that there are");
        if (options->buffers == 1 || options->buffers > 16 ||
            (options->buffers > 0 && (options->file || options->flags & FAILOVER_SHARE_WRITE)))
                return error_set(error, -EINVAL, "a stream has 2 to 16 buffers of memory, and only its owner writes");
        if (options->socket && options->port)
                return error_set(error, -EINVAL, "it is either a socket or a port that it listens at");
        return 0;
}

/* The file's size is the region's, where the program did not say less. */
static int open_file(struct failover_share *share, const struct failover_share_options *options, uint64_t *ret_size,
                     struct error *error) {
        struct stat st;

        share->file_fd = open(options->file, (options->flags & FAILOVER_SHARE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
        if (share->file_fd < 0 || fstat(share->file_fd, &st) < 0)
                return error_set(error, -errno, "%s: %s", options->file, strerror(errno));
        if (!S_ISREG(st.st_mode) || st.st_size == 0 || options->size > (uint64_t) st.st_size)
                return error_set(error, -EINVAL, "%s: is no file of that size", options->file);
        *ret_size = options->size > 0 ? options->size : (uint64_t) st.st_size;
        return 0;
}

static int make_header(struct failover_share *share, const struct failover_share_options *options, uint64_t size,
                       struct error *error) {
        uint64_t stride = (size + REGION_PAGE_BYTES - 1) / REGION_PAGE_BYTES * REGION_PAGE_BYTES;
        uint64_t n = options->buffers > 0 ? options->buffers : 1;
        unsigned char random[(SHARE_CAPABILITY_LEN - 1) / 2];
        void *mapped;

        share->memory_fd = memfd_create("failover-share", MFD_CLOEXEC);
        if (share->memory_fd < 0 || ftruncate(share->memory_fd, (off_t) (SHARE_HEADER_BYTES + stride * n)) < 0)
                return error_set(error, -errno, "%llu bytes of memory: %s", (unsigned long long) (stride * n),
                                 strerror(errno));
        mapped = mmap(NULL, SHARE_HEADER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, share->memory_fd, 0);
        if (mapped == MAP_FAILED || getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return error_set(error, -ENOMEM, "out of memory");
        share->header = mapped;
        (void) madvise(mapped, SHARE_HEADER_BYTES, MADV_DONTFORK);
        *share->header = (struct share_header) { .magic = SHARE_MAGIC, .size_bytes = size, .stride_bytes = stride,
                                                 .n_buffers = options->buffers,
                                                 .may_write = options->flags & FAILOVER_SHARE_WRITE };
        for (size_t i = 0; i < sizeof(random); i++)
                (void) snprintf(share->header->capability + 2 * i, 3, "%02x", random[i]);
        return 0;
}

/* R: servers of kinds 2 and 4 read the named file into resident memory, and serve only from there. */
static int read_in(struct failover_share *share, struct error *error) {
        uint64_t size = share->header->size_bytes;

        for (uint64_t at = 0; at < size;) {
                ssize_t n = pread(share->file_fd, share->data + at, size - at, (off_t) at);

                if (n <= 0)
                        return error_set(error, n < 0 ? -errno : -EIO, "reading the file: %s",
                                         n < 0 ? strerror(errno) : "it has become shorter");
                at += (uint64_t) n;
        }
        (void) close(share->file_fd);
        share->file_fd = -1;
        return 0;
}

static int lock_memory(void *memory, uint64_t size, struct error *error) {
        if (mlock(memory, size) < 0)
                return error_set(error, -EPERM, "%llu bytes cannot be locked in memory: %s: raise the limit "
                                 "(LimitMEMLOCK=, ulimit -l)", (unsigned long long) size, strerror(errno));
        return 0;
}

static int map_memory(struct failover_share *share, const struct failover_share_options *options,
                      struct error *error) {
        const struct share_header *header = share->header;
        bool file = share->file_fd >= 0 && !is_resident(share);
        int protection = PROT_READ | (!file || header->may_write ? PROT_WRITE : 0), r;
        void *mapped;

        share->data_bytes = header->stride_bytes;
        if (options->buffers > 0) {
                r = window_init(&share->window, share->memory_fd, SHARE_HEADER_BYTES, header->stride_bytes,
                                options->buffers, PROT_READ | PROT_WRITE);
                return r < 0 ? error_set(error, r, "mapping the buffers: %s", strerror(-r))
                             : lock_memory(share->window.buffers, header->stride_bytes * options->buffers, error);
        }
        mapped = mmap(NULL, share->data_bytes, protection, MAP_SHARED, file ? share->file_fd : share->memory_fd,
                      file ? 0 : SHARE_HEADER_BYTES);
        if (mapped == MAP_FAILED)
                return error_set(error, -errno, "mapping it: %s", strerror(errno));
        share->data = mapped;
        (void) madvise(mapped, share->data_bytes, MADV_DONTFORK);
        r = is_resident(share) ? lock_memory(mapped, share->data_bytes, error) : 0;
        return r == 0 && share->file_fd >= 0 && !file ? read_in(share, error) : r;
}

/* Whom the first key is for, as the URI has to say. */
static int find_user(const char *psk_file, char ret[static NAME_LEN], struct error *error) {
        _cleanup_fclose_ FILE *file = fopen(psk_file, "re");
        char line[256], *colon;

        if (!file)
                return error_set(error, -errno, "%s: %s", psk_file, strerror(errno));
        if (!fgets(line, sizeof(line), file) || !(colon = strchr(line, ':')) || colon - line >= NAME_LEN)
                return error_set(error, -EINVAL, "%s: does not begin with a line NAME:KEY", psk_file);
        *colon = 0;
        strcpy(ret, line);
        explicit_bzero(line, sizeof(line));
        return text_is_name(ret) ? 0 : error_set(error, -EINVAL, "%s: its first name cannot stand in a URI", psk_file);
}

static int listen_at_port(struct failover_share *share, const struct failover_share_options *options,
                          struct error *error) {
        const struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
        struct addrinfo *address;
        int r = getaddrinfo(NULL, options->port, &hints, &address), one = 1;
        char user[NAME_LEN] = "";

        if (r != 0)
                return error_set(error, -EINVAL, "port %s: %s", options->port, gai_strerror(r));
        share->listen_fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (share->listen_fd < 0 ||
            setsockopt(share->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
            bind(share->listen_fd, address->ai_addr, address->ai_addrlen) < 0 ||
            listen(share->listen_fd, SOMAXCONN) < 0)
                r = error_set(error, -errno, "port %s: %s", options->port, strerror(errno));
        freeaddrinfo(address);
        if (r == 0 && options->psk_file)
                r = find_user(options->psk_file, user, error);
        if (r == 0 && asprintf(&share->uri, "%s://%s%s%s:%s/%s", *user ? "nbds" : "nbd", user, *user ? "@" : "",
                               options->host ? options->host : "localhost", options->port,
                               share->header->capability) < 0)
                r = error_set(error, -ENOMEM, "out of memory");
        return r;
}

static int make_directory(struct failover_share *share, struct error *error) {
        const char *runtime = secure_getenv("XDG_RUNTIME_DIR");

        if (asprintf(&share->dir, "%s/failover-share-XXXXXX", runtime && *runtime ? runtime : "/tmp") < 0 ||
            !mkdtemp(share->dir)) {
                int r = -errno;

                free(share->dir);
                share->dir = NULL;
                return error_set(error, r, "a directory for its socket: %s", strerror(-r));
        }
        return asprintf(&share->socket, "%s/nbd.sock", share->dir) < 0 ? error_set(error, -ENOMEM, "out of memory") : 0;
}

static int listen_at_socket(struct failover_share *share, const struct failover_share_options *options,
                            struct error *error) {
        struct sockaddr_un address;
        int r = 0;

        if (options->socket)
                share->socket = strdup(options->socket);
        else
                r = make_directory(share, error);
        if (r < 0)
                return r;
        if (!share->socket || unix_address(share->socket, &address) < 0)
                r = error_set(error, -EINVAL, "the socket's path has to be absolute, and shorter than 108 bytes");
        else
                r = unix_listen(&address, SOCK_STREAM | SOCK_CLOEXEC, SOMAXCONN, &share->listen_fd, error);
        if (r < 0) {
                free(share->socket); /* it is another one's */
                share->socket = NULL;
                return r;
        }
        if (asprintf(&share->uri, "nbd+unix:///%s?socket=%s", share->header->capability, share->socket) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        return 0;
}

static int register_name(struct failover_share *share, const struct failover_share_options *options,
                         struct error *error) {
        struct names_message request = { .type = NAMES_REGISTER, .uri = share->uri,
                                         .size_bytes = share->header->size_bytes };

        if (options->names && !*options->names)
                return 0;
        memcpy(request.name, share->name, NAME_LEN);
        request.kinds = options->buffers > 0 ? 1U << 4 : is_resident(share) ? 1U << 2 | 1U << 4 : 1U << 1 | 1U << 3;
        return names_lease_new(names_socket(options->names), &request, share->deadline_usec, &share->lease, error);
}

static int share_open(struct failover_share *share, const struct failover_share_options *options,
                      struct error *error) {
        uint64_t size = options->size;
        int r = options->file ? open_file(share, options, &size, error) : 0;

        if (r == 0)
                r = make_header(share, options, size, error);
        if (r == 0)
                r = map_memory(share, options, error);
        if (r == 0)
                r = options->port ? listen_at_port(share, options, error) : listen_at_socket(share, options, error);
        if (r == 0)
                r = share_server_start(share->listen_fd, share->memory_fd, share->file_fd, options->psk_file,
                                       &share->server, error);
        return r < 0 ? r : register_name(share, options, error);
}

static struct failover_share *share_new(const char *name, const struct failover_share_options *options) {
        struct failover_share *share = calloc(1, sizeof(*share));

        if (!share)
                return NULL;
        share->pid = getpid();
        share->memory_fd = share->file_fd = share->listen_fd = -1;
        (void) pthread_mutex_init(&share->lock, NULL);
        strcpy(share->name, name);
        share->kind = options->kind ? options->kind : FAILOVER_REGION_VIRTUAL;
        share->deadline_usec = (options->deadline ? options->deadline : REGION_DEADLINE_MSEC) * USEC_PER_MSEC;
        return share;
}

EXPORT int failover_region_share(const char *name, const struct failover_share_options *given, failover_share **ret) {
        struct failover_share_options options = FAILOVER_SHARE_OPTIONS_INIT;
        struct failover_share *share = NULL;
        struct error error = ERROR_INIT;
        int r = 0;

        if (!name || !ret || !given || given->options_size < offsetof(struct failover_share_options, file))
                r = error_set(&error, -EINVAL, "name, options and a place for the share are needed");
        if (r == 0) {
                memcpy(&options, given, given->options_size < sizeof(options) ? given->options_size : sizeof(options));
                r = check(name, &options, &error);
        }
        if (r == 0)
                share = share_new(name, &options);
        if (r == 0 && !share)
                r = error_set(&error, -ENOMEM, "out of memory");
        if (r < 0)
                return region_error_keep(&error, "sharing");
        r = share_open(share, &options, &error);
        if (r < 0) {
                share_free(share);
                return region_error_keep(&error, "sharing \"%.64s\"", name);
        }
        *ret = share;
        return 0;
}

EXPORT void *failover_share_data(failover_share *share) {
        return share->header->n_buffers > 0 ? share->window.data : share->data;
}

EXPORT uint64_t failover_share_size(failover_share *share) {
        return share->header->size_bytes;
}

EXPORT const char *failover_share_uri(failover_share *share) {
        return share->uri;
}

/* Until the reader has asked for block `consumed`, which says that it has those before it. */
static int wait_for_reader(struct failover_share *share, uint64_t consumed, struct error *error) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + share->deadline_usec, now;
        struct share_header *header = share->header;

        for (;;) {
                uint32_t seen = header->changed;

                if (header->consumed >= consumed)
                        return 0;
                now = clock_usec(CLOCK_MONOTONIC);
                if (share_server_ended(share->server))
                        return error_set(error, -ENOTCONN, "its server has ended");
                if (now >= until)
                        return error_set(error, -ETIMEDOUT, "the reader has not come on within the deadline");
                share_wait(header, seen, until - now < 100 * USEC_PER_MSEC ? until - now : 100 * USEC_PER_MSEC);
        }
}

static int flip(struct failover_share *share, struct error *error) {
        struct share_header *header = share->header;
        uint64_t next;
        int r;

        if (header->n_buffers == 0)
                return error_set(error, -EINVAL, "it is no stream");
        if (!share->published) {
                header->produced++;
                share_tell(header);
                share->published = true;
        }
        next = header->produced;
        r = next < header->n_buffers ? 0 : wait_for_reader(share, next + 1 - header->n_buffers, error);
        if (r < 0)
                return r;
        r = window_show(&share->window, next, PROT_READ | PROT_WRITE);
        if (r < 0)
                return error_set(error, r, "mapping the next buffer: %s", strerror(-r));
        share->published = false;
        return 0;
}

EXPORT int failover_share_flip(failover_share *share) {
        struct error error = ERROR_INIT;
        int r;

        pthread_mutex_lock(&share->lock);
        r = flip(share, &error);
        pthread_mutex_unlock(&share->lock);
        return r < 0 ? region_error_keep(&error, "sharing \"%s\"", share->name) : 0;
}

EXPORT int failover_share_check(failover_share *share) {
        struct error error = ERROR_INIT;
        int r = 0;

        pthread_mutex_lock(&share->lock);
        if (share_server_ended(share->server))
                r = error_set(&error, -ENOTCONN, "its server has ended, and clients reach it no more: close it, and "
                              "share it anew");
        pthread_mutex_unlock(&share->lock);
        if (r == 0 && share->lease && (r = names_lease_check(share->lease, &error)) < 0)
                error_prefix(&error, "its name leads here no more, which is tried again");
        return r < 0 ? region_error_keep(&error, "sharing \"%s\"", share->name) : 0;
}

/* A reader that has come to the end hangs up. */
static int end_stream(struct failover_share *share, struct error *error) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + share->deadline_usec;
        struct share_header *header = share->header;

        header->ended = 1;
        share_tell(header);
        for (;;) {
                uint32_t seen = header->changed;
                usec_t now = clock_usec(CLOCK_MONOTONIC);

                if (header->n_clients == 0 || now >= until || share_server_ended(share->server))
                        break;
                share_wait(header, seen, until - now < 100 * USEC_PER_MSEC ? until - now : 100 * USEC_PER_MSEC);
        }
        return header->consumed == header->produced ? 0
                                                    : error_set(error, -EPIPE, "blocks were not read, and are lost");
}

EXPORT int failover_share_close(failover_share *share) {
        struct error error = ERROR_INIT;
        char name[NAME_LEN];
        int r = 0;

        if (!share)
                return 0;
        memcpy(name, share->name, NAME_LEN);
        if (share->pid != getpid()) {
                error_set(&error, -ECHILD, "is shared by process %d, which alone can end it", (int) share->pid);
                return region_error_keep(&error, "sharing \"%s\"", name);
        }
        if (share->header->n_buffers > 0)
                r = end_stream(share, &error);
        share_free(share);
        return r < 0 ? region_error_keep(&error, "sharing \"%s\"", name) : 0;
}
