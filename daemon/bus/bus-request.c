/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/bus/bus-internal.h"
#include "daemon/bus/json-build.h"

static unsigned count_sender(const struct bus *bus, const char *sender) {
        unsigned n = 0;

        for (const struct bus_request *request = bus->requests; request; request = request->next) {
                const char *other = sd_bus_message_get_sender(request->message);

                n += sender && other && strcmp(sender, other) == 0;
        }
        return n;
}

int bus_request_new(struct bus *bus, sd_bus_message *message, const char *action, bus_request_run_t run,
                    struct bus_request **ret) {
        struct bus_request *request;

        if (bus->n_requests >= BUS_REQUESTS_MAX ||
            count_sender(bus, sd_bus_message_get_sender(message)) >= BUS_REQUESTS_SENDER_MAX)
                return -EBUSY;
        request = calloc(1, sizeof(*request));
        if (!request)
                return -ENOMEM;
        *request = (struct bus_request) {
                .bus = bus,
                .next = bus->requests,
                .id = bus->next_id++,
                .message = sd_bus_message_ref(message),
                .action = action,
                .run = run,
                .slot = NO_PAIR,
        };
        request->command.id = request->id;
        bus->requests = request;
        bus->n_requests++;
        *ret = request;
        return 0;
}

void bus_request_free(struct bus_request *request) {
        struct bus *bus = request->bus;

        for (struct bus_request **p = &bus->requests; *p; p = &(*p)->next)
                if (*p == request) {
                        *p = request->next;
                        bus->n_requests--;
                        break;
                }
        sd_bus_slot_unref(request->asking);
        sd_bus_message_unref(request->message);
        json_object_put(request->plan);
        json_object_put(request->flow);
        json_object_put(request->drill);
        free(request->text);
        free(request);
}

/* Moves a part of the report, or null where there is none. */
static void put_part(struct json_builder *builder, struct json_object *root, const char *key,
                     struct json_object **part) {
        if (*part)
                json_put(builder, root, key, steal_ptr(*part));
        else
                json_put_null(builder, root, key);
}

/* Report of a command that ended well, as JSON. */
static char *report_text(struct bus_request *request, const char *text) {
        struct json_builder builder = { 0 };
        struct json_object *root = json_object_new_object();
        const char *printed;
        char *copy = NULL;

        json_put_number(&builder, root, "version", JSON_VERSION);
        json_put_text(&builder, root, "kind", "report");
        json_put_text(&builder, root, "pair", request->pair);
        json_put_text(&builder, root, "verb", command_verb_to_string(request->command.verb));
        json_put_bool(&builder, root, "dry_run", request->command.dry_run);
        json_put_text(&builder, root, "text", text);
        put_part(&builder, root, "flow", &request->flow);
        put_part(&builder, root, "drill", &request->drill);
        put_part(&builder, root, "plan", &request->plan);
        root = json_finish(&builder, root);
        printed = root ? json_text_print(root, JSON_C_TO_STRING_PLAIN, NULL) : NULL;
        if (printed)
                copy = strdup(printed);
        json_object_put(root);
        return copy;
}

/* Methods whose reply has no argument have no 's' to be filled. */
static bool has_reply(const struct bus_request *request) {
        const char *member = sd_bus_message_get_member(request->message);

        return strcmp(member, "Pause") != 0 && strcmp(member, "Resume") != 0 && strcmp(member, "Adopt") != 0;
}

static bool has_report(const struct bus_request *request) {
        return strcmp(sd_bus_message_get_interface(request->message), BUS_PAIR_INTERFACE) == 0 ||
               request->command.verb == COMMAND_ASSIGN || request->command.verb == COMMAND_ASSIGN_CANCEL;
}

void bus_request_answer(struct bus_request *request, int result, const char *text) {
        _cleanup_free_ char *report = NULL;

        if (result < 0)
                (void) bus_reply_error(request->message, result, text);
        else if (!has_reply(request))
                (void) sd_bus_reply_method_return(request->message, NULL);
        else {
                if (has_report(request))
                        report = report_text(request, text);
                else
                        report = strdup(text ? text : "");
                if (!report || sd_bus_reply_method_return(request->message, "s", report) < 0)
                        (void) bus_reply_error(request->message, report ? -EIO : -ENOMEM, NULL);
        }
        bus_request_free(request);
}

void bus_request_denied(struct bus_request *request, const char *name, const char *text) {
        (void) sd_bus_reply_method_errorf(request->message, name, "%s", text);
        bus_request_free(request);
}

void bus_request_allowed(struct bus_request *request) {
        struct bus *bus = request->bus;
        uint64_t id = request->id;
        struct error error = ERROR_INIT;
        int r;

        request->asking = sd_bus_slot_unref(request->asking);
        snprintf(request->command.who, sizeof(request->command.who), "%s", request->who);
        r = request->run(request, &error);
        if (r < 0) /* by its id: the answer may have come meanwhile, and the request be gone */
                bus_reply(bus, id, r, error.message);
        error_deinit(&error);
}

int bus_request_begin(struct bus_request *request) {
        polkit_ask(request);
        return 1;
}

void bus_reply(struct bus *bus, uint64_t id, int result, const char *text) {
        for (struct bus_request *request = bus ? bus->requests : NULL; request; request = request->next)
                if (request->id == id) {
                        bus_request_answer(request, result, text);
                        return;
                }
}
