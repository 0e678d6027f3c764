/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM must not be pulled from under failoverd, which would take its end for a failure. */

#include "daemon/ctl/governed.h"

#include <errno.h>
#include <string.h>

#include "daemon/ctl/ctl.h"

/* "qemu+unix:///session?socket=x" and "qemu:///session" are the same driver's and the same kind of place. */
static bool same_place(const char *a, const char *b) {
        const char *a_path = strstr(a, "://"), *b_path = strstr(b, "://");
        size_t a_driver = strcspn(a, "+:"), n;

        if (!a_path || !b_path || a_driver != strcspn(b, "+:") || strncmp(a, b, a_driver) != 0)
                return false;
        n = strcspn(a_path, "?");
        return n == strcspn(b_path, "?") && strncmp(a_path, b_path, n) == 0;
}

static int judge_pair(struct json_object *pair, const char *vm, struct error *error) {
        const char *name = get_text(pair, "name", "?"), *state = get_text(pair, "state", "?");
        bool member = false;

        for (size_t i = 0; i < get_count(pair, "members"); i++)
                member = member || strcmp(get_text(get_item(pair, "members", i), "domain", ""), vm) == 0;
        if (!member)
                return 0;
        if (strcmp(state, "failover") == 0 || get_object(pair, "flow"))
                return error_set(error, -EPERM, "VM %s is of pair %s, and failoverd is moving it now; wait for its end",
                                 vm, name);
        if (!get_object(pair, "paused"))
                return error_set(error, -EPERM, "VM %s is of pair %s, which failoverd governs (%s): it would take the "
                                 "VM's end for a failure. First `failoverctl pause %s`, and resume the context before "
                                 "you end the pause", vm, name, state, name);
        return 0;
}

static int judge(struct json_object *root, const char *uri, const char *vm, struct error *error) {
        int r = 0;

        if (!same_place(get_text(root, "hypervisor.uri", ""), uri))
                return 0;
        for (size_t i = 0; i < get_count(root, "pairs") && r == 0; i++)
                r = judge_pair(get_item(root, "pairs", i), vm, error);
        return r;
}

/* What it says of itself; 0 and NULL where there is none. */
static int describe(struct ctl *ctl, struct json_object **ret, struct error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error failed = SD_BUS_ERROR_NULL;
        const char *text;
        int r;

        *ret = NULL;
        if ((ctl->user ? sd_bus_open_user(&ctl->bus) : sd_bus_open_system(&ctl->bus)) < 0) {
                ctl->bus = NULL;
                return 0;
        }
        r = ctl_new_call(ctl, &message, "/org/failover1", "org.failover1.Manager", "Describe", false);
        if (r >= 0)
                r = sd_bus_call(ctl->bus, message, CTL_READ_TIMEOUT_USEC, &failed, &reply);
        if (sd_bus_error_has_names(&failed, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                                   "org.freedesktop.systemd1.NoSuchUnit"))
                return 0;
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r >= 0) {
                *ret = json_tokener_parse(text);
                r = *ret ? 0 : -EBADMSG;
        }
        if (r < 0)
                return error_set(error, -ENOTCONN, "the %s failoverd does not say whether it governs the VM: %s",
                                 ctl->user ? "user's" : "system's",
                                 sd_bus_error_is_set(&failed) && failed.message ? failed.message : strerror(-r));
        return 0;
}

int governed_permit(const char *uri, const char *vm, struct error *error) {
        int r = 0;

        for (int user = 0; user < 2 && r == 0; user++) {
                _cleanup_json_ struct json_object *root = NULL;
                struct ctl ctl = { .user = user };

                r = describe(&ctl, &root, error);
                if (r == 0 && root)
                        r = judge(root, uri, vm, error);
                ctl_disconnect(&ctl);
        }
        return r;
}
