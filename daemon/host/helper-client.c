/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/helper-client.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "daemon/base/cleanup.h"

static int helper_connect(const char *path, usec_t timeout_usec, int *ret_fd) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct timeval t = { .tv_sec = (time_t) (timeout_usec / USEC_PER_SEC),
                             .tv_usec = (suseconds_t) (timeout_usec % USEC_PER_SEC) };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        if ((size_t) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return errno == EAGAIN ? -ETIMEDOUT : -ENOTCONN;
        *ret_fd = steal_fd(&fd);
        return 0;
}

static int receive(int fd, struct helper_reply *ret_reply, int *ret_pidfd) {
        struct iovec iov = { .iov_base = ret_reply, .iov_len = sizeof(*ret_reply) };
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control;
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                                  .msg_controllen = sizeof(control.bytes) };
        struct cmsghdr *c;
        ssize_t n;

        *ret_pidfd = -1;
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        /* A helper that refuses does not wait for the request; its closing is told before its answer. */
        if (n < 0 && errno == ECONNRESET)
                n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (n < 0)
                return errno == EAGAIN ? -ETIMEDOUT : -errno;
        for (c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                        memcpy(ret_pidfd, CMSG_DATA(c), sizeof(int));
        if (n == 0)
                return -ENOTCONN;
        return n == (ssize_t) sizeof(*ret_reply) && ret_reply->magic == HELPER_MAGIC ? 0 : -EPROTO;
}

int helper_ask(const char *path, struct helper_request *request, usec_t timeout_usec, struct helper_reply *ret_reply,
               int *ret_fd) {
        _cleanup_close_ int fd = -1, passed = -1;
        struct helper_reply reply;
        int r;

        request->magic = HELPER_MAGIC;
        r = helper_connect(path, timeout_usec, &fd);
        if (r < 0)
                return r;
        if (send(fd, request, sizeof(*request), MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
                return errno == EAGAIN ? -ETIMEDOUT : -ENOTCONN;
        r = receive(fd, &reply, &passed);
        if (r < 0)
                return r;
        if (reply.result < 0)
                return reply.result;
        if (ret_fd) {
                if (passed < 0)
                        return -EPROTO;
                *ret_fd = steal_fd(&passed);
        }
        if (ret_reply)
                *ret_reply = reply;
        return 0;
}

int helper_call(const char *path, enum helper_op op, const char *domain, usec_t timeout_usec, int *ret_pid,
                int *ret_pidfd) {
        struct helper_request request = { .op = (uint32_t) op };
        _cleanup_close_ int pidfd = -1;
        struct helper_reply reply;
        int r;

        if ((size_t) snprintf(request.domain, sizeof(request.domain), "%s", domain) >= sizeof(request.domain))
                return -EINVAL;
        r = helper_ask(path, &request, timeout_usec, &reply, op == HELPER_OPEN ? &pidfd : NULL);
        if (r < 0)
                return r;
        if (op == HELPER_OPEN) {
                if (reply.pid <= 1)
                        return -EPROTO;
                *ret_pid = reply.pid;
                *ret_pidfd = steal_fd(&pidfd);
        }
        return 0;
}
