/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/protocol/message.h"

#include <stdlib.h>
#include <string.h>

static const char *const message_types[] = {
        [MESSAGE_WELCOME] = "welcome", [MESSAGE_CONFIGURE] = "configure", [MESSAGE_PING] = "ping",
        [MESSAGE_ATTACH] = "attach",   [MESSAGE_DETACH] = "detach",       [MESSAGE_START] = "start",
        [MESSAGE_STOP] = "stop",       [MESSAGE_RESTART] = "restart",     [MESSAGE_GRANT] = "grant",
        [MESSAGE_REFUSE] = "refuse",   [MESSAGE_CHECK] = "check",         [MESSAGE_FAULT] = "fault",
        [MESSAGE_HELLO] = "hello",     [MESSAGE_PONG] = "pong",           [MESSAGE_REQUEST] = "request",
        [MESSAGE_USES] = "uses",       [MESSAGE_RESULT] = "result",       [MESSAGE_FAILED] = "failed",
        [MESSAGE_TOUCH] = "touch",     [MESSAGE_CANARY] = "canary",       [MESSAGE_OVERFLOW] = "overflow",
        [MESSAGE_HEALTHY] = "healthy", [MESSAGE_GOING] = "going",         [MESSAGE_ASK] = "ask",
        [MESSAGE_ANSWER] = "answer",   [MESSAGE_MANAGES] = "manages",     [MESSAGE_ROOM] = "room",
};
DEFINE_ENUM_TABLE(message_type, message_types)

static const char *const application_states[] = {
        [APPLICATION_STOPPED] = "stopped", [APPLICATION_WAITING] = "waiting",   [APPLICATION_STARTING] = "starting",
        [APPLICATION_RUNNING] = "running", [APPLICATION_STOPPING] = "stopping", [APPLICATION_FAILED] = "failed",
};
DEFINE_ENUM_TABLE(application_state, application_states)

void application_spec_deinit(struct application_spec *spec) {
        free(spec->run.unit);
        command_deinit(&spec->run.start);
        command_deinit(&spec->run.stop);
        command_deinit(&spec->run.health);
        command_deinit(&spec->run.canary);
        for (size_t i = 0; i < spec->n_addresses; i++) {
                free(spec->addresses[i].cidr);
                free(spec->addresses[i].link);
        }
        *spec = (struct application_spec) { 0 };
}

void message_deinit(struct message *message) {
        for (size_t i = 0; message->specs && i < message->n_specs; i++)
                application_spec_deinit(&message->specs[i]);
        if (message->regions)
                explicit_bzero(message->regions, strlen(message->regions));
        free(message->regions);
        message->regions = NULL;
        free(message->specs);
        message->specs = NULL;
        message->n_specs = 0;
}
