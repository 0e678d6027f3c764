/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The guest's memory by NUMA node, where each application's region is a node of its own (H: resource attach and
 * detach). Everything reads /sys and /proc below directories that the caller names.
 */

#include <stdint.h>

struct memory_usage {
        uint64_t total_bytes; /* online and usable */
        uint64_t free_bytes;
        uint64_t file_bytes; /* page cache in it */
        uint64_t spare_bytes; /* free, or cache that can be dropped as it is */
};

/* Usage of one node; -ENOENT while the node does not exist. */
int memory_node_usage(const char *sys_dir, int node, struct memory_usage *ret);

/* Of the whole guest: its size, and what applications may still take. 0 or -errno. */
int memory_total(const char *proc_dir, uint64_t *ret_bytes);
int memory_available(const char *proc_dir, uint64_t *ret_bytes);
int memory_swap_free(const char *proc_dir, uint64_t *ret_bytes);

/* Sets every block of the node that is still offline to online_movable, so that it can leave again. Returns how
 * many it set online, or -errno of the first that refused when none went. */
int memory_online_blocks(const char *sys_dir, int node);

/* Makes `bytes` of the node free as far as that goes: gives up page cache when too little is free, then
 * compacts. May take long: call it in a process of its own. 0 or -errno. */
int memory_prepare_detach(const char *sys_dir, const char *proc_dir, int node, uint64_t bytes);

/* Binds the calling process and what it will execute to a node's memory. 0 or -errno. */
int memory_bind(int node);
