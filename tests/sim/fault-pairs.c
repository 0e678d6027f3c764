/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every pair of two simultaneous faults on one pair of VMs: one on the active VM, the other on the standby, in the same
 * instant. What became of it a while later, and once everything has healed, is one line, compared with the line of
 * fault-pairs.expect. The same with both on the active VM, where only what must always hold is looked at. The
 * simulator's checkers look on.
 *
 *   fault-pairs EXPECT MANUAL   TEST_UPDATE=1 in the environment writes it anew. The manual page has to name each form
 * of the language fault-pairs show I K        the timeline of one combination, and its run
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "daemon/sim/inject.h"
#include "daemon/sim/simulate.h"
#include "policy/text.h"
#include "tests/sim/orders-policy.h"

#define TIMELINE_LEN 512
#define OUTCOME_LEN 256

static const char policy_text[] = ORDERS_POLICY("disks: [vdb]");

/* One of each kind. V is the VM. */
static const char *const faults[] = {
        "panic V",
        "hang V",
        "reboot V announced",
        "shutdown V unannounced",
        "reset V",
        "qemu-kill V",
        "qemu-stop V",
        "watchdog V",
        "io-error V",
        "memory-failure V 128MiB",
        "suspend V",
        "destroy V",
        "save V",
        "migrate V",
        "fail db signal 9",
        "agent-kill V",
        "agent-stop V",
        "cut V 20s",
        "lag V 2s",
        "lose V 60",
        "repeat V 100",
        "lie V 30",
        "lie V failed db",
        "out-of-memory V",
        "start-fails V db on",
        "stop-sticks V db on",
        "check-fails V db on",
        "disk-sticks V db on",
        "canary-fails V db on",
        "canary-hangs V db on",
        "start-takes V db 20s",
        "plug V 40",
        "plug-takes V 40s",
        "unplug V 30",
        "calls-fail V 50",
        "boot-fails V on",
        "boot-takes V 60s",
        "paging V 1000",
        "space-stalls V on",
        "page-out-fails V on",
        "reclaim on",
        "pool-limit on",
        "domain-start-fails V on",
        "kill-sticks V on",
        "touch-fails V on",
        "agent-old V on",
        "echo V off",
        "balloon V off",
        "preflight V channel on",
        "libvirt down 20s",
        "libvirt hang 20s",
        "libvirt twice on",
        "domain-hang V 20s",
        "starve V 10s",
        "crowd V 10s",
        "holder down 20s",
        "holder slow 12s",
        "holder refuses on",
        "holder loses",
        "mirror down 20s",
        "store stall 20s",
        "store fail 20s",
        "store lost",
        "store tear",
        "host stall 3s",
        "host clock-forward 2h",
        "host clock-back 2h",
        "host pressure 80",
        "host power-loss 20s",
        "kill failoverd 3s",
        "kill failoverd after 12 actions",
        "operator switch orders",
        "operator drill orders panic",
        "operator rehearse orders",
        "operator pause orders",
};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* Forms of the language that are no faults: they mend, ask, or only prepare; and what nth-call.c tries. */
static const char *const no_faults[] = {
        "unhang",
        "qemu-cont",
        "resume",
        "resume-suspended",
        "start",
        "agent-cont",
        "touch",
        "touches",
        "others",
        "fills",
        "overflow takes",
        "swap",
        "dump-takes",
        "host tells-signals",
        "libvirt fails",
        "operator return",
        "operator resume",
        "operator adopt",
        "operator assign",
        "operator assign-cancel",
        "guest-asks",
        "rights space", /* a map beside the world */
        "rights assign",
        "rights release",
        "rights touch",
        "rights take-back",
        "rights paged-out",
        "rights reported-free",
        "rights fence",
        "rights leave",
        "rights show",
        "apply",
        "explain",
        "check",
        "try",
        "calm",
        "heal",
};

static bool begins_with(const char *line, const char *first, const char *second) {
        size_t n = strlen(first);

        if (strncmp(line, first, n) != 0 || (line[n] != 0 && line[n] != ' '))
                return false;
        return !second || strncmp(line + n + 1, second, strlen(second)) == 0;
}

