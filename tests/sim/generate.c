/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/generate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/random.h"

#define APPS_MAX 3
#define FIRST_FAULT_MSEC 3000

struct world {
        uint64_t random;
        unsigned n_pairs;
        unsigned n_apps[64];
        unsigned hot_mib; /* of all hot-standby regions */
        size_t used;
        struct generated *out;
};

static unsigned below(struct world *w, unsigned n) {
        return random_below(&w->random, n);
}

static const char *pick(struct world *w, const char *const *words, unsigned n) {
        return words[below(w, n)];
}

static void add(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct world *w, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        w->used += (size_t) vsnprintf(w->out->policy + w->used, sizeof(w->out->policy) - w->used, format, ap);
        va_end(ap);
}

static void make_application(struct world *w, unsigned pair, unsigned app) {
        static const char *const severities[] = {
                "", ", severity: [{signal: SEGV, is: major}]", ", severity: [{signal: any, is: hard}, {exit: any, is: minor}]",
                ", severity: [{check: failed, is: major}, {signal: any, is: critical}]",
        };
        bool hot = app == 0 || below(w, 3) == 0;
        unsigned memory = 64 * (1 + below(w, 8));

        w->hot_mib += hot ? memory : 0;
        add(w, "      - {name: p%ua%u, kind: %s, memory: %uMiB, stop-timeout: %us, restart: {budget: %u, within: %us, expected: %s}%s",
            pair, app, hot ? "hot-standby" : "plain", memory, 1 + below(w, 5), below(w, 4), 10 + below(w, 120),
            below(w, 6) == 0 ? "20s" : "1s", pick(w, severities, 4));
        if (hot)
                add(w, ", start: {command: [/bin/app]}");
        else
                add(w, ", start: {active: {command: [/bin/app]}}");
        if (hot && below(w, 3) == 0)
                add(w, ", resources: {disks: [vd%c]%s}", 'b' + (int) app, below(w, 2) ? ", vcpus: 1" : "");
        add(w, "}\n");
}

static void make_pair(struct world *w, unsigned pair) {
        static const char *const stops[] = { "wait", "failover" };
        unsigned n = 1 + below(w, APPS_MAX);

        w->n_apps[pair] = n;
        add(w, "  - name: p%u\n    active: {domain: a%u, base: 512MiB}\n    standby: {domain: b%u, base: 512MiB}\n", pair, pair, pair);
        add(w, "    detect: {beat: %ums, missed: %u, confirm: %ums}\n", 200 + 100 * below(w, 5), 2 + below(w, 3), 300 + 100 * below(w, 4));
        add(w, "    act-timeout: %us\n    objective: 10min\n    guest-shutdown: %s\n    guest-reboot: %s\n    guest-stop-timeout: %us\n",
            2 + below(w, 8), pick(w, stops, 2), pick(w, stops, 2), 20 + below(w, 60));
        add(w, "    exclusive-stuck: %s\n    flap: {failovers: %u, within: 1h}\n    applications:\n",
            below(w, 2) ? "refuse" : "fence-vm", below(w, 4) ? 16 : 3);
        for (unsigned i = 0; i < n; i++)
                make_application(w, pair, i);
}

