/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * libvirt and QEMU's processes, as events. Nothing here ever waits on the loop: each libvirt call runs on a
 * worker of one of the lanes (hypervisor-lane.h) and has a deadline, libvirt's own events come through a thread
 * of their own (hypervisor-events.h), and QEMU's processes are held by pidfds (process.h), so that a VM can be
 * killed, and seen to be gone, without libvirt.
 *
 * What it reports, through the sink and always on the loop's thread, never from inside a call made by the
 * manager:
 *
 *   EVENT_HYPERVISOR      the watching connection came, went, or could not be had at first (text: why). When it
 *                         comes, every watched domain is inspected
 *   EVENT_DOMAIN          from lifecycle events and inspections. A domain that has just started is told only after
 *                         its inspection, so that hypervisor_channel() is valid when `running` is told
 *   EVENT_PROCESS         up: a pidfd was opened. !up: it became readable, and perhaps once more with how
 *                         it ended (Linux since 6.15); or (pid 0), where none was known, libvirt says that
 *                         the domain does not run and no QEMU of its name exists
 *   EVENT_DEVICE_SIZE     from libvirt's event (at most one a second) and from each inspection
 *   EVENT_REBOOTED, EVENT_WATCHDOG, EVENT_IO_ERROR, EVENT_MEMORY_FAILURE
 *   EVENT_PREFLIGHT, EVENT_SECOND_PATH, EVENT_DONE   answers to actions
 */

#include <systemd/sd-event.h>

#include "daemon/base/error.h"
#include "daemon/core/update.h"
#include "daemon/host/libvirt/domain-xml.h"
#include "daemon/host/sink.h"

struct hypervisor;

struct hypervisor_settings {
        const char *uri;         /* "qemu:///system", "qemu:///session", "test:///default" */
        const char *run_dir;     /* where libvirt keeps NAME.pid; NULL: by the URI */
        const char *helper_path; /* socket of failoverd-helper; NULL: there is none */
        const char *evidence_dir; /* where core dumps go (evidence-dump.h); NULL: there are none */
};

/* Begins to connect. Strings in `settings` and the sink are copied. Fails with -ENOMEM or another errno of the
 * threads that it starts; that libvirt cannot be reached is no failure but a matter of EVENT_HYPERVISOR. */
int hypervisor_new(sd_event *loop, const struct hypervisor_settings *settings, const struct sink *sink,
                   struct hypervisor **ret_hypervisor, struct error *error);
/* Calls still under way are given up to a second a lane; a thread stuck in libvirt after that is left behind with
 * what it holds. Guests run on. Not from within the sink. Takes NULL; returns NULL. */
struct hypervisor *hypervisor_free(struct hypervisor *hypervisor);

/* From now on this domain is `side` of pair slot `pair`. `apps` holds the names of the pair's applications by
 * slot, NULL or empty where a slot is free; the device of application NAME has the alias "ua-NAME". Called again
 * when the names change; another domain name replaces the watch. Inspects the domain. Names are copied. Returns
 * 0, -EINVAL or -ENOMEM. */
int hypervisor_watch(struct hypervisor *hypervisor, int pair, enum side side, const char *domain,
                     const char *const *apps, size_t n_apps);
/* Looks whose memory the host is swapping; comes as EVENT_PAGING. To be called while memory is short: otherwise a probe
 * looks. */
void hypervisor_look_for_paging(struct hypervisor *hypervisor);
/* No more events for it but the EVENT_DONE of actions under way. */
void hypervisor_forget(struct hypervisor *hypervisor, int pair, enum side side);

/* Carries out one of the actions FREEZE, KILL, STOP_PROCESS, START_DOMAIN, RESIZE, VCPUS, TAKE_VCPUS, ATTACH_DISK,
 * DETACH_DISK, INSPECT, PREFLIGHT, DUMP and PROBE; `action` is borrowed. All but PROBE are answered by exactly one
 * EVENT_DONE, later, with these results among others:
 *
 *   -ETIMEDOUT  past its deadline. Where libvirt still works on it, the text says so, further actions on the same
 *               domain and lane are refused with -EBUSY until it ends, and the domain is inspected when it does
 *   -EBUSY      see above; or an operator's managed save stands in the way of a start
 *   -ENOTCONN   libvirt cannot be reached
 *   -ENOENT     the domain, or its device, is not known
 *   -ESRCH      the domain does not run, or its process is not known
 *   -EOPNOTSUPP not an action for this object
 *
 * ATTACH_DISK takes the <disk> with the target from <metadata> of the domain's persistent XML (domain-xml.h). VCPUS
 * plugs processors and never takes one away; TAKE_VCPUS, which does, is refused with -EOPNOTSUPP where the VM does not
 * run under KVM. DUMP is refused with -EBUSY while another domain is being dumped; one past its deadline goes on until
 * its QEMU has ended, and leaves no file. PROBE is answered by EVENT_SECOND_PATH: PATH_ECHO when the guest's kernel
 * echoes (no answer: no event); PATH_BALLOON, where the running domain has a balloon, always, with USEC_INFINITY where
 * there was no answer.
 *
 * Returns 0, or -ENOMEM: then it was not begun and no answer comes. */
int hypervisor_act(struct hypervisor *hypervisor, const struct action *action);

/* The overflow disks that the running domain has; NULL while that is not known, or it does not run. Valid until the
 * next return to the loop. */
const struct overflow_disks *hypervisor_overflow(const struct hypervisor *hypervisor, int pair, enum side side);
/* Attaches the overflow disk of an application, or with an empty name the VM's own, that the NBD server at `socket` is;
 * without `socket` asks the guest to let go of it, and does not wait for that. `told` is called once, on the loop,
 * unless the hypervisor is freed before; hypervisor_overflow() tells of the disk some time after that. -ENOENT where
 * the domain is not watched, -EBUSY where an earlier call for it is stuck, -ENOMEM: then it was not begun. */
int hypervisor_set_overflow(struct hypervisor *hypervisor, int pair, enum side side, const char *app,
                            const char *socket, void (*told)(void *userdata, int result, const char *text),
                            void *userdata);

/* Path of the agent channel's socket on the host, as the running domain's XML tells; NULL while it is not known
 * or the domain does not run. Valid until the next return to the loop. */
const char *hypervisor_channel(const struct hypervisor *hypervisor, int pair, enum side side);
/* File that its console is logged to, as the XML told when it ran last; NULL: none. Valid as above. */
const char *hypervisor_console(const struct hypervisor *hypervisor, int pair, enum side side);
/* Pid of its QEMU process, 0 while it is not known. */
int hypervisor_pid(const struct hypervisor *hypervisor, int pair, enum side side);
/* What the engine was told last: true while the watching connection stands. */
bool hypervisor_up(const struct hypervisor *hypervisor);
