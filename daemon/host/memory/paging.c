/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/paging.h"

uint64_t paging_look(struct paging *paging, int pid, uint64_t faults, usec_t now_usec) {
        struct paging last = *paging;
        uint64_t per_sec;

        if (last.pid == pid && now_usec < last.seen_usec + PAGING_LOOK_USEC)
                return 0;
        *paging = (struct paging) { pid, faults, now_usec };
        if (last.pid != pid || faults < last.faults)
                return 0;
        per_sec = (faults - last.faults) * USEC_PER_SEC / (now_usec - last.seen_usec);
        return per_sec >= PAGING_MIN_PER_SEC ? per_sec : 0;
}
