/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/worst-case.h"

#include "daemon/base/cleanup.h"

static const char *const worst_case_fault_table[WORST_CASE_FAULT_MAX] = {
        [WORST_CASE_PANIC] = "panic",
        [WORST_CASE_QEMU_GONE] = "qemu-gone",
        [WORST_CASE_QEMU_ENDED] = "qemu-ended",
        [WORST_CASE_QEMU_STOPPED] = "qemu-stopped",
        [WORST_CASE_GUEST_HANG] = "guest-hang",
        [WORST_CASE_HANG_BY_BALLOON] = "hang-by-balloon",
        [WORST_CASE_WATCHDOG] = "watchdog",
        [WORST_CASE_DISK_ERROR] = "disk-error",
        [WORST_CASE_MEMORY_FAILURE] = "memory-failure",
        [WORST_CASE_RESET] = "reset",
        [WORST_CASE_ANNOUNCED_STOP] = "announced-stop",
        [WORST_CASE_APPLICATION_EXIT] = "application-exit",
        [WORST_CASE_APPLICATION_CHECK] = "application-check",
};
DEFINE_ENUM_TABLE(worst_case_fault, worst_case_fault_table)

static bool is_hang(enum worst_case_fault fault) {
        return fault == WORST_CASE_GUEST_HANG || fault == WORST_CASE_HANG_BY_BALLOON;
}

static usec_t detect_usec(const struct pair_policy *pair, enum worst_case_fault fault) {
        /* A fault just behind an answered beat: one beat until the first that stays unanswered is sent, and each is
         * missed when the next is due. */
        if (is_hang(fault) || fault == WORST_CASE_QEMU_STOPPED)
                return pair->beat_usec * (pair->beats_missed + 1);
        if (fault == WORST_CASE_QEMU_GONE || fault == WORST_CASE_QEMU_ENDED)
                return WORST_CASE_GONE_USEC;
        return WORST_CASE_EVENT_USEC;
}

static usec_t decide_usec(const struct pair_policy *pair, enum worst_case_fault fault) {
        usec_t silent = detect_usec(pair, fault), balloon = WORST_CASE_BALLOON_USEC + WORST_CASE_EVENT_USEC;

        if (fault == WORST_CASE_HANG_BY_BALLOON && balloon > silent + pair->confirm_usec)
                return balloon - silent;
        if (fault == WORST_CASE_QEMU_GONE || fault == WORST_CASE_QEMU_ENDED)
                return WORST_CASE_ENDED_USEC - silent;
        return is_hang(fault) || fault == WORST_CASE_QEMU_STOPPED ? pair->confirm_usec : 0;
}

/* For the disk of an application that has a part of its region at memory servers. */
static usec_t overflow_usec(const struct pair_policy *pair) {
        for (size_t i = 0; i < pair->n_applications; i++)
                if (pair->applications[i].overflow.n_servers > 0)
                        return WORST_CASE_OVERFLOW_USEC;
        return 0;
}

static struct worst_case vm_fault(const struct pair_policy *pair, enum worst_case_fault fault) {
        /* A process that is gone or stopped cannot be frozen any more. */
        bool dumped = fault != WORST_CASE_QEMU_GONE && fault != WORST_CASE_QEMU_ENDED &&
                      fault != WORST_CASE_QEMU_STOPPED;
        usec_t dump = dumped ? pair->core_dump_within_usec : 0;

        return (struct worst_case) {
                .fault = fault,
                .application = -1,
                .fails_over = true,
                .detect_usec = detect_usec(pair, fault),
                .decide_usec = decide_usec(pair, fault),
                .recover_usec = pair->failover_expected_usec + dump,
                .limit_usec = 3 * pair->act_timeout_usec + dump + overflow_usec(pair), /* fence, attach, start */
        };
}

static struct worst_case application_fault(const struct pair_policy *pair, size_t index, enum worst_case_fault fault) {
        const struct application *a = &pair->applications[index];
        bool fails_over = a->kind != APPLICATION_PLAIN;
        usec_t restart = a->restart_budget == 0 || a->restart_expected_usec == 0 ? USEC_INFINITY :
                         a->restart_expected_usec;

        return (struct worst_case) {
                .fault = fault,
                .application = (int) index,
                .fails_over = fails_over,
                /* Checks begin at each interval; a fault just behind a check, and a last check that hangs. */
                .detect_usec = fault == WORST_CASE_APPLICATION_EXIT ? WORST_CASE_EVENT_USEC :
                               a->health_interval_usec * a->health_failures + a->health_timeout_usec,
                .recover_usec = fails_over ? pair->failover_expected_usec : restart,
                /* stop there and hear of it, attach, start; or stop and start in place */
                .limit_usec = a->stop_timeout_usec + (fails_over ? 3 : 1) * pair->act_timeout_usec +
                              (a->overflow.n_servers > 0 ? WORST_CASE_OVERFLOW_USEC : 0),
        };
}