static char *read_file(const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        char *text = NULL;
        size_t n = 0;

        return f && getdelim(&text, &n, 0, f) >= 0 ? text : NULL;
}

/* ".BI "FIRST SECOND ", or .B without arguments. */
static bool has_form(const char *manual, const char *first, const char *second) {
        char quoted[64], plain[64];

        snprintf(quoted, sizeof(quoted), ".BI \"%s%s%s ", first, second ? " " : "", second ? second : "");
        snprintf(plain, sizeof(plain), ".B %s%s%s\n", first, second ? " " : "", second ? second : "");
        return manual && (strstr(manual, quoted) || strstr(manual, plain));
}

/* A new form of the language has to be here, as a fault or as none, and in its manual page. */
static unsigned count_missing_forms(const char *manual_path) {
        _cleanup_free_ char *manual = read_file(manual_path);
        const char *first, *second;
        unsigned missing = 0;

        for (size_t i = 0; (first = inject_form(i, &second)); i++) {
                bool known = false;

                for (size_t k = 0; k < FAULTS; k++)
                        known |= begins_with(faults[k], first, second);
                for (size_t k = 0; k < sizeof(no_faults) / sizeof(no_faults[0]); k++)
                        known |= begins_with(no_faults[k], first, second);
                if (!known)
                        printf("\"%s %s\" is neither among the faults nor among what is none\n", first,
                               second ? second : "");
                if (!has_form(manual, first, second))
                        printf("%s does not tell of \"%s %s\"\n", manual_path, first, second ? second : "");
                missing += !known || !has_form(manual, first, second);
        }
        return missing;
}

static void put_fault(char text[64], const char *fault, const char *vm) {
        const char *v = strstr(fault, " V");

        if (v)
                snprintf(text, 64, "%.*s %s%s", (int) (v - fault), fault, vm, v + 2);
        else
                snprintf(text, 64, "%s", fault);
}

static void write_timeline(char text[TIMELINE_LEN], const char *one, const char *other, bool heal) {
        size_t used = (size_t) snprintf(text, TIMELINE_LEN, "seed 1\n20s %s\n20s %s\n", one, other);

        if (heal)
                snprintf(text + used, TIMELINE_LEN - used, "80s heal\n90s heal\n100s heal\n220s heal\n900s end\n");
        else
                snprintf(text + used, TIMELINE_LEN - used, "80s end\n");
}

/* The word after `before`, in what a run prints at its end. */
static void take_word(const char *text, const char *before, const char *until, char *ret, size_t size) {
        const char *at = text ? strstr(text, before) : NULL;

        snprintf(ret, size, "?");
        if (!at)
                return;
        at += strlen(before);
        snprintf(ret, size, "%.*s", (int) strcspn(at, until), at);
}

static unsigned count(const char *text, const char *what) {
        unsigned n = 0;

        for (; text && (text = strstr(text, what)); text += strlen(what))
                n++;
        return n;
}

/* State, owner and instances of the application, and why it is not armed; of a run that has ended. */
static void describe(const char *printed, unsigned flows, char outcome[OUTCOME_LEN]) {
        const char *end = printed ? strstr(printed, "\norders: ") : NULL;
        char state[32], owner[16], db[160], why[96] = "";

        if (!end) {
                snprintf(outcome, OUTCOME_LEN, "failoverd does not run");
                return;
        }
        take_word(end, "orders: ", "\n", state, sizeof(state));
        take_word(end, "db: owner ", ",", owner, sizeof(owner));
        take_word(end, "in the world ", "\n", db, sizeof(db));
        if (strcmp(state, "armed") != 0)
                take_word(end, "why: ", "\n", why, sizeof(why));
        snprintf(outcome, OUTCOME_LEN, "%s, %u flows, %s owns, %u runs%s%s", state, flows, owner, count(db, "running"),
                 why[0] ? ": " : "", why);
}

