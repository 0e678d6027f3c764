/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The server's end of what a program shares, as an nbdkit plugin in a process of its own that ends with the program.
 * It has the program's memory (or file), and serves it to who knows the capability: to any number of readers, and
 * under the name with ".write" behind it to one writer, so that a second one is refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "agents/region/share-header.h"
#include "daemon/memserver/thread-model.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define BLOCK_WAIT_USEC 100000 /* for a stream's next block, before the reader is told to ask again */

struct connection {
        bool writes;
};

static int memory_fd = -1, file_fd = -1, program, program_fd;
static struct share_header *header;
static char *memory; /* behind the header; NULL: there is a file */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool has_writer, has_reader; /* has_reader: of a stream */

static int share_config(const char *key, const char *value) {
        int *fd = strcmp(key, "memory") == 0    ? &memory_fd
                  : strcmp(key, "file") == 0    ? &file_fd
                  : strcmp(key, "program") == 0 ? &program
                                                : NULL;

        if (!fd) {
                nbdkit_error("unknown parameter \"%s\"", key);
                return -1;
        }
        return nbdkit_parse_int(key, value, fd);
}

static uint64_t memory_bytes(void) {
        return header->n_buffers > 0 ? header->stride_bytes * header->n_buffers : header->stride_bytes;
}

static int share_config_complete(void) {
        void *mapped = memory_fd < 0 ? MAP_FAILED
                                     : mmap(NULL, SHARE_HEADER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);

        if (mapped == MAP_FAILED || ((struct share_header *) mapped)->magic != SHARE_MAGIC) {
                nbdkit_error("memory= is not what a program shares; failover_region_share(3) starts this");
                return -1;
        }
        header = mapped;
        if (file_fd >= 0)
                return 0;
        mapped = mmap(NULL, memory_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, SHARE_HEADER_BYTES);
        if (mapped == MAP_FAILED) {
                nbdkit_error("mapping what is shared: %s", strerror(errno));
                return -1;
        }
        memory = mapped;
        return 0;
}

/* How much of the name is the capability: all of it, or what stands before ".write". Takes as long for any wrong one.
 * */
static bool knows(const char *name, bool *ret_writes) {
        size_t length = SHARE_CAPABILITY_LEN - 1, n = strlen(name);
        unsigned char differs = 0;

        *ret_writes = n > length && strcmp(name + length, ".write") == 0;
        if (n != length && !*ret_writes)
                return false;
        for (size_t i = 0; i < length; i++)
                differs |= (unsigned char) (name[i] ^ header->capability[i]);
        return differs == 0;
}

static const char *admit(const char *name, struct connection *connection) {
        bool *taken = NULL;

        if (!knows(name, &connection->writes))
                return "it does not know the capability";
        if (connection->writes && !header->may_write)
                return "nobody may write to it";
        if (connection->writes)
                taken = &has_writer;
        else if (header->n_buffers > 0)
                taken = &has_reader;
        if (taken && *taken)
                return header->n_buffers > 0 ? "another one reads the stream" : "another one writes to it";
        if (taken)
                *taken = true;
        header->n_clients++;
        return NULL;
}

static void *share_open(int readonly) {
        struct connection *connection = calloc(1, sizeof(*connection));
        const char *refused;

        if (!connection) {
                nbdkit_error("out of memory");
                return NULL;
        }
        pthread_mutex_lock(&lock);
        refused = admit(nbdkit_export_name(), connection);
        pthread_mutex_unlock(&lock);
        if (refused) {
                nbdkit_error("a client was refused: %s", refused);
                nbdkit_set_error(EPERM);
                free(connection);
                return NULL;
        }
        return connection;
}

static void share_close(void *handle) {
        struct connection *connection = handle;

        pthread_mutex_lock(&lock);
        if (connection->writes)
                has_writer = false;
        else if (header->n_buffers > 0)
                has_reader = false;
        header->n_clients--;
        pthread_mutex_unlock(&lock);
        share_tell(header);
        free(connection);
}

static int share_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports) {
        return 0;
}

static const char *share_default_export(int readonly, int is_tls) {
        return "";
}

static int64_t share_get_size(void *handle) {
        return (int64_t) (header->n_buffers > 0 ? SHARE_STREAM_BYTES : header->size_bytes);
}

static int share_can_write(void *handle) {
        return ((struct connection *) handle)->writes;
}

static int share_can_multi_conn(void *handle) {
        return 1;
}

static int share_can_flush(void *handle) {
        return 1;
}

