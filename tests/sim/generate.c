/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/generate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/text.h"
#include "tests/random.h"

#define PAIRS_MAX 64
#define APPS_MAX 5 /* of one pair; the first 3 from the beginning */
#define REST_LEN 400
#define FIRST_FAULT_MSEC 3000

/* What is in the policy just now. What is taken out keeps its place, and its name is not given again. */
struct made_application {
        bool present, hot;
        unsigned under; /* the pair that it is named under now */
        unsigned memory_mib;
        char rest[REST_LEN]; /* of its line */
};

struct made_pair {
        bool present;
        char rest[2 * REST_LEN]; /* of its lines, but for its applications */
        struct made_application apps[APPS_MAX];
        unsigned n_apps; /* places */
        unsigned hand_mib; /* of the region for memory by hand; 0: it has none */
};

struct world {
        uint64_t random;
        struct made_pair pairs[PAIRS_MAX];
        unsigned n_pairs; /* places */
        unsigned reserve_mib, spare_mib; /* beside what a policy must have */
        char rest[REST_LEN]; /* of the policy's own lines */
        bool calm;
        struct generated *out;
};

static unsigned below(struct world *w, unsigned n) {
        return random_below(&w->random, n);
}

static const char *pick(struct world *w, const char *const *words, unsigned n) {
        return words[below(w, n)];
}

/* ---- the policy ------------------------------------------------------------------------------------------------ */

static void make_application(struct world *w, struct made_pair *pair) {
        static const char *const severities[] = {
                "",
                ", severity: [{signal: any, is: major}]",
                ", severity: [{signal: any, is: hard}, {exit: any, is: minor}]",
                ", severity: [{check: failed, is: major}, {signal: any, is: critical}]",
        };
        unsigned app = pair->n_apps++;
        bool hot = app == 0 || below(w, 3) == 0;
        struct made_application *a = &pair->apps[app];
        int n;

        a->present = true;
        a->under = w->n_pairs - 1;
        a->hot = hot;
        a->memory_mib = 64 * (1 + below(w, 8));
        n = snprintf(a->rest, REST_LEN,
                     "kind: %s, stop-timeout: %us, prefault: %s, restart: {budget: %u, within: %us, expected: %s}%s, "
                     "start: %s",
                     hot ? "hot-standby" : "plain", 1 + below(w, 5),
                     (const char *[]){ "none", "none", "background", "before-start" }[below(w, 4)], below(w, 4),
                     10 + below(w, 120), below(w, 6) == 0 ? "20s" : "1s", pick(w, severities, 4),
                     hot ? "{command: [/bin/app]}" : "{active: {command: [/bin/app]}}");
        if (hot && below(w, 3) == 0)
                n += snprintf(a->rest + n, (size_t) (REST_LEN - n), ", resources: {disks: [vd%c]%s}", 'b' + (int) app,
                              below(w, 2) ? ", vcpus: 1" : "");
        if (hot && w->random % 3 == 0) /* nothing is drawn: worlds of earlier seeds stay as they are but for this */
                n += snprintf(a->rest + n, (size_t) (REST_LEN - n),
                              ", state: [{region: p%ua%u, size: 1MiB, holder: depot%s%s}]",
                              w->n_pairs - 1, app, w->random % 2 ? "" : ", holder-lost: start",
                              w->random / 3 % 2 ? ", mirror: annex" : "");
        if (hot && w->random % 5 == 0) /* as above */
                snprintf(a->rest + n, (size_t) (REST_LEN - n),
                         ", overflow: {servers: [depot, annex], size: 1GiB, when: short}");
}

static void make_pair(struct world *w) {
        static const char *const stops[] = { "wait", "failover" };
        struct made_pair *pair = &w->pairs[w->n_pairs++];
        unsigned n = 1 + below(w, 3);

        pair->present = true;
        snprintf(pair->rest, sizeof(pair->rest),
                 "    detect: {beat: %ums, missed: %u, confirm: %ums}\n"
                 "    act-timeout: %us\n    objective: 10min\n    guest-shutdown: %s\n    guest-reboot: %s\n    "
                 "guest-stop-timeout: %us\n"
                 "    exclusive-stuck: %s\n    flap: {failovers: %u, within: 1h}\n",
                 200 + 100 * below(w, 5), 2 + below(w, 3), 300 + 100 * below(w, 4), 2 + below(w, 8), pick(w, stops, 2),
                 pick(w, stops, 2), 20 + below(w, 60), below(w, 2) ? "refuse" : "fence-vm", below(w, 4) ? 16 : 3);
        for (unsigned i = 0; i < n; i++)
                make_application(w, pair);
        if (w->random % 3 == 0 && !w->calm) /* as below */
                pair->hand_mib = 512;
        if (w->random % 4 == 0) /* nothing is drawn: worlds of earlier seeds stay as they are but for this */
                strcat(pair->rest, w->random % 8 == 0 ? "    core-dump: {within: 500ms, limit: 2GiB}\n"
                                                      : "    core-dump: {within: 5s, limit: 768MiB}\n");
}

