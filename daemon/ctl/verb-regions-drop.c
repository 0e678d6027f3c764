/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Drops what a shared region that left the policy has at memory servers. It is an application's state: nothing drops
 * it by itself, and nothing that the policy has, that somebody is connected to, that may be no region at all, or the
 * latest of one that the policy has elsewhere, is dropped by mistake. It is dropped under the token that it was seen
 * with: a server refuses where it was granted anew meanwhile.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/ctl/ctl.h"
#include "daemon/ctl/region-left.h"
#include "daemon/memserver/control-ask.h"
#include "daemon/memserver/space-name.h"

#define SERVERS_MAX 64 /* of a policy */

/* One of the servers, and what it has. */
struct place {
        const char *name, *control;
        int r; /* 1: it has it, 0: it has not, or it does not answer */
        struct space_status status;
};

struct drop {
        const struct ctl *ctl;
        struct json_object *root; /* REGIONS */
        struct space_name name;
        struct place places[SERVERS_MAX];
        size_t n_places;
        bool any_silent;
};

static struct control_ask ask_at(const struct drop *drop, const struct place *place) {
        return (struct control_ask) { place->control, &drop->name, CTL_READ_TIMEOUT_USEC, -1 };
}

/* A server that is there already stays there once, under the name that came first. */
static void add_place(struct drop *drop, const char *name, const char *control) {
        for (size_t i = 0; i < drop->n_places; i++)
                if (strcmp(drop->places[i].control, control) == 0)
                        return;
        if (drop->n_places < SERVERS_MAX)
                drop->places[drop->n_places++] = (struct place) { .name = name, .control = control };
}

/* The policy's servers, or those that --server names: of the policy, or by the path of a control socket. */
static int choose_places(struct drop *drop) {
        const struct ctl *ctl = drop->ctl;

        for (size_t i = 0; ctl->n_servers == 0 && i < get_count(drop->root, "servers"); i++) {
                struct json_object *server = get_item(drop->root, "servers", i);

                add_place(drop, get_text(server, "server", "?"), get_text(server, "control", ""));
        }
        for (int i = 0; i < ctl->n_servers; i++) {
                bool known = *ctl->servers[i] == '/';

                if (*ctl->servers[i] == '/')
                        add_place(drop, ctl->servers[i], ctl->servers[i]);
                for (size_t k = 0; k < get_count(drop->root, "servers"); k++) {
                        struct json_object *server = get_item(drop->root, "servers", k);

                        if (strcmp(get_text(server, "server", ""), ctl->servers[i]) != 0)
                                continue;
                        add_place(drop, ctl->servers[i], get_text(server, "control", ""));
                        known = true;
                }
                if (!known)
                        return ctl_fail(CTL_USAGE, "the policy in force has no memory server \"%s\"; one that it does "
                                        "not have is named by the path of its control socket", ctl->servers[i]);
        }
        return CTL_OK;
}

/* Whether it may go from there. */
static int check(const struct drop *drop, struct json_object *region, const struct place *place, bool primary_goes) {
        const struct space_status *status = &place->status;
        char mib[FORMAT_MAX];

        if (region && region_is_at(region, place->control))
                return ctl_fail(CTL_FAILED, "region %s is the state of %s/%s, and %s is where the policy has it; "
                                "nothing was dropped. Take it out of the policy first, or name other servers with "
                                "--server", drop->name.space, drop->name.owner, get_text(region, "application", "?"),
                                place->name);
        if (drop->ctl->force)
                return CTL_OK;
        if (status->connections > 0 && !(primary_goes && status->role == SPACE_MIRROR))
                return ctl_fail(CTL_FAILED, "%s: region %s of %s is in use, over %" PRIu64 " connection%s; nothing was "
                                "dropped. End who uses it; --force drops it all the same", place->name,
                                drop->name.space, drop->name.owner, status->connections,
                                status->connections == 1 ? "" : "s");
        if (!region_pair_is_known(drop->root, drop->name.owner))
                return ctl_fail(CTL_FAILED, "%s: %s is no pair of the policy in force, and %s may be the memory of "
                                "a VM that pages there; nothing was dropped. Where it is a region of a pair that left "
                                "the policy, --force drops it", place->name, drop->name.owner, drop->name.space);
        if (region && status->token >= (uint64_t) get_number(region, "token") && status->held_bytes > 0)
                return ctl_fail(CTL_FAILED, "%s may have the latest of region %s, %s, which the policy has elsewhere "
                                "now; nothing was dropped. Name that server in the policy, or start the application "
                                "without it first; --force drops it all the same", place->name, drop->name.space,
                                format_mib(mib, (int64_t) status->held_bytes));
        return CTL_OK;
}

