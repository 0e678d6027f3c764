/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Lines of a timeline about the two rights (N) alone: one space of memory and the VMs of the policy, without anything
 * that moves memory there. What a VM may do there, and who has what afterwards, is what the rights say. The regions
 * and what is assigned by hand have rights of their own, and are not touched.
 */

#include <inttypes.h>
#include <string.h>

#include "daemon/sim/inject-internal.h"

static struct holder vm_of(const struct arguments *a) {
        return (struct holder) { a->pair, (enum side) a->side };
}

static const char *name_of(const struct sim *sim, struct holder holder) {
        return holder_is_vm(holder) ? sim_policy(sim, holder.pair)->members[holder.side].domain : "nobody";
}

/* "1GiB-1280MiB". Returns `buffer`. */
static const char *span_text(struct span span, char buffer[2 * UNITS_TEXT_MAX + 1]) {
        char start[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX];

        snprintf(buffer, 2 * UNITS_TEXT_MAX + 1, "%s-%s", size_format(start, span.start), size_format(end, span.end));
        return buffer;
}

static bool is_there(struct sim *sim) {
        if (sim->rights.ranges)
                return true;
        print_line(sim, "rights       there is no space yet: rights space SIZE EXTENT");
        return false;
}

static void say_result(struct sim *sim, int r) {
        if (r < 0)
                print_line(sim, "rights       refused: %s",
                           r == -EPERM    ? "not all of that is managed by it"
                           : r == -EINVAL ? "no whole extents of the space"
                                          : strerror(-r));
}

void line_rights_space(struct sim *sim, const struct arguments *a) {
        struct rights made;
        uint64_t size = 0;
        int r;

        (void) size_parse(word(a->line, 2), &size);
        r = rights_init(&made, a->number, size);
        if (r >= 0) {
                rights_deinit(&sim->rights);
                sim->rights = made;
        }
        say_result(sim, r);
}

void line_rights_assign(struct sim *sim, const struct arguments *a) {
        if (is_there(sim))
                say_result(sim, rights_assign(&sim->rights, a->span, vm_of(a), sim->now_usec));
}

void line_rights_release(struct sim *sim, const struct arguments *a) {
        enum release_variant variant = release_variant_from_string(word(a->line, 4));

        if ((int) variant < 0)
                print_line(sim, "rights       refused: a release is user-keeps or stronger-keeps");
        else if (is_there(sim))
                say_result(sim, rights_declare_release(&sim->rights, vm_of(a), a->span, variant, sim->now_usec));
}

void line_rights_touch(struct sim *sim, const struct arguments *a) {
        uint64_t bytes[ACCESS_MAX] = { 0 };
        char size[UNITS_TEXT_MAX];
        int r;

        if (!is_there(sim))
                return;
        r = rights_touch(&sim->rights, vm_of(a), a->span, sim->now_usec, bytes);
        say_result(sim, r);
        for (enum access access = 0; r >= 0 && access < ACCESS_MAX; access++)
                if (bytes[access] > 0)
                        print_line(sim, "rights       %s of it: %s", size_format(size, bytes[access]),
                                   access_to_string(access));
}

void line_rights_step(struct sim *sim, const struct arguments *a) {
        const char *what = word(a->line, 1);

        if (!is_there(sim))
                return;
        if (strcmp(what, "take-back") == 0)
                say_result(sim, rights_take_back(&sim->rights, a->span));
        else if (strcmp(what, "paged-out") == 0)
                say_result(sim, rights_paged_out(&sim->rights, vm_of(a), a->span, sim->now_usec));
        else
                say_result(sim, rights_reported_free(&sim->rights, vm_of(a), a->span, sim->now_usec));
}

void line_rights_end(struct sim *sim, const struct arguments *a) {
        if (!is_there(sim))
                return;
        if (strcmp(word(a->line, 1), "fence") == 0)
                rights_fence(&sim->rights, vm_of(a), sim->now_usec);
        else
                rights_leave(&sim->rights, vm_of(a), sim->now_usec);
}

void line_rights_show(struct sim *sim, const struct arguments *a) {
        (void) a;
        if (!is_there(sim))
                return;
        rights_check(&sim->rights);
        for (size_t i = 0; i < sim->rights.n_ranges; i++) {
                const struct rights_range *range = &sim->rights.ranges[i];
                char span[2 * UNITS_TEXT_MAX + 1];

                print_line(sim, "rights       %-16s manager %-8s user %s%s%s", span_text(range->span, span),
                           name_of(sim, range->manager), name_of(sim, range->user),
                           range->releasing ? ", releasing to " : "",
                           range->releasing ? name_of(sim, range->next) : "");
        }
}
