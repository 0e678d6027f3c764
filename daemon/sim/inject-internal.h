/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The lines of a timeline: what each form of them does, in files by what it is about. */

#include "daemon/sim/inject.h"
#include "daemon/sim/world.h"

#define FAILOVERD_DOWN_USEC USEC_PER_SEC
#define DESTROY_USEC (1400 * USEC_PER_MSEC) /* virsh destroy */

/* Arguments of one line, found in the policy. */
struct arguments {
        const struct line *line;
        int pair, side, app;
        usec_t duration;
        uint64_t number;
        struct span span;
        bool on;
};

/* The i-th word of a line; "" past the last one. */
static inline const char *word(const struct line *line, unsigned i) {
        return i < line->n_words ? line->words[i] : "";
}

/* inject-guest.c */
void line_panic(struct sim *sim, const struct arguments *a);
void line_hang(struct sim *sim, const struct arguments *a);
void line_unhang(struct sim *sim, const struct arguments *a);
void line_guest_stop(struct sim *sim, const struct arguments *a);
void line_reset(struct sim *sim, const struct arguments *a);
void line_qemu_kill(struct sim *sim, const struct arguments *a);
void line_qemu_stop(struct sim *sim, const struct arguments *a);
void line_qemu_cont(struct sim *sim, const struct arguments *a);
void line_watchdog(struct sim *sim, const struct arguments *a);
void line_io_error(struct sim *sim, const struct arguments *a);
void line_memory_failure(struct sim *sim, const struct arguments *a);
void line_virsh(struct sim *sim, const struct arguments *a);

/* inject-agent.c */
void line_fail(struct sim *sim, const struct arguments *a);
void line_agent(struct sim *sim, const struct arguments *a);
void line_out_of_memory(struct sim *sim, const struct arguments *a);
void line_lie(struct sim *sim, const struct arguments *a);
void line_lies(struct sim *sim, const struct arguments *a);
void line_cut(struct sim *sim, const struct arguments *a);
void line_link(struct sim *sim, const struct arguments *a);
void line_app_fault(struct sim *sim, const struct arguments *a);
void line_vm_share(struct sim *sim, const struct arguments *a);
void line_takes(struct sim *sim, const struct arguments *a);
void line_vm_fault(struct sim *sim, const struct arguments *a);

/* inject-memory.c */
void line_touch(struct sim *sim, const struct arguments *a);
void line_touches(struct sim *sim, const struct arguments *a);
void line_others(struct sim *sim, const struct arguments *a);
void line_fills(struct sim *sim, const struct arguments *a);
void line_overflow_takes(struct sim *sim, const struct arguments *a);
void line_guest_asks(struct sim *sim, const struct arguments *a);
void line_reclaim(struct sim *sim, const struct arguments *a);
void line_pool_limit(struct sim *sim, const struct arguments *a);
void line_swap(struct sim *sim, const struct arguments *a);

/* inject-rights.c */
void line_rights_space(struct sim *sim, const struct arguments *a);
void line_rights_assign(struct sim *sim, const struct arguments *a);
void line_rights_release(struct sim *sim, const struct arguments *a);
void line_rights_touch(struct sim *sim, const struct arguments *a);
void line_rights_step(struct sim *sim, const struct arguments *a);
void line_rights_end(struct sim *sim, const struct arguments *a);
void line_rights_show(struct sim *sim, const struct arguments *a);

/* inject-host.c */
void line_preflight(struct sim *sim, const struct arguments *a);
void line_libvirt(struct sim *sim, const struct arguments *a);
void line_starve(struct sim *sim, const struct arguments *a);
void line_crowd(struct sim *sim, const struct arguments *a);
void line_libvirt_twice(struct sim *sim, const struct arguments *a);
void line_libvirt_fails(struct sim *sim, const struct arguments *a);
void line_domain_hang(struct sim *sim, const struct arguments *a);
void line_holder(struct sim *sim, const struct arguments *a);
void line_store(struct sim *sim, const struct arguments *a);
void line_host_tells_signals(struct sim *sim, const struct arguments *a);
void line_host(struct sim *sim, const struct arguments *a);
void line_paging(struct sim *sim, const struct arguments *a);
void line_space(struct sim *sim, const struct arguments *a);
void line_kill(struct sim *sim, const struct arguments *a);

/* inject-operator.c */
void line_operator(struct sim *sim, const struct arguments *a);
void line_assign(struct sim *sim, const struct arguments *a);
void line_apply(struct sim *sim, const struct arguments *a);
void line_calm(struct sim *sim, const struct arguments *a);
void line_explain(struct sim *sim, const struct arguments *a);
void line_check(struct sim *sim, const struct arguments *a);
void line_try(struct sim *sim, const struct arguments *a);
void line_heal(struct sim *sim, const struct arguments *a);