/* All of them, before anything is done. */
static int look(struct drop *drop) {
        struct json_object *region = region_of_policy(drop->root, drop->name.owner, drop->name.space);
        bool primary_goes = false;
        size_t n = 0;

        for (size_t i = 0; i < drop->n_places; i++) {
                const struct control_ask ask = ask_at(drop, &drop->places[i]);
                struct error error = ERROR_INIT;

                if (drop->ctl->n_servers == 0 && region && region_is_at(region, ask.path))
                        continue; /* it stays there */
                drop->places[i].r = control_ask_space(&ask, &drop->places[i].status, &error);
                if (drop->places[i].r < 0)
                        drop->any_silent = ctl_fail(CTL_FAILED, "%s: %s", drop->places[i].name, error_text(&error));
                error_deinit(&error);
                n += drop->places[i].r > 0;
                primary_goes |= drop->places[i].r > 0 && drop->places[i].status.role == SPACE_PRIMARY;
        }
        for (size_t i = 0; i < drop->n_places; i++)
                if (drop->places[i].r > 0 && check(drop, region, &drop->places[i], primary_goes) != CTL_OK)
                        return CTL_FAILED;
        if (n == 0 && !drop->any_silent)
                return ctl_fail(CTL_FAILED, "nothing of region %s of %s is left at %s; failoverctl regions lists what "
                                "is", drop->name.space, drop->name.owner,
                                drop->ctl->n_servers > 0 ? "these servers" : "the policy's memory servers");
        return n == 0 ? CTL_FAILED : CTL_OK;
}

static int note(struct json_object *root, const struct place *place) {
        struct json_object *object = json_object_new_object();
        int r = json_append(get_object(root, "dropped"), object);

        if (r == 0)
                r = json_add(object, "at", json_object_new_string(place->name));
        if (r == 0)
                r = json_add(object, "held_bytes", json_object_new_uint64(place->status.held_bytes));
        return r;
}

/* Primaries first: they let go of their mirrors. */
static int drop_all(struct drop *drop, enum space_role role, struct json_object *done) {
        char mib[FORMAT_MAX];
        int code = CTL_OK;

        for (size_t i = 0; i < drop->n_places; i++) {
                const struct place *place = &drop->places[i];
                const struct control_ask ask = ask_at(drop, place);
                struct error error = ERROR_INIT;
                int r = 0;

                if (place->r <= 0 || place->status.role != (int) role)
                        continue;
                if (!drop->ctl->dry_run)
                        r = control_ask_drop(&ask, place->status.token, &error);
                if (r == -ESTALE)
                        code = ctl_fail(CTL_FAILED, "%s: region %s was granted anew meanwhile, and is kept",
                                        place->name, drop->name.space);
                else if (r < 0 && r != -ENOENT) /* a mirror may have gone with its primary */
                        code = ctl_fail(CTL_FAILED, "%s: %s", place->name, error_text(&error));
                else if (note(done, place) < 0)
                        code = ctl_fail(CTL_FAILED, "out of memory");
                else if (!drop->ctl->json)
                        printf("region %s of %s, %s, %s at %s.\n", drop->name.space, drop->name.owner,
                               format_mib(mib, (int64_t) place->status.held_bytes),
                               drop->ctl->dry_run ? "would be dropped" : "is dropped", place->name);
                error_deinit(&error);
        }
        return code;
}

static int run(struct drop *drop) {
        _cleanup_json_ struct json_object *done = json_object_new_object();
        int code, mirrors;

        if (json_add(done, "version", json_object_new_int(1)) < 0 ||
            json_add(done, "kind", json_object_new_string("regions-drop")) < 0 ||
            json_add(done, "dry_run", json_object_new_boolean(drop->ctl->dry_run)) < 0 ||
            json_add(done, "dropped", json_object_new_array()) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        code = drop_all(drop, SPACE_PRIMARY, done);
        mirrors = drop_all(drop, SPACE_MIRROR, done);
        if (drop->ctl->json)
                ctl_print_json(done);
        return code != CTL_OK || drop->any_silent ? CTL_FAILED : mirrors;
}

int verb_regions_drop(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        struct drop drop = { .ctl = ctl };
        int r;

        if (ctl->n_args != 3 || !text_is_name(ctl->args[1]) || !text_is_name(ctl->args[2]) ||
            strlen(ctl->args[1]) >= NAME_LEN || strlen(ctl->args[2]) >= NAME_LEN)
                return ctl_fail(CTL_USAGE, "usage: failoverctl regions drop PAIR REGION [--server NAME|CONTROL]...");
        r = ctl_read_json(ctl, "DescribeRegions", &root, NULL);
        if (r != CTL_OK)
                return r;
        drop.root = root;
        snprintf(drop.name.node, sizeof(drop.name.node), "%s", get_text(root, "node", "localhost"));
        snprintf(drop.name.owner, sizeof(drop.name.owner), "%s", ctl->args[1]);
        snprintf(drop.name.space, sizeof(drop.name.space), "%s", ctl->args[2]);
        r = choose_places(&drop);
        if (r == CTL_OK)
                r = look(&drop);
        return r == CTL_OK ? run(&drop) : r;
}
