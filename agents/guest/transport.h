/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ways to the host. Each opens a non-blocking byte stream. */

#include <stdbool.h>

struct transport {
        int (*open)(const struct transport *transport); /* a descriptor, or -errno: the link tries again later */
        bool keeps_descriptor; /* the end of file means "no host for now" on the same descriptor */
        bool is_test;          /* not a VM's channel: faults that would hurt a real machine are refused */
        const char *path;      /* device or socket; NULL: find it */
        const char *sys_dir;
        unsigned port; /* vsock */
};

#define AGENT_CHANNEL "org.failover1.agent.0"

/* The virtio-serial port named AGENT_CHANNEL, by udev's link or by what sysfs says; `path` overrides both.
 * Makes the device node where nobody else did. */
int transport_virtio_open(const struct transport *transport);
/* Connects to `port` on the host (CID 2). */
int transport_vsock_open(const struct transport *transport);
/* Connects to the unix stream socket `path`: a stand-in for the host drives the agent without a VM. */
int transport_unix_open(const struct transport *transport);
