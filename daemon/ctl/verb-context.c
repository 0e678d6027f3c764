/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Contexts of VMs on memory servers; needs no daemon, but asks one where it is there. */

#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/clock.h"
#include "daemon/ctl/context-options.h"
#include "daemon/ctl/render-table.h"

#define DOCUMENT_VERSION 1

static void manifest_freep(struct context_manifest **manifest) {
        *manifest = context_manifest_free(*manifest);
}

#define _cleanup_manifest_ _cleanup_(manifest_freep)

static int failed(struct context_command *command, struct error *error) {
        int r;

        context_command_done(command);
        r = ctl_fail(CTL_FAILED, "%s", error_text(error));
        error_deinit(error);
        return r;
}

static struct json_object *new_document(const char *kind) {
        _cleanup_json_ struct json_object *root = json_object_new_object();

        if (!root || json_add(root, "version", json_object_new_int(DOCUMENT_VERSION)) < 0 ||
            json_add(root, "kind", json_object_new_string(kind)) < 0)
                return NULL;
        return steal_ptr(root);
}

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
        _cleanup_json_ struct json_object *root = new_document(kind);
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
                return failed(command, &error);
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
                return failed(command, &error);
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
                return failed(command, &error);
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
                return failed(command, &error);
        fputs(manifest->xml, stdout);
        return CTL_OK;
}

static int drop(struct ctl *ctl, struct context_command *command) {
        struct error error = ERROR_INIT;

        if (context_remove(&command->job, ctl->args[1], &error) < 0)
                return failed(command, &error);
        if (ctl->json)
                return print_done_json(ctl, "context-drop", NULL, NULL);
        printf("context %s is dropped.\n", ctl->args[1]);
        return CTL_OK;
}

/* ---- list ---- */

static const char *entry_state(const struct context_entry *entry) {
        bool busy = context_entry_connections(entry) > 0;

        if (context_entry_unfinished(entry))
                return busy ? "saving" : "unfinished";
        if (context_entry_token(entry) == CONTEXT_TOKEN_OPEN)
                return "unknown"; /* its mirror does not know */
        return busy ? "in use" : "saved";
}

/* What there is besides the server that serves it. */
static const char *entry_copy(const struct context_entry *entry) {
        int primary = context_entry_primary(entry);

        if (primary < 0)
                return "primary lost";
        return copy_state_to_string((enum copy_state) entry->at[primary].status.mirror);
}

static const struct space_status *entry_status(const struct context_entry *entry) {
        int at = context_entry_primary(entry);

        for (int i = 0; i < CONTEXT_SERVERS_MAX && at < 0; i++)
                at = entry->at[i].there ? i : -1;
        return &entry->at[at].status;
}

/* When it was saved; -1: it was not. */
static int64_t entry_saved_ms(const struct context_entry *entry) {
        uint64_t token = context_entry_token(entry);

        return token == CONTEXT_TOKEN_OPEN ? -1 : (int64_t) (token / USEC_PER_MSEC);
}

static int print_list(const struct context_list *list) {
        struct render_table table = {
                .heads = { "NAME", "VM", "HOST", "SAVED", "HELD", "COPY", "STATE" },
                .right = { [4] = true },
                .n_columns = 7,
        };
        char text[FORMAT_MAX];

        for (size_t i = 0; i < list->n; i++) {
                const struct context_entry *entry = &list->entries[i];

                render_cell(&table, context_entry_name(entry));
                render_cell(&table, entry->name.owner);
                render_cell(&table, entry->name.node);
                render_cell(&table, format_time(text, entry_saved_ms(entry)));
                render_cell(&table, format_mib(text, (int64_t) entry_status(entry)->held_bytes));
                render_cell(&table, entry_copy(entry));
                render_cell(&table, entry_state(entry));
        }
        return list->n > 0 && render_print(&table, stdout) < 0 ? ctl_fail(CTL_FAILED, "out of memory") : CTL_OK;
}

static int add_servers(struct json_object *object, const struct context_servers *servers,
                       const struct context_entry *entry) {
        struct json_object *array = json_object_new_array();
        int r = json_add(object, "servers", array);

        for (size_t i = 0; i < servers->n && r == 0; i++)
                if (entry->at[i].there)
                        r = json_append(array, json_object_new_string(servers->at[i].control));
        return r;
}

static int add_entry(struct json_object *array, const struct context_servers *servers,
                     const struct context_entry *entry) {
        struct json_object *object = json_object_new_object();
        int64_t saved_ms = entry_saved_ms(entry);
        int r = json_append(array, object);

        if (r == 0)
                r = json_add(object, "name", json_object_new_string(context_entry_name(entry)));
        if (r == 0)
                r = json_add(object, "vm", json_object_new_string(entry->name.owner));
        if (r == 0)
                r = json_add(object, "host", json_object_new_string(entry->name.node));
        if (r == 0 && saved_ms >= 0)
                r = json_add(object, "saved_ms", json_object_new_int64(saved_ms));
        else if (r == 0 && json_object_object_add(object, "saved_ms", NULL) < 0)
                r = -ENOMEM;
        if (r == 0)
                r = json_add(object, "held_bytes", json_object_new_uint64(entry_status(entry)->held_bytes));
        if (r == 0)
                r = json_add(object, "persistent", json_object_new_boolean(entry_status(entry)->persist));
        if (r == 0)
                r = json_add(object, "copy", json_object_new_string(entry_copy(entry)));
        if (r == 0)
                r = json_add(object, "state", json_object_new_string(entry_state(entry)));
        return r < 0 ? r : add_servers(object, servers, entry);
}

static int print_list_json(const struct context_servers *servers, const struct context_list *list) {
        _cleanup_json_ struct json_object *root = new_document("contexts");
        struct json_object *contexts = json_object_new_array(), *silent = json_object_new_array();
        int r = root ? json_add(root, "contexts", contexts) : -ENOMEM;

        if (r == 0)
                r = json_add(root, "silent", silent);
        for (size_t i = 0; i < list->n && r == 0; i++)
                r = add_entry(contexts, servers, &list->entries[i]);
        for (size_t i = 0; i < servers->n && r == 0; i++)
                if (!list->answered[i])
                        r = json_append(silent, json_object_new_string(error_text(&list->why[i])));
        return r < 0 ? ctl_fail(CTL_FAILED, "out of memory") : ctl_print_json(root);
}

static int list(struct ctl *ctl, struct context_command *command) {
        struct error error = ERROR_INIT;
        struct context_list found;
        int r;

        if (context_list(&command->servers, &found, &error) < 0)
                return failed(command, &error);
        r = ctl->json ? print_list_json(&command->servers, &found) : print_list(&found);
        for (size_t i = 0; i < command->servers.n; i++)
                if (!found.answered[i])
                        r = ctl_fail(CTL_FAILED, "%s", error_text(&found.why[i]));
        context_list_deinit(&found);
        return r;
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
