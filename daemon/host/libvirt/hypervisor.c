/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/hypervisor.h"

#include <assert.h>
#include <limits.h>
#include <libvirt/libvirt.h>
#include <libxml/parser.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-watch.h"

struct watch *hypervisor_find(const struct hypervisor *hypervisor, int pair, enum side side) {
        size_t i = (size_t) pair * SIDE_MAX + (size_t) side;

        if (pair < 0 || side < 0 || side >= SIDE_MAX || i >= hypervisor->n_watches)
                return NULL;
        return hypervisor->watches[i];
}

struct watch *hypervisor_find_for(const struct hypervisor *hypervisor, const struct call *call) {
        struct watch *watch = hypervisor_find(hypervisor, call->pair, call->side);

        return watch && watch->number == call->watch_number ? watch : NULL;
}

struct event watch_event(const struct watch *watch, enum event_kind kind) {
        return (struct event){ .kind = kind, .pair = watch->pair, .side = watch->side, .app = NO_APP };
}

static int on_defer(sd_event_source *source, void *userdata) {
        struct hypervisor *hypervisor = userdata;
        struct deferred *d = STAILQ_FIRST(&hypervisor->deferred);

        if (d) {
                STAILQ_REMOVE_HEAD(&hypervisor->deferred, link);
                sink_event(&hypervisor->sink, &d->event);
                free(d);
        }
        return sd_event_source_set_enabled(source, STAILQ_EMPTY(&hypervisor->deferred) ? SD_EVENT_OFF : SD_EVENT_ON);
}

int hypervisor_defer(struct hypervisor *hypervisor, const struct event *event) {
        struct deferred *d = malloc(sizeof(*d));

        if (!d)
                return -ENOMEM;
        d->event = *event;
        STAILQ_INSERT_TAIL(&hypervisor->deferred, d, link);
        sd_event_source_set_enabled(hypervisor->defer, SD_EVENT_ON);
        return 0;
}

static void watch_tell_domain(struct watch *watch, enum domain_state state, enum domain_reason reason) {
        struct event event = watch_event(watch, EVENT_DOMAIN);

        event.domain = state;
        event.reason = reason;
        sink_event(&watch->hypervisor->sink, &event);
}

static int watch_find_app(const struct watch *watch, const char *alias) {
        size_t n = strlen(APP_ALIAS_PREFIX);

        for (int i = 0; strncmp(alias, APP_ALIAS_PREFIX, n) == 0 && i < POLICY_APPLICATIONS_MAX; i++)
                if (watch->apps.names[i][0] != '\0' && strcmp(watch->apps.names[i], alias + n) == 0)
                        return i;
        return NO_APP;
}

static void on_lifecycle_note(struct watch *watch, const struct note *note) {
        enum domain_reason reason;
        enum domain_state state = domain_state_from_event(note->event, note->detail, &reason);

        watch->n_changes++;
        if (note->event == VIR_DOMAIN_EVENT_STARTED || state == DOMAIN_SHUTOFF)
                watch_set_dead(watch);
        /* `running` is told when it can be reached, see hypervisor.h. */
        if (state == DOMAIN_STATE_INVALID || (state == DOMAIN_RUNNING && !watch->live)) {
                watch_refresh(watch);
                return;
        }
        watch_tell_domain(watch, state, reason);
}

static void on_domain_note(struct watch *watch, const struct note *note) {
        struct event event = watch_event(watch, EVENT_KIND_MAX);

        switch (note->kind) {
        case NOTE_LIFECYCLE:
                on_lifecycle_note(watch, note);
                return;
        case NOTE_REBOOT:
                event.kind = EVENT_REBOOTED;
                break;
        case NOTE_WATCHDOG:
                event.kind = EVENT_WATCHDOG;
                break;
        case NOTE_IO_ERROR:
                event.kind = EVENT_IO_ERROR;
                event.up = note->event == VIR_DOMAIN_EVENT_IO_ERROR_PAUSE;
                break;
        case NOTE_MEMORY_FAILURE: /* how much was lost, and of whom, libvirt does not say */
                event.kind = EVENT_MEMORY_FAILURE;
                break;
        case NOTE_DEVICE_SIZE:
                event.kind = EVENT_DEVICE_SIZE;
                event.app = watch_find_app(watch, note->alias);
                event.bytes = note->bytes;
                if (event.app == NO_APP)
                        return;
                break;
        case NOTE_DEVICE_REMOVED: /* of the engine's own disks the call that detaches tells */
                if (strncmp(note->alias, OVERFLOW_ALIAS, strlen(OVERFLOW_ALIAS)) == 0)
                        watch_refresh(watch);
                return;
        default:
                return;
        }
        strcpy(event.text, note->text);
        sink_event(&watch->hypervisor->sink, &event);
}

