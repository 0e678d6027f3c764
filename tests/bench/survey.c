/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the survey of resident memory takes of a processor, asked for ten times a second over some seconds: of a region
 * of 1 GiB, all of it touched, as a QEMU maps it. Prints the share in per cent, and how many counts and samples were
 * taken. */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/clock.h"
#include "daemon/host/memory/resident-survey.h"

#define SECONDS 15
#define ASKS_PER_SEC 10
#define GUARD 4096

static const char command[] = "/usr/bin/qemu-system-x86_64\0-name\0guest=a\0-object\0"
                              "{\"qom-type\":\"memory-backend-memfd\",\"id\":\"memua-db\",\"size\":1073741824}\0";

static void fail(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

/* A region as QEMU maps one: a guard page is behind it. */
static void map_region(void) {
        int fd = memfd_create("memory-backend-memfd", MFD_CLOEXEC);
        char *memory = mmap(NULL, GIB + GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (fd < 0 || memory == MAP_FAILED || ftruncate(fd, (off_t) GIB) < 0 ||
            mmap(memory, GIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
                fail("region");
        memset(memory, 1, GIB);
}

/* The directory of a process in /proc: this one's but for its command line. */
static void make_process(const char *root, char directory[static PATH_MAX]) {
        static const char *const files[] = { "maps", "smaps", "pagemap", "statm" };
        char path[PATH_MAX + 16], target[32];
        FILE *f;

        snprintf(directory, PATH_MAX, "%s/%d", root, (int) getpid());
        if (mkdir(directory, 0700) < 0)
                fail(directory);
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
                snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
                snprintf(target, sizeof(target), "/proc/self/%s", files[i]);
                if (symlink(target, path) < 0)
                        fail(path);
        }
        snprintf(path, sizeof(path), "%s/cmdline", directory);
        f = fopen(path, "we");
        if (!f || fwrite(command, sizeof(command) - 1, 1, f) != 1 || fclose(f) != 0)
                fail(path);
}

int main(int argc, char *argv[]) {
        const struct resident_question question = { .pid = getpid(), .domain = "a", .apps = { { "db" } } };
        usec_t seen_usec[RESIDENT_LOOK_MAX] = { 0 }, began_usec, ended_usec, used_usec;
        unsigned n_looks[RESIDENT_LOOK_MAX] = { 0 };
        struct resident_survey *survey = NULL;
        char directory[PATH_MAX];

        if (argc != 2) {
                fprintf(stderr, "usage: survey-cost EMPTY-DIRECTORY\n");
                return 2;
        }
        map_region();
        make_process(argv[1], directory);
        if (resident_survey_new(argv[1], NULL, &survey) < 0)
                fail("survey");
        began_usec = ended_usec = clock_usec(CLOCK_BOOTTIME);
        used_usec = clock_usec(CLOCK_PROCESS_CPUTIME_ID) - clock_usec(CLOCK_THREAD_CPUTIME_ID);
        while (ended_usec - began_usec < SECONDS * USEC_PER_SEC) {
                if (resident_survey_begin(survey, &question, 1, ended_usec) < 0)
                        fail("survey");
                usleep(USEC_PER_SEC / ASKS_PER_SEC); /* the pace at which it is asked */
                for (enum resident_look look = 0; look < RESIDENT_LOOK_MAX; look++) {
                        struct resident_answer answer;

                        if (resident_survey_find(survey, look, question.pid, &answer) < 0 || answer.result < 0)
                                continue;
                        n_looks[look] += answer.seen_usec != seen_usec[look];
                        seen_usec[look] = answer.seen_usec;
                }
                ended_usec = clock_usec(CLOCK_BOOTTIME);
        }
        used_usec = clock_usec(CLOCK_PROCESS_CPUTIME_ID) - clock_usec(CLOCK_THREAD_CPUTIME_ID) - used_usec;
        printf("%.3f %u %u\n", 100 * (double) used_usec / (double) (ended_usec - began_usec),
               n_looks[RESIDENT_COUNTED], n_looks[RESIDENT_SAMPLED]);
        resident_survey_free(survey);
        return EXIT_SUCCESS;
}
