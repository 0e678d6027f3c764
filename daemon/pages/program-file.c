/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define FUSE_USE_VERSION 312
#include "daemon/pages/program-file.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define FILE_INODE 2
#define FOREVER 86400.0 /* seconds: nothing of it ever changes */
#define READ_MAX MIB
#define REQUEST_BYTES (READ_MAX + 4096) /* and its head */

struct program_mount {
        struct program_file file;
        struct fuse_session *session;
        char *directory, *path; /* owned; directory: made, NULL: it is out of sight */
        unsigned char *buffer;  /* READ_MAX */
        bool mounted;
};

/* ---- what the kernel asks ---- */

static int attributes(const struct program_mount *mount, fuse_ino_t inode, struct stat *ret) {
        *ret = (struct stat) { .st_ino = inode, .st_uid = geteuid(), .st_gid = getegid(), .st_nlink = 1 };
        ret->st_mtim.tv_sec = (time_t) (mount->file.modified_usec / USEC_PER_SEC);
        ret->st_ctim = ret->st_mtim;
        if (inode == FUSE_ROOT_ID)
                ret->st_mode = S_IFDIR | 0555;
        else if (inode == FILE_INODE) {
                ret->st_mode = S_IFREG | 0555;
                ret->st_size = (off_t) mount->file.size_bytes;
                ret->st_blocks = (blkcnt_t) (mount->file.size_bytes / 512);
        }
        return inode == FUSE_ROOT_ID || inode == FILE_INODE ? 0 : -ENOENT;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
        const struct program_mount *mount = fuse_req_userdata(request);
        struct fuse_entry_param entry = { .ino = FILE_INODE, .attr_timeout = FOREVER, .entry_timeout = FOREVER };

        if (parent != FUSE_ROOT_ID || strcmp(name, mount->file.name) != 0) {
                (void) fuse_reply_err(request, ENOENT);
                return;
        }
        (void) attributes(mount, FILE_INODE, &entry.attr);
        (void) fuse_reply_entry(request, &entry);
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
        struct stat st;

        if (attributes(fuse_req_userdata(request), inode, &st) < 0)
                (void) fuse_reply_err(request, ENOENT);
        else
                (void) fuse_reply_attr(request, &st, FOREVER);
}

/* With pages of any size the kernel asks for no more at once: what it asks to write at most is the measure of both. */
static void on_init(void *userdata, struct fuse_conn_info *connection) {
        connection->max_write = READ_MAX;
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
        info->keep_cache = 1; /* another open does not have everything fetched again */
        (void) fuse_reply_open(request, info);
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info) {
        const struct program_mount *mount = fuse_req_userdata(request);
        const uint64_t end = mount->file.size_bytes, at = (uint64_t) offset;
        uint64_t n = at < end ? end - at : 0;

        if (n > size)
                n = size;
        if (n > READ_MAX) /* fewer bytes would be taken for the end of the file */
                (void) fuse_reply_err(request, EIO);
        else if (n > 0 && mount->file.read(mount->file.userdata, mount->buffer, n, at) < 0)
                (void) fuse_reply_err(request, EIO);
        else
                (void) fuse_reply_buf(request, (const char *) mount->buffer, n);
}

static const struct fuse_lowlevel_ops operations = {
        .init = on_init,
        .lookup = on_lookup,
        .getattr = on_getattr,
        .open = on_open,
        .read = on_read,
};

/* ---- mounting ---- */

static int make_directory(struct program_mount *mount, struct error *error) {
        const char *runtime = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");

        if (asprintf(&mount->directory, "%s/failover-program-XXXXXX", runtime ? runtime : "/tmp") < 0) {
                mount->directory = NULL;
                return error_set(error, -ENOMEM, "out of memory");
        }
        if (!mkdtemp(mount->directory)) {
                int r = error_set(error, -errno, "%s: %s", mount->directory, strerror(errno));
                free(steal_ptr(mount->directory));
                return r;
        }
        if (asprintf(&mount->path, "%s/%s", mount->directory, mount->file.name) < 0) {
                mount->path = NULL;
                return error_set(error, -ENOMEM, "out of memory");
        }
        return 0;
}

