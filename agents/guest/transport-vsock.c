/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#include "agents/guest/transport.h"
#include "daemon/base/cleanup.h"

int transport_vsock_open(const struct transport *transport) {
        _cleanup_close_ int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_vm host = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = transport->port };

        if (fd < 0)
                return -errno;
        if (connect(fd, (const struct sockaddr *) &host, sizeof(host)) < 0 && errno != EINPROGRESS)
                return -errno;
        return steal_fd(&fd);
}
