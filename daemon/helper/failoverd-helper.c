/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The little that needs root: QEMUs of the system's libvirt run under another user than failoverd. The helper hands
 * out pidfds of QEMU processes, sends them three signals, lets failoverd look at which pages of an application's region
 * they have, has the kernel page a part of such a region out, and gives their control groups a share of memory; for one
 * user, and for processes only that libvirt's own pid file names and whose command line says `-name guest=NAME`. It
 * reads nothing that a guest wrote. In control groups it writes memory.min, memory.low, memory.high and memory.reclaim.
 *
 * Each connection is served by a child of its own, which a process that cannot be looked at may hold up for ten
 * seconds, and one request; more than 16 at once wait in the kernel's queue. Work on memory has slots of its own
 * (slots.h), so that there are always some left to open and to signal.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#include "daemon/base/cleanup.h"
#include "daemon/helper/slots.h"
#include "daemon/host/memory/cgroup-memory.h"
#include "daemon/host/memory/cgroup-reclaim.h"
#include "daemon/host/memory/page-out.h"
#include "daemon/host/memory/qemu-memory.h"
#include "daemon/host/process.h"

#define MOUNTINFO "/proc/self/mountinfo"
#define LOCK_DIR "/run/failoverd-helper" /* the unit's RuntimeDirectory= */
#define CHILDREN_MAX 16
#define REQUEST_SEC 10

struct options {
        const char *user, *run_dir, *socket, *lock;
        uid_t uid;
        int slots_fd;
};

static const char *const helper_op_table[] = {
        [HELPER_OPEN] = "open",
        [HELPER_KILL] = "kill",
        [HELPER_STOP] = "stop",
        [HELPER_CONT] = "cont",
        [HELPER_LOOK] = "look",
        [HELPER_PAGE_OUT] = "page-out",
        [HELPER_SHARE] = "share",
        [HELPER_GIVE_BACK] = "give-back",
        [HELPER_LIMIT] = "limit",
};
DEFINE_ENUM_TABLE(helper_op, helper_op_table)

static int send_reply(int fd, struct helper_reply reply, int passed) {
        struct iovec iov = { .iov_base = &reply, .iov_len = sizeof(reply) };
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control = { { 0 } };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

        reply.magic = HELPER_MAGIC;
        if (passed >= 0) {
                struct cmsghdr *c;

                message.msg_control = control.bytes;
                message.msg_controllen = sizeof(control.bytes);
                c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &passed, sizeof(int));
        }
        return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static bool peer_is_allowed(int fd, const struct options *options) {
        struct ucred peer;
        socklen_t length = sizeof(peer);

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == options->uid;
}

/* The page map stays that of this process, even should its pid be used anew. */
static int look(int pid, int pidfd, const struct helper_request *request, struct helper_reply *reply, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        struct memory_block block;
        char path[32];
        int r;

        snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = qemu_memory_locate(pid, request->app, &block);
        if (r < 0)
                return r;
        if (process_ended(pidfd))
                return -ESRCH;
        reply->start = block.start;
        reply->bytes = block.end - block.start;
        *ret_fd = steal_fd(&fd);
        return 0;
}

static int page_region_out(int pid, int pidfd, const struct helper_request *request) {
        uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
        struct memory_block block;
        int r;

        r = qemu_memory_locate(pid, request->app, &block);
        if (r < 0)
                return r;
        if (request->offset % page != 0 || request->bytes % page != 0 || request->offset > block.end - block.start ||
            request->bytes > block.end - block.start - request->offset)
                return -ERANGE;
        return page_out(pidfd, block.start + request->offset, request->bytes);
}

static int give_back(const struct options *options, bool hard, struct helper_reply *reply) {
        char root[CGROUP_PATH_LEN];
        int r;

        r = cgroup_find_root(MOUNTINFO, root);
        if (r >= 0)
                r = cgroup_memory_give_back(root, options->lock, hard);
        if (r > 0)
                fprintf(stderr, "give-back: %d control groups have their memory limits of before again\n", r);
        reply->bytes = r > 0 ? (uint64_t) r : 0;
        return r < 0 && r != -EOPNOTSUPP ? r : 0;
}

/* A failoverd that stops meanwhile does not wait, so what it began is given back here, and what it would ask for next:
 * the pool's limit, too. One that lives, and gave up waiting, gives that limit again. */