static void add(char *text, size_t *used, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t *used, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        *used += (size_t) vsnprintf(text + *used, GENERATED_POLICY_LEN - *used, format, ap);
        va_end(ap);
}

/* What it must have: its VMs, the hot-standby regions and the reserve. */
static unsigned least_mib(const struct world *w) {
        unsigned sum = 64 + w->reserve_mib;

        for (unsigned i = 0; i < w->n_pairs; i++) {
                const struct made_pair *pair = &w->pairs[i];

                sum += pair->present ? 2 * (512 + 128) : 0;
                for (unsigned k = 0; k < pair->n_apps; k++)
                        sum += pair->apps[k].present && pair->apps[k].hot && w->pairs[pair->apps[k].under].present
                                       ? pair->apps[k].memory_mib : 0;
        }
        return sum;
}

static void write_policy(const struct world *w, char text[GENERATED_POLICY_LEN]) {
        size_t used = 0;

        add(text, &used,
            "version: 1\npool: {memory: %uMiB, reserve: %uMiB, extent: 64MiB, monitor: 64MiB, overhead: "
            "128MiB}\nmemory-servers: [{name: depot, control: /run/depot, uri: \"nbds://192.0.2.1/\", guests: "
            "\"nbds://192.0.2.1/\"}, {name: annex, control: /run/annex, uri: \"nbds://192.0.2.2/\", guests: "
            "\"nbds://192.0.2.2/\"}]\n%spairs:\n",
            least_mib(w) + w->spare_mib, w->reserve_mib, w->rest);
        for (unsigned i = 0; i < w->n_pairs; i++) {
                const struct made_pair *pair = &w->pairs[i];

                if (!pair->present)
                        continue;
                add(text, &used,
                    "  - name: p%u\n    active: {domain: a%u, base: 512MiB}\n    standby: {domain: b%u, base: "
                    "512MiB}\n%s    applications:\n",
                    i, i, i, pair->rest);
                for (unsigned from = 0; from < w->n_pairs; from++)
                        for (unsigned k = 0; k < w->pairs[from].n_apps; k++) {
                                const struct made_application *app = &w->pairs[from].apps[k];

                                if (app->present && app->under == i)
                                        add(text, &used, "      - {name: p%ua%u, memory: %uMiB, %s}\n", from, k,
                                            app->memory_mib, app->rest);
                        }
                if (pair->hand_mib)
                        add(text, &used, "      - {name: p%um, kind: memory, memory: %uMiB}\n", i, pair->hand_mib);
        }
}

static unsigned count_pairs(const struct world *w) {
        unsigned n = 0;

        for (unsigned i = 0; i < w->n_pairs; i++)
                n += w->pairs[i].present;
        return n;
}

/* At home: others may come and go. */
static unsigned count_apps(const struct made_pair *pair, unsigned home) {
        unsigned n = 0;

        for (unsigned i = 0; i < pair->n_apps; i++)
                n += pair->apps[i].present && pair->apps[i].under == home;
        return n;
}

/* Names an application under another pair, or under its own again; one with disks stays, since those are the VMs'. */
static bool move_application(struct world *w, struct made_application *app, unsigned home) {
        if (!app->present || strstr(app->rest, "disks"))
                return false;
        if (app->under == home && (count_apps(&w->pairs[home], home) == 1 || w->n_pairs == 1))
                return false;
        app->under = app->under == home ? (home + 1) % w->n_pairs : home;
        return true;
}

/* A policy that is another one in a thing or two: without a pair, with one more, with a region of another size,
 * with an application under another pair. */
