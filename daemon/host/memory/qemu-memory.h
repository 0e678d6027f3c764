/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where a QEMU that libvirt has started keeps its guest's memory, from its `directory` in /proc. Whatever cannot be
 * told apart for certain is left unknown.
 *
 * The command line names the memory backends with their sizes, in the order in which QEMU maps them. Each is known by
 * its size and the guard page that QEMU puts behind it. Among several of one size the order tells: memory files
 * by rising inode number, anonymous memory by falling address, which is how the kernel gives it out. Where a size has
 * more or fewer such mappings than backends, those backends are unknown.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_BACKENDS_MAX 128
#define MEMORY_BACKEND_ID_LEN 128

/* A backend's place in QEMU's address space. */
struct memory_block {
        bool found;
        uint64_t start, end;
        uint64_t inode;          /* of its memory file; 0: anonymous */
        uint64_t resident_bytes; /* where it was asked for */
        uint64_t swapped_bytes;  /* paged out, of anonymous memory and of memory files; where that was asked for */
};

struct memory_backend {
        char id[MEMORY_BACKEND_ID_LEN];
        uint64_t size_bytes;
        struct memory_block block;
};

struct qemu_memory {
        struct memory_backend backends[MEMORY_BACKENDS_MAX];
        size_t n_backends;
        uint64_t total_bytes; /* resident, all of the process; where it was asked for */
};

/* Reads cmdline and maps; with `resident`, smaps, which takes milliseconds a GiB. Can block while the process is in a
 * bad state: not for the loop. -EACCES for a process of another user; -ENOENT or -ESRCH where it is gone; -EBADMSG
 * where the files tell nothing of use; -ENOMEM. */
int qemu_memory_read(const char *directory, bool resident, struct qemu_memory *ret);
/* The application whose region's device a backend is for; NULL where it is for none. */
const char *memory_backend_app(const struct memory_backend *backend);
/* Where the region of an application is. -ENOENT where it has no device (or one that was plugged in later, which the
 * command line does not name); -EBADMSG where it cannot be told which mapping is its. */
int qemu_memory_find(const struct qemu_memory *memory, const char *app, struct memory_block *ret);
/* Both at once, for a process: the errors of both. */
int qemu_memory_locate(int pid, const char *app, struct memory_block *ret);