static int share(int asker_fd, const struct options *options, int pid, int pidfd,
                 const struct helper_request *request, struct helper_reply *reply) {
        struct cgroup_share wanted = request->share;
        char directory[32];
        int r;

        snprintf(directory, sizeof(directory), "/proc/%d", pid);
        r = cgroup_share_check(directory, &wanted);
        if (r < 0)
                return r;
        r = cgroup_memory_share_process(MOUNTINFO, options->lock, pid, pidfd, &wanted, asker_fd, &reply->finding);
        if (cgroup_asker_is_gone(asker_fd)) {
                alarm(REQUEST_SEC);
                (void) give_back(options, true, reply);
        }
        return r;
}

/* The same. */
static int limit(int asker_fd, const struct options *options, int pid, int pidfd, const struct helper_request *request,
                 struct helper_reply *reply) {
        int r;

        r = cgroup_pool_limit_process(MOUNTINFO, options->lock, pid, pidfd, request->app, request->bytes, asker_fd,
                                      &reply->pool);
        if (cgroup_asker_is_gone(asker_fd)) {
                alarm(REQUEST_SEC);
                (void) give_back(options, true, reply);
        }
        return r;
}

static int carry_out(int asker_fd, const struct options *options, int pid, int pidfd,
                     const struct helper_request *request, struct helper_reply *reply, int *ret_fd) {
        switch (request->op) {
        case HELPER_OPEN:
                *ret_fd = dup(pidfd);
                return *ret_fd < 0 ? -errno : 0;
        case HELPER_KILL:
                return process_signal(pidfd, SIGKILL);
        case HELPER_STOP:
                return process_signal(pidfd, SIGSTOP);
        case HELPER_CONT:
                return process_signal(pidfd, SIGCONT);
        case HELPER_LOOK:
                return look(pid, pidfd, request, reply, ret_fd);
        case HELPER_SHARE:
                return share(asker_fd, options, pid, pidfd, request, reply);
        case HELPER_LIMIT:
                return limit(asker_fd, options, pid, pidfd, request, reply);
        default:
                return page_region_out(pid, pidfd, request);
        }
}

static bool is_text(const char *text, size_t size) {
        return strnlen(text, size) < size;
}

/* One request, in a child. Returns the exit status. */
static int serve(int fd, const struct options *options) {
        _cleanup_close_ int pidfd = -1, passed = -1;
        struct helper_reply reply = { 0 };
        struct helper_request request;
        int pid = 0, r;

        if (!peer_is_allowed(fd, options)) {
                fprintf(stderr, "refused: another user than %s\n", options->user);
                send_reply(fd, (struct helper_reply){ .result = -EACCES }, -1);
                return EXIT_FAILURE;
        }
        if (recv(fd, &request, sizeof(request), MSG_TRUNC) != (ssize_t) sizeof(request) ||
            request.magic != HELPER_MAGIC || request.op >= HELPER_OP_MAX ||
            !is_text(request.domain, sizeof(request.domain)) || !is_text(request.app, sizeof(request.app))) {
                fprintf(stderr, "refused: not a request\n");
                send_reply(fd, (struct helper_reply){ .result = -EPROTO }, -1);
                return EXIT_FAILURE;
        }
        if (request.op == HELPER_PAGE_OUT && request.bytes == 0) {
                send_reply(fd, (struct helper_reply){ .result = page_out_possible(page_out_swap_bytes()) }, -1);
                return EXIT_SUCCESS;
        }
        r = slots_take(options->slots_fd, request.op);
        if (r < 0) {
                fprintf(stderr, "%s: too many are at work: %s\n", helper_op_table[request.op], strerror(-r));
                send_reply(fd, (struct helper_reply){ .result = r }, -1);
                return EXIT_FAILURE;
        }
        if (request.op == HELPER_GIVE_BACK) {
                reply.result = give_back(options, request.bytes != 0, &reply);
                send_reply(fd, reply, -1);
                return EXIT_SUCCESS;
        }
        /* Also refuses every name that is none, so that what is printed below is printable. */
        r = process_find(options->run_dir, request.domain, &pid, &pidfd);
        if (r == -EINVAL) {
                fprintf(stderr, "refused: not a domain's name\n");
                send_reply(fd, (struct helper_reply){ .result = r }, -1);
                return EXIT_FAILURE;
        }
        if (r == 0)
                r = carry_out(fd, options, pid, pidfd, &request, &reply, &passed);
        /* Those of a handover come by the hundred, and looks that fail are told by who asked. */
        if (request.op < HELPER_LOOK || (r < 0 && request.op != HELPER_LOOK))
                fprintf(stderr, "%s %s: pid %d: %s\n", helper_op_table[request.op], request.domain, pid,
                        r == 0 ? "done" : strerror(-r));
        reply.result = r;
        reply.pid = pid;
        r = send_reply(fd, reply, passed);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int open_socket(const struct options *options, int *ret_fd) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;
        int n = sd_listen_fds(1);

        if (n == 1 && sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_SEQPACKET, 1, NULL, 0) > 0) {
                *ret_fd = SD_LISTEN_FDS_START;
                return 0;
        }
        if (n != 0 || !options->socket) {
                fprintf(stderr, "needs one listening SOCK_SEQPACKET socket from systemd, or --socket=PATH\n");
                return -EINVAL;
        }
        if (strlen(options->socket) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, options->socket);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (unlink(options->socket) < 0 && errno != ENOENT)
                return -errno;
        umask(0077);
        /* Who may connect is the directory's matter; who is served is the peer's user's. */
        if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            chown(options->socket, options->uid, (gid_t) -1) < 0 || listen(fd, CHILDREN_MAX) < 0)
                return -errno;
        *ret_fd = steal_fd(&fd);
        return 0;
}

