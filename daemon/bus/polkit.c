/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * May this caller do that? In user mode the bus belongs to one person and the answer is yes. On the system bus:
 * first who it is (a question to the bus itself), root may; then polkit is asked. Both are asked without waiting,
 * since the loop that decides about failovers is the one that runs this.
 */

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/bus/bus-internal.h"

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define ASK_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define INTERACTIVE_TIMEOUT_USEC (120 * USEC_PER_SEC)
#define DENIED SD_BUS_ERROR_ACCESS_DENIED

static void deny(struct bus_request *request, const char *reason) {
        char text[384];

        snprintf(text, sizeof(text), "%s needs the right %s: %s", sd_bus_message_get_member(request->message),
                 request->action, reason);
        bus_request_denied(request, DENIED, text);
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_request *request = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        int authorised = 0, challenge = 0;

        if (error && (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                      sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER)))
                deny(request, "polkit does not run here, so only root may. Run it as root, or install polkitd.");
        else if (error)
                deny(request, error->message ? error->message : error->name);
        else if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
                 sd_bus_message_read(reply, "bb", &authorised, &challenge) < 0)
                deny(request, "polkit's answer could not be read.");
        else if (authorised)
                bus_request_allowed(request);
        else if (challenge)
                deny(request, "polkit wants you to authenticate and no agent can ask you. Run it as root, or from a "
                              "session with a polkit agent (pkttyagent).");
        else
                deny(request, "polkit does not grant it to you. Run it as root, or have an administrator add a rule.");
        return 1;
}

static int ask_polkit(struct bus_request *request) {
        sd_bus_message *message = NULL;
        bool interactive = sd_bus_message_get_allow_interactive_authorization(request->message) > 0;
        const char *sender = sd_bus_message_get_sender(request->message);
        int r;

        r = sd_bus_message_new_method_call(request->bus->connection, &message, POLKIT_NAME,
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(message, "(sa{sv})s", "system-bus-name", 1, "name", "s", sender,
                                          request->action);
        if (r >= 0)
                r = request->pair[0] ? sd_bus_message_append(message, "a{ss}us", 1, "pair", request->pair,
                                                             (uint32_t) interactive, "")
                                     : sd_bus_message_append(message, "a{ss}us", 0, (uint32_t) interactive, "");
        if (r >= 0)
                r = sd_bus_call_async(request->bus->connection, &request->asking, message, on_polkit, request,
                                      interactive ? INTERACTIVE_TIMEOUT_USEC : ASK_TIMEOUT_USEC);
        sd_bus_message_unref(message);
        return r;
}

static int on_user(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus_request *request = userdata;
        uint32_t uid = UINT32_MAX;

        request->asking = sd_bus_slot_unref(request->asking);
        if (sd_bus_message_get_error(reply) || sd_bus_message_read(reply, "u", &uid) < 0) {
                deny(request, "the bus does not say who you are.");
                return 1;
        }
        /* A name would need NSS, which may wait for a directory server. */
        if (uid == 0)
                snprintf(request->who, sizeof(request->who), "root");
        else
                snprintf(request->who, sizeof(request->who), "uid %u", uid);
        if (uid == 0)
                bus_request_allowed(request);
        else if (ask_polkit(request) < 0)
                deny(request, "polkit could not be asked.");
        return 1;
}

void polkit_ask(struct bus_request *request) {
        if (request->bus->user) {
                snprintf(request->who, sizeof(request->who), "uid %u", (unsigned) getuid());
                bus_request_allowed(request);
                return;
        }
        if (sd_bus_call_method_async(request->bus->connection, &request->asking, "org.freedesktop.DBus",
                                     "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixUser", on_user,
                                     request, "s", sd_bus_message_get_sender(request->message)) < 0)
                deny(request, "the bus could not be asked who you are.");
}
