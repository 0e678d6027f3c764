/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Contexts of VMs on memory servers; needs no daemon, but asks one where it is there. */

#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/clock.h"
#include "daemon/ctl/context-entries.h"
#include "daemon/ctl/context-options.h"

static void manifest_freep(struct context_manifest **manifest) {
        *manifest = context_manifest_free(*manifest);
}

#define _cleanup_manifest_ _cleanup_(manifest_freep)

/* ---- what was done ---- */

static int add_context(struct json_object *root, const char *key, const struct context_manifest *manifest) {
        struct json_object *object = json_object_new_object();
        int r = json_add(root, key, object);

        if (r == 0)
                r = json_add(object, "name", json_object_new_string(manifest->name));
        if (r == 0)
                r = json_add(object, "vm", json_object_new_string(manifest->vm));
        if (r == 0)
                r = json_add(object, "uuid", json_object_new_string(manifest->uuid));
        if (r == 0)
                r = json_add(object, "host", json_object_new_string(manifest->host));
        if (r == 0)
                r = json_add(object, "saved_ms", json_object_new_uint64(manifest->saved_usec / USEC_PER_MSEC));
        if (r == 0)
                r = json_add(object, "image_bytes", json_object_new_uint64(manifest->image_bytes));
        if (r == 0)
                r = json_add(object, "stored_bytes", json_object_new_uint64(manifest->stored_bytes));
        return r;
}

/* `saved` and `resumed` may be NULL. */
static int print_done_json(const struct ctl *ctl, const char *kind, const struct context_manifest *saved,
                           const struct context_manifest *resumed) {
        _cleanup_json_ struct json_object *root = context_document(kind);
        int r = root ? json_add(root, "dry_run", json_object_new_boolean(ctl->dry_run)) : -ENOMEM;

        if (r == 0 && saved)
                r = add_context(root, "saved", saved);
        if (r == 0 && resumed)
                r = add_context(root, "resumed", resumed);
        return r < 0 ? ctl_fail(CTL_FAILED, "out of memory") : ctl_print_json(root);
}

static void print_saved(const struct context_manifest *manifest) {
        char image[FORMAT_MAX], stored[FORMAT_MAX];

        printf("%s is saved as context %s, verified: %s, %s at the memory server.\n", manifest->vm, manifest->name,
               format_mib(image, (int64_t) manifest->image_bytes),
               format_mib(stored, (int64_t) manifest->stored_bytes));
}

static void print_resumed(const struct ctl *ctl, const struct context_manifest *manifest) {
        char age[FORMAT_MAX];
        int64_t usec = (int64_t) clock_usec(CLOCK_REALTIME) - (int64_t) manifest->saved_usec;

        printf("%s %s as it was %s ago in context %s, which is %s.\n", manifest->vm,
               manifest->paused ? "is there, paused," : "runs", format_age(age, usec / (int64_t) USEC_PER_MSEC),
               manifest->name, ctl->keep ? "kept" : "gone from the memory servers");
}

/* ---- verbs ---- */

static int save(struct ctl *ctl, struct context_command *command) {
        _cleanup_manifest_ struct context_manifest *manifest = NULL;
        struct error error = ERROR_INIT;

        if (context_save(&command->job, ctl->args[1], ctl->args[2], &manifest, &error) < 0)
                return context_command_failed(command, &error);
        context_command_done(command);
        if (ctl->json)
                return print_done_json(ctl, command->job.live ? "context-checkpoint" : "context-save", manifest, NULL);
        if (ctl->dry_run)
                printf("%s can be saved as context %s; nothing was done.\n", manifest->vm, manifest->name);
        else {
                print_saved(manifest);
                if (!command->job.live)
                        printf("It has ended here. To go on: failoverctl context resume %s\n", manifest->name);
        }
        return CTL_OK;
}

static int checkpoint(struct ctl *ctl, struct context_command *command) {
        command->job.live = true;
        return save(ctl, command);
}