static bool may_happen(const struct pair_policy *pair, enum worst_case_fault fault) {
        return fault != WORST_CASE_ANNOUNCED_STOP || pair->on_guest_shutdown == GUEST_STOP_FAILOVER ||
               pair->on_guest_reboot == GUEST_STOP_FAILOVER;
}

static bool has_check(const struct application *a) {
        return a->sides[SIDE_A].health.n_words > 0 || a->sides[SIDE_B].health.n_words > 0;
}

/* Lists the faults of a pair: those of the VM, an announced stop only where the policy takes it for one; then those of
 * each application, a failed check only where it has one. Returns how many. */
size_t worst_case_list(const struct pair_policy *pair, struct worst_case ret[static WORST_CASES_MAX]) {
        size_t n = 0;

        for (enum worst_case_fault fault = WORST_CASE_PANIC; fault < WORST_CASE_APPLICATION_EXIT; fault++)
                if (may_happen(pair, fault))
                        ret[n++] = vm_fault(pair, fault);
        for (size_t i = 0; i < pair->n_applications && i < POLICY_APPLICATIONS_MAX; i++) {
                if (pair->applications[i].kind == APPLICATION_MEMORY)
                        continue; /* nothing runs there */
                ret[n++] = application_fault(pair, i, WORST_CASE_APPLICATION_EXIT);
                if (has_check(&pair->applications[i]))
                        ret[n++] = application_fault(pair, i, WORST_CASE_APPLICATION_CHECK);
        }
        return n;
}

/* From the fault to the application started, as the policy expects it; USEC_INFINITY where it does not say how
 * long recovering takes. */
usec_t worst_case_total_usec(const struct worst_case *worst) {
        if (worst->recover_usec == USEC_INFINITY)
                return USEC_INFINITY;
        return worst->detect_usec + worst->decide_usec + worst->recover_usec;
}

/* True where the total is known and within the objective. */
bool worst_case_meets(const struct worst_case *worst, usec_t objective_usec) {
        return worst_case_total_usec(worst) <= objective_usec;
}

static const char *span(char buffer[UNITS_TEXT_MAX], usec_t usec) {
        return usec == USEC_INFINITY ? "unknown" : duration_format(buffer, usec);
}

static void print_row(const struct pair_policy *pair, const struct worst_case *w, FILE *f) {
        char text[5][UNITS_TEXT_MAX];
        const char *verdict = worst_case_meets(w, pair->objective_usec) ? "met" :
                              w->recover_usec == USEC_INFINITY          ? "unknown" :
                                                                          "MISSED";

        fprintf(f, "  %-18s %-20s %-9s %9s %9s %9s %9s %9s  %s\n", worst_case_fault_to_string(w->fault),
                w->application < 0 ? "-" : pair->applications[w->application].name,
                w->fails_over ? "failover" : "restart", span(text[0], w->detect_usec), span(text[1], w->decide_usec),
                span(text[2], w->recover_usec), span(text[3], worst_case_total_usec(w)), span(text[4], w->limit_usec),
                verdict);
}

/* Prints a table for each pair and returns how many rows miss their objective. "limit" is what recovering takes
 * when every step uses up its deadline. */
size_t worst_case_print(const struct policy *policy, FILE *f) {
        struct worst_case rows[WORST_CASES_MAX];
        char objective[UNITS_TEXT_MAX], wait[UNITS_TEXT_MAX];
        size_t n_missed = 0, n;

        for (size_t i = 0; i < policy->n_pairs; i++) {
                const struct pair_policy *pair = &policy->pairs[i];

                fprintf(f, "%spair %s, objective %s\n", i ? "\n" : "", pair->name,
                        duration_format(objective, pair->objective_usec));
                fprintf(f, "  %-18s %-20s %-9s %9s %9s %9s %9s %9s  %s\n", "FAULT", "APPLICATION", "ACTION", "DETECT",
                        "DECIDE", "RECOVER", "TOTAL", "LIMIT", "OBJECTIVE");
                n = worst_case_list(pair, rows);
                for (size_t j = 0; j < n; j++) {
                        print_row(pair, &rows[j], f);
                        if (rows[j].recover_usec != USEC_INFINITY && !worst_case_meets(&rows[j], pair->objective_usec))
                                n_missed++;
                }
                if (pair->on_guest_shutdown == GUEST_STOP_WAIT || pair->on_guest_reboot == GUEST_STOP_WAIT)
                        fprintf(f,
                                "  A stop that a guest announces is waited for up to %s, also where its QEMU has "
                                "ended meanwhile as it was asked to.\n",
                                duration_format(wait, pair->guest_stop_timeout_usec));
        }
        return n_missed;
}
