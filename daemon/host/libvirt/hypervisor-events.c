/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/hypervisor-events.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-lane.h"

#define BACKOFF_MIN_USEC (200 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC (5 * USEC_PER_SEC)
#define FREE_WAIT_USEC USEC_PER_SEC
#define KEEPALIVE_SEC 5
#define KEEPALIVE_COUNT 3

struct queued_note {
        struct note note;
        STAILQ_ENTRY(queued_note) link;
};

STAILQ_HEAD(note_queue, queued_note);

/* Shared by the loop and both threads, each of which holds a reference; all below the mutex unless marked. */
struct watcher {
        pthread_mutex_t mutex;
        pthread_cond_t changed; /* lost, stopping, connector_ended */
        unsigned n_refs;
        bool lost, stopping, connector_ended, events_stopping;
        char lost_text[EVENT_TEXT_LEN];
        struct note_queue notes;
        unsigned n_notes;
        bool notes_lost;
        int wake_fd;
        char *uri; /* constant */

        sd_event_source *source; /* loop only, from here on */
        void (*note)(void *userdata, const struct note *note);
        void *userdata;
        pthread_t events_thread;
        bool events_started;
};

void text_copy(char *buffer, size_t size, const char *text) {
        size_t i = 0;

        for (; text && text[i] && i + 1 < size; i++)
                buffer[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
        buffer[i] = '\0';
}

/* Called with the mutex held, which it releases. */
static void watcher_unref_unlock(struct watcher *watcher) {
        bool last = --watcher->n_refs == 0;
        struct queued_note *n;

        pthread_mutex_unlock(&watcher->mutex);
        if (!last)
                return;
        while ((n = STAILQ_FIRST(&watcher->notes))) {
                STAILQ_REMOVE_HEAD(&watcher->notes, link);
                free(n);
        }
        pthread_mutex_destroy(&watcher->mutex);
        pthread_cond_destroy(&watcher->changed);
        close(watcher->wake_fd);
        free(watcher->uri);
        free(watcher);
}

/* Hands one note to the loop. On any thread. */
static void watcher_push(struct watcher *watcher, const struct note *note) {
        struct queued_note *n = malloc(sizeof(*n));

        pthread_mutex_lock(&watcher->mutex);
        /* That the connection came or went is never lost for the noise of others. */
        if (n && (watcher->n_notes < NOTES_MAX || note->kind == NOTE_UP || note->kind == NOTE_DOWN)) {
                n->note = *note;
                STAILQ_INSERT_TAIL(&watcher->notes, n, link);
                watcher->n_notes++;
        } else {
                free(n);
                watcher->notes_lost = true;
        }
        eventfd_write(watcher->wake_fd, 1);
        pthread_mutex_unlock(&watcher->mutex);
}

static void push_domain(struct watcher *watcher, virDomainPtr domain, struct note *note) {
        const char *name = virDomainGetName(domain);

        /* No policy can name a longer one. */
        if (!name || strlen(name) >= sizeof(note->domain))
                return;
        strcpy(note->domain, name);
        watcher_push(watcher, note);
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *userdata) {
        push_domain(userdata, domain, &(struct note){ .kind = NOTE_LIFECYCLE, .event = event, .detail = detail });
        return 0;
}

static void on_reboot(virConnectPtr connection, virDomainPtr domain, void *userdata) {
        push_domain(userdata, domain, &(struct note){ .kind = NOTE_REBOOT });
}

static void on_watchdog(virConnectPtr connection, virDomainPtr domain, int action, void *userdata) {
        push_domain(userdata, domain, &(struct note){ .kind = NOTE_WATCHDOG, .event = action });
}

static void on_io_error(virConnectPtr connection, virDomainPtr domain, const char *path, const char *alias,
                        int action, const char *reason, void *userdata) {
        struct note note = { .kind = NOTE_IO_ERROR, .event = action };
        char text[EVENT_TEXT_LEN];

        snprintf(text, sizeof(text), "%.60s: %.60s", alias ? alias : "disk", reason && *reason ? reason : "I/O error");
        text_copy(note.text, sizeof(note.text), text);
        push_domain(userdata, domain, &note);
}

static void on_memory_failure(virConnectPtr connection, virDomainPtr domain, int recipient, int action,
                              unsigned flags, void *userdata) {
        static const char *const actions[] = {
                [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_IGNORE] = "ignored",
                [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_INJECT] = "injected into the guest",
                [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_FATAL] = "fatal",
                [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_RESET] = "guest reset",
        };
        struct note note = { .kind = NOTE_MEMORY_FAILURE, .event = recipient, .detail = action };

        snprintf(note.text, sizeof(note.text), "memory error in %s memory: %s",
                 recipient == VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST ? "the guest's" : "QEMU's own",
                 action >= 0 && (size_t) action < ELEMENTSOF(actions) ? actions[action] : "unknown action");
        push_domain(userdata, domain, &note);
}

static void on_device_size(virConnectPtr connection, virDomainPtr domain, const char *alias,
                           unsigned long long size_kib, void *userdata) {
        struct note note = { .kind = NOTE_DEVICE_SIZE, .bytes = (uint64_t) size_kib * KIB };

        text_copy(note.alias, sizeof(note.alias), alias);
        push_domain(userdata, domain, &note);
}

static void on_device_removed(virConnectPtr connection, virDomainPtr domain, const char *alias, void *userdata) {
        struct note note = { .kind = NOTE_DEVICE_REMOVED };

        text_copy(note.alias, sizeof(note.alias), alias);
        push_domain(userdata, domain, &note);
}

static void on_close(virConnectPtr connection, int reason, void *userdata) {
        struct watcher *watcher = userdata;

        pthread_mutex_lock(&watcher->mutex);
        watcher->lost = true;
        snprintf(watcher->lost_text, sizeof(watcher->lost_text), "%s",
                 reason == VIR_CONNECT_CLOSE_REASON_KEEPALIVE ? "libvirt does not answer (keepalive)"
                 : reason == VIR_CONNECT_CLOSE_REASON_EOF     ? "libvirt closed the connection"
                                                              : "the connection to libvirt broke");
        pthread_cond_broadcast(&watcher->changed);
        pthread_mutex_unlock(&watcher->mutex);
}

#define N_EVENTS 7

/* Registers everything; `ids` are -1 where the driver lacks an event. Returns -1 where the state of domains could
 * not be followed at all. */
static int watcher_register(struct watcher *watcher, virConnectPtr connection, int ids[N_EVENTS]) {
        const struct {
                int event;
                virConnectDomainEventGenericCallback callback;
        } events[N_EVENTS] = {
                { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
                { VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot) },
                { VIR_DOMAIN_EVENT_ID_WATCHDOG, VIR_DOMAIN_EVENT_CALLBACK(on_watchdog) },
                { VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, VIR_DOMAIN_EVENT_CALLBACK(on_io_error) },
                { VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE, VIR_DOMAIN_EVENT_CALLBACK(on_memory_failure) },
                { VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_device_size) },
                { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device_removed) },
        };

        for (size_t i = 0; i < N_EVENTS; i++)
                ids[i] = virConnectDomainEventRegisterAny(connection, NULL, events[i].event, events[i].callback,
                                                          watcher, NULL);
        return ids[0] < 0 ? -1 : 0;
}

