/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the verbs of failoverctl share: options, the connection, calls with their errors told to the user. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

/* Documented in failoverctl(1). */
enum ctl_exit {
        CTL_OK = 0,
        CTL_FAILED = 1,    /* failed or refused */
        CTL_USAGE = 2,     /* the command line is wrong */
        CTL_NO_DAEMON = 3, /* failoverd does not answer */
        CTL_DEGRADED = 4,  /* status: a pair is not armed; check: a single failure is not covered */
        CTL_MISSED = 5,    /* drill: the objective was missed */
        CTL_LIMITED = 6,   /* check: all are covered, one of them late or with less memory */
        CTL_DIFFERS = 7,   /* replay: other decisions than those that were recorded */
        CTL_NOT_STARTED = 125, /* program run: the program was not started; else the code is its own */
};

#define CTL_READ_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define CTL_ARGS_MAX 4
#define CTL_SERVERS_MAX 6

/* The policy of this host, for what needs no daemon. */
#define CTL_POLICY_PATH "/etc/failoverd/policy.yaml"

struct ctl {
        /* options */
        bool user, json, dry_run, force, domains, all, csv, wait, cancel;
        bool color;       /* of the standard output */
        bool progress;    /* the standard output is a terminal */
        bool go_back;     /* drill: --return */
        const char *fault, *level, *until, *reason, *active, *output, *from, *scenario, *record, *svg, *since;
        const char *on, *out, *in, *spool, *xml, *policy, *key; /* of context, the last two of program too */
        bool keep, persist;
        const char *servers[CTL_SERVERS_MAX]; /* --server, each time that it was given */
        int n_servers;
        unsigned limit;   /* history: most lines, 0: the default */

        const char *verb;
        const char *args[CTL_ARGS_MAX + 1]; /* after the verb, as many as fit */
        char *const *rest;                  /* all of them, NULL at the end */
        int n_args;

        sd_bus *bus; /* NULL until ctl_connect() */
};

struct verb {
        const char *name;
        const char *args; /* as the help shows them */
        const char *help; /* one line */
        int min_args, max_args;
        const char *options; /* letters of the options that it takes beside the common ones (failoverctl.c) */
        int (*run)(struct ctl *ctl); /* returns an enum ctl_exit */
};

int verb_status(struct ctl *ctl);
int verb_check(struct ctl *ctl);
int verb_explain(struct ctl *ctl);
int verb_table(struct ctl *ctl);
int verb_memory(struct ctl *ctl);
int verb_memory_assign(struct ctl *ctl); /* for verb_memory(), with arguments */
int verb_history(struct ctl *ctl);
int verb_monitor(struct ctl *ctl);
int verb_metrics(struct ctl *ctl);
int verb_switch(struct ctl *ctl);
int verb_return(struct ctl *ctl);
int verb_drill(struct ctl *ctl);
int verb_pause(struct ctl *ctl);
int verb_resume(struct ctl *ctl);
int verb_adopt(struct ctl *ctl);
int verb_policy(struct ctl *ctl);
int verb_simulate(struct ctl *ctl);
int verb_replay(struct ctl *ctl);
int verb_report(struct ctl *ctl);
int verb_servers(struct ctl *ctl);
int verb_spaces(struct ctl *ctl);
int verb_regions(struct ctl *ctl);
int verb_regions_drop(struct ctl *ctl); /* for verb_regions(), with arguments */
int verb_context(struct ctl *ctl);
int verb_program(struct ctl *ctl);

static inline void json_object_putp(struct json_object **object) {
        json_object_put(*object);
}
#define _cleanup_json_ _cleanup_(json_object_putp)

/* Connects once. Returns CTL_OK, or CTL_NO_DAEMON with the message printed. */
int ctl_connect(struct ctl *ctl);
void ctl_disconnect(struct ctl *ctl);

/* Calls a method of the manager whose reply is one string, within CTL_READ_TIMEOUT_USEC. `types` and what follows
 * are the arguments. Returns CTL_OK and a heap string, or another exit code with the message printed. */