/* The program is at work in it too: words are never torn. */
static void copy(char *to, const char *from, uint64_t length) {
        if ((((uintptr_t) to | (uintptr_t) from | length) & 7) == 0)
                for (uint64_t i = 0; i < length / 8; i++)
                        __atomic_store_n((uint64_t *) (void *) to + i,
                                         __atomic_load_n((const uint64_t *) (const void *) from + i, __ATOMIC_RELAXED),
                                         __ATOMIC_RELAXED);
        else
                memcpy(to, from, length);
}

static int read_file(char *buffer, uint32_t count, uint64_t offset) {
        while (count > 0) {
                ssize_t n = pread(file_fd, buffer, count, (off_t) offset);

                if (n <= 0) {
                        nbdkit_set_error(n < 0 ? errno : EIO);
                        return -1;
                }
                buffer += n;
                count -= (uint32_t) n;
                offset += (uint64_t) n;
        }
        return 0;
}

/* Whoever asks for a block has all before it. 0: it is there. */
static int wait_for_block(uint64_t block) {
        uint32_t seen = header->changed;

        if (block > header->consumed && block <= header->produced) {
                header->consumed = block;
                share_tell(header);
                seen = header->changed;
        }
        if (block >= header->produced && !header->ended)
                share_wait(header, seen, BLOCK_WAIT_USEC);
        if (block < header->produced && block + header->n_buffers >= header->produced)
                return 0;
        nbdkit_set_error(block >= header->produced && !header->ended ? ENOSPC : ESHUTDOWN);
        return -1;
}

static int read_stream(char *buffer, uint32_t count, uint64_t offset) {
        const struct share_state state = { header->size_bytes, header->consumed };
        uint64_t block = offset / header->size_bytes, at = offset % header->size_bytes;

        if (offset >= SHARE_STREAM_BYTES - SHARE_HEADER_BYTES) {
                memset(buffer, 0, count);
                memcpy(buffer, &state, count < sizeof(state) ? count : sizeof(state));
                return 0;
        }
        if (count > header->size_bytes - at) {
                nbdkit_set_error(EINVAL);
                return -1;
        }
        if (wait_for_block(block) < 0)
                return -1;
        copy(buffer, memory + block % header->n_buffers * header->stride_bytes + at, count);
        return 0;
}

static int share_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        if (header->n_buffers > 0)
                return read_stream(buffer, count, offset);
        if (!memory)
                return read_file(buffer, count, offset);
        copy(buffer, memory + offset, count);
        return 0;
}

static int share_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        const char *from = buffer;

        if (memory) {
                copy(memory + offset, from, count);
                return 0;
        }
        while (count > 0) {
                ssize_t n = pwrite(file_fd, from, count, (off_t) offset);

                if (n < 0) {
                        nbdkit_set_error(errno);
                        return -1;
                }
                from += n;
                count -= (uint32_t) n;
                offset += (uint64_t) n;
        }
        return 0;
}

static int share_flush(void *handle, uint32_t flags) {
        if (memory || fdatasync(file_fd) == 0)
                return 0;
        nbdkit_set_error(errno);
        return -1;
}

/* At once: asked to end, nbdkit would serve those who are connected for as long as they like. */
static void *end_with_program(void *userdata) {
        struct pollfd polled = { .fd = program_fd, .events = POLLIN };

        while (poll(&polled, 1, -1) < 0 && errno == EINTR)
                ;
        _exit(0);
        return userdata;
}

static int share_after_fork(void) {
        pthread_t thread;

        program_fd = (int) syscall(SYS_pidfd_open, program, 0);
        if (program_fd >= 0 && pthread_create(&thread, NULL, end_with_program, NULL) == 0)
                return 0;
        nbdkit_error("the program that shares this has ended");
        return -1;
}

static int share_thread_model(void) {
        return nbdkit_thread_model_here();
}

static struct nbdkit_plugin nbdkit_plugin = {
        .name = "failover-share",
        .longname = "server of a shared region",
        .version = PROJECT_VERSION,
        .description = "Serves what a program shares by failover_region_share(3), which starts it",
        .config = share_config,
        .config_complete = share_config_complete,
        .after_fork = share_after_fork,
        .thread_model = share_thread_model,
        .list_exports = share_list_exports,
        .default_export = share_default_export,
        .open = share_open,
        .close = share_close,
        .get_size = share_get_size,
        .can_write = share_can_write,
        .can_multi_conn = share_can_multi_conn,
        .can_flush = share_can_flush,
        .pread = share_pread,
        .pwrite = share_pwrite,
        .flush = share_flush,
        .errno_is_preserved = 0,
};

struct nbdkit_plugin *plugin_init(void); /* which this defines */
NBDKIT_REGISTER_PLUGIN(nbdkit_plugin)
