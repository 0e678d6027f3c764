/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How an application gets at its shared regions: the list that came with its start (agents/protocol/region-list.h) is
 * handed to a command as an inherited descriptor, and to a unit as a file that it names as its credential:
 *
 *   LoadCredential=failover-regions:/run/failover-agent/APPLICATION.regions
 *
 * It holds capabilities: nothing of it is logged.
 */

/* A sealed memory file with the text, from its beginning, closed at exec. Or -errno. */
int region_pass_open(const char *text);

/* In a child before it executes its program: it inherits `fd` and is told of it. So that it can give up rights and
 * still open its regions, its lock limit is raised by those that are resident, and it inherits an open /dev/userfaultfd
 * for the others, as far as these may be had. 0 or -ENOMEM, -errno. */
int region_pass_inherit(int fd);

/* The file that a unit reads, for root alone; NULL takes it away. 0 or -errno. */
int region_pass_write(const char *run_dir, const char *app, const char *text);