/* One connection, from open to close. Returns true when it had come up. */
static bool watcher_session(struct watcher *watcher) {
        virConnectPtr connection = virConnectOpenAuth(watcher->uri, NULL, 0);
        struct note down = { .kind = NOTE_DOWN };
        int ids[N_EVENTS];
        bool up;

        if (!connection) {
                pthread_mutex_lock(&watcher->mutex);
                text_copy(watcher->lost_text, sizeof(watcher->lost_text), virGetLastErrorMessage());
                pthread_mutex_unlock(&watcher->mutex);
                return false;
        }
        pthread_mutex_lock(&watcher->mutex);
        watcher->lost = false;
        pthread_mutex_unlock(&watcher->mutex);
        /* A driver inside this process has no keepalive and needs none. */
        virConnectSetKeepAlive(connection, KEEPALIVE_SEC, KEEPALIVE_COUNT);
        up = virConnectRegisterCloseCallback(connection, on_close, watcher, NULL) == 0;
        up = watcher_register(watcher, connection, ids) == 0 && up;
        if (up)
                watcher_push(watcher, &(struct note){ .kind = NOTE_UP });

        pthread_mutex_lock(&watcher->mutex);
        while (up && !watcher->lost && !watcher->stopping)
                pthread_cond_wait(&watcher->changed, &watcher->mutex);
        strcpy(down.text, watcher->lost_text);
        pthread_mutex_unlock(&watcher->mutex);
        if (up)
                watcher_push(watcher, &down);

        for (size_t i = 0; i < N_EVENTS; i++)
                if (ids[i] >= 0)
                        virConnectDomainEventDeregisterAny(connection, ids[i]);
        virConnectUnregisterCloseCallback(connection, on_close);
        virConnectClose(connection);
        return up;
}

static void *connector_main(void *userdata) {
        struct watcher *watcher = userdata;
        usec_t backoff_usec = BACKOFF_MIN_USEC;
        bool told = false; /* that it is away */

        pthread_mutex_lock(&watcher->mutex);
        while (!watcher->stopping) {
                struct timespec until;
                bool up;

                pthread_mutex_unlock(&watcher->mutex);
                up = watcher_session(watcher);
                if (!up && !told) {
                        struct note down = { .kind = NOTE_DOWN };

                        /* Only this thread and the end of a connection write it, and there is none now. */
                        strcpy(down.text, watcher->lost_text);
                        watcher_push(watcher, &down);
                }
                told = true; /* a session that had come up has told its end */
                backoff_usec = up                                    ? BACKOFF_MIN_USEC
                               : backoff_usec * 2 < BACKOFF_MAX_USEC ? backoff_usec * 2
                                                                     : BACKOFF_MAX_USEC;
                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_sec += (time_t) (backoff_usec / USEC_PER_SEC);
                until.tv_nsec += (long) (backoff_usec % USEC_PER_SEC) * 1000;
                if (until.tv_nsec >= 1000000000) {
                        until.tv_sec++;
                        until.tv_nsec -= 1000000000;
                }
                pthread_mutex_lock(&watcher->mutex);
                while (!watcher->stopping &&
                       pthread_cond_timedwait(&watcher->changed, &watcher->mutex, &until) != ETIMEDOUT)
                        ;
        }
        watcher->connector_ended = true;
        pthread_cond_broadcast(&watcher->changed);
        watcher_unref_unlock(watcher);
        return NULL;
}

