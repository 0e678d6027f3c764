/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The language of a timeline: its lines are read and checked when the run begins, and carried out in their time. */

#include <stdlib.h>
#include <string.h>

#include "daemon/sim/inject-internal.h"

static bool find_vm(const struct sim *sim, const char *name, struct arguments *a) {
        for (size_t p = 0; p < sim->policy->n_pairs; p++)
                for (int side = 0; side < SIDE_MAX; side++) {
                        if (strcmp(sim->policy->pairs[p].members[side].domain, name) != 0)
                                continue;
                        a->side = side;
                        for (a->pair = 0; a->pair < sim->n_pairs; a->pair++)
                                if (strcmp(sim->pairs[a->pair].name, sim->policy->pairs[p].name) == 0)
                                        return true;
                }
        return false;
}

static bool find_pair(const struct sim *sim, const char *name, size_t length, struct arguments *a) {
        for (a->pair = 0; a->pair < sim->n_pairs; a->pair++)
                if (sim->pairs[a->pair].present && strlen(sim->pairs[a->pair].name) == length &&
                    memcmp(sim->pairs[a->pair].name, name, length) == 0)
                        return true;
        a->pair = NO_PAIR;
        return false;
}

/* "APP" where only one pair has it, or "PAIR/APP"; in a line that names a VM, the VM's pair. */
static bool find_app(const struct sim *sim, const char *name, struct arguments *a) {
        const char *slash = strchr(name, '/');

        if (slash && !find_pair(sim, name, (size_t) (slash - name), a))
                return false;
        for (int i = 0; i < sim->n_pairs; i++) {
                const struct pair_policy *policy = sim_policy(sim, i);

                if (!policy || (a->pair >= 0 && a->pair != i))
                        continue;
                a->app = pair_policy_find_application(policy, slash ? slash + 1 : name);
                if (a->app < 0)
                        continue;
                a->pair = i;
                return true;
        }
        return false;
}

/* Reads a line's arguments by a template: V a VM, A an application, D a duration, N a number, B on or off, P a pair,
 * O a pair or "all", S a size, R a range, w any word; in brackets what may be missing. */
static bool match(const struct sim *sim, const struct line *line, unsigned from, const char *template,
                  struct arguments *a) {
        bool optional = false;
        unsigned i = from;

        for (; *template; template++) {
                const char *w = word(line, i);
                char *end = NULL;
                bool ok = *w != 0;

                if (*template == '[') {
                        optional = true;
                        continue;
                }
                if (optional && !ok)
                        return true;
                switch (*template) {
                case 'V': ok = ok && find_vm(sim, w, a); break;
                case 'A': ok = ok && find_app(sim, w, a); break;
                case 'D': ok = ok && duration_parse(w, &a->duration) >= 0; break;
                case 'S': ok = ok && size_parse(w, &a->number) >= 0; break;
                case 'R': ok = ok && span_parse(w, &a->span) >= 0; break;
                case 'B': a->on = strcmp(w, "on") == 0; ok = a->on || strcmp(w, "off") == 0; break;
                case 'P': ok = ok && find_pair(sim, w, strlen(w), a); break;
                case 'O': ok = ok && (strcmp(w, "all") == 0 || find_pair(sim, w, strlen(w), a)); break;
                case 'N': a->number = strtoull(w, &end, 10); ok = ok && *end == 0; break;
                default: break;
                }
                if (!ok)
                        return false;
                i++;
        }
        return i == line->n_words;
}

/* ---- the language ------------------------------------------------------------------------------------------------ */