static int resume(struct ctl *ctl, struct context_command *command) {
        _cleanup_manifest_ struct context_manifest *manifest = NULL;
        struct error error = ERROR_INIT;

        if (context_resume(&command->job, ctl->args[1], &manifest, &error) < 0)
                return context_command_failed(command, &error);
        context_command_done(command);
        if (ctl->json)
                return print_done_json(ctl, "context-resume", NULL, manifest);
        if (ctl->dry_run)
                printf("context %s is whole, and %s can be resumed from it; nothing was done.\n", manifest->name,
                       manifest->vm);
        else
                print_resumed(ctl, manifest);
        return CTL_OK;
}

static int swap(struct ctl *ctl, struct context_command *command) {
        _cleanup_manifest_ struct context_manifest *out = NULL, *in = NULL;
        struct error error = ERROR_INIT;

        if (!ctl->out || !ctl->in)
                return ctl_fail(CTL_USAGE, "swap needs --out NAME for the VM's present context and --in NAME for the "
                                           "one to come in its place");
        if (strcmp(ctl->out, ctl->in) == 0)
                return ctl_fail(CTL_USAGE, "--out and --in name the same context");
        if (context_swap(&command->job, ctl->args[1], ctl->out, ctl->in, &out, &in, &error) < 0)
                return context_command_failed(command, &error);
        context_command_done(command);
        if (ctl->json)
                return print_done_json(ctl, "context-swap", out, in);
        if (ctl->dry_run)
                printf("%s can be saved as context %s, and go on from context %s, which is whole; nothing was done.\n",
                       out->vm, out->name, in->name);
        else {
                print_saved(out);
                print_resumed(ctl, in);
        }
        return CTL_OK;
}

static int xml(struct ctl *ctl, struct context_command *command) {
        _cleanup_manifest_ struct context_manifest *manifest = NULL;
        struct error error = ERROR_INIT;

        if (context_describe(&command->job, ctl->args[1], &manifest, &error) < 0)
                return context_command_failed(command, &error);
        return ctl_print_text(ctl, "context-xml", manifest->xml);
}

static int drop(struct ctl *ctl, struct context_command *command) {
        struct error error = ERROR_INIT;

        if (context_remove(&command->job, ctl->args[1], &error) < 0)
                return context_command_failed(command, &error);
        if (ctl->json)
                return print_done_json(ctl, "context-drop", NULL, NULL);
        printf("context %s is dropped.\n", ctl->args[1]);
        return CTL_OK;
}

/* ---- list ---- */

static int list(struct ctl *ctl, struct context_command *command) {
        static const struct context_words words = {
                .document = "contexts", .key = "contexts", .owner = "vm", .when = "saved",
                .filling = "saving", .used = "in use", .idle = "saved",
        };

        return context_entries_print(ctl, command, &words);
}

static const struct {
        const char *name, *usage;
        int n_args;
        int (*run)(struct ctl *ctl, struct context_command *command);
} verbs[] = {
        { "save", "save VM NAME", 3, save },
        { "checkpoint", "checkpoint VM NAME", 3, checkpoint },
        { "resume", "resume NAME", 2, resume },
        { "swap", "swap VM --out NAME --in NAME", 2, swap },
        { "list", "list", 1, list },
        { "xml", "xml NAME", 2, xml },
        { "drop", "drop NAME", 2, drop },
};

int verb_context(struct ctl *ctl) {
        struct context_command command;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (strcmp(ctl->args[0], verbs[i].name) != 0)
                        continue;
                if (ctl->n_args != verbs[i].n_args)
                        return ctl_fail(CTL_USAGE, "usage: failoverctl context %s", verbs[i].usage);
                r = context_command_init(&command, ctl);
                if (r == CTL_OK)
                        r = verbs[i].run(ctl, &command);
                context_command_deinit(&command);
                return r;
        }
        return ctl_fail(CTL_USAGE, "context has save, checkpoint, resume, swap, list, xml and drop, not \"%s\"",
                        ctl->args[0]);
}
