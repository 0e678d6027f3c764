/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/pages/context.h"

/* Where the VM is gone, and the other context did not start: the VM's own state is still in its spool. Returns `r`. */
static int take_back(const struct context_job *job, virConnectPtr connection, struct context_saving *saving, int r,
                     struct error *error) {
        char holder[CONTEXT_HOLDER_LEN];
        struct error back = ERROR_INIT;
        int q;

        if (!saving->whole || !context_vm_absent(connection, job->uri, saving->vm.uuid))
                return r;
        /* Where somebody else has taken the context meanwhile, this fails, and the VM is his. */
        context_claim_text(job, "took back", holder);
        q = context_mark(&saving->place.io, &saving->head, holder, &back);
        if (q == 0) {
                q = context_vm_start(connection, saving->spool.path, NULL, saving->vm.paused, &job->progress, &back);
                if (q < 0 && context_vm_absent(connection, job->uri, saving->vm.uuid))
                        (void) context_mark(&saving->place.io, &saving->head, "", NULL);
        }
        if (q < 0) {
                error_prefix(error, "VM %s did not start again as it was (%s), nor did the other context; both are "
                             "there, resume one of them", saving->manifest->vm, error_text(&back));
                error_deinit(&back);
                return r;
        }
        error_prefix(error, "VM %s runs on as it was", saving->manifest->vm);
        if (context_place_drop(&saving->place, &back) < 0)
                error_prefix(error, "context %s has to be dropped, it runs (%s)", saving->manifest->name,
                             error_text(&back));
        error_deinit(&back);
        return r;
}

int context_swap(const struct context_job *job, const char *vm, const char *out, const char *in,
                 struct context_manifest **ret_out, struct context_manifest **ret_in, struct error *error) {
        _cleanup_(context_resuming_deinit) struct context_resuming resuming = CONTEXT_RESUMING_INIT;
        _cleanup_(context_saving_deinit) struct context_saving saving = CONTEXT_SAVING_INIT;
        _cleanup_connection_ virConnectPtr connection = NULL;
        int r = context_saving_permit(job, vm, out, &connection, error);

        if (r == 0)
                r = context_saving_prepare(job, connection, vm, out, &saving, error);
        if (r == 0) {
                r = context_resuming_prepare(job, connection, in, &saving.vm, &resuming, error);
                if (r == 0)
                        r = context_resuming_fetch(job, connection, &resuming, error);
                if (r < 0)
                        context_saving_undo(&saving, error);
        }
        if (r == 0 && !job->dry_run) {
                r = context_saving_run(job, &saving, error);
                if (r == 0)
                        r = context_saving_end(job, &saving, error);
                if (r == 0)
                        r = context_resuming_start(job, connection, &resuming, error);
                if (r < 0)
                        r = take_back(job, connection, &saving, r, error);
        }
        if (r == 0) {
                *ret_out = steal_ptr(saving.manifest);
                *ret_in = steal_ptr(resuming.manifest);
        }
        return r;
}