static void change_policy(struct world *w) {
        unsigned home = below(w, w->n_pairs);
        struct made_pair *pair = &w->pairs[home];
        struct made_application *app = &pair->apps[below(w, pair->n_apps)];

        switch (below(w, 7)) {
        case 0: pair->present = !pair->present || count_pairs(w) == 1; break;
        case 1:
                if (w->n_pairs < PAIRS_MAX)
                        make_pair(w);
                break;
        case 2:
        case 3: app->memory_mib = 64 * (1 + below(w, 12)); break;
        case 4:
                if (w->random % 2 == 0 || !move_application(w, app, home)) /* as above, nothing is drawn */
                        app->present = !app->present || count_apps(pair, home) == 1;
                break;
        case 5:
                if (pair->n_apps < APPS_MAX)
                        make_application(w, pair);
                break;
        default: w->spare_mib = below(w, 2) ? 4096 * count_pairs(w) : 64 * below(w, 16); break;
        }
}

/* What is in the policy at last has room, whatever else has not been released yet. */
static void write_healed_policy(struct world *w) {
        w->spare_mib = 8192 * w->n_pairs;
        write_policy(w, w->out->policies[w->out->n_policies]);
}

/* ---- what happens ---------------------------------------------------------------------------------------------- */

static void make_apply(struct world *w, char text[GENERATED_LINE_LEN]) {
        struct generated *out = w->out;
        char name[GENERATED_NAME_LEN];

        if (out->n_policies < GENERATED_POLICIES_MAX - 1) {
                for (unsigned n = 1 + below(w, 2); n > 0; n--)
                        change_policy(w);
                write_policy(w, out->policies[out->n_policies++]);
        }
        snprintf(text, GENERATED_LINE_LEN, "apply %s",
                 generated_policy_name(below(w, (unsigned) out->n_policies), name));
}

static void make_switch(struct world *w, const char *vm, unsigned pair, unsigned app, char text[GENERATED_LINE_LEN]) {
        static const char *const switches[] = { "boot-fails", "domain-start-fails", "kill-sticks", "echo",
                                                "balloon",    "touch-fails" };
        static const char *const app_switches[] = { "start-fails", "stop-sticks",  "check-fails",
                                                    "disk-sticks", "canary-fails", "canary-hangs" };
        static const char *const findings[] = { "autostart", "channel", "requested", "device" };

        switch (below(w, 3)) {
        case 0:
                snprintf(text, GENERATED_LINE_LEN, "%s %s %s", pick(w, switches, 6), vm, below(w, 2) ? "on" : "off");
                break;
        case 1:
                snprintf(text, GENERATED_LINE_LEN, "%s %s p%ua%u %s", pick(w, app_switches, 6), vm, pair, app,
                         below(w, 3) ? "on" : "off");
                break;
        default:
                snprintf(text, GENERATED_LINE_LEN, "preflight %s %s %s", vm, pick(w, findings, 4),
                         below(w, 2) ? "on" : "off");
                break;
        }
}

/* An agent or its link is not as it should be. */
static void make_agent_fault(struct world *w, const char *vm, unsigned pair, unsigned app,
                             char text[GENERATED_LINE_LEN]) {
        static const char *const lies[] = { "started", "running", "stopped", "failed",
                                            "memory",  "foreign", "token",   "ids" };

        switch (below(w, w->calm ? 4 : 7)) {
        case 0: snprintf(text, GENERATED_LINE_LEN, "cut %s %ums", vm, 100 + below(w, 8000)); break;
        case 1: snprintf(text, GENERATED_LINE_LEN, "lag %s %ums", vm, below(w, 60)); break;
        case 2: snprintf(text, GENERATED_LINE_LEN, "lose %s %u", vm, below(w, 60)); break;
        case 3: snprintf(text, GENERATED_LINE_LEN, "repeat %s %u", vm, below(w, 101)); break;
        case 4: snprintf(text, GENERATED_LINE_LEN, "lie %s %u", vm, below(w, 3) ? below(w, 10) : below(w, 100)); break;
        default: snprintf(text, GENERATED_LINE_LEN, "lie %s %s p%ua%u", vm, pick(w, lies, 8), pair, app); break;
        }
}

