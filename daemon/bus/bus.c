/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/bus.h"

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/bus/bus-internal.h"
#include "daemon/bus/drill-json.h"
#include "daemon/bus/json-build.h"

#define RETRY_USEC (2 * USEC_PER_SEC)

/* Deciding comes first: what the bus brings is looked at when nothing else waits. */
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 50)

static int bus_connect(struct bus *bus);

uint64_t bus_wall_usec(struct bus *bus, usec_t when_usec) {
        usec_t now = bus->interface->now(bus->interface->userdata);

        return when_usec == 0 ? 0 : clock_usec(CLOCK_REALTIME) - (now > when_usec ? now - when_usec : 0);
}

static void bus_disconnect(struct bus *bus) {
        bus->ready = false;
        for (struct bus_request *request = bus->requests; request; request = request->next)
                request->asking = sd_bus_slot_unref(request->asking);
        if (bus->connection)
                sd_bus_detach_event(bus->connection);
        bus->connection = sd_bus_close_unref(bus->connection);
}

/* Callers are gone with the connection; those whose command is under way stay known, so that its end is not
 * reported to somebody else, and are forgotten when it ends. */
static void drop_unasked(struct bus *bus) {
        for (struct bus_request *request = bus->requests, *next; request; request = next) {
                next = request->next;
                if (request->who[0] == 0 && request->action)
                        bus_request_free(request);
        }
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct bus *bus = userdata;

        bus_disconnect(bus);
        drop_unasked(bus);
        (void) bus_connect(bus);
        return 0;
}

