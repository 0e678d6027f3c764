/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "daemon/ctl/ctl.h"

struct json_object *get_object(struct json_object *object, const char *path) {
        char key[64];

        while (object && *path) {
                size_t n = strcspn(path, ".");

                if (n >= sizeof(key) || !json_object_is_type(object, json_type_object))
                        return NULL;
                memcpy(key, path, n);
                key[n] = 0;
                object = json_object_object_get(object, key);
                path += n + (path[n] == '.');
        }
        return object;
}

const char *get_text(struct json_object *object, const char *path, const char *missing) {
        struct json_object *value = get_object(object, path);

        return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : missing;
}

bool get_bool(struct json_object *object, const char *path) {
        return json_object_get_boolean(get_object(object, path));
}

int64_t get_number(struct json_object *object, const char *path) {
        struct json_object *value = get_object(object, path);

        return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : -1;
}

size_t get_count(struct json_object *object, const char *path) {
        struct json_object *value = get_object(object, path);

        return json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
}

struct json_object *get_item(struct json_object *object, const char *path, size_t i) {
        struct json_object *value = get_object(object, path);

        return json_object_is_type(value, json_type_array) ? json_object_array_get_idx(value, i) : NULL;
}

const char *format_age(char buffer[FORMAT_MAX], int64_t age_ms) {
        int64_t s = age_ms / 1000;

        if (age_ms < 0)
                snprintf(buffer, FORMAT_MAX, "-");
        else if (s < 10)
                snprintf(buffer, FORMAT_MAX, "%" PRId64 ".%" PRId64 "s", s, age_ms % 1000 / 100);
        else if (s < 60)
                snprintf(buffer, FORMAT_MAX, "%" PRId64 "s", s);
        else if (s < 3600)
                snprintf(buffer, FORMAT_MAX, "%" PRId64 "min %" PRId64 "s", s / 60, s % 60);
        else if (s < 86400)
                snprintf(buffer, FORMAT_MAX, "%" PRId64 "h %" PRId64 "min", s / 3600, s % 3600 / 60);
        else
                snprintf(buffer, FORMAT_MAX, "%" PRId64 "d %" PRId64 "h", s / 86400, s % 86400 / 3600);
        return buffer;
}

const char *format_seconds(char buffer[FORMAT_MAX], int64_t usec) {
        if (usec < 0)
                snprintf(buffer, FORMAT_MAX, "-");
        else
                snprintf(buffer, FORMAT_MAX, "%" PRId64 ".%03" PRId64 "s", usec / 1000000, usec % 1000000 / 1000);
        return buffer;
}

const char *format_mib(char buffer[FORMAT_MAX], int64_t bytes) {
        int64_t tenths;

        if (bytes < 0)
                return strcpy(buffer, "-");
        tenths = (bytes * 10 + (int64_t) MIB / 2) / (int64_t) MIB;
        if (tenths % 10 == 0 || tenths >= 1000)
                snprintf(buffer, FORMAT_MAX, "%" PRId64 "MiB", (tenths + 5) / 10);
        else
                snprintf(buffer, FORMAT_MAX, "%" PRId64 ".%" PRId64 "MiB", tenths / 10, tenths % 10);
        return buffer;
}

const char *format_resident(char buffer[FORMAT_MAX], struct json_object *object) {
        int64_t error = get_number(object, "resident_error_bytes");
        char off[FORMAT_MAX];
        size_t n;

        format_mib(buffer, get_number(object, "resident_bytes"));
        n = strlen(buffer);
        if (error > 0)
                snprintf(buffer + n, FORMAT_MAX - n, "+-%s", format_mib(off, error));
        return buffer;
}

const char *format_time(char buffer[FORMAT_MAX], int64_t time_ms) {
        time_t seconds = (time_t) (time_ms / 1000);
        struct tm local;

        if (time_ms < 0 || !localtime_r(&seconds, &local) ||
            strftime(buffer, FORMAT_MAX, "%Y-%m-%d %H:%M:%S", &local) == 0)
                return strcpy(buffer, "-");
        return buffer;
}