/* Runs one combination; false when something that must always hold was violated. */
static bool run(const struct policy *policy, const char *one, const char *other, bool heal, char outcome[OUTCOME_LEN]) {
        const struct simulate_options options = { .must_arm = heal };
        struct simulate_result result = { 0 };
        struct error error = ERROR_INIT;
        char timeline[TIMELINE_LEN];
        _cleanup_free_ char *printed = NULL;
        size_t n;
        FILE *out;
        int r;

        write_timeline(timeline, one, other, heal);
        out = open_memstream(&printed, &n);
        if (!out)
                return false;
        r = simulate_run(policy, timeline, out, &options, &result, &error);
        if (memstream_close(out, &printed) < 0 || r < 0)
                printf("%s & %s: %s\n", one, other, error_text(&error));
        error_deinit(&error);
        describe(printed, result.flows, outcome);
        if (r >= 0 && result.violations > 0)
                printf("%s & %s: violated\n%s", one, other, printed);
        return r >= 0 && result.violations == 0;
}

static bool combine(const struct policy *policy, size_t i, size_t k, FILE *golden, unsigned *ret_n) {
        char one[64], other[64], same[64], then[OUTCOME_LEN], healed[OUTCOME_LEN];
        bool good;

        put_fault(one, faults[i], "vm-a");
        put_fault(other, faults[k], "vm-b");
        put_fault(same, faults[k], "vm-a");
        good = run(policy, one, other, false, then);
        good &= run(policy, one, other, true, healed);
        fprintf(golden, "%s & %s | %s | healed: %s\n", one, other, then, strcmp(then, healed) ? healed : "the same");
        *ret_n += 2;
        if (i == k || strcmp(other, same) == 0)
                return good;
        *ret_n += 1;
        return run(policy, one, same, true, healed) && good;
}

/* Prints the lines that differ; false where there are any. */
static bool compare(const char *path, const char *actual) {
        _cleanup_free_ char *expected = read_file(path);
        const char *a = actual, *e;
        unsigned differ = 0;

        for (e = expected ? expected : ""; *a || *e;) {
                int length_a = (int) strcspn(a, "\n"), length_e = (int) strcspn(e, "\n");

                if ((length_a != length_e || memcmp(a, e, (size_t) length_a) != 0) && ++differ <= 20)
                        printf("-%.*s\n+%.*s\n", length_e, e, length_a, a);
                a += length_a + (a[length_a] != 0);
                e += length_e + (e[length_e] != 0);
        }
        if (differ)
                printf("%u lines differ\n", differ);
        return differ == 0;
}

static int show(const struct policy *policy, size_t i, size_t k) {
        const struct simulate_options options = { 0 };
        struct error error = ERROR_INIT;
        char one[64], other[64], timeline[TIMELINE_LEN];
        int r;

        put_fault(one, faults[i], "vm-a");
        put_fault(other, faults[k], "vm-b");
        write_timeline(timeline, one, other, true);
        printf("---- policy.yaml\n%s---- timeline\n%s----\n", policy_text, timeline);
        r = simulate_run(policy, timeline, stdout, &options, NULL, &error);
        error_deinit(&error);
        return r < 0;
}

int main(int argc, char **argv) {
        struct diagnostics diagnostics = { 0 };
        _cleanup_free_ char *actual = NULL;
        struct policy *policy = NULL;
        unsigned failed, n = 0;
        FILE *golden;
        size_t size;

        if (policy_parse(policy_text, strlen(policy_text), "policy.yaml", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        if (!policy || argc < 3)
                return 2;
        if (argc == 4 && strcmp(argv[1], "show") == 0)
                return show(policy, strtoul(argv[2], NULL, 10) % FAULTS, strtoul(argv[3], NULL, 10) % FAULTS);
        failed = count_missing_forms(argv[2]);
        golden = open_memstream(&actual, &size);
        if (!golden)
                return 1;
        for (size_t i = 0; i < FAULTS; i++)
                for (size_t k = i; k < FAULTS && failed < 5; k++)
                        failed += !combine(policy, i, k, golden, &n);
        policy_free(policy);
        if (memstream_close(golden, &actual) < 0)
                return 1;
        if (getenv("TEST_UPDATE")) {
                _cleanup_fclose_ FILE *f = fopen(argv[1], "we");

                failed += !f || fputs(actual, f) < 0;
        } else
                failed += !compare(argv[1], actual);
        printf("%zu kinds of faults, %u runs; %u failed\n", FAULTS, n, failed);
        return failed ? 1 : 0;
}