/* One fault, or something that an operator does. */
static void make_fault(struct world *w, char text[GENERATED_LINE_LEN]) {
        static const char *const on_vm[] = {
                "panic", "hang", "unhang", "reset", "qemu-kill", "qemu-stop", "qemu-cont", "watchdog", "io-error", "suspend", "resume-suspended",
                "destroy", "save", "start", "agent-kill", "agent-stop", "agent-cont", "panic", "qemu-kill", "hang",
        };
        static const char *const switches[] = { "boot-fails", "domain-start-fails", "kill-sticks", "echo", "balloon", "touch-fails" };
        static const char *const app_switches[] = { "start-fails", "stop-sticks", "check-fails", "disk-sticks", "canary-fails", "canary-hangs" };
        static const char *const findings[] = { "autostart", "channel", "requested", "device" };
        static const char *const moves[] = { "switch", "return", "rehearse", "rehearse" };
        static const char *const drills[] = { "app-kill", "panic", "hang", "qemu-kill", "qemu-stop" };
        static const char *const causes[] = { "signal 11", "signal 9", "exit 1", "check 2", "memory", "exit 3 hard" };
        unsigned pair = below(w, w->n_pairs), app = below(w, w->n_apps[pair]);
        char vm[16];

        snprintf(vm, sizeof(vm), "%c%u", "ab"[below(w, 2)], pair);
        switch (below(w, 27)) {
        case 0 ... 6: snprintf(text, GENERATED_LINE_LEN, "%s %s", pick(w, on_vm, 20), vm); break;
        case 7: snprintf(text, GENERATED_LINE_LEN, "%s %s %s", below(w, 2) ? "reboot" : "shutdown", vm, below(w, 2) ? "announced" : "unannounced"); break;
        case 8 ... 10: snprintf(text, GENERATED_LINE_LEN, "fail p%ua%u %s", pair, app, pick(w, causes, 6)); break;
        case 11: snprintf(text, GENERATED_LINE_LEN, "cut %s %ums", vm, 100 + below(w, 8000)); break;
        case 12: snprintf(text, GENERATED_LINE_LEN, below(w, 2) ? "lag %s %ums" : "lose %s %u", vm, below(w, 60)); break;
        case 13: snprintf(text, GENERATED_LINE_LEN, "%s %s %s", pick(w, switches, 6), vm, below(w, 2) ? "on" : "off"); break;
        case 14: snprintf(text, GENERATED_LINE_LEN, "%s %s p%ua%u %s", pick(w, app_switches, 6), vm, pair, app, below(w, 3) ? "on" : "off"); break;
        case 15:
                if (below(w, 3))
                        snprintf(text, GENERATED_LINE_LEN, "unplug %s %u", vm, below(w, 101));
                else if (below(w, 2))
                        snprintf(text, GENERATED_LINE_LEN, "touch %s p%ua%u %uMiB", vm, pair, app, 2 + below(w, 600));
                else
                        snprintf(text, GENERATED_LINE_LEN, below(w, 2) ? "page-out-fails %s on" : "page-out-fails %s off", vm);
                break;
        case 16: snprintf(text, GENERATED_LINE_LEN, "libvirt %s %ums", below(w, 2) ? "down" : "hang", 100 + below(w, 10000)); break;
        case 17: snprintf(text, GENERATED_LINE_LEN, below(w, 2) ? "starve %s %ums" : "domain-hang %s %ums", vm, 100 + below(w, 10000)); break;
        case 18: snprintf(text, GENERATED_LINE_LEN, "store %s %ums", below(w, 2) ? "stall" : "fail", 100 + below(w, 10000)); break;
        case 19: snprintf(text, GENERATED_LINE_LEN, "host stall %ums", 50 + below(w, 6000)); break;
        case 20:
                if (below(w, 3) == 0)
                        snprintf(text, GENERATED_LINE_LEN, "host power-loss %us", 10 + below(w, 20));
                else
                        snprintf(text, GENERATED_LINE_LEN, "host pressure %u", below(w, 101));
                break;
        case 21: snprintf(text, GENERATED_LINE_LEN, "kill failoverd %ums", 20 + below(w, 5000)); break;
        case 22: snprintf(text, GENERATED_LINE_LEN, "kill failoverd after %u actions", 1 + below(w, 60)); break;
        case 23: snprintf(text, GENERATED_LINE_LEN, "operator %s p%u", pick(w, moves, 4), pair); break;
        case 24:
                if (below(w, 3) == 0)
                        snprintf(text, GENERATED_LINE_LEN, "preflight %s %s %s", vm, pick(w, findings, 4), below(w, 2) ? "on" : "off");
                else
                        snprintf(text, GENERATED_LINE_LEN, "operator drill p%u %s", pair, pick(w, drills, 5));
                break;
        case 25:
                if (below(w, 3) == 0)
                        snprintf(text, GENERATED_LINE_LEN, "reclaim %s", below(w, 2) ? "on" : "off");
                else
                        snprintf(text, GENERATED_LINE_LEN, "memory-failure %s %uMiB", vm, 64 * (1 + below(w, 2)));
                break;
        default:
                snprintf(text, GENERATED_LINE_LEN, below(w, 2) ? "operator pause p%u 5s" : "operator resume p%u", pair);
                break;
        }
}

void generate(uint64_t seed, unsigned pairs_max, bool tight, struct generated *ret) {
        struct world w = { .random = seed, .out = ret };
        unsigned n, msec = FIRST_FAULT_MSEC, span, spare_mib, reserve_mib = 256, first = 0;

        ret->n_lines = 0;
        w.n_pairs = below(&w, 3) ? 1 : 1 + below(&w, pairs_max);
        add(&w, "version: 1\npairs:\n");
        for (unsigned i = 0; i < w.n_pairs; i++)
                make_pair(&w, i);
        spare_mib = below(&w, 3) ? 4096 * w.n_pairs : 64 * below(&w, 4);
        if (tight) {
                reserve_mib = 64 * below(&w, 4);
                spare_mib = 64 * below(&w, 12);
        }
        add(&w, "pool: {memory: %uMiB, reserve: %uMiB, extent: 64MiB, monitor: 64MiB, overhead: 128MiB}\n",
            64 + reserve_mib + w.n_pairs * 2 * (512 + 128) + w.hot_mib + spare_mib, reserve_mib);
        if (below(&w, 2))
                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "1s reclaim on");
        n = 1 + below(&w, 12);
        span = below(&w, 2) ? 300 : 6000; /* faults close together, or well apart */
        for (unsigned i = 0; i < n; i++) {
                char text[GENERATED_LINE_LEN];
                int length;

                msec += i == 0 ? below(&w, 8000) : below(&w, below(&w, 3) ? span : 100);
                if (i == 0)
                        first = msec;
                make_fault(&w, text);
                length = snprintf(ret->lines[ret->n_lines], GENERATED_LINE_LEN, "%ums ", msec);
                snprintf(ret->lines[ret->n_lines++] + length, (size_t) (GENERATED_LINE_LEN - length), "%.70s", text);
        }
        ret->n_pairs = w.n_pairs;
        ret->heal_sec = msec / 1000 + 1 + below(&w, 30);
        if (below(&w, 4) == 0 && first > FIRST_FAULT_MSEC + 2500) /* the faults begin in the middle of a rehearsal */
                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "%ums operator rehearse p%u", first - below(&w, 2000), below(&w, w.n_pairs));
}