static const struct {
        const char *first, *second; /* words; second NULL: the arguments follow at once */
        const char *template;
        void (*run)(struct sim *sim, const struct arguments *arguments);
} lines[] = {
        { "panic", NULL, "V", line_panic },
        { "hang", NULL, "V", line_hang },
        { "unhang", NULL, "V", line_unhang },
        { "reboot", NULL, "Vw", line_guest_stop },
        { "shutdown", NULL, "Vw", line_guest_stop },
        { "reset", NULL, "V", line_reset },
        { "qemu-kill", NULL, "V", line_qemu_kill },
        { "qemu-stop", NULL, "V", line_qemu_stop },
        { "qemu-cont", NULL, "V", line_qemu_cont },
        { "watchdog", NULL, "V", line_watchdog },
        { "io-error", NULL, "V[w", line_io_error },
        { "memory-failure", NULL, "VS[A", line_memory_failure },
        { "suspend", NULL, "V", line_virsh },
        { "resume", NULL, "V", line_virsh },
        { "resume-suspended", NULL, "V", line_virsh },
        { "destroy", NULL, "V", line_virsh },
        { "save", NULL, "V", line_virsh },
        { "migrate", NULL, "V", line_virsh },
        { "start", NULL, "V", line_virsh },
        { "fail", NULL, "Aw[ww", line_fail },
        { "agent-kill", NULL, "V", line_agent },
        { "agent-stop", NULL, "V", line_agent },
        { "agent-cont", NULL, "V", line_agent },
        { "cut", NULL, "VD", line_cut },
        { "lag", NULL, "VD", line_link },
        { "lose", NULL, "VN", line_link },
        { "repeat", NULL, "VN", line_link },
        { "lie", NULL, "VN", line_lies },
        { "lie", NULL, "Vw[A", line_lie },
        { "out-of-memory", NULL, "V", line_out_of_memory },
        { "start-fails", NULL, "VAB", line_app_fault },
        { "stop-sticks", NULL, "VAB", line_app_fault },
        { "check-fails", NULL, "VAB", line_app_fault },
        { "disk-sticks", NULL, "VAB", line_app_fault },
        { "canary-fails", NULL, "VAB", line_app_fault },
        { "canary-hangs", NULL, "VAB", line_app_fault },
        { "start-takes", NULL, "VAD", line_app_fault },
        { "plug", NULL, "VN", line_vm_share },
        { "plug-takes", NULL, "VD", line_takes },
        { "dump-takes", NULL, "VD", line_takes },
        { "unplug", NULL, "VN", line_vm_share },
        { "calls-fail", NULL, "VN", line_vm_share },
        { "boot-fails", NULL, "VB", line_vm_fault },
        { "paging", NULL, "VN", line_paging },
        { "space-stalls", NULL, "VB", line_space },
        { "boot-takes", NULL, "VD", line_takes },
        { "page-out-fails", NULL, "VB", line_vm_fault },
        { "touch", NULL, "VAS", line_touch },
        { "touches", NULL, "VAS", line_touches },
        { "others", NULL, "VAS", line_others },
        { "fills", NULL, "AB", line_fills },
        { "overflow", "takes", "D", line_overflow_takes },
        { "guest-asks", NULL, "Vw", line_guest_asks },
        { "reclaim", NULL, "B", line_reclaim },
        { "pool-limit", NULL, "B", line_pool_limit },
        { "swap", NULL, "S", line_swap },
        { "domain-start-fails", NULL, "VB", line_vm_fault },
        { "kill-sticks", NULL, "VB", line_vm_fault },
        { "touch-fails", NULL, "VB", line_vm_fault },
        { "agent-old", NULL, "VB", line_vm_fault },
        { "echo", NULL, "VB", line_vm_fault },
        { "balloon", NULL, "VB", line_vm_fault },
        { "preflight", NULL, "VwB", line_preflight },
        { "libvirt", "down", "D", line_libvirt },
        { "libvirt", "hang", "D", line_libvirt },
        { "libvirt", "twice", "B", line_libvirt_twice },
        { "libvirt", "fails", "N[w", line_libvirt_fails },
        { "domain-hang", NULL, "VD", line_domain_hang },
        { "starve", NULL, "VD", line_starve },
        { "crowd", NULL, "VD", line_crowd },
        { "holder", "down", "D", line_holder },
        { "holder", "slow", "D", line_holder },
        { "holder", "refuses", "B", line_holder },
        { "holder", "loses", "", line_holder },
        { "mirror", "down", "D", line_holder },
        { "store", "stall", "D", line_store },
        { "store", "fail", "D", line_store },
        { "store", "lost", "", line_store },
        { "store", "tear", "", line_store },
        { "host", "stall", "D", line_host },
        { "host", "clock-forward", "D", line_host },
        { "host", "clock-back", "D", line_host },
        { "host", "pressure", "N", line_host },
        { "host", "power-loss", "D", line_host },
        { "host", "tells-signals", "B", line_host_tells_signals },
        { "kill", "failoverd", "wNw", line_kill },
        { "kill", "failoverd", "[D", line_kill },
        { "operator", "switch", "P[w", line_operator },
        { "operator", "return", "P[w", line_operator },
        { "operator", "drill", "Pw[w", line_operator },
        { "operator", "rehearse", "P", line_operator },
        { "operator", "pause", "O[D", line_operator },
        { "operator", "resume", "O", line_operator },
        { "operator", "adopt", "PV", line_operator },
        { "operator", "assign", "w[wwwww", line_assign },
        { "operator", "assign-cancel", "", line_assign },
        { "apply", NULL, "w", line_apply },
        { "explain", NULL, "P", line_explain },
        { "check", NULL, "P", line_check },
        { "try", NULL, "PN", line_try },
        { "rights", "space", "SS", line_rights_space },
        { "rights", "assign", "RV", line_rights_assign },
        { "rights", "release", "VRw", line_rights_release },
        { "rights", "touch", "VR", line_rights_touch },
        { "rights", "take-back", "R", line_rights_step },
        { "rights", "paged-out", "VR", line_rights_step },
        { "rights", "reported-free", "VR", line_rights_step },
        { "rights", "fence", "V", line_rights_end },
        { "rights", "leave", "V", line_rights_end },
        { "rights", "show", "", line_rights_show },
        { "calm", NULL, "", line_calm },
        { "heal", NULL, "", line_heal },
};