/* How much of its memory a guest can give or take, and how well calls on it do. */
static void make_share(struct world *w, const char *vm, unsigned pair, unsigned app, char text[GENERATED_LINE_LEN]) {
        switch (below(w, 9)) {
        case 7: snprintf(text, GENERATED_LINE_LEN, "boot-takes %s %us", vm, below(w, 45)); break;
        case 0: snprintf(text, GENERATED_LINE_LEN, "unplug %s %u", vm, below(w, 101)); break;
        case 1: snprintf(text, GENERATED_LINE_LEN, "plug %s %u", vm, below(w, 101)); break;
        case 2: snprintf(text, GENERATED_LINE_LEN, "plug-takes %s %ums", vm, below(w, 60000)); break;
        case 3: snprintf(text, GENERATED_LINE_LEN, "calls-fail %s %u", vm, below(w, 101)); break;
        case 4: snprintf(text, GENERATED_LINE_LEN, "touch %s p%ua%u %uMiB", vm, pair, app, 2 + below(w, 600)); break;
        case 5: snprintf(text, GENERATED_LINE_LEN, "page-out-fails %s %s", vm, below(w, 2) ? "on" : "off"); break;
        case 6: snprintf(text, GENERATED_LINE_LEN, "reclaim %s", below(w, 2) ? "on" : "off"); break;
        default: snprintf(text, GENERATED_LINE_LEN, "memory-failure %s %uMiB", vm, 64 * (1 + below(w, 2))); break;
        }
}

static void make_host_fault(struct world *w, const char *vm, char text[GENERATED_LINE_LEN]) {
        unsigned msec = 100 + below(w, 10000);

        switch (below(w, 12)) {
        case 0: snprintf(text, GENERATED_LINE_LEN, "libvirt down %ums", msec); break;
        case 1: snprintf(text, GENERATED_LINE_LEN, "libvirt hang %ums", msec); break;
        case 2: snprintf(text, GENERATED_LINE_LEN, "libvirt twice %s", below(w, 3) ? "on" : "off"); break;
        case 3:
                snprintf(text, GENERATED_LINE_LEN, "%s %s %ums",
                         !below(w, 2)   ? "domain-hang"
                         : msec % 2 > 0 ? "starve"
                                        : "crowd",
                         vm, msec);
                break;
        case 4: snprintf(text, GENERATED_LINE_LEN, "store stall %ums", msec); break;
        case 5: snprintf(text, GENERATED_LINE_LEN, "store fail %ums", msec); break;
        case 6:
                snprintf(text, GENERATED_LINE_LEN,
                         w->calm       ? "store fail 100ms"
                         : below(w, 2) ? "store lost"
                                       : "store tear");
                break;
        case 7: snprintf(text, GENERATED_LINE_LEN, "host stall %ums", 50 + below(w, 6000)); break;
        case 8:
                if (below(w, 3) == 0)
                        snprintf(text, GENERATED_LINE_LEN, "host power-loss %us", 10 + below(w, 20));
                else if (below(w, 2))
                        snprintf(text, GENERATED_LINE_LEN, "host pressure %u", below(w, 101));
                else if (below(w, 3))
                        snprintf(text, GENERATED_LINE_LEN, "paging %s %u", vm, 50 + below(w, 1000));
                else
                        snprintf(text, GENERATED_LINE_LEN, "space-stalls %s %s", vm, below(w, 2) ? "on" : "off");
                break;
        case 9: snprintf(text, GENERATED_LINE_LEN, "kill failoverd %ums", 20 + below(w, 5000)); break;
        default: snprintf(text, GENERATED_LINE_LEN, "kill failoverd after %u actions", 1 + below(w, 60)); break;
        }
}

static void make_command(struct world *w, const char *vm, unsigned pair, char text[GENERATED_LINE_LEN]) {
        static const char *const moves[] = { "switch", "return", "rehearse", "rehearse" };
        static const char *const drills[] = { "app-kill", "panic", "hang", "qemu-kill", "qemu-stop" };

        switch (below(w, w->calm ? 5 : 7)) {
        case 0:
        case 1: snprintf(text, GENERATED_LINE_LEN, "operator %s p%u", pick(w, moves, 4), pair); break;
        case 2: snprintf(text, GENERATED_LINE_LEN, "operator drill p%u %s", pair, pick(w, drills, 5)); break;
        case 3: snprintf(text, GENERATED_LINE_LEN, "operator pause p%u 5s", pair); break;
        case 4: snprintf(text, GENERATED_LINE_LEN, "operator resume p%u", pair); break;
        case 5: snprintf(text, GENERATED_LINE_LEN, "operator adopt p%u %s", pair, vm); break;
        default: make_apply(w, text); break;
        }
}

