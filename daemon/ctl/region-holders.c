/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/region-holders.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/ctl/ctl.h"
#include "daemon/memserver/control-ask.h"
#include "daemon/memserver/space-name.h"

/* What one of a region's servers has said. */
struct answer {
        int r; /* 1: it has it, 0: it has not, or why that is not known */
        struct space_status status;
        struct error error;
};

/* What the program told its holder that has it. */
static int add_client(struct json_object *held, const struct space_status *status) {
        struct json_object *object = NULL;
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "age_ms", status->report_age_usec / USEC_PER_MSEC },
                { "resident_bytes", status->report.resident_bytes },
                { "dirty_bytes", status->report.dirty_bytes },
                { "faults", status->report.faults },
                { "fetched_bytes", status->report.fetched_bytes },
                { "written_bytes", status->report.written_bytes },
                { "errors", status->report.errors },
        };
        int r;

        if (status->report_age_usec == 0)
                return json_object_object_add(held, "client", NULL) < 0 ? -ENOMEM : 0;
        object = json_object_new_object();
        r = json_add(held, "client", object);
        if (r == 0)
                r = json_add(object, "who", json_object_new_string(status->client));
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(numbers); i++)
                r = json_add(object, numbers[i].key, json_object_new_uint64(numbers[i].value));
        return r;
}

/* The answer, beside what failoverd said. -ENOMEM. */
static int add_answer(struct json_object *region, const char *at, const struct space_status *status) {
        struct json_object *object = json_object_new_object();
        int r = json_add(region, "held", object);

        if (r == 0)
                r = json_add(object, "at", json_object_new_string(at));
        if (r == 0)
                r = json_add(object, "mirror", json_object_new_string(
                                                       copy_state_to_string((enum copy_state) status->mirror)));
        if (r == 0)
                r = json_add(object, "held_bytes", json_object_new_uint64(status->held_bytes));
        if (r == 0)
                r = json_add(object, "staged_bytes", json_object_new_uint64(status->staged_bytes));
        if (r == 0)
                r = json_add(object, "epochs", json_object_new_uint64(status->epochs));
        if (r == 0 && status->epoch_age_usec > 0)
                r = json_add(object, "epoch_age_ms", json_object_new_uint64(status->epoch_age_usec / USEC_PER_MSEC));
        else if (r == 0)
                r = json_object_object_add(object, "epoch_age_ms", NULL) < 0 ? -ENOMEM : 0;
        if (r == 0)
                r = json_add(object, "token", json_object_new_uint64(status->token));
        if (r == 0)
                r = json_add(object, "connections", json_object_new_uint64(status->connections));
        if (r == 0)
                r = json_add(object, "writer", json_object_new_string(status->writer));
        if (r == 0)
                r = json_add(object, "saved_bytes", json_object_new_uint64(status->saved_bytes));
        if (r == 0)
                r = json_add(object, "returned_bytes", json_object_new_uint64(status->returned_bytes));
        return r == 0 ? add_client(object, status) : r;
}

static int add_reason(struct json_object *region, const char *reason) {
        if (json_object_object_add(region, "held", NULL) < 0)
                return -ENOMEM;
        return json_add(region, "held_text", json_object_new_string(reason));
}

/* Why that server is not to be asked again; NULL: it is. One that is silent would keep the user waiting for each. */
static const char *silent_reason(struct json_object *root, size_t n, const char *control) {
        struct json_object *silent, *text;

        for (size_t i = 0; i < n; i++)
                if (json_object_object_get_ex(get_item(root, "regions", i), "silent", &silent) &&
                    json_object_object_get_ex(silent, control, &text))
                        return json_object_get_string(text);
        return NULL;
}

/* One that does not answer is remembered in the region: -ENOMEM where that is not possible. */
static int ask_server(struct json_object *root, size_t i, const char *key, usec_t timeout_usec, struct answer *ret) {
        struct json_object *region = get_item(root, "regions", i), *silent;
        const char *control = get_text(region, key, ""), *reason = silent_reason(root, i, control);
        struct space_name name = { 0 };
        struct control_ask ask = { control, &name, timeout_usec, -1 };

        if (reason) {
                ret->r = error_set(&ret->error, -ENOTCONN, "%s", reason);
                return 0;
        }
        snprintf(name.node, sizeof(name.node), "%s", get_text(root, "node", "localhost"));
        snprintf(name.owner, sizeof(name.owner), "%s", get_text(region, "pair", ""));
        snprintf(name.space, sizeof(name.space), "%s", get_text(region, "region", ""));
        ret->r = control_ask_space(&ask, &ret->status, &ret->error);
        if (ret->r != -ENOTCONN)
                return 0;
        if (!json_object_object_get_ex(region, "silent", &silent)) {
                silent = json_object_new_object();
                if (json_add(region, "silent", silent) < 0)
                        return -ENOMEM;
        }
        return json_add(silent, control, json_object_new_string(error_text(&ret->error)));
}

static bool is_primary(const struct answer *answer) {
        return answer->r > 0 && answer->status.role == SPACE_PRIMARY && answer->status.mirror != COPY_REPLACED;
}

/* Of the two the one that serves; the holder, where neither does. */
static const struct answer *choose(const struct answer *holder, const struct answer *mirror) {
        if (is_primary(mirror) && (!is_primary(holder) || mirror->status.token > holder->status.token))
                return mirror;
        return holder;
}

static int ask_holder(struct json_object *root, size_t i, usec_t timeout_usec) {
        struct json_object *region = get_item(root, "regions", i);
        struct answer holder = { .error = ERROR_INIT }, mirror = { .error = ERROR_INIT };
        const struct answer *from;
        int r = ask_server(root, i, "control", timeout_usec, &holder);

        if (r == 0 && get_text(region, "mirror_control", NULL))
                r = ask_server(root, i, "mirror_control", timeout_usec, &mirror);
        from = choose(&holder, &mirror);
        if (r == 0 && from->r > 0)
                r = add_answer(region, get_text(region, from == &holder ? "holder" : "mirror", "?"), &from->status);
        else if (r == 0)
                r = add_reason(region, from->r == 0 ? REGION_HOLDERS_NONE : error_text(&from->error));
        error_deinit(&holder.error);
        error_deinit(&mirror.error);
        return r;
}

int region_holders_ask(struct json_object *root, usec_t timeout_usec, bool (*wanted)(struct json_object *region)) {
        int r = 0;

        for (size_t i = 0; r == 0 && i < get_count(root, "regions"); i++)
                if (!wanted || wanted(get_item(root, "regions", i)))
                        r = ask_holder(root, i, timeout_usec);
        for (size_t i = 0; i < get_count(root, "regions"); i++)
                json_object_object_del(get_item(root, "regions", i), "silent");
        return r;
}
