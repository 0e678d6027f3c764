/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM must not be pulled from under failoverd, which would take its end for a failure. */

#include "daemon/ctl/governed.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"
#include "policy/text.h"

/* "qemu+unix:///session?socket=x" and "qemu:///session" are the same driver's and the same kind of place. */
static bool same_place(const char *a, const char *b) {
        const char *a_path = strstr(a, "://"), *b_path = strstr(b, "://");
        size_t a_driver = strcspn(a, "+:"), n;

        if (!a_path || !b_path || a_driver != strcspn(b, "+:") || strncmp(a, b, a_driver) != 0)
                return false;
        n = strcspn(a_path, "?");
        return n == strcspn(b_path, "?") && strncmp(a_path, b_path, n) == 0;
}

static struct json_object *find_member(struct json_object *pair, const char *vm, bool other) {
        for (size_t i = 0; i < get_count(pair, "members"); i++) {
                struct json_object *member = get_item(pair, "members", i);

                if ((strcmp(get_text(member, "domain", ""), vm) != 0) == other)
                        return member;
        }
        return NULL;
}

/* It has no process, or was fenced. */
static bool is_off(struct json_object *member) {
        struct json_object *alive = get_object(member, "process.alive");

        return strcmp(get_text(member, "fence.state", ""), "gone") == 0 || (alive && !json_object_get_boolean(alive));
}

/* A context may have any application of the pair running in it: none may run in the other VM meanwhile. */
static int judge_start(struct json_object *pair, const char *vm, struct error *error) {
        struct json_object *mine = find_member(pair, vm, false), *other = find_member(pair, vm, true);

        if (!other || is_off(other))
                return 0;
        for (size_t i = 0; i < get_count(pair, "applications"); i++) {
                struct json_object *app = get_item(pair, "applications", i);

                if (strcmp(get_text(app, "owner", ""), get_text(mine, "side", "")) != 0)
                        return error_set(error, -EPERM, "application %s of pair %s is with VM %s now, and VM %s may "
                                         "run it too when it goes on: first end that VM. Where %s did not run it "
                                         "when it was saved, say so by --force", get_text(app, "name", "?"),
                                         get_text(pair, "name", "?"), get_text(other, "domain", "?"), vm, vm);
        }
        return 0;
}

static int judge_pair(struct json_object *pair, const struct governed_ask *ask, struct error *error) {
        const char *name = get_text(pair, "name", "?"), *state = get_text(pair, "state", "?"), *vm = ask->vm;

        if (!find_member(pair, vm, false))
                return 0;
        if (strcmp(state, "failover") == 0 || get_object(pair, "flow"))
                return error_set(error, -EPERM, "VM %s is of pair %s, and failoverd is moving it now; wait for its end",
                                 vm, name);
        if (!get_object(pair, "paused"))
                return error_set(error, -EPERM, "VM %s is of pair %s, which failoverd governs (%s): it would take the "
                                 "VM's end for a failure. First `failoverctl pause %s`, and resume the context before "
                                 "you end the pause", vm, name, state, name);
        return ask->starts && !ask->force ? judge_start(pair, vm, error) : 0;
}

/* Its own standby takes its checkpoints, also while failoverd is silent, and may be about to go on with it. */
static int refuse_alone(const struct governed_ask *ask, struct error *error) {
        return error_set(error, -EPERM, "VM %s stands alone, and its standby goes on with it when it is lost: take it "
                         "out of the policy first. Where you know better, say so by --force", ask->vm);
}

int governed_judge(struct json_object *root, const struct governed_ask *ask, struct error *error) {
        int r = 0;

        if (!same_place(get_text(root, "hypervisor.uri", ""), ask->uri))
                return 0;
        for (size_t i = 0; i < get_count(root, "pairs") && r == 0; i++)
                r = judge_pair(get_item(root, "pairs", i), ask, error);
        for (size_t i = 0; i < get_count(root, "vms") && r == 0 && !ask->force; i++)
                if (strcmp(get_text(get_item(root, "vms", i), "domain", ""), ask->vm) == 0)
                        r = refuse_alone(ask, error);
        return r < 0 ? r : 1;
}

int governed_judge_silent(const struct governed_ask *ask, struct error *error) {
        struct diagnostics d = { 0 };
        struct policy *policy = NULL;
        int r;

        if (ask->force || access(ask->policy, F_OK) < 0)
                return 0;
        r = policy_load(ask->policy, &policy, &d);
        diagnostics_deinit(&d);
        if (r < 0)
                return error_set(error, -EPERM, "no failoverd answers, and %s, which says whether it governs the VM, "
                                 "cannot be read; where it does not, say so by --force", ask->policy);
        for (size_t i = 0; i < policy->n_pairs && r == 0 && same_place(policy->hypervisor_uri, ask->uri); i++)
                for (int side = 0; side < SIDE_MAX && r == 0; side++)
                        if (strcmp(policy->pairs[i].members[side].domain, ask->vm) == 0)
                                r = error_set(error, -EPERM, "VM %s is of pair %s in %s, and failoverd, which may take "
                                              "what is done now for a failure when it is back, does not answer: start "
                                              "it, and pause the pair. Where it is to stay away, say so by --force",
                                              ask->vm, policy->pairs[i].name, ask->policy);
        if (r == 0 && policy_find_vm(policy, ask->vm) >= 0 && same_place(policy->hypervisor_uri, ask->uri))
                r = refuse_alone(ask, error);
        policy_free(policy);
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

int governed_permit(const struct governed_ask *ask, struct error *error) {
        bool judged = false;
        int r = 0;

        for (int user = 0; user < 2 && r == 0; user++) {
                _cleanup_json_ struct json_object *root = NULL;
                struct ctl ctl = { .user = user };

                r = describe(&ctl, &root, error);
                if (r == 0 && root)
                        r = governed_judge(root, ask, error);
                judged = judged || r > 0;
                r = r > 0 ? 0 : r;
                ctl_disconnect(&ctl);
        }
        return r == 0 && !judged ? governed_judge_silent(ask, error) : r;
}