/* One fault, or something that an operator does. */
static void make_fault(struct world *w, char text[GENERATED_LINE_LEN]) {
        static const char *const on_vm[] = {
                "panic",     "hang",      "unhang",   "reset",         "qemu-kill",        "qemu-stop",
                "qemu-cont", "watchdog",  "io-error", "suspend",       "resume-suspended", "destroy",
                "save",      "migrate",   "start",    "agent-kill",    "agent-stop",       "agent-cont",
                "panic",     "qemu-kill", "hang",     "out-of-memory",
        };
        static const char *const causes[] = { "signal 11", "signal 9", "exit 1", "check 2", "memory", "exit 3 hard" };
        unsigned pair = below(w, w->n_pairs), app = below(w, w->pairs[pair].n_apps);
        char vm[16];

        snprintf(vm, sizeof(vm), "%c%u", "ab"[below(w, 2)], pair);
        switch (below(w, 26)) {
        case 0 ... 7:
                snprintf(text, GENERATED_LINE_LEN, "%s %s", pick(w, on_vm, sizeof(on_vm) / sizeof(on_vm[0])), vm);
                break;
        case 8:
                snprintf(text, GENERATED_LINE_LEN, "%s %s %s", below(w, 2) ? "reboot" : "shutdown", vm,
                         below(w, 2) ? "announced" : "unannounced");
                break;
        case 9 ... 11: snprintf(text, GENERATED_LINE_LEN, "fail p%ua%u %s", pair, app, pick(w, causes, 6)); break;
        case 12 ... 13: make_agent_fault(w, vm, pair, app, text); break;
        case 14 ... 15: make_switch(w, vm, pair, app, text); break;
        case 16 ... 17: make_share(w, vm, pair, app, text); break;
        case 18 ... 21: make_host_fault(w, vm, text); break;
        default: make_command(w, vm, pair, text); break;
        }
}

const char *generated_policy_name(size_t number, char buffer[GENERATED_NAME_LEN]) {
        if (number == 0)
                snprintf(buffer, GENERATED_NAME_LEN, "policy.yaml");
        else
                snprintf(buffer, GENERATED_NAME_LEN, "policy-%zu.yaml", number);
        return buffer;
}

int generated_load(void *userdata, const char *file, struct policy **ret, struct error *error) {
        const struct generated *world = userdata;
        char name[GENERATED_NAME_LEN];

        for (size_t i = 0; i <= world->n_policies; i++) {
                struct diagnostics diagnostics = { 0 };
                int r;

                if (strcmp(file, generated_policy_name(i, name)) != 0)
                        continue;
                r = policy_parse(world->policies[i], strlen(world->policies[i]), name, ret, &diagnostics);
                diagnostics_deinit(&diagnostics);
                return r < 0 ? error_set(error, r, "%s: is no valid policy", name) : 0;
        }
        return error_set(error, -ENOENT, "there is no such policy");
}

/* Memory is moved by hand between the faults; other worlds stay as they are. */
static void make_assignments(struct world *w, unsigned msec) {
        static const char *const forms[][2] = { /* before and behind the VM */
                { "", "=+128MiB" }, { "", "=-128MiB" },        { "", "=+512MiB" },     { "", "=-64MiB" },
                { "0-256MiB=", "" }, { "", "=+256MiB-320MiB" }, { "", "=-top:64MiB" }, { "", "=+64MiB" },
        };
        struct world own = { .random = w->random ^ 0x6d656d6f7279 };
        struct generated *out = w->out;
        bool any = false;

        for (unsigned i = 0; i < w->n_pairs; i++)
                any |= w->pairs[i].hand_mib > 0;
        for (unsigned n = any ? 2 + below(&own, 6) : 0; n > 0; n--) {
                char *text = out->lines[out->n_lines++];
                size_t used = (size_t) snprintf(text, GENERATED_LINE_LEN, "%ums operator assign",
                                                2000 + below(&own, msec));

                if (below(&own, 8) == 0) {
                        snprintf(text + used, GENERATED_LINE_LEN - used, "-cancel");
                        continue;
                }
                for (unsigned items = 1 + below(&own, 2); items > 0; items--) {
                        const char *const *form = forms[below(&own, 8)];

                        used += (size_t) snprintf(text + used, GENERATED_LINE_LEN - used, " %s%c%u%s", form[0],
                                                  "ab"[below(&own, 2)], below(&own, w->n_pairs), form[1]);
                }
        }
}

