/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/health.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define INTERVAL_MIN_USEC (10 * USEC_PER_MSEC)
#define TIMEOUT_DEFAULT_USEC (5 * USEC_PER_SEC)

static void next(struct health *health) {
        usec_t interval = health->spec->health_interval_usec;

        if (interval < INTERVAL_MIN_USEC)
                interval = INTERVAL_MIN_USEC;
        loop_arm(health->loop, &health->timer, loop_now() + interval);
}

static void check_failed(struct health *health, int status, const char *text) {
        unsigned limit = health->spec->health_failures > 0 ? health->spec->health_failures : 1;

        if (health->grace_usec > loop_now()) {
                next(health); /* it is still coming up */
                return;
        }
        if (++health->failures < limit) {
                next(health);
                return;
        }
        health_stop(health);
        health->handler.failed(health->handler.userdata, status, text);
}

static void on_exec_failed(void *userdata, int error) {
        char text[MESSAGE_TEXT_LEN];

        snprintf(text, sizeof(text), "health command: %s", strerror(-error));
        check_failed(userdata, 127, text);
}

static void on_exited(void *userdata, const struct process_exit *end) {
        struct health *health = userdata;
        char text[MESSAGE_TEXT_LEN];

        loop_disarm(health->loop, &health->timer);
        if (end->known && !end->signaled && end->status == 0) {
                health->failures = 0;
                health->grace_usec = 0;
                next(health);
                health->handler.passed(health->handler.userdata);
                return;
        }
        snprintf(text, sizeof(text),
                 end->signaled ? "health command ended by signal %d" : "health command exited with %d", end->status);
        check_failed(health, end->signaled ? 128 + end->status : end->status, text);
}

static void begin(struct health *health) {
        const struct process_options options = { .command = &health->spec->run.health, .node = -1 };
        usec_t timeout = health->spec->health_timeout_usec;
        int r;

        if (health->spec->run.health.n_words == 0) {
                health->handler.passed(health->handler.userdata);
                return;
        }
        r = process_spawn(&health->process, &options);
        if (r < 0) {
                on_exec_failed(health, r);
                return;
        }
        loop_arm(health->loop, &health->timer, loop_now() + (timeout > 0 ? timeout : TIMEOUT_DEFAULT_USEC));
}

/* Armed for the time-out while a check runs, for the next check otherwise. */
static void on_timer(void *userdata) {
        struct health *health = userdata;

        if (health->process.pid == 0) {
                begin(health);
                return;
        }
        process_kill(&health->process);
        check_failed(health, 124, "health command timed out");
}

void health_init(struct health *health, struct process_table *table, const struct health_handler *handler) {
        const struct process_handler process_handler = { NULL, on_exec_failed, on_exited, health };

        *health = (struct health) { .loop = table->loop, .handler = *handler, .timer = { 0, on_timer, health, NULL } };
        process_init(&health->process, table, &process_handler);
}

void health_start(struct health *health, const struct application_spec *spec) {
        health_stop(health);
        health->spec = spec;
        health->failures = 0;
        health->grace_usec = spec->health_grace_usec > 0 ? loop_now() + spec->health_grace_usec : 0;
        loop_arm(health->loop, &health->timer, loop_now());
}

void health_stop(struct health *health) {
        loop_disarm(health->loop, &health->timer);
        process_kill(&health->process);
}