int ctl_read(struct ctl *ctl, const char *method, char **ret, const char *types, ...);
/* The same where the string is a JSON document of a version that we know. */
int ctl_read_json(struct ctl *ctl, const char *method, struct json_object **ret, const char *types, ...);
/* Calls a method of the manager that changes something; no time limit. `ret` may be NULL where it returns
 * nothing. */
int ctl_change(struct ctl *ctl, const char *method, char **ret, const char *types, ...);

/* A new call to `path` that starts no daemon and lets polkit ask the user where `change`. Negative errno. */
int ctl_new_call(struct ctl *ctl, sd_bus_message **ret, const char *path, const char *interface, const char *method,
                 bool change);
/* Tells the user about a failed call and returns the exit code for it. */
int ctl_call_failed(struct ctl *ctl, const sd_bus_error *error, int r);
/* Path of a pair's object; the caller frees. */
int ctl_pair_path(const char *pair, char **ret);

/* "failoverctl: ..." on the standard error. Returns `code`. */
int ctl_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints a document as it is, for --json. */
int ctl_print_json(struct json_object *object);
/* Prints a text, with --json as the member "text" of a document of that kind. */
int ctl_print_text(const struct ctl *ctl, const char *kind, const char *text);

/* Members of JSON objects, with what to take where they are missing or null. `path` may hold dots. */
struct json_object *get_object(struct json_object *object, const char *path);
const char *get_text(struct json_object *object, const char *path, const char *missing);
bool get_bool(struct json_object *object, const char *path);
/* -1 where it is missing. */
int64_t get_number(struct json_object *object, const char *path);
size_t get_count(struct json_object *object, const char *path);
struct json_object *get_item(struct json_object *object, const char *path, size_t i);

/* For people. Each writes into `buffer` and returns it. Negative: "-". */
#define FORMAT_MAX 48
const char *format_age(char buffer[FORMAT_MAX], int64_t age_ms);         /* "0.2s", "5min 3s", "2h 5min" */
const char *format_seconds(char buffer[FORMAT_MAX], int64_t usec);       /* "1.204s" */
const char *format_mib(char buffer[FORMAT_MAX], int64_t bytes);          /* "512MiB", "0.5MiB" */
/* Resident memory and its error, of an object that has both: "512MiB", and where it was estimated "512MiB+-2.5MiB". */
const char *format_resident(char buffer[FORMAT_MAX], struct json_object *object);
const char *format_time(char buffer[FORMAT_MAX], int64_t time_ms);       /* "2026-11-21 13:00:05", local time */

enum color { COLOR_NONE, COLOR_GOOD, COLOR_WARN, COLOR_BAD, COLOR_BOLD, COLOR_DIM };
/* Escape sequence to begin with, "" without colours; color_end() ends it. */
const char *color_begin(const struct ctl *ctl, enum color color);
const char *color_end(const struct ctl *ctl);

/* A drill's verdict in one line without its end: "met, 1.200s, objective 5.000s: TEXT". */
void print_verdict(const struct ctl *ctl, struct json_object *drill);
/* The steps of a rehearsal, one a line, as far as it came. */
void print_rehearsal(const struct ctl *ctl, struct json_object *drill);
/* Phases of a finished flow, one a line, and the recovery time against the objective. */
void print_timeline(const struct ctl *ctl, struct json_object *flow);

/* History's events under `key`, oldest first, and the files kept of a failover. */
void print_events(struct json_object *root, const char *key);
void print_evidence(struct json_object *root);

/* A whole text file of at most `max` bytes. Prints why not. The caller frees `*ret`. Returns an exit status. */
#define CTL_TEXT_MAX (1024 * KIB)
int ctl_read_file(const char *path, size_t max, char **ret);

/* Compares a checked policy with the domains that libvirt knows, and prints what a domain lacks, or adds it to `array`
 * where there is one. Returns an exit code. */
struct policy;
int ctl_check_domains(const struct policy *policy, struct json_object *array);