/* Connects anew a little later. Says so once, until it works again. */
static void bus_retry(struct bus *bus, int error, const char *what) {
        if (!bus->told_down)
                fprintf(stderr,
                        SD_WARNING "%s: %s; failoverctl cannot reach failoverd until that is mended, everything "
                                   "else goes on, trying again\n",
                        what, strerror(-error));
        bus->told_down = true;
        bus->ready = false;
        if (sd_event_source_set_time_relative(bus->retry, RETRY_USEC) >= 0)
                (void) sd_event_source_set_enabled(bus->retry, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *ret_error) {
        bus_retry(userdata, -ENOTCONN, "The message bus has closed the connection");
        return 0;
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        struct bus *bus = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        uint32_t outcome = 0;

        if (error)
                bus_retry(bus, -sd_bus_error_get_errno(error), "The bus does not give us the name " BUS_NAME);
        else if (sd_bus_message_read(reply, "u", &outcome) < 0 || (outcome != 1 && outcome != 4))
                bus_retry(bus, -EEXIST, "Another failoverd has the name " BUS_NAME);
        else {
                bus->ready = true;
                bus->told_down = false;
        }
        return 1;
}

static int open_connection(struct bus *bus) {
        const char *address = bus->address;
        int r;

        if (!address)
                return bus->user ? sd_bus_open_user(&bus->connection) : sd_bus_open_system(&bus->connection);
        r = sd_bus_new(&bus->connection);
        if (r >= 0)
                r = sd_bus_set_address(bus->connection, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus->connection, true);
        return r < 0 ? r : sd_bus_start(bus->connection);
}

static int bus_connect(struct bus *bus) {
        int r;

        r = open_connection(bus);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(bus->connection, false);
        if (r >= 0) /* the end of the loop must not close it: bus_free() answers who still waits */
                r = sd_bus_set_close_on_exit(bus->connection, false);
        if (r >= 0)
                r = bus_objects_register(bus);
        if (r >= 0)
                r = bus_objects_refresh(bus);
        if (r >= 0)
                r = sd_bus_match_signal_async(bus->connection, NULL, "org.freedesktop.DBus.Local",
                                              "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
                                              "Disconnected", on_disconnected, NULL, bus);
        if (r >= 0)
                r = sd_bus_request_name_async(bus->connection, NULL, BUS_NAME, 0, on_name, bus);
        if (r >= 0)
                r = sd_bus_attach_event(bus->connection, bus->event, PRIORITY);
        if (r < 0) {
                bus_disconnect(bus);
                bus_retry(bus, r, "The message bus cannot be reached");
        }
        return r;
}

int bus_new(struct bus **ret, sd_event *event, const struct bus_interface *interface, bool user, const char *address) {
        struct bus *bus = calloc(1, sizeof(*bus));
        int r;

        if (!bus)
                return -ENOMEM;
        bus->event = sd_event_ref(event);
        bus->interface = interface;
        bus->user = user;
        /* Ids outlive us in the store, so that no number may come twice. */
        bus->next_id = clock_usec(CLOCK_REALTIME);
        r = sd_event_add_time_relative(event, &bus->retry, CLOCK_BOOTTIME, 0, 0, on_retry, bus);
        if (r >= 0)
                r = sd_event_source_set_enabled(bus->retry, SD_EVENT_OFF);
        if (r >= 0 && address && !(bus->address = strdup(address)))
                r = -ENOMEM;
        if (r < 0) {
                bus_free(bus);
                return r;
        }
        (void) bus_connect(bus);
        *ret = bus;
        return 0;
}

struct bus *bus_free(struct bus *bus) {
        if (!bus)
                return NULL;
        while (bus->requests)
                bus_request_answer(bus->requests, -ESHUTDOWN,
                                   "failoverd stops; what was begun is finished by the next one.");
        if (bus->connection)
                (void) sd_bus_flush(bus->connection);
        bus_disconnect(bus);
        bus_objects_free(bus);
        sd_event_source_disable_unref(bus->retry);
        sd_event_unref(bus->event);
        free(bus->address);
        free(bus);
        return NULL;
}

bool bus_is_ready(const struct bus *bus) {
        return bus && bus->ready;
}

static const struct pair *pair_of(const struct bus *bus, int slot) {
        const struct engine *engine = bus->interface->engine;
        const struct pair *pair = slot >= 0 && slot < engine->n_pairs ? engine->pairs[slot] : NULL;

        return pair && pair->policy ? pair : NULL;
}

void bus_policy_changed(struct bus *bus) {
        if (bus)
                (void) bus_objects_refresh(bus);
}

static void tell_changed(struct bus *bus, const struct bus_object *object) {
        if (object->kind == BUS_OBJECT_PAIR)
                (void) sd_bus_emit_properties_changed(bus->connection, object->path, BUS_PAIR_INTERFACE, "State",
                                                      "StateSince", "Armed", "Readiness", "ReadinessSince", "Reasons",
                                                      "Active", "Standby", "Split",
                                                      "Paused", "PauseReason", "Held", "HeldReason", "FlowId",
                                                      "FlowKind", "Failovers", "LastDrill", "Rehearsal", NULL);
        else
                (void) sd_bus_emit_properties_changed(bus->connection, object->path, BUS_APPLICATION_INTERFACE, "Kind",
                                                      "Owner", "State", "Healthy", "Failure", "Refusal", "Token", NULL);
}

void bus_pair_changed(struct bus *bus, int slot) {
        if (!bus || !bus->ready || !pair_of(bus, slot) || bus_objects_refresh(bus) < 0)
                return;
        for (size_t i = 0; i < bus->n_objects; i++)
                if (bus->objects[i].kind != BUS_OBJECT_REGION && bus->objects[i].slot == slot)
                        tell_changed(bus, &bus->objects[i]);
}

/* An Event signal: what `failoverctl monitor` prints. */
static void emit_event(struct bus *bus, struct json_builder *builder, struct json_object *object) {
        const char *text;

        object = json_finish(builder, object);
        text = object ? json_text_print(object, JSON_C_TO_STRING_PLAIN, NULL) : NULL;
        if (text)
                (void) sd_bus_emit_signal(bus->connection, BUS_PATH, BUS_MANAGER_INTERFACE, "Event", "s", text);
        json_object_put(object);
}

static struct json_object *event_begin(struct json_builder *builder, const struct pair *pair, const char *kind) {
        struct json_object *object = json_object_new_object();

        json_put_number(builder, object, "version", JSON_VERSION);
        json_put_text(builder, object, "kind", kind);
        json_put_number(builder, object, "time_ms", clock_usec(CLOCK_REALTIME) / USEC_PER_MSEC);
        json_put_text(builder, object, "pair", pair ? pair->policy->name : NULL);
        return object;
}

static usec_t since_start(const struct flow *flow, enum phase phase) {
        for (int i = 0; i < PHASE_MAX; i++)
                if (flow->phase_usec[i] != 0)
                        return flow->phase_usec[phase] > flow->phase_usec[i]
                                       ? flow->phase_usec[phase] - flow->phase_usec[i]
                                       : 0;
        return 0;
}

void bus_phase(struct bus *bus, int slot, const struct flow *flow, enum phase phase) {
        struct json_builder builder = { 0 };
        const struct pair *pair;
        struct json_object *object;
        char id[FAILOVER_ID_LEN];

        if (!bus || !bus->ready || !(pair = pair_of(bus, slot)))
                return;
        flow_id(pair->policy, flow, id);
        (void) sd_bus_emit_signal(bus->connection, BUS_PATH, BUS_MANAGER_INTERFACE, "Phase", "ssst", pair->policy->name,
                                  id, phase_to_string(phase), since_start(flow, phase));
        object = event_begin(&builder, pair, "phase");
        json_put_text(&builder, object, "id", id);
        json_put_text(&builder, object, "phase", phase_to_string(phase));
        json_put_number(&builder, object, "since_start_usec", since_start(flow, phase));
        emit_event(bus, &builder, object);
}

void bus_flow_ended(struct bus *bus, int slot, const struct flow *flow, int result, const char *text) {
        struct json_builder builder = { 0 };
        const struct pair *pair;
        struct json_object *object;
        char id[FAILOVER_ID_LEN];

        if (!bus || !(pair = pair_of(bus, slot)))
                return;
        for (struct bus_request *request = bus->requests; request; request = request->next)
                if (request->slot == slot && request->id == flow->command_id && !request->flow)
                        request->flow = flow_json(
                                pair->policy, flow,
                                bus->interface->facts ? bus->interface->facts(bus->interface->userdata) : NULL,
                                bus->interface->now(bus->interface->userdata));
        if (!bus->ready)
                return;
        object = event_begin(&builder, pair, "flow-ended");
        json_put_text(&builder, object, "id", flow_id(pair->policy, flow, id));
        json_put_bool(&builder, object, "ok", result >= 0);
        json_put_text(&builder, object, "text", text);
        emit_event(bus, &builder, object);
}

void bus_drill_ended(struct bus *bus, int slot, const struct drill_result *drill, uint64_t command_id) {
        struct json_builder builder = { .now_usec = drill->at_usec, .wall_known = true };
        const struct pair *pair;
        struct json_object *object;

        if (!bus || !(pair = pair_of(bus, slot)))
                return;
        for (struct bus_request *request = bus->requests; request; request = request->next)
                if (request->slot == slot && request->id == command_id && !request->drill) {
                        object = json_object_new_object();
                        json_fill_drill(&builder, object, pair->policy->name, drill);
                        request->drill = json_finish(&builder, object);
                }
        if (!bus->ready)
                return;
        object = event_begin(&builder, pair, "drill-ended");
        json_fill_drill(&builder, json_put_object(&builder, object, "drill"), pair->policy->name, drill);
        emit_event(bus, &builder, object);
}

static void put_record(struct bus *bus, const struct pair *pair, const char *domain, enum record_kind kind,
                       const char *app_name, const char *text) {
        struct json_builder builder = { 0 };
        struct json_object *object;

        if (!bus->ready)
                return;
        object = event_begin(&builder, pair, "record");
        json_put_text(&builder, object, "record", record_kind_to_string(kind));
        json_put_text(&builder, object, "domain", domain);
        json_put_text(&builder, object, "application", app_name);
        json_put_text(&builder, object, "text", text);
        emit_event(bus, &builder, object);
}

void bus_record(struct bus *bus, int slot, enum side side, enum record_kind kind, const char *app_name,
                const char *text) {
        const struct pair *pair = bus ? pair_of(bus, slot) : NULL;

        if (bus)
                put_record(bus, pair,
                           pair && (int) side >= 0 && side < SIDE_MAX ? pair->policy->members[side].domain : NULL,
                           kind, app_name, text);
}

void bus_vm_record(struct bus *bus, const char *domain, enum record_kind kind, const char *text) {
        put_record(bus, NULL, domain, kind, "", text);
}
