/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/standby-proof.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/base/thread.h"

#define COPIES_WANTED 2 /* where there are as many servers */

enum standby_kept standby_proof_judge(const struct context_list *list, size_t n_servers, const char *name,
                                      uint64_t saved_usec, unsigned *ret_copies, bool *ret_reachable) {
        unsigned copies = 0;
        bool all = true;

        for (size_t i = 0; i < list->n; i++)
                if (strcmp(context_entry_name(&list->entries[i]), name) == 0)
                        copies += context_entry_copies(&list->entries[i], saved_usec);
        for (size_t i = 0; i < n_servers; i++)
                all = all && list->answered[i];
        *ret_copies = copies;
        *ret_reachable = all;
        if (copies == 0)
                return all ? KEPT_GONE : KEPT_SILENT;
        return copies < (n_servers < COPIES_WANTED ? n_servers : COPIES_WANTED) ? KEPT_ALONE : KEPT_WHOLE;
}

static void *proof_run(void *userdata) {
        struct standby_proof *proof = userdata;
        struct context_servers servers = { .n = proof->n, .cancel_fd = proof->cancel_fd };
        struct context_list list = { 0 };

        for (size_t i = 0; i < proof->n; i++)
                servers.at[i].control = proof->controls[i];
        proof->kept = KEPT_SILENT;
        proof->copies = 0;
        proof->reachable = false;
        if (context_list(&servers, &list, NULL) == 0) {
                proof->kept = standby_proof_judge(&list, proof->n, proof->name, proof->saved_usec, &proof->copies,
                                                  &proof->reachable);
                context_list_deinit(&list);
        }
        proof->over = true;
        return NULL;
}

static void forget_controls(struct standby_proof *proof) {
        for (size_t i = 0; i < CONTEXT_SERVERS_MAX; i++) {
                free(proof->controls[i]);
                proof->controls[i] = NULL;
        }
}

static void collect(struct standby_proof *proof) {
        (void) pthread_join(proof->thread, NULL);
        proof->begun = false;
        forget_controls(proof);
}

int standby_proof_begin(struct standby_proof *proof, const struct context_servers *servers, const char *name,
                        uint64_t saved_usec) {
        int r = 0;

        if (proof->begun)
                return -EBUSY;
        if (proof->cancel_fd < 0)
                proof->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (proof->cancel_fd < 0)
                return -errno;
        proof->n = servers->n;
        proof->saved_usec = saved_usec;
        snprintf(proof->name, sizeof(proof->name), "%s", name);
        for (size_t i = 0; i < servers->n; i++) {
                proof->controls[i] = strdup(servers->at[i].control);
                if (!proof->controls[i])
                        r = -ENOMEM;
        }
        proof->over = false;
        if (r == 0)
                r = thread_start_joined(proof_run, proof, &proof->thread);
        proof->begun = r == 0;
        if (r < 0)
                forget_controls(proof);
        return r;
}

bool standby_proof_ended(struct standby_proof *proof) {
        if (!proof->begun || !proof->over)
                return false;
        collect(proof);
        return true;
}

void standby_proof_deinit(struct standby_proof *proof) {
        const uint64_t one = 1;

        if (proof->begun) {
                (void) !write(proof->cancel_fd, &one, sizeof(one));
                collect(proof);
        }
        if (proof->cancel_fd >= 0)
                (void) close(proof->cancel_fd);
        proof->cancel_fd = -1;
}
