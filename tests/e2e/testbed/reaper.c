/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * reaper COMMAND [ARGUMENT...]: runs a command and leaves nothing of it behind.
 *
 * Daemons that the command starts (libvirtd, QEMU) detach themselves from it; as a child subreaper this process
 * inherits them, reaps them at once (libvirt waits for seconds on a QEMU that its parent does not reap), and
 * ends them all when the command ends, or when this process is asked to end, or when its own parent dies. Its
 * exit status is the command's, 128 + N where that was ended by signal N.
 *
 * SIGINT goes to the whole foreground group, so the command has it already; SIGTERM and SIGHUP are passed on.
 * Either way the command has GRACE_SECONDS to clean up; then everything is killed.
 *
 * A killed reaper can end nobody. So there are two, a parent and its child, alike: where the parent is killed, the
 * child is told and does as above; where the child is, what it kept is the parent's to end.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE_SECONDS 20
#define CHILD_GRACE_SECONDS (2 * GRACE_SECONDS + 5) /* of the child, which kills what does not end in its grace */
#define KILL_ROUND_MSEC 20
#define KILL_ROUNDS_MAX 1000

static int code_of(int status) {
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Signals every direct child; returns how many there are. Their own children come to us once they are gone. */
static unsigned signal_children(int signal_number) {
        char path[64];
        unsigned n = 0;
        FILE *f;
        int pid;

        snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) getpid());
        f = fopen(path, "re");
        if (!f)
                return 0;
        while (fscanf(f, "%d", &pid) == 1) {
                n++;
                (void) kill(pid, signal_number);
        }
        fclose(f);
        return n;
}

static void end_all(void) {
        const struct timespec round = { .tv_nsec = KILL_ROUND_MSEC * 1000000L };

        for (int i = 0; i < KILL_ROUNDS_MAX; i++) {
                while (waitpid(-1, NULL, WNOHANG) > 0)
                        ;
                if (signal_children(SIGKILL) == 0)
                        return;
                nanosleep(&round, NULL);
        }
        fprintf(stderr, "reaper: some processes cannot be killed\n");
}

/* Reaps until the command ends. Returns its exit code; 128 + SIGKILL when it did not end in time after a signal. */
static int wait_for(pid_t command, const sigset_t *watched, int grace_seconds) {
        time_t asked = 0;
        siginfo_t info;

        for (;;) {
                const struct timespec patience = { .tv_sec = asked ? 1 : 3600 };
                int status, number = sigtimedwait(watched, &info, &patience);
                pid_t pid;

                while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                        if (pid == command)
                                return code_of(status);
                if (number > 0 && number != SIGCHLD) {
                        if (number != SIGINT)
                                (void) kill(command, number);
                        if (!asked)
                                asked = time(NULL);
                }
                if (asked && time(NULL) - asked > grace_seconds)
                        return 128 + SIGKILL;
        }
}

/* Inherits what its descendants leave, and is asked to end when its parent does. */
static int become_reaper(pid_t parent) {
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0) {
                perror("reaper");
                return -1;
        }
        return getppid() == parent ? 0 : -1;
}

/* Forks; what the child is about to do is in the caller. The parent waits for it and ends with its code. */
static void fork_and_reap(const sigset_t *watched, int grace_seconds) {
        pid_t child = fork();
        int code;

        if (child == 0)
                return;
        if (child < 0) {
                perror("reaper: fork");
                exit(EXIT_FAILURE);
        }
        code = wait_for(child, watched, grace_seconds);
        end_all();
        exit(code);
}

int main(int argc, char *argv[]) {
        static const int numbers[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP };
        pid_t parent = getppid(), self = getpid();
        sigset_t watched, before;

        if (argc < 2) {
                fprintf(stderr, "usage: reaper COMMAND [ARGUMENT...]\n");
                return 2;
        }
        sigemptyset(&watched);
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                sigaddset(&watched, numbers[i]);
        sigprocmask(SIG_BLOCK, &watched, &before);
        if (become_reaper(parent) < 0)
                return EXIT_FAILURE;
        fork_and_reap(&watched, CHILD_GRACE_SECONDS);
        if (become_reaper(self) < 0)
                return EXIT_FAILURE;
        fork_and_reap(&watched, GRACE_SECONDS);
        sigprocmask(SIG_SETMASK, &before, NULL);
        /* as for a program that a person starts: a shell has them ignored for what it starts in the background */
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        execvp(argv[1], argv + 1);
        fprintf(stderr, "reaper: %s: %s\n", argv[1], strerror(errno));
        _exit(127);
}
