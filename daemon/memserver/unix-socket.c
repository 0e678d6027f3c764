/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/unix-socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"

int unix_address(const char *path, struct sockaddr_un *ret) {
        if (*path != '/' || strlen(path) >= sizeof(ret->sun_path))
                return -EINVAL;
        *ret = (struct sockaddr_un) { .sun_family = AF_UNIX };
        strcpy(ret->sun_path, path);
        return 0;
}

/* Takes a socket's name away that nobody listens at. */
static int remove_left_over(const struct sockaddr_un *address, struct error *error) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct stat st;

        if (lstat(address->sun_path, &st) < 0)
                return errno == ENOENT ? 0 : error_set(error, -errno, "%s: %s", address->sun_path, strerror(errno));
        if (!S_ISSOCK(st.st_mode))
                return error_set(error, -EEXIST, "%s: is there and not a socket", address->sun_path);
        if (fd < 0 || connect(fd, (const struct sockaddr *) address, sizeof(*address)) == 0 || errno != ECONNREFUSED)
                return error_set(error, -EADDRINUSE, "%s: somebody listens there already", address->sun_path);
        (void) unlink(address->sun_path);
        return 0;
}

int unix_listen(const struct sockaddr_un *address, int type, int backlog, int *ret_fd, struct error *error) {
        _cleanup_close_ int fd = -1;
        int r = remove_left_over(address, error);

        if (r < 0)
                return r;
        fd = socket(AF_UNIX, type, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *) address, sizeof(*address)) < 0 ||
            chmod(address->sun_path, 0666) < 0 || listen(fd, backlog) < 0)
                return error_set(error, -errno, "%s: %s", address->sun_path, strerror(errno));
        *ret_fd = steal_fd(&fd);
        return 0;
}
