/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/unit-properties.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static enum unit_state state_of(const char *word) {
        if (strcmp(word, "active") == 0)
                return UNIT_ACTIVE;
        if (strcmp(word, "inactive") == 0)
                return UNIT_INACTIVE;
        if (strcmp(word, "failed") == 0)
                return UNIT_FAILED;
        return UNIT_CHANGING;
}

static int read_environment(sd_bus_message *m, struct unit_status *status) {
        const char *word;
        int r;

        status->kind = APPLICATION_AUTO;
        r = sd_bus_message_enter_container(m, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "s", &word)) > 0)
                if (strncmp(word, "FAILOVER_KIND=", 14) == 0) {
                        enum application_kind kind = application_kind_from_string(word + 14);
                        if ((int) kind >= 0)
                                status->kind = kind;
                }
        if (r < 0 || (r = sd_bus_message_exit_container(m)) < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

static int read_property(sd_bus_message *m, const char *name, struct unit_status *status) {
        const char *text;
        int32_t number;
        int r;

        if (strcmp(name, "Environment") == 0)
                return read_environment(m, status);
        if (strcmp(name, "ExecMainCode") == 0 || strcmp(name, "ExecMainStatus") == 0) {
                r = sd_bus_message_read(m, "v", "i", &number);
                if (r >= 0 && strcmp(name, "ExecMainCode") == 0)
                        status->signaled = number == CLD_KILLED || number == CLD_DUMPED;
                else if (r >= 0)
                        status->status = number;
                return r;
        }
        if (strcmp(name, "ActiveState") != 0 && strcmp(name, "LoadState") != 0 && strcmp(name, "Result") != 0 &&
            strcmp(name, "ControlGroup") != 0)
                return sd_bus_message_skip(m, "v");
        r = sd_bus_message_read(m, "v", "s", &text);
        if (r < 0)
                return r;
        if (strcmp(name, "ActiveState") == 0)
                status->state = state_of(text);
        else if (strcmp(name, "LoadState") == 0)
                status->loaded = strcmp(text, "loaded") == 0;
        else if (strcmp(name, "Result") == 0)
                snprintf(status->result, sizeof(status->result), "%s", text);
        else
                snprintf(status->control_group, sizeof(status->control_group), "%s", text);
        return 0;
}

int unit_properties_read(sd_bus_message *m, struct unit_status *status) {
        const char *name;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r >= 0)
                        r = read_property(m, name, status);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}