static void *events_main(void *userdata) {
        struct watcher *watcher = userdata;

        pthread_mutex_lock(&watcher->mutex);
        while (!watcher->events_stopping) {
                pthread_mutex_unlock(&watcher->mutex);
                virEventRunDefaultImpl();
                pthread_mutex_lock(&watcher->mutex);
        }
        watcher_unref_unlock(watcher);
        return NULL;
}

static int on_notes(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct note_queue notes = STAILQ_HEAD_INITIALIZER(notes);
        struct watcher *watcher = userdata;
        struct queued_note *n;
        eventfd_t value;
        bool lost;

        eventfd_read(fd, &value);
        pthread_mutex_lock(&watcher->mutex);
        STAILQ_CONCAT(&notes, &watcher->notes);
        watcher->n_notes = 0;
        lost = watcher->notes_lost;
        watcher->notes_lost = false;
        pthread_mutex_unlock(&watcher->mutex);

        while ((n = STAILQ_FIRST(&notes))) {
                STAILQ_REMOVE_HEAD(&notes, link);
                watcher->note(watcher->userdata, &n->note);
                free(n);
        }
        if (lost)
                watcher->note(watcher->userdata, &(struct note){ .kind = NOTE_LOST });
        return 0;
}

static void ignore_timeout(int timer, void *userdata) {
}

static int watcher_start(struct watcher *watcher) {
        pthread_attr_t attributes;
        pthread_t connector;
        int r;

        r = pthread_create(&watcher->events_thread, NULL, events_main, watcher);
        if (r != 0)
                return -r;
        watcher->n_refs++;
        watcher->events_started = true;

        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_mutex_lock(&watcher->mutex);
        r = pthread_create(&connector, &attributes, connector_main, watcher);
        if (r == 0) {
                watcher->n_refs++;
                watcher->connector_ended = false;
        }
        pthread_mutex_unlock(&watcher->mutex);
        pthread_attr_destroy(&attributes);
        return -r;
}

int watcher_new(sd_event *loop, const char *uri, void (*note)(void *userdata, const struct note *note),
                void *userdata, struct watcher **ret_watcher) {
        pthread_condattr_t attributes;
        struct watcher *watcher;
        int r;

        if (libvirt_init() < 0)
                return -EIO;
        /* One per process; libvirt ignores a second registration. */
        virEventRegisterDefaultImpl();

        watcher = calloc(1, sizeof(*watcher));
        if (!watcher)
                return -ENOMEM;
        pthread_mutex_init(&watcher->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&watcher->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        STAILQ_INIT(&watcher->notes);
        watcher->n_refs = 1;
        watcher->connector_ended = true;
        watcher->note = note;
        watcher->userdata = userdata;
        watcher->uri = strdup(uri);
        watcher->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (!watcher->uri)
                r = -ENOMEM;
        else if (watcher->wake_fd < 0)
                r = -errno;
        else
                r = sd_event_add_io(loop, &watcher->source, watcher->wake_fd, EPOLLIN, on_notes, watcher);
        if (r >= 0)
                r = watcher_start(watcher);
        if (r < 0) {
                watcher_free(watcher);
                return r;
        }
        *ret_watcher = watcher;
        return 0;
}

struct watcher *watcher_free(struct watcher *watcher) {
        struct timespec until;
        int timer;

        if (!watcher)
                return NULL;
        watcher->source = sd_event_source_disable_unref(watcher->source);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += FREE_WAIT_USEC / USEC_PER_SEC;

        pthread_mutex_lock(&watcher->mutex);
        watcher->stopping = true;
        pthread_cond_broadcast(&watcher->changed);
        while (!watcher->connector_ended &&
               pthread_cond_timedwait(&watcher->changed, &watcher->mutex, &until) != ETIMEDOUT)
                ;
        watcher->events_stopping = true;
        pthread_mutex_unlock(&watcher->mutex);

        if (watcher->events_started) {
                timer = virEventAddTimeout(0, ignore_timeout, NULL, NULL); /* wakes it */
                pthread_join(watcher->events_thread, NULL);
                if (timer >= 0)
                        virEventRemoveTimeout(timer);
        }
        pthread_mutex_lock(&watcher->mutex);
        watcher_unref_unlock(watcher);
        return NULL;
}
