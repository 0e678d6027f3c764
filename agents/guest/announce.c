/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/announce.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/base/cleanup.h"

bool announce_is_valid(const char *text) {
        return strcmp(text, "shutdown") == 0 || strcmp(text, "reboot") == 0;
}

static int address_of(struct sockaddr_un *address, const char *run_dir) {
        *address = (struct sockaddr_un) { .sun_family = AF_UNIX };
        if (snprintf(address->sun_path, sizeof(address->sun_path), "%s/announce", run_dir) >=
            (int) sizeof(address->sun_path))
                return -ENAMETOOLONG;
        return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int announce_listen(const char *run_dir) {
        struct sockaddr_un address;
        _cleanup_close_ int fd = address_of(&address, run_dir);

        if (fd < 0)
                return fd == -1 ? -errno : fd;
        (void) unlink(address.sun_path);
        if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return steal_fd(&fd);
}

int announce_receive(int fd, char *ret_text, unsigned size) {
        ssize_t n = recv(fd, ret_text, size - 1, 0);

        if (n < 0)
                return -errno;
        ret_text[n] = 0;
        return announce_is_valid(ret_text) ? 0 : -EBADMSG;
}

int announce_send(const char *run_dir, const char *text) {
        struct sockaddr_un address;
        _cleanup_close_ int fd = address_of(&address, run_dir);

        if (fd < 0)
                return fd == -1 ? -errno : fd;
        return sendto(fd, text, strlen(text), 0, (struct sockaddr *) &address, sizeof(address)) < 0 ? -errno : 0;
}