const char *inject_form(size_t i, const char **ret_second) {
        if (i >= sizeof(lines) / sizeof(lines[0]))
                return NULL;
        *ret_second = lines[i].second;
        return lines[i].first;
}

static int find_line(const struct sim *sim, const struct line *line, struct arguments *ret) {
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                struct arguments a = { .line = line, .pair = NO_PAIR, .side = SIDE_INVALID, .app = NO_APP };

                if (strcmp(line->words[0], lines[i].first) != 0 ||
                    (lines[i].second && strcmp(word(line, 1), lines[i].second) != 0) ||
                    !match(sim, line, lines[i].second ? 2 : 1, lines[i].template, &a))
                        continue;
                *ret = a;
                return (int) i;
        }
        return -ENOENT;
}

int inject_check(const struct sim *sim, const struct line *line, struct error *error) {
        struct arguments a;

        if (find_line(sim, line, &a) < 0)
                return error_set(error, -EINVAL,
                                 "line %u: \"%.100s\": unknown, or its arguments are not of the form that it takes, or "
                                 "name nothing in the policy",
                                 line->number, line->text);
        if (strcmp(line->words[0], "fail") == 0 && (int) failure_cause_from_string(word(line, 2)) < 0)
                return error_set(error, -EINVAL,
                                 "line %u: \"%s\" is no cause of a failure (exit, signal, check, memory, start)",
                                 line->number, word(line, 2));
        if (strcmp(word(line, 1), "fails") == 0 &&
            (a.number == 0 || (line->n_words > 3 && strcmp(word(line, 3), "done") != 0)))
                return error_set(error, -EINVAL, "line %u: \"%s\": calls are counted from 1, and \"done\" may follow",
                                 line->number, line->text);
        if (strcmp(line->words[0], "lie") == 0 && a.number == 0 && strcmp(word(line, 2), "0") != 0 &&
            !liar_knows(word(line, 2)))
                return error_set(
                        error, -EINVAL,
                        "line %u: \"%s\" is no lie (started, running, stopped, failed, memory, foreign, token, ids)",
                        line->number, word(line, 2));
        if (strcmp(word(line, 1), "drill") == 0 && (int) drill_fault_from_string(word(line, 3)) < 0)
                return error_set(error, -EINVAL, "line %u: \"%s\" is no fault of a drill", line->number, word(line, 3));
        return 0;
}

void inject(struct sim *sim, const struct line *line) {
        struct arguments a;
        int i = find_line(sim, line, &a);

        print_line(sim, "> %s", line->text);
        if (i < 0)
                print_line(sim, "  (names nothing in the policy that is in force now, ignoring)");
        else
                lines[i].run(sim, &a);
}
