/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/pidfd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/process.h"

#define CMDLINE_MAX (256 * KIB)

static void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

/* Reads at most `size` - 1 bytes and ends them with NUL. Returns how many, or a negative errno. */
static ssize_t read_text(const char *path, char *buffer, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        size_t n = 0;

        if (fd < 0)
                return -errno;
        while (n < size - 1) {
                ssize_t k = read(fd, buffer + n, size - 1 - n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t) k;
        }
        buffer[n] = '\0';
        return (ssize_t) n;
}

/* A name that libvirt could have made a file name of, as the policy allows them. */
static bool name_is_valid(const char *name) {
        size_t n = strnlen(name, NAME_LEN);

        if (n == 0 || n >= NAME_LEN || !isalnum((unsigned char) name[0]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char) name[i]) && !strchr("_.-", name[i]))
                        return false;
        return true;
}

static bool is_qemu(const char *word) {
        const char *base = strrchr(word, '/');

        base = base ? base + 1 : word;
        return strncmp(base, "qemu", 4) == 0 || strcmp(base, "kvm") == 0;
}

/* Whose process is it? 1: this domain's QEMU. 0: another's. -EAGAIN: it is ending and tells no more. */
static int process_is_domain(int pid, const char *domain) {
        _cleanup_free_ char *cmdline = malloc(CMDLINE_MAX);
        char path[64], name[NAME_LEN + 8];
        const char *word, *end;
        size_t name_len;
        bool after_name = false;
        ssize_t n;

        if (!cmdline)
                return -ENOMEM;
        snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
        n = read_text(path, cmdline, CMDLINE_MAX);
        if (n < 0)
                return n == -ENOENT || n == -ESRCH ? 0 : (int) n;
        if (n == 0)
                return -EAGAIN;

        name_len = (size_t) snprintf(name, sizeof(name), "guest=%s", domain);
        end = cmdline + n;
        if (!is_qemu(cmdline))
                return 0;
        for (word = cmdline; word < end; word += strlen(word) + 1) {
                if (after_name)
                        return strncmp(word, name, name_len) == 0 &&
                               (word[name_len] == ',' || word[name_len] == '\0');
                after_name = strcmp(word, "-name") == 0;
        }
        return 0;
}

bool process_ended(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return poll(&p, 1, 0) > 0;
}

int process_signal(int pidfd, int signal) {
        return pidfd_send_signal(pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

/* Opens a pid and asks whose it is. Returns 0 with the pidfd, -ESRCH where it is gone or another's, or an errno. */
static int open_verified(int pid, const char *domain, int *ret_pidfd) {
        _cleanup_close_ int fd = pidfd_open(pid, 0);
        int r;

        if (fd < 0)
                return errno == EINVAL ? -ESRCH : -errno; /* EINVAL: no process but a thread has this number */
        r = process_is_domain(pid, domain);
        if (process_ended(fd) || r == 0)
                return -ESRCH;
        if (r < 0)
                return r;
        *ret_pidfd = steal_fd(&fd);
        return 0;
}

static int read_pid_file(const char *run_dir, const char *domain, int *ret_pid) {
        char path[PATH_MAX], text[32], *end;
        ssize_t n;
        long pid;

        if ((size_t) snprintf(path, sizeof(path), "%s/%s.pid", run_dir, domain) >= sizeof(path))
                return -ENAMETOOLONG;
        n = read_text(path, text, sizeof(text));
        if (n < 0)
                return (int) n;
        errno = 0;
        pid = strtol(text, &end, 10);
        if (errno != 0 || end == text || (*end != '\0' && *end != '\n') || pid <= 1 || pid > INT_MAX)
                return -ESRCH;
        *ret_pid = (int) pid;
        return 0;
}

/* Looks at every QEMU of this host. -ESRCH when none is the domain's, see process_find(). */
static int prove_absence(const char *domain) {
        _cleanup_(closedirp) DIR *dir = opendir("/proc");
        bool ending = false;
        char path[64], comm[32];
        struct dirent *e;

        if (!dir)
                return -errno;
        /* With hidepid= others' processes cannot be seen: then nothing is proven. */
        if (access("/proc/1/comm", R_OK) < 0)
                return -EACCES;
        for (errno = 0; (e = readdir(dir)); errno = 0) {
                _cleanup_close_ int fd = -1;
                int pid = atoi(e->d_name), r;

                if (pid <= 1)
                        continue;
                snprintf(path, sizeof(path), "/proc/%d/comm", pid);
                if (read_text(path, comm, sizeof(comm)) <= 0 || (!is_qemu(comm) && strncmp(comm, "kvm\n", 4) != 0))
                        continue;
                r = open_verified(pid, domain, &fd);
                if (r == 0)
                        return -EEXIST;
                if (r == -EAGAIN)
                        ending = true;
                else if (r != -ESRCH)
                        return r;
        }
        if (errno != 0)
                return -errno;
        return ending ? -EAGAIN : -ESRCH;
}

int process_find(const char *run_dir, const char *domain, int *ret_pid, int *ret_pidfd) {
        int pid, fd, r;

        if (!name_is_valid(domain))
                return -EINVAL;
        r = read_pid_file(run_dir, domain, &pid);
        if (r == 0)
                r = open_verified(pid, domain, &fd);
        else if (r == -ENOENT || r == -ENOTDIR)
                r = -ESRCH;
        if (r == -ESRCH)
                return prove_absence(domain);
        if (r < 0)
                return r;
        *ret_pid = pid;
        *ret_pidfd = fd;
        return 0;
}

int process_read_stat(int pid, struct process_stat *ret_stat) {
        unsigned long long user, system, faults;
        char path[64], text[1024], state;
        const char *rest;
        long ticks = sysconf(_SC_CLK_TCK);
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        n = read_text(path, text, sizeof(text));
        if (n < 0)
                return n == -ENOENT ? -ESRCH : (int) n;
        /* The name in parentheses may hold anything, also parentheses. */
        rest = strrchr(text, ')');
        if (!rest || ticks <= 0 ||
            sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %llu %*u %llu %llu", &state, &faults, &user,
                   &system) != 4)
                return -EBADMSG;
        *ret_stat = (struct process_stat){ .state = state, .faults = faults,
                                           .cpu_usec = (user + system) * USEC_PER_SEC / (usec_t) ticks };
        return 0;
}

int process_run_dir(const char *uri, char *buffer, size_t size) {
        const char *path = strstr(uri, "://"), *end, *base = getenv("XDG_RUNTIME_DIR");
        size_t n_session = strlen("/session");
        bool session;
        int n;

        path = path ? strchr(path + 3, '/') : NULL;
        end = path ? path + strcspn(path, "?#") : NULL;
        session = path && (size_t) (end - path) == n_session && strncmp(path, "/session", n_session) == 0;
        /* For root, libvirt takes a session for the system. */
        if (!session || geteuid() == 0)
                n = snprintf(buffer, size, "/run/libvirt/qemu");
        else if (base && *base)
                n = snprintf(buffer, size, "%s/libvirt/qemu/run", base);
        else
                return -ENOENT;
        return n < 0 || (size_t) n >= size ? -ENAMETOOLONG : 0;
}
