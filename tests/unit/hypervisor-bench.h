/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A hypervisor over libvirt's test driver, what it has told, and an operator's connection beside it. */

#include <libvirt/libvirt.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-lane.h"
#include "daemon/host/libvirt/hypervisor.h"
#include "tests/unit/test.h"

#define WAIT_USEC (20 * USEC_PER_SEC) /* for what has to happen */
#define URI "test:///default"
#define EVENTS_MAX 256

struct host_test {
        sd_event *loop;
        struct hypervisor *hypervisor;
        virConnectPtr control; /* an operator's */
        char run_dir[64], evidence_dir[80];
        struct event events[EVENTS_MAX];
        struct preflight preflight; /* of the last EVENT_PREFLIGHT */
        unsigned n_events;
        unsigned looked_at[EVENT_KIND_MAX]; /* wait_for() goes on from here */
        bool inside;          /* a function of the hypervisor's is being called */
        char channel[256];    /* when `running` was told */
        uint64_t next_id;
};

static inline void on_event(void *userdata, const struct event *event) {
        struct host_test *t = userdata;
        const char *channel;

        CHECK(!t->inside);
        REQUIRE(t->n_events < EVENTS_MAX);
        t->events[t->n_events++] = *event;
        if (event->kind == EVENT_PREFLIGHT)
                t->preflight = *event->preflight;
        if (event->kind == EVENT_DOMAIN && event->domain == DOMAIN_RUNNING) {
                channel = hypervisor_channel(t->hypervisor, event->pair, event->side);
                snprintf(t->channel, sizeof(t->channel), "%s", channel ? channel : "");
        }
}

/* The domain of a test: the real one's XML, for the test driver. */
static inline void define_domain(struct host_test *t, const char *name, const char *piece, const char *other) {
        char path[512], *text = calloc(1, 65536), *at, *changed = NULL, *renamed = NULL;
        _cleanup_fclose_ FILE *f = NULL;
        virDomainPtr domain;

        snprintf(path, sizeof(path), "%s/tests/unit/domain-xml/persistent.xml", getenv("TEST_SOURCE_DIR"));
        f = fopen(path, "re");
        REQUIRE(f && text && fread(text, 1, 65535, f) > 0);
        at = strstr(text, piece);
        REQUIRE(at != NULL);
        REQUIRE(asprintf(&changed, "%.*s%s%s", (int) (at - text), text, other, at + strlen(piece)) > 0);
        at = strstr(changed, "<devices>");
        REQUIRE(at != NULL);
        REQUIRE(asprintf(&renamed,
                         "<domain type='test'><name>%s</name><uuid>7e81fefd-5daa-5bcd-befd-e19e15d90282</uuid>%.*s%s",
                         name, (int) (at - strstr(changed, "<maxMemory")), strstr(changed, "<maxMemory"), at) > 0);
        domain = virDomainDefineXML(t->control, renamed);
        REQUIRE(domain != NULL);
        virDomainFree(domain);
        free(text);
        free(changed);
        free(renamed);
}

static inline void host_test_init(struct host_test *t) {
        struct sink sink = { .event = on_event, .userdata = t };
        struct hypervisor_settings settings = { .uri = URI, .run_dir = t->run_dir, .evidence_dir = t->evidence_dir };

        memset(t, 0, sizeof(*t));
        t->preflight = (struct preflight){ 0 };
        strcpy(t->run_dir, "/tmp/test-hypervisor-XXXXXX");
        REQUIRE(mkdtemp(t->run_dir) != NULL);
        snprintf(t->evidence_dir, sizeof(t->evidence_dir), "%s/evidence", t->run_dir);
        REQUIRE(sd_event_new(&t->loop) >= 0);
        REQUIRE(hypervisor_new(t->loop, &settings, &sink, &t->hypervisor, NULL) == 0);
        t->control = virConnectOpen(URI);
        REQUIRE(t->control != NULL);
}

static inline void host_test_deinit(struct host_test *t) {
        t->hypervisor = hypervisor_free(t->hypervisor);
        virConnectClose(t->control);
        sd_event_unref(t->loop);
        rmdir(t->run_dir);
}

/* The next event of a kind, of those not looked at yet; fails the test when none comes. */
static inline const struct event *wait_for(struct host_test *t, enum event_kind kind) {
        usec_t end = lane_now() + WAIT_USEC;

        for (;;) {
                while (t->looked_at[kind] < t->n_events) {
                        const struct event *event = &t->events[t->looked_at[kind]++];

                        if (event->kind == kind)
                                return event;
                }
                REQUIRE(lane_now() < end);
                REQUIRE(sd_event_run(t->loop, end - lane_now()) >= 0);
        }
}

static inline void wait_for_domain(struct host_test *t, enum domain_state state, enum domain_reason reason) {
        const struct event *event;

        do
                event = wait_for(t, EVENT_DOMAIN);
        while (event->domain != state);
        CHECK(event->reason == reason);
}

static inline void watch(struct host_test *t, int pair, const char *domain) {
        static const char *const apps[] = { NULL, "db", "web" };

        t->inside = true;
        REQUIRE(hypervisor_watch(t->hypervisor, pair, SIDE_A, domain, apps, ELEMENTSOF(apps)) == 0);
        t->inside = false;
}

static inline uint64_t act(struct host_test *t, struct action action) {
        action.id = ++t->next_id;
        t->inside = true;
        REQUIRE(hypervisor_act(t->hypervisor, &action) == 0);
        t->inside = false;
        return action.id;
}

/* Acts and waits for the answer, which has to be the action's. */
static inline int act_on(struct host_test *t, enum action_kind kind, const char *text) {
        struct action action = { .kind = kind, .pair = 0, .side = SIDE_A, .app = 1, .count = 1, .bytes = 2 * MIB,
                                 .deadline_usec = WAIT_USEC };
        const struct event *event;
        uint64_t id;

        strcpy(action.app_name, "db");
        strcpy(action.text, text);
        id = act(t, action);
        event = wait_for(t, EVENT_DONE);
        CHECK(event->action == (int) kind && event->action_id == id);
        CHECK(event->pair == 0 && event->side == SIDE_A && event->app == 1);
        return event->result;
}

static inline unsigned count_events(const struct host_test *t, enum event_kind kind) {
        unsigned n = 0;

        for (unsigned i = 0; i < t->n_events; i++)
                n += t->events[i].kind == kind;
        return n;
}

/* Another process's domain of that name. */
static inline virDomainPtr control_domain(struct host_test *t, const char *name) {
        virDomainPtr domain = virDomainLookupByName(t->control, name);

        REQUIRE(domain != NULL);
        return domain;
}
