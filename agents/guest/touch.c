/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/touch.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "agents/guest/file.h"
#include "agents/guest/memory.h"
#include "agents/guest/supervisor.h"

#define STEP_BYTES (4 * MIB)
#define MIXER UINT64_C(0x9e3779b97f4a7c15)

/* In memory that both processes see. */
struct touch_report {
        const struct paths *paths; /* the child's copy of the agent's memory has them */
        int node;
        uint64_t asked_bytes;
        uint64_t bytes; /* taken */
        usec_t usec;
        int result;
};

/* What the kernel needs of a region for itself is left to it: it would rather kill than go without. */
static uint64_t margin(uint64_t bytes) {
        return bytes / 32 + 4 * MIB;
}

/* So much of what was asked for has to be had. */
static uint64_t enough(uint64_t bytes) {
        return bytes - bytes / 8;
}

/* ---- in the process of its own --------------------------------------------------------------------------- */

static void write_pattern(uint64_t *words, uint64_t from, uint64_t to) {
        for (uint64_t i = from / sizeof(*words); i < to / sizeof(*words); i++)
                words[i] = (i + 1) * MIXER;
}

static bool pattern_is_there(const uint64_t *words, uint64_t bytes) {
        uint64_t wrong = 0;

        for (uint64_t i = 0; i < bytes / sizeof(*words); i++)
                wrong |= words[i] ^ (i + 1) * MIXER;
        return wrong == 0;
}

int touch_memory(uint64_t bytes, uint64_t (*room)(void *userdata), void *userdata, uint64_t *ret_bytes) {
        uint64_t taken = 0;
        void *memory;
        int r;

        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
                return -errno;
        while (taken < bytes && room(userdata) > margin(bytes) + STEP_BYTES) {
                uint64_t to = bytes - taken > STEP_BYTES ? taken + STEP_BYTES : bytes;

                write_pattern(memory, taken, to);
                taken = to;
        }
        r = pattern_is_there(memory, taken) ? 0 : -EIO;
        (void) munmap(memory, bytes);
        *ret_bytes = taken;
        return r;
}

static uint64_t room_left(void *userdata) {
        const struct touch_report *report = userdata;
        struct memory_usage usage = { 0 };
        uint64_t bytes = 0;

        if (report->node >= 0)
                (void) memory_node_usage(report->paths->sys_dir, report->node, &usage);
        else
                (void) memory_available(report->paths->proc_dir, &bytes);
        return report->node >= 0 ? usage.free_bytes : bytes;
}

static int run(void *userdata) {
        struct touch_report *report = userdata;
        usec_t begun_usec = loop_now();

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) file_write("1000", "/proc/self/oom_score_adj"); /* where memory does run out, this is what may go */
        report->result = touch_memory(report->asked_bytes, room_left, report, &report->bytes);
        report->usec = loop_now() - begun_usec;
        return 0;
}

/* ---- in the agent ---------------------------------------------------------------------------------------- */

static void answer(struct supervised *app, int result, const char *text) {
        struct touch *touch = &app->touch;
        struct message message = { .type = MESSAGE_RESULT, .id = touch->id, .result = result };

        memcpy(message.app, app->spec.app, sizeof(message.app));
        snprintf(message.text, sizeof(message.text), "%s", text);
        if (touch->report) {
                message.bytes = touch->report->bytes;
                message.usec = touch->report->usec;
                (void) munmap(touch->report, sizeof(*touch->report));
                touch->report = NULL;
        }
        if (touch->id)
                supervisor_send(app->supervisor, &message);
        touch->id = 0;
}

static void on_failed(void *userdata, int error) {
        answer(userdata, error, strerror(-error));
}

static void on_exited(void *userdata, const struct process_exit *end) {
        struct supervised *app = userdata;
        const struct touch_report *report = app->touch.report;
        char text[MESSAGE_TEXT_LEN];

        if (!end->known || end->signaled || end->status != 0) {
                answer(app, -ENOMEM, "what touched the memory was killed");
                return;
        }
        snprintf(text, sizeof(text), "only %" PRIu64 " of %" PRIu64 " MiB can be had there", report->bytes / MIB,
                 report->asked_bytes / MIB);
        if (report->result < 0)
                answer(app, report->result, report->result == -EIO ? "what was read back is not what was written"
                                                                   : strerror(-report->result));
        else if (report->bytes < enough(report->asked_bytes))
                answer(app, -ENOMEM, text);
        else
                answer(app, 0, "");
}

void touch_init(struct supervised *app) {
        const struct process_handler handler = { NULL, on_failed, on_exited, app };

        process_init(&app->touch.process, &app->supervisor->processes, &handler);
}

void touch_cancel(struct supervised *app) {
        process_kill(&app->touch.process);
        answer(app, -ECANCELED, "given up: the region is wanted for something else");
}

void touch_begin(struct supervised *app, const struct message *message) {
        struct touch_report *report;
        struct process_options options = { .function = run, .node = message->node };
        int r;

        touch_cancel(app);
        app->touch.id = message->id;
        report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (report == MAP_FAILED) {
                answer(app, -errno, strerror(errno));
                return;
        }
        *report = (struct touch_report) {
                .paths = &app->supervisor->paths, .node = message->node, .asked_bytes = message->bytes,
        };
        app->touch.report = report;
        options.function_userdata = report;
        r = process_spawn(&app->touch.process, &options);
        if (r < 0)
                answer(app, r, strerror(-r));
}
