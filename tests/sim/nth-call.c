/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The Nth call of the hypervisor fails, for every N until none is left, in failovers and in what is planned: before it
 * has had its effect, or after it. The simulator's checkers look on, and in the end the pair is armed again.
 * tests/unit/test-hypervisor-faults.c has what a call comes to when one of libvirt's functions fails in it.
 *
 *   nth-call [KIND N [done]]    all of them; or one, with its timeline and all that was decided
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/simulate.h"
#include "policy/text.h"
#include "tests/sim/orders-policy.h"

#define TIMELINE_LEN 256
#define CALLS_MIN 5 /* fewer in any of them, and nothing was tried */

static const char policy_text[] = ORDERS_POLICY("disks: [vdb], vcpus: 1");

static const struct {
        const char *name, *line;
} kinds[] = {
        { "panic", "panic vm-a" },
        { "hang", "hang vm-a" },
        { "qemu-kill", "qemu-kill vm-a" },
        { "qemu-stop", "qemu-stop vm-a" },
        { "application", "fail db signal 9" },
        { "standby", "qemu-kill vm-b" },
        { "switch", "operator switch orders" },
        { "rehearse", "operator rehearse orders" },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* -1 when something was violated, else whether there was such a call. */
static int run(const struct policy *policy, size_t kind, unsigned n, bool done, bool show) {
        const struct simulate_options options = { .quiet = !show, .must_arm = true };
        struct simulate_result result = { 0 };
        struct error error = ERROR_INIT;
        char timeline[TIMELINE_LEN];
        int r;

        snprintf(timeline, sizeof(timeline), "20s libvirt fails %u%s\n20s %s\n400s end\n", n, done ? " done" : "",
                 kinds[kind].line);
        if (show)
                printf("---- policy.yaml\n%s---- timeline\n%s----\n", policy_text, timeline);
        r = simulate_run(policy, timeline, stdout, &options, &result, &error);
        if (r < 0)
                printf("%s\n", error_text(&error));
        error_deinit(&error);
        if (r < 0 || result.violations > 0) {
                printf("nth-call %s %u%s: violated\n", kinds[kind].name, n, done ? " done" : "");
                return -1;
        }
        return result.calls_failed > 0;
}

static bool try_each(const struct policy *policy, size_t kind, bool done) {
        bool good = true;
        unsigned n = 1;
        int r;

        for (; (r = run(policy, kind, n, done, false)) != 0; n++)
                good &= r > 0;
        printf("%s: %u calls failed in their turn%s\n", kinds[kind].name, n - 1, done ? ", done" : "");
        return good && n > CALLS_MIN;
}

static int try_one(const struct policy *policy, const char *name, unsigned n, bool done) {
        for (size_t kind = 0; kind < KINDS; kind++)
                if (strcmp(kinds[kind].name, name) == 0)
                        return run(policy, kind, n, done, true) < 0;
        return 2;
}

int main(int argc, char **argv) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;
        bool good = true;
        int status;

        if (policy_parse(policy_text, strlen(policy_text), "policy.yaml", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        if (!policy)
                return 2;
        if (argc > 2)
                status = try_one(policy, argv[1], (unsigned) strtoul(argv[2], NULL, 10), argc > 3);
        else {
                for (size_t kind = 0; kind < KINDS; kind++)
                        for (int done = 0; done < 2; done++)
                                good &= try_each(policy, kind, done);
                status = !good;
        }
        policy_free(policy);
        return status;
}
