/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* userfaultfd(2) for one mapping: who accesses a page that is not there waits until it is put there. */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/error.h"

/* A new userfaultfd, from the open device `device_fd` where it is not negative, the variable's, the device of this
 * name, or the system call; where none of these may be had, one that does not serve accesses by the kernel.
 * `ret_user_only` says so. -EPERM, -ENOSYS ... */
int uffd_open(int device_fd, int *ret_fd, bool *ret_user_only, struct error *error);

/* Absent pages of the range fault from now on, and with `write` so do stores to pages that are protected. */
int uffd_register(int fd, void *start, uint64_t length, bool write);

struct uffd_fault {
        uint64_t address;
        bool write;     /* a store */
        bool protected; /* the page is there, and protected */
};

/* 1 and a fault, 0 where there is none, or -errno. */
int uffd_next(int fd, struct uffd_fault *ret);

/* Puts copies of the pages at `from` in place and wakes who waits, protected against stores with `protect`. */
int uffd_copy(int fd, void *to, const void *from, uint64_t length, bool protect);
int uffd_protect(int fd, void *start, uint64_t length, bool protect);
int uffd_wake(int fd, void *start, uint64_t length);