static int mount_it(struct program_mount *mount, struct error *error) {
        /* Root's program may go on as somebody else, and open itself again. */
        char options[] = "ro,nosuid,nodev,default_permissions,fsname=failover-program,allow_other";
        char *words[] = { (char *) "failover-program", (char *) "-o", options, NULL };
        struct fuse_args arguments = FUSE_ARGS_INIT(3, words);

        if (geteuid() != 0)
                *strrchr(options, ',') = 0;
        mount->session = fuse_session_new(&arguments, &operations, sizeof(operations), mount);
        if (!mount->session)
                return error_set(error, -ENOMEM, "libfuse does not begin a session");
        if (fuse_session_mount(mount->session, mount->directory) < 0)
                return error_set(error, -EPERM, "the image cannot be mounted: that takes /dev/fuse and, unless for "
                                 "root, fusermount3 (package fuse3)");
        mount->mounted = true;
        return 0;
}

int program_mount_new(const struct program_file *file, struct program_mount **ret, struct error *error) {
        struct program_mount *mount = calloc(1, sizeof(*mount));
        int r;

        if (!mount)
                return error_set(error, -ENOMEM, "out of memory");
        mount->file = *file;
        mount->buffer = malloc(READ_MAX);
        r = mount->buffer ? make_directory(mount, error) : error_set(error, -ENOMEM, "out of memory");
        if (r == 0)
                r = mount_it(mount, error);
        if (r < 0)
                program_mount_free(mount);
        else
                *ret = mount;
        return r;
}

const char *program_mount_path(const struct program_mount *mount) {
        return mount->path;
}

/* Whoever has it open or mapped keeps it. */
static void hide(struct program_mount *mount) {
        char *words[] = { (char *) "fusermount3", (char *) "-q", (char *) "-u", (char *) "-z", (char *) "--",
                          mount->directory, NULL };
        pid_t pid;

        if (!mount->directory)
                return;
        if (mount->mounted && umount2(mount->directory, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 &&
            posix_spawnp(&pid, words[0], NULL, NULL, words, environ) == 0)
                (void) waitpid(pid, NULL, 0);
        (void) rmdir(mount->directory);
        free(steal_ptr(mount->directory));
}

/* Read here, since libfuse tells on stderr of a mount whose end it meets in the midst. 1, 0: nothing now, or -ENODEV
 * once the mount is gone. */
static int serve_one(struct program_mount *mount, struct fuse_buf *request) {
        ssize_t n = read(fuse_session_fd(mount->session), request->mem, REQUEST_BYTES);

        if (n < 0)
                return errno == EINTR || errno == EAGAIN || errno == ENOENT ? 0
                       : errno == ECONNABORTED                               ? -ENODEV : -errno;
        request->size = (size_t) n;
        fuse_session_process_buf(mount->session, request);
        return 1;
}

int program_mount_serve(struct program_mount *mount, int fd) {
        struct pollfd fds[] = {
                { .fd = fuse_session_fd(mount->session), .events = POLLIN },
                { .fd = fd, .events = POLLIN },
        };
        struct fuse_buf request = { .mem = malloc(REQUEST_BYTES) };
        int r = request.mem ? 0 : -ENOMEM;

        while (r >= 0 && !fuse_session_exited(mount->session)) {
                if (poll(fds, ELEMENTSOF(fds), -1) < 0) {
                        r = errno == EINTR ? 0 : -errno;
                        continue;
                }
                if (fds[0].revents)
                        r = serve_one(mount, &request);
                if (fds[1].revents) {
                        hide(mount);
                        fds[1].fd = -1;
                }
        }
        free(request.mem);
        return r > 0 || r == -ENODEV ? 0 : r;
}

struct program_mount *program_mount_free(struct program_mount *mount) {
        hide(mount);
        if (mount->session) {
                if (mount->mounted)
                        fuse_session_unmount(mount->session);
                fuse_session_destroy(mount->session);
        }
        free(mount->path);
        free(mount->buffer);
        free(mount);
        return NULL;
}