static void accept_one(int listen_fd, const struct options *options, unsigned *n_children) {
        _cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        pid_t child;

        if (fd < 0)
                return;
        child = fork();
        if (child > 0)
                (*n_children)++;
        if (child == 0) {
                sigset_t none;

                sigemptyset(&none);
                sigprocmask(SIG_SETMASK, &none, NULL);
                alarm(REQUEST_SEC);
                _exit(serve(fd, options));
        }
}

static int run(int listen_fd, const struct options *options) {
        _cleanup_close_ int signal_fd = -1;
        unsigned n_children = 0;
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
                return -errno;
        signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (signal_fd < 0)
                return -errno;
        sd_notify(0, "READY=1");
        for (;;) {
                struct pollfd polls[] = { { .fd = signal_fd, .events = POLLIN },
                                          { .fd = n_children < CHILDREN_MAX ? listen_fd : -1, .events = POLLIN } };
                struct signalfd_siginfo info;

                if (poll(polls, ELEMENTSOF(polls), -1) < 0 && errno != EINTR)
                        return -errno;
                if (polls[0].revents && read(signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info)) {
                        if (info.ssi_signo != SIGCHLD)
                                return 0;
                        while (n_children > 0 && waitpid(-1, NULL, WNOHANG) > 0)
                                n_children--;
                }
                if (polls[1].revents)
                        accept_one(listen_fd, options, &n_children);
        }
}

static int parse_options(int argc, char **argv, struct options *options) {
        static const struct option longs[] = {
                { "user", required_argument, NULL, 'u' },   { "run-dir", required_argument, NULL, 'r' },
                { "socket", required_argument, NULL, 's' }, { "lock", required_argument, NULL, 'l' },
                { "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, 'V' },
                { 0 },
        };
        const struct passwd *user;
        int c;

        while ((c = getopt_long(argc, argv, "h", longs, NULL)) >= 0)
                switch (c) {
                case 'u':
                        options->user = optarg;
                        break;
                case 'r':
                        options->run_dir = optarg;
                        break;
                case 's':
                        options->socket = optarg;
                        break;
                case 'l':
                        options->lock = optarg;
                        break;
                case 'V':
                        printf("failoverd-helper " PROJECT_VERSION "\n");
                        return 0;
                default:
                        printf("failoverd-helper --user=NAME [--run-dir=DIR] [--socket=PATH] [--lock=PATH]\n"
                               "Opens and signals the system's QEMU processes for failoverd, see its manual page.\n");
                        return c == 'h' ? 0 : -EINVAL;
                }
        if (optind < argc || !options->user) {
                fprintf(stderr, "failoverd-helper: --user=NAME is needed, and no further words\n");
                return -EINVAL;
        }
        user = getpwnam(options->user);
        if (!user) {
                fprintf(stderr, "failoverd-helper: no user \"%s\"\n", options->user);
                return -EINVAL;
        }
        options->uid = user->pw_uid;
        return 1;
}

int main(int argc, char **argv) {
        struct options options = { .run_dir = "/run/libvirt/qemu", .lock = LOCK_DIR "/lock" };
        int fd = -1, r;

        r = parse_options(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        (void) mkdir(LOCK_DIR, 0700); /* without systemd; where that fails, work on control groups does, and says so */
        r = options.slots_fd = slots_open();
        if (r >= 0)
                r = open_socket(&options, &fd);
        if (r >= 0)
                r = run(fd, &options);
        if (r < 0) {
                fprintf(stderr, "failoverd-helper: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
