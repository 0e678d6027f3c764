/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Processors that the host plugs. The kernel leaves a plugged processor offline; the agent sets it online as soon as
 * the kernel tells of it. One that is set offline by hand later is left so.
 */

#include "agents/guest/loop.h"

struct cpu_watch {
        struct loop *loop;
        struct source source;
        const char *sys_dir; /* borrowed: "/sys" */
        int fd;
};

/* Sets every present processor online that is not. Returns how many, or the first -errno where it was none. */
int cpu_online_all(const char *sys_dir);

/* Sets the processor online that one of the kernel's messages (NETLINK_KOBJECT_UEVENT, ended with NUL) says was added.
 * 0; -ENOMSG where it says something else; or -errno. */
int cpu_online_added(const char *sys_dir, const char *uevent);

/* Listens for the kernel's messages, and sets online what was plugged before. Returns 0 or -errno; cpu_watch_deinit()
 * also after a failure. */
int cpu_watch_init(struct cpu_watch *watch, struct loop *loop, const char *sys_dir);
void cpu_watch_deinit(struct cpu_watch *watch);