const char *color_begin(const struct ctl *ctl, enum color color) {
        static const char *const sequences[] = {
                [COLOR_NONE] = "",           [COLOR_GOOD] = "\033[32m", [COLOR_WARN] = "\033[33m",
                [COLOR_BAD] = "\033[1;31m", [COLOR_BOLD] = "\033[1m",  [COLOR_DIM] = "\033[2m",
        };

        return ctl->color ? sequences[color] : "";
}

const char *color_end(const struct ctl *ctl) {
        return ctl->color ? "\033[0m" : "";
}

void print_timeline(const struct ctl *ctl, struct json_object *flow) {
        char time[FORMAT_MAX], step[FORMAT_MAX], objective[FORMAT_MAX];
        int64_t last = 0, recovery = get_number(flow, "recovery_usec"), limit = get_number(flow, "objective_ms");

        for (size_t i = 0; i < get_count(flow, "phases"); i++) {
                struct json_object *phase = get_item(flow, "phases", i);
                int64_t at = get_number(phase, "since_start_usec");

                printf("  %-10s %10s  %s+%s%s\n", get_text(phase, "phase", "?"), format_seconds(time, at),
                       color_begin(ctl, COLOR_DIM), format_seconds(step, at > last ? at - last : 0), color_end(ctl));
                last = at;
        }
        if (recovery < 0)
                return;
        if (limit < 0)
                printf("  recovered in %s\n", format_seconds(time, recovery));
        else
                printf("  recovered in %s, objective %s: %s%s%s\n", format_seconds(time, recovery),
                       format_seconds(objective, limit * 1000),
                       color_begin(ctl, recovery <= limit * 1000 ? COLOR_GOOD : COLOR_BAD),
                       recovery <= limit * 1000 ? "met" : "missed", color_end(ctl));
}

void print_verdict(const struct ctl *ctl, struct json_object *drill) {
        char time[FORMAT_MAX], objective[FORMAT_MAX];
        int64_t limit = get_number(drill, "objective_ms");

        printf("%s%s%s", color_begin(ctl, get_bool(drill, "ok") ? COLOR_GOOD : COLOR_BAD),
               get_text(drill, "verdict", "?"), color_end(ctl));
        if (get_number(drill, "took_usec") >= 0)
                printf(", %s", format_seconds(time, get_number(drill, "took_usec")));
        if (limit >= 0)
                printf(", objective %s", format_seconds(objective, limit * 1000));
        printf(": %s", get_text(drill, "text", "-"));
}

void print_events(struct json_object *root, const char *key) {
        char time[FORMAT_MAX];

        for (size_t i = get_count(root, key); i-- > 0;) {
                struct json_object *event = get_item(root, key, i);

                printf("  %s  %s%s%s: %s\n", format_time(time, get_number(event, "time_ms")),
                       get_text(event, "kind", "?"), get_text(event, "at.domain", NULL) ? " " : "",
                       get_text(event, "at.domain", ""), get_text(event, "text", ""));
        }
}

void print_evidence(struct json_object *root) {
        if (get_count(root, "evidence.files") == 0)
                return;
        printf("Evidence kept in %s:\n", get_text(root, "evidence.directory", "?"));
        for (size_t i = 0; i < get_count(root, "evidence.files"); i++) {
                struct json_object *file = get_item(root, "evidence.files", i);

                printf("  %-16s %" PRId64 " bytes\n", get_text(file, "name", "?"), get_number(file, "bytes"));
        }
}

void print_rehearsal(const struct ctl *ctl, struct json_object *drill) {
        static const char *const steps[] = { "plugged", "touched", "canary" };
        struct json_object *rehearsal = get_object(drill, "rehearsal");
        char at[FORMAT_MAX], span[FORMAT_MAX], key[32];
        int64_t sum = 0;

        for (size_t i = 0; rehearsal && i < sizeof(steps) / sizeof(steps[0]); i++) {
                int64_t took;

                snprintf(key, sizeof(key), "%s_usec", steps[i]);
                took = get_number(rehearsal, key);
                if (took < 0)
                        return;
                sum += took;
                printf("  %-10s %10s  %s+%s%s\n", steps[i], format_seconds(at, sum), color_begin(ctl, COLOR_DIM),
                       format_seconds(span, took), color_end(ctl));
        }
}