/* Room for plain applications, and for what stands in; or hardly any. */
static void make_pool(struct world *w) {
        w->reserve_mib = 256;
        w->spare_mib = below(w, 3) ? 4096 * w->n_pairs : 64 * below(w, 4);
        if (!w->calm)
                return;
        w->reserve_mib = 64 * below(w, 4);
        w->spare_mib = 64 * below(w, 12);
}

/* The holder of regions fails as servers do. Drawn apart, as below. */
static void make_holder_faults(uint64_t seed, struct generated *ret) {
        uint64_t random = seed ^ 0x686f6c646572;

        for (unsigned n = random_below(&random, 4); n > 0; n--) {
                char *text = ret->lines[ret->n_lines++];
                unsigned at = 1000 + random_below(&random, 30000), msec = 100 + random_below(&random, 15000);

                switch (random_below(&random, 7)) {
                case 0: snprintf(text, GENERATED_LINE_LEN, "%ums holder refuses on", at); break;
                case 1: snprintf(text, GENERATED_LINE_LEN, "%ums holder refuses off", at); break;
                case 2: snprintf(text, GENERATED_LINE_LEN, "%ums holder loses", at); break;
                case 3: snprintf(text, GENERATED_LINE_LEN, "%ums holder slow %ums", at, msec); break;
                case 4: snprintf(text, GENERATED_LINE_LEN, "%ums mirror down %ums", at, msec); break;
                default: snprintf(text, GENERATED_LINE_LEN, "%ums holder down %ums", at, msec); break;
                }
        }
}

/* Other programs get into regions that may have to go, and out again. Drawn apart, so that a seed's world is the same
 * without them. */
static void make_others(uint64_t seed, unsigned n_pairs, struct generated *ret) {
        uint64_t random = ~seed;

        if (random_below(&random, 2))
                return;
        for (unsigned n = 1 + random_below(&random, 4); n > 0; n--) {
                unsigned pair = random_below(&random, n_pairs);

                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "%ums others %c%u p%ua0 %uMiB",
                         6000 + random_below(&random, 12000), random_below(&random, 3) ? 'a' : 'b', pair, pair,
                         random_below(&random, 4) ? random_below(&random, 600) : 0);
        }
}

/* The host's swap takes less than there is to page out, or becomes less in the middle. */
static void make_swap(uint64_t seed, struct generated *ret) {
        uint64_t random = ~seed << 1;

        if (random_below(&random, 3))
                return;
        for (unsigned n = 1 + random_below(&random, 3), msec = 1000; n > 0; n--) {
                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "%ums swap %uMiB", msec,
                         random_below(&random, 1500));
                msec = 6000 + random_below(&random, 12000);
        }
}

void generate(uint64_t seed, unsigned pairs_max, bool calm, struct generated *ret) {
        static struct world w; /* too large for the stack of a test under a sanitizer */
        unsigned n, msec = FIRST_FAULT_MSEC, span, first = 0;

        w = (struct world) { .random = seed, .calm = calm, .out = ret };
        ret->n_lines = 0;
        n = below(&w, 3) ? 1 : 1 + below(&w, pairs_max);
        if (below(&w, 4) == 0)
                snprintf(w.rest, sizeof(w.rest), "store-lost: trust-running\n");
        while (w.n_pairs < n)
                make_pair(&w);
        make_pool(&w);
        write_policy(&w, ret->policies[0]);
        ret->n_policies = 1;
        ret->n_pairs = n;
        if (below(&w, 2))
                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "1s reclaim on");
        make_others(seed, n, ret);
        make_swap(seed, ret);
        if (!calm)
                make_holder_faults(seed, ret);
        if (seed % 2)
                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "1s host tells-signals on");
        for (int side = 0; side < 2 && seed % 4 >= 2; side++)
                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "0s preflight %c0 kvm on", "ab"[side]);
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
        make_assignments(&w, msec);
        ret->heal_sec = msec / 1000 + 1 + below(&w, 30);
        if (below(&w, 4) == 0 && first > FIRST_FAULT_MSEC + 2500) /* the faults begin in the middle of a rehearsal */
                snprintf(ret->lines[ret->n_lines++], GENERATED_LINE_LEN, "%ums operator rehearse p%u",
                         first - below(&w, 2000), below(&w, ret->n_pairs));
        if (ret->n_policies > 1)
                write_healed_policy(&w);
}
