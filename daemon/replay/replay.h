/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Runs a recording through the engine, shows what it was told and what it decides, and tells whether it decided the
 * same when it was recorded: decisions of weight by their words, all else by the digest. Where one segment follows
 * another, the state that the replay has come to is compared with the one that was recorded, too.
 */

#include <stdio.h>

#include "daemon/base/error.h"
#include "daemon/core/engine.h"

enum replay_line {
        REPLAY_EVENT,    /* what the engine is told */
        REPLAY_DECISION, /* what it decides */
        REPLAY_STATE,    /* "orders     armed -> failover" */
        REPLAY_NOTE,     /* about the recording itself */
        REPLAY_LINE_MAX,
};

struct replay_options {
        bool all;                          /* every event and every action, complete */
        usec_t from_usec, until_usec;      /* lines are shown between the two; until 0: to the end */
        const struct policy *policy;       /* for a recording in a scenario's directory; else NULL */
        /* Takes a line. NULL: nobody looks. */
        void (*line)(void *userdata, usec_t since_usec, enum replay_line kind, const char *text);
        void *userdata;
};

struct replay_result {
        uint64_t events, decisions; /* decisions: of weight */
        uint64_t digests;           /* compared; 0: the recording holds none, and nothing was compared */
        usec_t span_usec;           /* from the beginning to the last event */
        usec_t failover_usec;       /* when the first flow began that did in it; USEC_INFINITY: none */
        char version[32];           /* of failoverd that recorded the first segment */
        bool torn;                  /* the last line was cut off */
        unsigned n_unknown;         /* fields that this version does not know */
        char unknown[64];           /* the first of them */
        bool differs;
        char difference[2048];      /* the first one, for people */
        struct engine *engine;      /* as it is at the end; owned by the caller, also after an error. May be NULL */
};

/* Replays a whole recording. 0, also where decisions differ; -EBADMSG with line and reason for a text that is no sound
 * recording; -ENOMEM. */
int replay_run(const char *text, size_t n, const struct replay_options *options, struct replay_result *ret,
               struct error *error);
void replay_result_deinit(struct replay_result *result);

/* "   12345 < orders-a   domain crashed (panicked)": milliseconds, "<" for what the engine is told. */
void replay_print_line(FILE *f, usec_t since_usec, enum replay_line kind, const char *text);
/* The table and the pairs. */
void replay_print_end(FILE *f, const struct engine *engine);