static void hypervisor_set_up(struct hypervisor *hypervisor, bool up, const char *text) {
        struct event event = { .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .app = NO_APP, .up = up };

        hypervisor->up = up;
        text_copy(event.text, sizeof(event.text), text);
        sink_event(&hypervisor->sink, &event);
        for (size_t i = 0; up && i < ELEMENTSOF(hypervisor->lanes); i++)
                lane_warm(hypervisor->lanes[i]);
}

static void on_note(void *userdata, const struct note *note) {
        struct hypervisor *hypervisor = userdata;

        if (note->kind == NOTE_UP || note->kind == NOTE_DOWN)
                hypervisor_set_up(hypervisor, note->kind == NOTE_UP, note->text);
        for (size_t i = 0; i < hypervisor->n_watches; i++) {
                struct watch *watch = hypervisor->watches[i];

                if (!watch)
                        continue;
                if (note->kind == NOTE_UP || note->kind == NOTE_LOST)
                        watch_refresh(watch);
                else if (strcmp(watch->domain, note->domain) == 0)
                        on_domain_note(watch, note);
        }
}

static struct watch *watch_free(struct watch *watch) {
        if (!watch)
                return NULL;
        watch_set_dead(watch);
        process_free(watch->process);
        process_free(watch->ended);
        sd_event_source_disable_unref(watch->retry);
        free(watch);
        return NULL;
}

static int hypervisor_start(struct hypervisor *hypervisor) {
        static const enum lane_kind kinds[] = { LANE_FENCE, LANE_ACT, LANE_OBSERVE, LANE_PROCESS };
        int r;

        r = sd_event_add_defer(hypervisor->loop, &hypervisor->defer, on_defer, hypervisor);
        if (r >= 0)
                r = sd_event_source_set_enabled(hypervisor->defer, SD_EVENT_OFF);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(kinds); i++)
                r = lane_new(hypervisor->loop, kinds[i] == LANE_PROCESS ? NULL : hypervisor->uri, LANE_WORKERS_MAX,
                             &hypervisor->lanes[kinds[i]]);
        if (r >= 0)
                r = watcher_new(hypervisor->loop, hypervisor->uri, on_note, hypervisor, &hypervisor->watcher);
        return r;
}

int hypervisor_new(sd_event *loop, const struct hypervisor_settings *settings, const struct sink *sink,
                   struct hypervisor **ret_hypervisor, struct error *error) {
        struct hypervisor *hypervisor;
        char run_dir[PATH_MAX];
        int r;

        r = settings->run_dir ? 0 : process_run_dir(settings->uri, run_dir, sizeof(run_dir));
        if (r < 0)
                return error_set(error, r, "%s: not known where libvirt keeps its pid files; is XDG_RUNTIME_DIR set?",
                                 settings->uri);
        hypervisor = calloc(1, sizeof(*hypervisor));
        if (!hypervisor)
                return error_set(error, -ENOMEM, "out of memory");
        xmlInitParser(); /* before there are threads */
        STAILQ_INIT(&hypervisor->deferred);
        hypervisor->loop = sd_event_ref(loop);
        hypervisor->end_is_told = process_end_is_told();
        hypervisor->sink = *sink;
        hypervisor->uri = strdup(settings->uri);
        hypervisor->run_dir = strdup(settings->run_dir ? settings->run_dir : run_dir);
        hypervisor->helper_path = settings->helper_path ? strdup(settings->helper_path) : NULL;
        hypervisor->evidence_dir = settings->evidence_dir ? strdup(settings->evidence_dir) : NULL;
        r = hypervisor->uri && hypervisor->run_dir && (hypervisor->helper_path || !settings->helper_path) &&
                            (hypervisor->evidence_dir || !settings->evidence_dir)
                    ? hypervisor_start(hypervisor)
                    : -ENOMEM;
        if (r < 0) {
                hypervisor_free(hypervisor);
                return error_set(error, r, "%s: the threads that speak to libvirt cannot be started: %s",
                                 settings->uri, strerror(-r));
        }
        *ret_hypervisor = hypervisor;
        return 0;
}

