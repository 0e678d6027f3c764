/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The standbys of VMs that stand alone (failover-standby(8)), one process a VM, that outlive failoverd. Nothing about a
 * process is remembered: the lock in its directory says whether it lives, and its document there how it is.
 *
 * In system mode a standby is the unit failover-standby@DOMAIN.service; in session mode it is a child in a session
 * (setsid(2)) of its own. It ends by itself when the policy does not name its VM any more.
 */

#include <sys/stat.h>
#include <systemd/sd-event.h>

#include "daemon/host/children/standby-events.h"

struct standbys;

struct standbys_options {
        bool user;               /* session mode */
        const char *runtime_dir; /* session mode: where their directories are made */
        const char *service_dir; /* where units have theirs, "/run/failover-standby" */
        const char *state_dir;   /* session mode: where they keep what outlives a boot */
        const char *program;     /* session mode */
        const char *policy_path; /* the copy of the policy in force */
};

/* Options are copied. -ENOMEM, or the errno of the directory. */
int standbys_new(sd_event *loop, const struct standbys_options *options, struct standbys **ret, struct error *error);
/* Leaves the standbys alone. Takes NULL; returns NULL. */
struct standbys *standbys_free(struct standbys *standbys);

/* Sees to it that it lives: begins to start it where it does not. Where that cannot be told, nothing is done. */
int standbys_keep(struct standbys *standbys, const char *domain);
/* The process that is the VM's standby; 0: none. Or -errno where that cannot be told. */
int standbys_holder(const struct standbys *standbys, const char *domain);
/* What it has decided and done. 1, or 0 where that is the same as when `*seen` was filled in, which is zeroed at first;
 * errors of standby_events_read(). */
int standbys_read_events(const struct standbys *standbys, const char *domain, struct stat *seen,
                         struct standby_events *ret);
/* What it told last. Errors of standby_document_read(). */
int standbys_read(const struct standbys *standbys, const char *domain, struct standby_document *ret);
