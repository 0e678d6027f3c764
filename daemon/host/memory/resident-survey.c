/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/resident-survey.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define PAUSE_FACTOR 200 /* of the processor time that a look of one kind took, before its next */
#define FRESH_USEC (2 * USEC_PER_SEC) /* a count that is no older needs no sample beside it */

/* What one kind of look has found last. */
struct look {
        bool wanted;      /* of the thread, while it works */
        usec_t seen_usec; /* when one ended that found something; 0: none did */
        usec_t next_usec; /* not before then */
        struct resident_answer *answers;
        size_t n_answers;
};

/* Held by its owner and by the thread at work: whoever is the last frees it. */
struct resident_survey {
        pthread_mutex_t lock;
        unsigned n_refs;
        char *proc, *helper_path; /* the latter may be NULL */
        bool working;

        struct resident_question *questions; /* the thread's, while it works */
        size_t n_questions;
        struct drand48_data random; /* the same */
        struct look looks[RESIDENT_LOOK_MAX];
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
        for (int i = 0; i < RESIDENT_LOOK_MAX; i++)
                free(survey->looks[i].answers);
        free(survey->proc);
        free(survey->helper_path);
        free(survey);
}

static int sample(struct resident_survey *survey, const struct resident_question *question, const char *directory,
                  struct resident_parts *ret) {
        int r = resident_sample_parts(directory, &question->apps, &survey->random, ret);

        return (r == -EACCES || r == -EPERM) && survey->helper_path
                       ? resident_sample_regions(survey->helper_path, question->domain, &question->apps,
                                                 &survey->random, ret)
                       : r;
}

static void ask(struct resident_survey *survey, enum resident_look kind) {
        struct resident_answer *answers = calloc(survey->n_questions, sizeof(*answers));
        usec_t before = clock_usec(CLOCK_THREAD_CPUTIME_ID);
        struct look *look = &survey->looks[kind];
        bool found = false;

        for (size_t i = 0; answers && i < survey->n_questions; i++) {
                const struct resident_question *question = &survey->questions[i];
                struct resident_answer *answer = &answers[i];
                char directory[256];

                snprintf(directory, sizeof(directory), "%s/%d", survey->proc, question->pid);
                answer->pid = question->pid;
                answer->result = kind == RESIDENT_COUNTED
                                         ? resident_read_parts(directory, &question->apps, &answer->parts)
                                         : sample(survey, question, directory, &answer->parts);
                answer->seen_usec = clock_usec(CLOCK_BOOTTIME);
                found |= answer->result >= 0;
        }
        pthread_mutex_lock(&survey->lock);
        look->next_usec = clock_usec(CLOCK_BOOTTIME) + PAUSE_FACTOR * (clock_usec(CLOCK_THREAD_CPUTIME_ID) - before);
        if (found)
                look->seen_usec = clock_usec(CLOCK_BOOTTIME);
        if (kind == RESIDENT_SAMPLED && look->next_usec < look->seen_usec + FRESH_USEC)
                look->next_usec = look->seen_usec + FRESH_USEC; /* part of the work may be the helper's */
        if (answers) {
                free(look->answers);
                look->answers = answers;
                look->n_answers = survey->n_questions;
        }
        pthread_mutex_unlock(&survey->lock);
}

/* The sample is soon at an end: whoever does not wait for the count has that. */
static void *work(void *userdata) {
        static const enum resident_look order[] = { RESIDENT_SAMPLED, RESIDENT_COUNTED };
        struct resident_survey *survey = userdata;

        for (size_t i = 0; i < ELEMENTSOF(order); i++)
                if (survey->looks[order[i]].wanted)
                        ask(survey, order[i]);
        pthread_mutex_lock(&survey->lock);
        survey->working = false;
        pthread_mutex_unlock(&survey->lock);
        survey_unref(survey);
        return NULL;
}

int resident_survey_new(const char *proc, const char *helper_path, struct resident_survey **ret) {
        struct resident_survey *survey = calloc(1, sizeof(*survey));
        long seed;

        if (!survey)
                return -ENOMEM;
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
                seed = (long) clock_usec(CLOCK_BOOTTIME);
        srand48_r(seed, &survey->random);
        survey->proc = strdup(proc);
        survey->helper_path = helper_path ? strdup(helper_path) : NULL;
        if (!survey->proc || (helper_path && !survey->helper_path)) {
                free(survey->proc);
                free(survey->helper_path);
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
        struct look *counted = &survey->looks[RESIDENT_COUNTED], *sampled = &survey->looks[RESIDENT_SAMPLED];
        struct resident_question *copy;
        bool count, sample;
        int r;

        if (resident_survey_working(survey))
                return 1;
        count = now_usec >= counted->next_usec;
        sample = now_usec >= sampled->next_usec &&
                 (counted->seen_usec == 0 || now_usec > counted->seen_usec + FRESH_USEC);
        if ((!count && !sample) || n_questions == 0)
                return 0;

        copy = calloc(n_questions, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        memcpy(copy, questions, n_questions * sizeof(*copy));
        free(survey->questions);
        survey->questions = copy;
        survey->n_questions = n_questions;
        counted->wanted = count;
        sampled->wanted = sample;
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

int resident_survey_find(struct resident_survey *survey, enum resident_look kind, int pid,
                         struct resident_answer *ret) {
        const struct look *look = &survey->looks[kind];
        int r = -ENOENT;

        pthread_mutex_lock(&survey->lock);
        for (size_t i = 0; i < look->n_answers; i++)
                if (look->answers[i].pid == pid) {
                        *ret = look->answers[i];
                        r = 0;
                }
        pthread_mutex_unlock(&survey->lock);
        return r;
}
