/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Looks at the VM's process while a checkpoint is taken: a memory server that has fallen silent can hold that up for
 * longer than a VM takes to be ended and started anew, and a VM that is lost meanwhile must not be in doubt for it. It
 * asks nobody but the kernel.
 */

#include <pthread.h>
#include <stdint.h>

#include "daemon/base/error.h"
#include "daemon/base/units.h"

struct standby_watch {
        const char *run_dir, *domain; /* of the caller, as long as it lasts */
        uint64_t run;
        usec_t seen_usec; /* until when there was no other run; the caller's again after the end */
        int stop_fd;      /* readable when all is to be given up; -1: none */
        int over_fd;
        int cancel_fd;    /* readable then, and once the run has ended */
        pthread_t thread;
};

/* `run` is there now. Where this fails, there is nothing to be ended. */
int standby_watch_begin(struct standby_watch *watch, const char *run_dir, const char *domain, uint64_t run, int stop_fd,
                        struct error *error);
/* Returns until when no other run was there; 0: there was one. */
usec_t standby_watch_end(struct standby_watch *watch);
