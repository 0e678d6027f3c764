/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Programs out of server memory; needs no daemon. */

#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/ctl/context-entries.h"
#include "daemon/pages/program-run.h"

static struct program_job job_of(const struct context_command *command) {
        return (struct program_job) {
                .servers = &command->servers,
                .key = command->key,
                .persistent = command->job.persistent,
                .force = command->job.force,
                .progress = command->job.progress,
        };
}

static int print_json(const char *kind, const struct program_head *head) {
        _cleanup_json_ struct json_object *root = context_document(kind);
        struct json_object *object = json_object_new_object();
        int r = root ? json_add(root, "program", object) : -ENOMEM;

        if (r == 0)
                r = json_add(object, "name", json_object_new_string(head->name));
        if (r == 0)
                r = json_add(object, "put_ms", json_object_new_uint64(head->put_usec / USEC_PER_MSEC));
        if (r == 0)
                r = json_add(object, "image_bytes", json_object_new_uint64(head->image_bytes));
        return r < 0 ? ctl_fail(CTL_FAILED, "out of memory") : ctl_print_json(root);
}

static int put(struct ctl *ctl, struct context_command *command) {
        const struct program_job job = job_of(command);
        struct error error = ERROR_INIT;
        struct program_head head;
        char size[FORMAT_MAX];

        if (ctl->n_args != 3)
                return ctl_fail(CTL_USAGE, "usage: failoverctl program put FILE NAME");
        if (program_put(&job, ctl->args[1], ctl->args[2], &head, &error) < 0)
                return context_command_failed(command, &error);
        context_command_done(command);
        if (ctl->json)
                return print_json("program-put", &head);
        printf("%s is there as program %s, verified: %s. To start it: failoverctl program run %s\n", ctl->args[1],
               head.name, format_mib(size, (int64_t) head.image_bytes), head.name);
        return CTL_OK;
}

static int check(struct ctl *ctl, struct context_command *command) {
        const struct program_job job = job_of(command);
        struct error error = ERROR_INIT;
        struct program_source source;
        int r = program_source_open(&job, ctl->args[1], &source, &error);

        if (r == 0) {
                r = program_source_verify(&source, &error);
                if (r == 0) {
                        context_command_done(command);
                        if (ctl->json)
                                r = print_json("program-run", &source.image.head);
                        else
                                printf("program %s is whole; it was not started.\n", source.image.head.name);
                }
                program_source_deinit(&source);
        }
        return r < 0 ? context_command_failed(command, &error) : r;
}

static int start(struct ctl *ctl, struct context_command *command) {
        const struct program_job job = job_of(command);
        struct error error = ERROR_INIT;

        if (ctl->n_args < 2)
                return ctl_fail(CTL_USAGE, "usage: failoverctl program run NAME [-- ARGUMENTS]");
        if (ctl->dry_run)
                return check(ctl, command);
        context_command_end_at_once();
        (void) program_run(&job, ctl->args[1], ctl->rest + 1, &error);
        (void) context_command_failed(command, &error);
        return CTL_NOT_STARTED;
}

static int list(struct ctl *ctl, struct context_command *command) {
        static const struct context_words words = {
                .document = "programs", .key = "programs", .owner = "user", .when = "put",
                .filling = "being put", .used = "runs", .idle = "there",
        };

        if (ctl->n_args != 1)
                return ctl_fail(CTL_USAGE, "usage: failoverctl program list");
        return context_entries_print(ctl, command, &words);
}

static int drop(struct ctl *ctl, struct context_command *command) {
        _cleanup_json_ struct json_object *root = NULL;
        struct error error = ERROR_INIT;

        if (ctl->n_args != 2)
                return ctl_fail(CTL_USAGE, "usage: failoverctl program drop NAME");
        if (context_drop_named(&command->servers, ctl->args[1], command->job.force, &error) < 0)
                return context_command_failed(command, &error);
        if (ctl->json) {
                root = context_document("program-drop");
                return root ? ctl_print_json(root) : ctl_fail(CTL_FAILED, "out of memory");
        }
        printf("program %s is dropped.\n", ctl->args[1]);
        return CTL_OK;
}

static const struct {
        const char *name;
        int (*run)(struct ctl *ctl, struct context_command *command);
} verbs[] = {
        { "put", put },
        { "run", start },
        { "list", list },
        { "drop", drop },
};

int verb_program(struct ctl *ctl) {
        struct context_command command;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (strcmp(ctl->args[0], verbs[i].name) != 0)
                        continue;
                r = context_command_init(&command, ctl);
                command.servers.kind = CONTEXT_PROGRAM;
                if (r == CTL_OK)
                        r = verbs[i].run(ctl, &command);
                else if (verbs[i].run == start && !ctl->dry_run)
                        r = CTL_NOT_STARTED;
                context_command_deinit(&command);
                return r;
        }
        return ctl_fail(CTL_USAGE, "program has put, run, list and drop, not \"%s\"", ctl->args[0]);
}
