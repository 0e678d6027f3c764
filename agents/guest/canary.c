/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/canary.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "agents/guest/region.h"
#include "agents/guest/supervisor.h"
#include "daemon/base/cleanup.h"

/* Keeps the end. */
static void keep(struct canary *canary, const char *bytes, size_t n) {
        size_t over;

        if (n > CANARY_OUTPUT_LEN) {
                bytes += n - CANARY_OUTPUT_LEN;
                n = CANARY_OUTPUT_LEN;
        }
        over = canary->n_output + n > CANARY_OUTPUT_LEN ? canary->n_output + n - CANARY_OUTPUT_LEN : 0;
        memmove(canary->output, canary->output + over, canary->n_output - over);
        canary->n_output -= over;
        memcpy(canary->output + canary->n_output, bytes, n);
        canary->n_output += n;
}

/* At most one read: a canary that never stops printing must not hold up the rest. False when there is nothing left. */
static bool read_output(struct canary *canary) {
        char bytes[4096];
        ssize_t n = canary->output_fd < 0 ? 0 : read(canary->output_fd, bytes, sizeof(bytes));

        if (n > 0)
                keep(canary, bytes, (size_t) n);
        return n > 0;
}

static void on_output(void *userdata, uint32_t events) {
        struct supervised *app = userdata;

        if (!read_output(&app->canary) && (events & (EPOLLHUP | EPOLLERR)))
                loop_unwatch(app->supervisor->loop, &app->canary.source);
}

/* One line, without the blanks that it ends with. */
static void one_line(char *text) {
        size_t n;

        for (char *p = text; *p; p++)
                if (*p == '\n' || *p == '\t' || *p == '\r')
                        *p = ' ';
        for (n = strlen(text); n > 0 && text[n - 1] == ' ';)
                text[--n] = 0;
}

/* It is over: whatever it has left behind ends too. `code`: exit status, or minus the signal's number. */
static void finish(struct supervised *app, int result, int code, const char *text) {
        struct canary *canary = &app->canary;
        struct message message = { .type = MESSAGE_RESULT, .id = canary->id, .result = result, .code = code };

        loop_disarm(app->supervisor->loop, &canary->timer);
        process_kill(&canary->process);
        if (canary->pid > 0)
                (void) kill(-canary->pid, SIGKILL);
        for (int i = 0; i < 16 && read_output(canary); i++)
                ;
        loop_unwatch(app->supervisor->loop, &canary->source);
        closep(&canary->output_fd);
        canary->output_fd = -1;
        canary->pid = 0;
        canary->output[canary->n_output] = 0;
        one_line(canary->output);
        memcpy(message.app, app->spec.app, sizeof(message.app));
        snprintf(message.text, sizeof(message.text), "%s%s%s", text, text[0] && canary->output[0] ? ": " : "",
                 canary->output);
        canary->n_output = 0;
        if (canary->id)
                supervisor_send(app->supervisor, &message);
        canary->id = 0;
}

static void on_failed(void *userdata, int error) {
        finish(userdata, error, 0, strerror(-error));
}

static void on_exited(void *userdata, const struct process_exit *end) {
        if (!end->known)
                finish(userdata, -EIO, 0, "its end was not seen");
        else
                finish(userdata, end->signaled || end->status != 0 ? -EIO : 0,
                       end->signaled ? -end->status : end->status, "");
}

static void on_timer(void *userdata) {
        finish(userdata, -ETIMEDOUT, 0, "");
}

static int run(struct supervised *app) {
        _cleanup_close_ int read_end = -1, write_end = -1;
        struct canary *canary = &app->canary;
        usec_t timeout = app->spec.canary_timeout_usec ? app->spec.canary_timeout_usec : CANARY_TIMEOUT_USEC;
        struct process_options options = { .command = &app->spec.run.canary, .node = -1 };
        int pipe_fd[2], r;

        if (pipe2(pipe_fd, O_CLOEXEC) < 0)
                return -errno;
        read_end = pipe_fd[0];
        options.output_fd = write_end = pipe_fd[1];
        if (fcntl(read_end, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        r = loop_watch(app->supervisor->loop, &canary->source, read_end, EPOLLIN);
        if (r < 0)
                return r;
        canary->output_fd = steal_fd(&read_end);
        r = process_spawn(&canary->process, &options);
        if (r < 0)
                return r;
        canary->pid = canary->process.pid;
        loop_arm(app->supervisor->loop, &canary->timer, loop_now() + timeout);
        return 0;
}

void canary_init(struct supervised *app) {
        const struct process_handler handler = { NULL, on_failed, on_exited, app };
        struct canary *canary = &app->canary;

        *canary = (struct canary) { .output_fd = -1, .source = { -1, on_output, app },
                                    .timer = { 0, on_timer, app, NULL } };
        process_init(&canary->process, &app->supervisor->processes, &handler);
}

void canary_cancel(struct supervised *app) {
        finish(app, -ECANCELED, 0, "given up: the application is wanted for something else");
}

void canary_begin(struct supervised *app, const struct message *message) {
        char text[MESSAGE_TEXT_LEN] = "";
        int r;

        canary_cancel(app);
        app->canary.id = message->id;
        r = region_check(app, text);
        if (r == 0 && app->spec.run.canary.n_words > 0) {
                r = run(app);
                if (r == 0)
                        return;
                snprintf(text, sizeof(text), "%s", strerror(-r));
        }
        finish(app, r, 0, text);
}
