/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Looks at the resident memory of many QEMU processes on a thread of its own, since that takes milliseconds each and
 * can block. A survey is begun when somebody asks; whoever asks meanwhile is told what the last one has found, with its
 * age. There are two kinds of look. A count takes every page in: what it tells is off by what has changed since then
 * and by nothing else, but it costs 15 ms a GiB. A sample costs some 2 ms for each part of a guest's memory, whatever
 * its size, and tells how far it may be off; it is taken where the last count is not fresh. Each kind uses at most half
 * a hundredth of one processor, however much memory there is: 64 GiB are counted every three minutes, and ten parts are
 * sampled every four seconds, hundreds every few minutes. A region that changes hands is followed by itself
 * (reclaim.h).
 */

#include "daemon/host/memory/resident.h"

struct resident_survey;

enum resident_look {
        RESIDENT_COUNTED, /* resident_read_parts() */
        RESIDENT_SAMPLED, /* resident_sample_parts() */
        RESIDENT_LOOK_MAX,
};

struct resident_question {
        int pid;
        char domain[NAME_LEN];
        struct app_names apps;
};

struct resident_answer {
        int pid;
        usec_t seen_usec; /* CLOCK_BOOTTIME */
        int result;       /* 0 or a negative errno */
        struct resident_parts parts;
};

/* `proc`: directory with a directory for each pid, "/proc". `helper_path`: socket of failoverd-helper, through which
 * QEMUs of other users are sampled; NULL: there is none. Both are copied. -ENOMEM. */
int resident_survey_new(const char *proc, const char *helper_path, struct resident_survey **ret);
/* A thread that is at work ends by itself. Takes NULL; returns NULL. */
struct resident_survey *resident_survey_free(struct resident_survey *survey);

/* Begins a survey, unless one is under way or it is too soon; `questions` is copied. Returns 1 where one is under
 * way now, 0 where not, -ENOMEM or another errno. */
int resident_survey_begin(struct resident_survey *survey, const struct resident_question *questions, size_t n_questions,
                          usec_t now_usec);

/* True while one is under way. */
bool resident_survey_working(struct resident_survey *survey);

/* Copies what a look of that kind has found last of a process. -ENOENT where nothing was. */
int resident_survey_find(struct resident_survey *survey, enum resident_look kind, int pid,
                         struct resident_answer *ret);
