/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Overflow disks, attached and detached beside the engine's own actions and on the same lane. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-watch.h"

#define ATTACH_TIMEOUT_USEC (10 * USEC_PER_SEC)

const struct overflow_disks *hypervisor_overflow(const struct hypervisor *hypervisor, int pair, enum side side) {
        const struct watch *watch = hypervisor_find(hypervisor, pair, side);

        return watch && watch->live ? &watch->overflow : NULL;
}

static void on_set(struct lane_call *lane_call, int result, const char *text) {
        struct call *call = (struct call *) lane_call;
        struct watch *watch = hypervisor_find_for(call->hypervisor, call);

        if (watch)
                watch_refresh(watch); /* also after a failure: it may be half done */
        call->told(call->told_userdata, result, text);
}

int hypervisor_set_overflow(struct hypervisor *hypervisor, int pair, enum side side, const char *app,
                            const char *socket, void (*told)(void *userdata, int result, const char *text),
                            void *userdata) {
        struct watch *watch = hypervisor_find(hypervisor, pair, side);
        struct call *call;

        if (!watch)
                return -ENOENT;
        call = watch_call(watch, socket ? CALL_ATTACH_OVERFLOW : CALL_DETACH_OVERFLOW, ATTACH_TIMEOUT_USEC);
        if (!call)
                return -ENOMEM;
        snprintf(call->app_name, sizeof(call->app_name), "%s", app);
        call->socket = socket ? strdup(socket) : NULL;
        if (socket && !call->socket) {
                call_free(call);
                return -ENOMEM;
        }
        call->told = told;
        call->told_userdata = userdata;
        call->lane.done = on_set;
        call->lane.late = call_on_late;
        return call_submit(call, LANE_ACT);
}
