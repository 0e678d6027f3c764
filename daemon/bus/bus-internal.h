/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder share; nothing outside includes it. */

#include <systemd/sd-bus.h>

#include "daemon/bus/bus.h"
#include "daemon/bus/status.h"

#define BUS_NAME "org.failover1"
#define BUS_PATH "/org/failover1"
#define BUS_PAIR_PREFIX BUS_PATH "/pair"
#define BUS_APPLICATION_PREFIX BUS_PATH "/application"
#define BUS_REGION_PREFIX BUS_PATH "/region"
#define BUS_MANAGER_INTERFACE "org.failover1.Manager"
#define BUS_PAIR_INTERFACE "org.failover1.Pair"
#define BUS_APPLICATION_INTERFACE "org.failover1.Application"
#define BUS_REGION_INTERFACE "org.failover1.Region"

#define BUS_POLICY_TEXT_MAX (1024 * KIB) /* longest policy that is taken */
#define BUS_OPTIONS_MAX 8                /* entries of one options dictionary */
#define BUS_REQUESTS_MAX 256             /* calls that wait for their answer */
#define BUS_REQUESTS_SENDER_MAX 16       /* of one caller */

enum bus_object_kind {
        BUS_OBJECT_PAIR,
        BUS_OBJECT_APPLICATION,
        BUS_OBJECT_REGION,
        BUS_OBJECT_KIND_MAX,
};

/* One object on the bus. The list is sorted by path. */
struct bus_object {
        struct bus *bus;
        enum bus_object_kind kind;
        char *path; /* owned */
        int slot, app;
        char key[REGION_KEY_LEN];  /* BUS_OBJECT_REGION */
        char shown[REGION_KEY_LEN + 2 * NAME_LEN + 64]; /* BUS_OBJECT_REGION: what was told last */
};

struct bus_request;
typedef int (*bus_request_run_t)(struct bus_request *request, struct error *error);

/* A method call that is not answered yet. */
struct bus_request {
        struct bus *bus;
        struct bus_request *next;
        uint64_t id;
        sd_bus_message *message;      /* owned reference */
        sd_bus_slot *asking;          /* question to the bus or to polkit that is out */
        const char *action;           /* polkit's */
        bus_request_run_t run;        /* once it is allowed */
        char who[NAME_LEN];

        int slot;                     /* pair, or NO_PAIR */
        char pair[NAME_LEN];          /* its name, for polkit and the report */
        struct operator_command command;
        char *text;                   /* owned: the policy's text, or history's id */
        unsigned limit;
        struct json_object *plan;     /* owned */
        struct json_object *flow;     /* owned: the flow that ended for this command */
        struct json_object *drill;    /* owned: what the drill came to that it asked for */
};

struct bus {
        sd_event *event;
        sd_bus *connection; /* NULL while there is none */
        sd_event_source *retry;
        const struct bus_interface *interface;
        bool user, ready, told_down;
        char *address;
        uint64_t next_id;
        struct bus_request *requests;
        unsigned n_requests;
        struct bus_object *objects; /* owned; sorted by path */
        size_t n_objects;
};

/* bus-manager.c, bus-pair.c, bus-application.c, bus-region.c */
extern const sd_bus_vtable bus_manager_vtable[];
extern const sd_bus_vtable bus_pair_vtable[];
extern const sd_bus_vtable bus_application_vtable[];
extern const sd_bus_vtable bus_region_vtable[];

/* bus-object.c */
int bus_objects_register(struct bus *bus);
/* Compares the list with the engine; tells who listens what came and what went. */
int bus_objects_refresh(struct bus *bus);
void bus_objects_free(struct bus *bus);
const struct pair *bus_object_pair(const struct bus_object *object);
const struct region *bus_object_region(const struct bus_object *object);
/* A path under `prefix`. -ENOMEM. */
int bus_path(const char *prefix, const char *name, char **ret);

/* bus-request.c. The message's arguments have been read. Takes nothing over on failure. -EBUSY past the limits,
 * -ENOMEM. */
int bus_request_new(struct bus *bus, sd_bus_message *message, const char *action, bus_request_run_t run,
                    struct bus_request **ret);
/* Authorises the caller, runs the request and answers it; also when it fails. Takes the request over. Returns
 * what a method handler returns. */
int bus_request_begin(struct bus_request *request);
/* Goes on once it is known whether the caller may (polkit.c). */
void bus_request_allowed(struct bus_request *request);
void bus_request_denied(struct bus_request *request, const char *name, const char *text);
void bus_request_answer(struct bus_request *request, int result, const char *text);
void bus_request_free(struct bus_request *request);

/* polkit.c: asks; ends in bus_request_allowed() or bus_request_denied(), now or later. */
void polkit_ask(struct bus_request *request);

/* bus-error.c: name of the D-Bus error for an errno. `what`: the interface member it answers. */
const char *bus_error_name(int error, const char *member);
int bus_reply_error(sd_bus_message *message, int error, const char *text);
/* A text that may hold what a guest said, as the bus takes it; NULL is an empty one. */
int bus_append_text(sd_bus_message *reply, const char *text);
/* Arguments. Each returns 0 or, with the error reply in `ret_error`, a negative errno. */
int bus_check_name(const char *name, const char *what, sd_bus_error *ret_error);
int bus_check_text(const char *text, size_t max, const char *what, sd_bus_error *ret_error);
/* Slot of a pair, or the error reply NoSuchPair. */
int bus_find_pair(struct bus *bus, const char *name, sd_bus_error *ret_error);

/* Wall time of an instant on CLOCK_BOOTTIME in usec; 0 for 0. */
uint64_t bus_wall_usec(struct bus *bus, usec_t when_usec);