struct hypervisor *hypervisor_free(struct hypervisor *hypervisor) {
        struct deferred *d;

        if (!hypervisor)
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(hypervisor->lanes); i++)
                lane_free(hypervisor->lanes[i]);
        watcher_free(hypervisor->watcher);
        for (size_t i = 0; i < hypervisor->n_watches; i++)
                watch_free(hypervisor->watches[i]);
        free(hypervisor->watches);
        while ((d = STAILQ_FIRST(&hypervisor->deferred))) {
                STAILQ_REMOVE_HEAD(&hypervisor->deferred, link);
                free(d);
        }
        sd_event_source_disable_unref(hypervisor->defer);
        sd_event_unref(hypervisor->loop);
        free(hypervisor->uri);
        free(hypervisor->run_dir);
        free(hypervisor->helper_path);
        free(hypervisor->evidence_dir);
        free(hypervisor);
        return NULL;
}

static int hypervisor_make_room(struct hypervisor *hypervisor, size_t n) {
        struct watch **watches;

        if (n <= hypervisor->n_watches)
                return 0;
        watches = realloc(hypervisor->watches, n * sizeof(*watches));
        if (!watches)
                return -ENOMEM;
        memset(watches + hypervisor->n_watches, 0, (n - hypervisor->n_watches) * sizeof(*watches));
        hypervisor->watches = watches;
        hypervisor->n_watches = n;
        return 0;
}

int hypervisor_watch(struct hypervisor *hypervisor, int pair, enum side side, const char *domain,
                     const char *const *apps, size_t n_apps) {
        size_t slot = (size_t) pair * SIDE_MAX + (size_t) side;
        struct watch *watch = hypervisor_find(hypervisor, pair, side);
        int r;

        if (pair < 0 || pair >= POLICY_PAIRS_MAX || side < 0 || side >= SIDE_MAX || strlen(domain) >= NAME_LEN ||
            n_apps > POLICY_APPLICATIONS_MAX)
                return -EINVAL;
        for (size_t i = 0; i < n_apps; i++)
                if (apps[i] && strlen(apps[i]) >= NAME_LEN)
                        return -EINVAL;
        r = hypervisor_make_room(hypervisor, slot + 1);
        if (r < 0)
                return r;
        if (!watch || strcmp(watch->domain, domain) != 0) {
                struct watch *fresh = calloc(1, sizeof(*fresh));

                if (!fresh)
                        return -ENOMEM;
                watch_free(watch);
                watch = hypervisor->watches[slot] = fresh;
                watch->hypervisor = hypervisor;
                watch->pair = pair;
                watch->side = side;
                watch->number = ++hypervisor->next_number;
                strcpy(watch->domain, domain);
        }
        memset(&watch->apps, 0, sizeof(watch->apps));
        for (size_t i = 0; i < n_apps; i++)
                if (apps[i])
                        strcpy(watch->apps.names[i], apps[i]);
        watch_refresh(watch);
        return 0;
}

void hypervisor_forget(struct hypervisor *hypervisor, int pair, enum side side) {
        struct watch *watch = hypervisor_find(hypervisor, pair, side);

        if (watch)
                hypervisor->watches[(size_t) pair * SIDE_MAX + (size_t) side] = watch_free(watch);
}

const char *hypervisor_console(const struct hypervisor *hypervisor, int pair, enum side side) {
        const struct watch *watch = hypervisor_find(hypervisor, pair, side);

        return watch && watch->console[0] != '\0' ? watch->console : NULL;
}

const char *hypervisor_channel(const struct hypervisor *hypervisor, int pair, enum side side) {
        const struct watch *watch = hypervisor_find(hypervisor, pair, side);

        return watch && watch->live && watch->channel[0] != '\0' ? watch->channel : NULL;
}

int hypervisor_pid(const struct hypervisor *hypervisor, int pair, enum side side) {
        const struct watch *watch = hypervisor_find(hypervisor, pair, side);

        return watch && watch->process ? process_pid(watch->process) : 0;
}

bool hypervisor_up(const struct hypervisor *hypervisor) {
        return hypervisor->up;
}
