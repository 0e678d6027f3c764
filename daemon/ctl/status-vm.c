/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/status-vm.h"

#include <string.h>

static const char *meaning(const char *state) {
        if (strcmp(state, "armed") == 0)
                return "it goes on from its last checkpoint when it is lost";
        if (strcmp(state, "degraded") == 0)
                return "it goes on from its last checkpoint when it is lost, as far as that is there";
        if (strcmp(state, "unarmed") == 0)
                return "it has no checkpoint to go on from so far";
        if (strcmp(state, "failover") == 0)
                return "it is lost, and is to go on from its checkpoint";
        if (strcmp(state, "held") == 0)
                return "it is lost and does not go on, and waits for you";
        if (strcmp(state, "off") == 0)
                return "it was ended by somebody, and is left alone";
        return "its standby does not tell; journalctl -u failover-standby@DOMAIN";
}

static enum color color_of(const char *state) {
        return strcmp(state, "armed") == 0 ? COLOR_GOOD : strcmp(state, "held") == 0 ? COLOR_BAD : COLOR_WARN;
}

/* How old it is, which is what would be lost. */
static void print_checkpoint(struct json_object *vm) {
        char age[FORMAT_MAX], every[FORMAT_MAX], took[FORMAT_MAX];

        printf("  standby  %s", get_text(vm, "standby", "?"));
        if (get_number(vm, "checkpoint_age_ms") >= 0) {
                format_age(age, get_number(vm, "checkpoint_age_ms"));
                printf(", checkpoint %s old: what it has done and acknowledged in these %s would be lost", age, age);
        } else
                printf(", no checkpoint: all that it does would be lost");
        printf("; one every %s", format_age(every, get_number(vm, "checkpoint_every_ms")));
        if (get_number(vm, "checkpoint_took_ms") >= 0)
                printf(", the last took %s",
                       format_seconds(took, get_number(vm, "checkpoint_took_ms") * (int64_t) USEC_PER_MSEC));
        putchar('\n');
}

static void print_last(struct json_object *vm) {
        struct json_object *last = get_object(vm, "last_failover");
        char age[FORMAT_MAX], took[FORMAT_MAX], lost[FORMAT_MAX];

        if (!last)
                return;
        printf("  last     failover %s ago: ", format_age(age, get_number(last, "age_ms")));
        if (get_number(last, "took_ms") >= 0)
                printf("ran again after %s, the work of %s was lost\n",
                       format_seconds(took, get_number(last, "took_ms") * (int64_t) USEC_PER_MSEC),
                       format_age(lost, get_number(last, "lost_ms")));
        else
                puts("it does not run again by it");
}

void status_vm_print(const struct ctl *ctl, struct json_object *vm) {
        const char *state = get_text(vm, "state", "unknown");
        char age[FORMAT_MAX];

        printf("%s%s%s: %s%s%s: %s\n", color_begin(ctl, COLOR_BOLD), get_text(vm, "domain", "?"), color_end(ctl),
               color_begin(ctl, color_of(state)), state, color_end(ctl), meaning(state));
        if (get_text(vm, "problem", NULL))
                printf("  why      %s\n", get_text(vm, "problem", ""));
        printf("  active   %s: %s", get_text(vm, "domain", "?"), get_text(vm, "vm", "unknown"));
        if (get_number(vm, "age_ms") >= 0)
                printf(", seen %s ago", format_age(age, get_number(vm, "age_ms")));
        printf("%s%s\n", get_text(vm, "doing", NULL) ? ", now: " : "", get_text(vm, "doing", ""));
        print_checkpoint(vm);
        print_last(vm);
}

static enum color level_color(const char *level) {
        return strcmp(level, "covered") == 0 ? COLOR_GOOD : strcmp(level, "uncovered") == 0 ? COLOR_BAD : COLOR_WARN;
}

static const char *level_meaning(const char *level) {
        if (strcmp(level, "covered") == 0)
                return "it would go on from its last checkpoint";
        if (strcmp(level, "limited") == 0)
                return "it would go on from its last checkpoint, but not after every failure, or not for certain";
        if (strcmp(level, "uncovered") == 0)
                return "a single failure would end it";
        return "it was ended by somebody, and nothing is to go on";
}

static const char *failure(const char *fault) {
        return strcmp(fault, "qemu-gone") == 0 ? "its QEMU ends" : strcmp(fault, "panic") == 0 ? "its system crashes"
                                                                                               : "its guest hangs";
}

static void print_case(const struct ctl *ctl, struct json_object *one, struct json_object *before) {
        const char *level = get_text(one, "level", "?"), *why = get_text(one, "why", NULL);

        printf("  %-18s  %s%s%s\n", failure(get_text(one, "fault", "?")), color_begin(ctl, level_color(level)), level,
               color_end(ctl));
        if (!why || (before && strcmp(get_text(before, "why", ""), why) == 0))
                return;
        printf("  why      %s\n", why);
        if (get_text(one, "mend", NULL))
                printf("  do       %s\n", get_text(one, "mend", ""));
}

void status_vm_print_check(const struct ctl *ctl, struct json_object *vm) {
        const char *level = get_text(vm, "level", "?");
        char age[FORMAT_MAX], seen[FORMAT_MAX];

        printf("%s%s%s: %s%s%s: %s\n", color_begin(ctl, COLOR_BOLD), get_text(vm, "domain", "?"), color_end(ctl),
               color_begin(ctl, level_color(level)), level, color_end(ctl), level_meaning(level));
        if (strcmp(level, "none") == 0)
                return;
        for (size_t i = 0; i < get_count(vm, "cases"); i++)
                print_case(ctl, get_item(vm, "cases", i), i > 0 ? get_item(vm, "cases", i - 1) : NULL);
        if (get_number(vm, "checkpoint_age_ms") >= 0) {
                format_age(age, get_number(vm, "checkpoint_age_ms"));
                printf("  state    %s old: what it has done and acknowledged in these %s would be lost\n", age, age);
        }
        if (get_number(vm, "checkpoint_seen_age_ms") >= 0)
                printf("  kept     at %lld memory server(s), seen %s ago\n",
                       (long long) get_number(vm, "checkpoint_copies"),
                       format_age(seen, get_number(vm, "checkpoint_seen_age_ms")));
        puts("  note     a failure of this host takes the VM with it");
}
