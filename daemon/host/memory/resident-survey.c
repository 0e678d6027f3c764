/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/resident-survey.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define PAUSE_FACTOR 100 /* of the processor time that the last survey took, before the next */

/* Held by its owner and by the thread at work: whoever is the last frees it. */
struct resident_survey {
        pthread_mutex_t lock;
        unsigned n_refs;
        char *proc;
        bool working;
        usec_t next_usec; /* not before then */

        struct resident_question *questions; /* the thread's, while it works */
        size_t n_questions;
        struct resident_answer *answers; /* of the last survey */
        size_t n_answers;
};

static void survey_unref(struct resident_survey *survey) {
        bool last;

        pthread_mutex_lock(&survey->lock);
        last = --survey->n_refs == 0;
        pthread_mutex_unlock(&survey->lock);
        if (!last)
                return;
        pthread_mutex_destroy(&survey->lock);
        free(survey->questions);
        free(survey->answers);
        free(survey->proc);
        free(survey);
}

static void *work(void *userdata) {
        struct resident_survey *survey = userdata;
        struct resident_answer *answers = calloc(survey->n_questions, sizeof(*answers));

        for (size_t i = 0; answers && i < survey->n_questions; i++) {
                const struct resident_question *question = &survey->questions[i];
                char directory[256];

                snprintf(directory, sizeof(directory), "%s/%d", survey->proc, question->pid);
                answers[i].pid = question->pid;
                answers[i].result = resident_read_parts(directory, &question->apps, &answers[i].parts);
                answers[i].seen_usec = clock_usec(CLOCK_BOOTTIME);
        }
        pthread_mutex_lock(&survey->lock);
        survey->working = false;
        survey->next_usec = clock_usec(CLOCK_BOOTTIME) + PAUSE_FACTOR * clock_usec(CLOCK_THREAD_CPUTIME_ID);
        if (answers) {
                free(survey->answers);
                survey->answers = answers;
                survey->n_answers = survey->n_questions;
        }
        pthread_mutex_unlock(&survey->lock);
        survey_unref(survey);
        return NULL;
}

int resident_survey_new(const char *proc, struct resident_survey **ret) {
        struct resident_survey *survey = calloc(1, sizeof(*survey));

        if (!survey)
                return -ENOMEM;
        survey->proc = strdup(proc);
        if (!survey->proc) {
                free(survey);
                return -ENOMEM;
        }
        pthread_mutex_init(&survey->lock, NULL);
        survey->n_refs = 1;
        *ret = survey;
        return 0;
}

struct resident_survey *resident_survey_free(struct resident_survey *survey) {
        if (survey)
                survey_unref(survey);
        return NULL;
}

int resident_survey_begin(struct resident_survey *survey, const struct resident_question *questions, size_t n_questions,
                          usec_t now_usec) {
        struct resident_question *copy;
        bool working, soon;
        int r;

        pthread_mutex_lock(&survey->lock);
        working = survey->working;
        soon = now_usec < survey->next_usec;
        pthread_mutex_unlock(&survey->lock);
        if (working || soon || n_questions == 0)
                return working;

        copy = calloc(n_questions, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        memcpy(copy, questions, n_questions * sizeof(*copy));
        free(survey->questions);
        survey->questions = copy;
        survey->n_questions = n_questions;
        survey->n_refs++;
        survey->working = true;
        r = thread_start(work, survey);
        if (r < 0) {
                survey->working = false;
                survey->n_refs--;
                return r;
        }
        return 1;
}

bool resident_survey_working(struct resident_survey *survey) {
        bool working;

        pthread_mutex_lock(&survey->lock);
        working = survey->working;
        pthread_mutex_unlock(&survey->lock);
        return working;
}

int resident_survey_find(struct resident_survey *survey, int pid, struct resident_answer *ret) {
        int r = -ENOENT;

        pthread_mutex_lock(&survey->lock);
        for (size_t i = 0; i < survey->n_answers; i++)
                if (survey->answers[i].pid == pid) {
                        *ret = survey->answers[i];
                        r = 0;
                }
        pthread_mutex_unlock(&survey->lock);
        return r;
}
