/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * QEMU's processes, without libvirt. A process is held by a pidfd, so that what is killed, and what is seen to be
 * gone, is the one that was verified: the pidfd is opened first, then /proc tells whose process that pid is, then
 * the pidfd tells that it still lived, so the pid was not used anew in between.
 *
 * Reading /proc/PID/cmdline can block while that process is in a bad state, so process_find() is for workers.
 */

#include <systemd/sd-event.h>

#include "policy/policy.h"

/* Finds the QEMU of a domain: by libvirt's RUN_DIR/NAME.pid, verified by `-name guest=NAME`. Returns 0 and a pidfd
 * that is the caller's; or
 *
 *   -ESRCH   it is proven that no such process exists: neither the file nor any process on this host tells of one
 *   -EEXIST  one runs that libvirt's file does not name: it is left alone
 *   -EAGAIN  some QEMU is just ending, and cannot be told any more whose it was
 *   -EACCES, -EPERM  the file, or processes of others, cannot be read here
 *   -EINVAL  not a domain's name
 *   or another errno. */
int process_find(const char *run_dir, const char *domain, int *ret_pid, int *ret_pidfd);

/* Signals through a pidfd. Returns 0 or a negative errno: -ESRCH when it has ended, -EPERM. */
int process_signal(int pidfd, int signal);

/* True when the process of this pidfd has ended, with all its threads. */
bool process_ended(int pidfd);

struct process_stat {
        char state;         /* as in proc(5): 'R', 'S', 'D', 'T' stopped, 'Z', ... */
        usec_t cpu_usec;    /* processor time used, user and system */
        uint64_t faults;    /* pages that it had to wait for, since it began */
};

/* For evidence. Returns 0 or a negative errno. */
int process_read_stat(int pid, struct process_stat *ret_stat);

/* Where libvirt keeps the pid files for a connection URI: /run/libvirt/qemu, or for ".../session"
 * XDG_RUNTIME_DIR/libvirt/qemu/run. -ENOENT where that is not set; -ENAMETOOLONG. */
int process_run_dir(const char *uri, char *buffer, size_t size);

/* A process being watched. */
struct process;

/* Whether this kernel tells how a process has ended, as Linux does since 6.15: asked of a process that is begun for it
 * and ends at once. */
bool process_end_is_told(void);

/* Called on the loop when the process has ended, with what EVENT_PROCESS has as its result. The kernel tells once the
 * parent has taken notice: where it does at all, PROCESS_END_TO_BE_TOLD comes first if need be, and a second call with
 * what it tells. It may free the process. */
typedef void (*process_gone_fn)(struct process *process, int how, void *userdata);

/* Takes `pidfd` over on success. `told_later`: what process_end_is_told() has said. */
int process_new(sd_event *loop, int pid, int pidfd, bool told_later, process_gone_fn gone, void *userdata,
                struct process **ret_process);
struct process *process_free(struct process *process);
int process_pid(const struct process *process);
int process_pidfd(const struct process *process);
