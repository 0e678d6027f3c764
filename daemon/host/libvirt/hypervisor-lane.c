/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/hypervisor-lane.h"

#include <assert.h>
#include <errno.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

#define WORKER_STACK_BYTES (256 * KIB)
#define WORKER_IDLE_USEC (10 * USEC_PER_SEC)
#define OPEN_RETRY_USEC (200 * USEC_PER_MSEC)
#define FREE_WAIT_USEC USEC_PER_SEC
#define KEEPALIVE_SEC 5
#define KEEPALIVE_COUNT 3

TAILQ_HEAD(lane_calls, lane_call);

struct lane_connection {
        virConnectPtr handle;
        bool busy;    /* a call is on it */
        bool retired; /* closed when that call ends */
        LIST_ENTRY(lane_connection) link;
};

/* Shared by the loop and the workers, each of which holds a reference; all below the mutex unless marked. */
struct lane {
        pthread_mutex_t mutex;
        pthread_cond_t work;  /* for idle workers */
        pthread_cond_t ended; /* a worker has ended */
        unsigned n_refs, n_workers, n_idle, n_waiting;
        unsigned max_workers; /* constant */
        char *uri;            /* constant */
        bool stopping, opening, open_wanted;
        usec_t retry_usec;    /* not opened again before this */
        char open_text[EVENT_TEXT_LEN]; /* why it could not be opened */
        LIST_HEAD(, lane_connection) connections;
        struct lane_calls waiting, running, returned;
        int wake_fd;
        sd_event *loop;          /* loop only */
        sd_event_source *source; /* loop only */
};

usec_t lane_now(void) {
        return clock_usec(CLOCK_MONOTONIC);
}

static void ignore_error(void *userdata, virErrorPtr error) {
}

int libvirt_init(void) {
        if (virInitialize() < 0)
                return -EIO;
        virSetErrorFunc(NULL, ignore_error);
        return 0;
}

/* Waits on a condition for at most `usec`. Returns 0 or ETIMEDOUT. */
static int wait_for(pthread_cond_t *condition, pthread_mutex_t *mutex, usec_t usec) {
        usec_t end = lane_now() + usec;
        struct timespec t = { .tv_sec = (time_t) (end / USEC_PER_SEC), .tv_nsec = (long) (end % USEC_PER_SEC) * 1000 };

        return pthread_cond_timedwait(condition, mutex, &t);
}

/* Called with the mutex held, which it releases. */
static void lane_unref_unlock(struct lane *lane) {
        bool last = --lane->n_refs == 0;

        pthread_mutex_unlock(&lane->mutex);
        if (!last)
                return;
        pthread_mutex_destroy(&lane->mutex);
        pthread_cond_destroy(&lane->work);
        pthread_cond_destroy(&lane->ended);
        close(lane->wake_fd);
        free(lane->uri);
        free(lane);
}

static void lane_return(struct lane *lane, struct lane_call *call, int result) {
        call->state = LANE_CALL_RETURNED;
        call->result = result;
        TAILQ_INSERT_TAIL(&lane->returned, call, link);
        eventfd_write(lane->wake_fd, 1);
}

static void lane_return_waiting(struct lane *lane, int result, const char *text) {
        struct lane_call *call;

        while ((call = TAILQ_FIRST(&lane->waiting))) {
                TAILQ_REMOVE(&lane->waiting, call, link);
                lane->n_waiting--;
                snprintf(call->text, sizeof(call->text), "%s", text);
                lane_return(lane, call, result);
        }
}

static bool connection_is_idle(const struct lane_connection *connection) {
        return !connection->busy && !connection->retired;
}

/* A connection for one more call; NULL where there is none. */
static struct lane_connection *lane_find_connection(struct lane *lane) {
        struct lane_connection *c;

        LIST_FOREACH(c, &lane->connections, link)
                if (connection_is_idle(c))
                        return c;
        return NULL;
}

static unsigned lane_count_idle(struct lane *lane) {
        struct lane_connection *c;
        unsigned n = 0;

        LIST_FOREACH(c, &lane->connections, link)
                n += connection_is_idle(c);
        return n;
}

/* Called with the mutex held, which it gives up meanwhile. */
static void lane_open(struct lane *lane) {
        struct lane_connection *c = malloc(sizeof(*c));
        virConnectPtr handle;

        lane->opening = true;
        pthread_mutex_unlock(&lane->mutex);
        handle = c ? virConnectOpenAuth(lane->uri, NULL, 0) : NULL;
        /* Not every driver has keepalive, and those that have none need none. */
        if (handle)
                virConnectSetKeepAlive(handle, KEEPALIVE_SEC, KEEPALIVE_COUNT);
        pthread_mutex_lock(&lane->mutex);
        lane->opening = false;

        if (handle) {
                *c = (struct lane_connection) { .handle = handle };
                LIST_INSERT_HEAD(&lane->connections, c, link);
        } else {
                free(c);
                lane->open_wanted = false;
                lane->retry_usec = lane_now() + OPEN_RETRY_USEC;
                snprintf(lane->open_text, sizeof(lane->open_text), "libvirt cannot be reached: %.*s",
                         EVENT_TEXT_LEN - 40, virGetLastErrorMessage());
                lane_return_waiting(lane, -ENOTCONN, lane->open_text);
        }
        pthread_cond_broadcast(&lane->work);
}

/* Lets go of a connection after a call, and closes it where nobody needs it. The mutex is given up meanwhile:
 * closing talks to libvirtd. */
static void lane_put_connection(struct lane *lane, struct lane_connection *connection) {
        connection->busy = false;
        if (!connection->retired && lane_count_idle(lane) <= LANE_CONNECTIONS_IDLE_MAX)
                return;
        LIST_REMOVE(connection, link);
        pthread_mutex_unlock(&lane->mutex);
        virConnectClose(connection->handle);
        free(connection);
        pthread_mutex_lock(&lane->mutex);
}

static struct lane_call *lane_find_running(struct lane *lane, const char *domain) {
        struct lane_call *call;

        TAILQ_FOREACH(call, &lane->running, link)
                if (strcmp(call->domain, domain) == 0)
                        return call;
        return NULL;
}

static struct lane_call *lane_find_runnable(struct lane *lane) {
        struct lane_call *call;

        TAILQ_FOREACH(call, &lane->waiting, link)
                if (!lane_find_running(lane, call->domain))
                        return call;
        return NULL;
}

/* Runs one call. The mutex is given up meanwhile. */
static void lane_run(struct lane *lane, struct lane_call *call, struct lane_connection *connection) {
        bool dead = false, began = false;
        int r = -ENOTCONN;

        TAILQ_REMOVE(&lane->waiting, call, link);
        lane->n_waiting--;
        TAILQ_INSERT_TAIL(&lane->running, call, link);
        call->state = LANE_CALL_RUNNING;
        call->connection = connection;
        if (connection)
                connection->busy = true;
        pthread_mutex_unlock(&lane->mutex);

        /* Whether it is alive is known without asking libvirtd. */
        if (connection)
                dead = virConnectIsAlive(connection->handle) == 0;
        if (!dead) {
                began = true;
                r = call->run(call, connection ? connection->handle : NULL);
                if (r < 0 && connection && virConnectIsAlive(connection->handle) == 0) {
                        dead = true;
                        r = -ENOTCONN;
                }
        }

        pthread_mutex_lock(&lane->mutex);
        TAILQ_REMOVE(&lane->running, call, link);
        call->connection = NULL;
        if (dead)
                connection->retired = true;
        if (!began && !call->overdue && !lane->stopping) {
                call->state = LANE_CALL_WAITING; /* for another connection */
                TAILQ_INSERT_HEAD(&lane->waiting, call, link);
                lane->n_waiting++;
        } else
                lane_return(lane, call, r);
        if (lane->n_idle > 0)
                pthread_cond_signal(&lane->work); /* a call for the same domain may have waited */
        if (connection)
                lane_put_connection(lane, connection);
}

/* Finds something to do and does it. Returns false when there is nothing. */
static bool lane_work(struct lane *lane) {
        struct lane_call *call = lane_find_runnable(lane);
        struct lane_connection *connection = lane->uri ? lane_find_connection(lane) : NULL;

        if (call && (connection || !lane->uri)) {
                lane_run(lane, call, connection);
                return true;
        }
        if (!call && lane_count_idle(lane) >= LANE_CONNECTIONS_WARM)
                lane->open_wanted = false;
        if ((!call && !lane->open_wanted) || !lane->uri || lane->opening)
                return false;
        if (lane_now() >= lane->retry_usec) {
                lane_open(lane);
                return true;
        }
        lane->open_wanted = false;
        if (call)
                lane_return_waiting(lane, -ENOTCONN, lane->open_text);
        return false;
}

/* Frees what nobody will collect any more. The mutex is given up meanwhile. */
static void lane_clean(struct lane *lane) {
        struct lane_connection *c, *next;
        struct lane_call *call;

        while ((call = TAILQ_FIRST(&lane->returned))) {
                TAILQ_REMOVE(&lane->returned, call, link);
                call->release(call);
        }
        for (c = LIST_FIRST(&lane->connections); c; c = next) {
                next = LIST_NEXT(c, link);
                if (c->busy)
                        continue;
                LIST_REMOVE(c, link);
                pthread_mutex_unlock(&lane->mutex);
                virConnectClose(c->handle);
                free(c);
                pthread_mutex_lock(&lane->mutex);
                next = LIST_FIRST(&lane->connections); /* others may have changed the list */
        }
}

static void *worker_main(void *userdata) {
        struct lane *lane = userdata;

        pthread_mutex_lock(&lane->mutex);
        while (!lane->stopping) {
                int r;

                if (lane_work(lane))
                        continue;
                if (lane->stopping)
                        break;
                lane->n_idle++;
                r = wait_for(&lane->work, &lane->mutex, WORKER_IDLE_USEC);
                lane->n_idle--;
                if (r == ETIMEDOUT && !lane_find_runnable(lane) && !lane->open_wanted)
                        break;
        }
        if (lane->stopping)
                lane_clean(lane);
        lane->n_workers--;
        pthread_cond_broadcast(&lane->ended);
        lane_unref_unlock(lane);
        return NULL;
}

/* One more worker where the idle ones do not suffice. Called with the mutex held. */
static int lane_hire(struct lane *lane, unsigned n_wanted) {
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        if (n_wanted <= lane->n_idle || lane->n_workers >= lane->max_workers) {
                pthread_cond_signal(&lane->work);
                return 0;
        }
        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        pthread_attr_setstacksize(&attributes, WORKER_STACK_BYTES);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        r = pthread_create(&thread, &attributes, worker_main, lane);
        pthread_attr_destroy(&attributes);
        if (r != 0 && lane->n_workers == 0)
                return -r;
        if (r == 0) {
                lane->n_refs++;
                lane->n_workers++;
        }
        return 0;
}

static void call_finish(struct lane_call *call, int result, const char *text) {
        call->timer = sd_event_source_disable_unref(call->timer);
        call->done(call, result, text);
        call->release(call);
}

/* Takes the calls that wait for the same domain out of the queue. */
static void lane_take_waiting(struct lane *lane, const char *domain, struct lane_calls *ret_taken) {
        struct lane_call *call, *next;

        for (call = TAILQ_FIRST(&lane->waiting); call; call = next) {
                next = TAILQ_NEXT(call, link);
                if (strcmp(call->domain, domain) != 0)
                        continue;
                TAILQ_REMOVE(&lane->waiting, call, link);
                lane->n_waiting--;
                TAILQ_INSERT_TAIL(ret_taken, call, link);
        }
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct lane_calls refused = TAILQ_HEAD_INITIALIZER(refused);
        struct lane_call *call = userdata, *other;
        struct lane *lane = call->lane;
        const char *text = "no answer in time; libvirt still works on it";

        pthread_mutex_lock(&lane->mutex);
        if (call->state == LANE_CALL_RETURNED) {
                pthread_mutex_unlock(&lane->mutex); /* in time after all; on_returned() comes next */
                return 0;
        }
        if (call->state == LANE_CALL_WAITING) {
                TAILQ_REMOVE(&lane->waiting, call, link);
                lane->n_waiting--;
                text = lane_find_running(lane, call->domain) ? "not begun: the call before it takes too long"
                       : lane->opening                       ? "not begun: still connecting to libvirt"
                                                             : "not begun: no worker was free";
                pthread_mutex_unlock(&lane->mutex);
                call_finish(call, -ETIMEDOUT, text);
                return 0;
        }

        call->overdue = true;
        if (call->connection) {
                call->connection->retired = true;
                lane->open_wanted = true;
        }
        lane_take_waiting(lane, call->domain, &refused);
        lane_hire(lane, lane->n_waiting + 1);
        /* Past the unlock the worker may end and hand the call to the loop, but only the loop frees it: that is
         * after this function. */
        pthread_mutex_unlock(&lane->mutex);

        call->timer = sd_event_source_disable_unref(call->timer);
        call->done(call, -ETIMEDOUT, text);
        while ((other = TAILQ_FIRST(&refused))) {
                TAILQ_REMOVE(&refused, other, link);
                call_finish(other, -EBUSY, "an earlier call for this domain is stuck in libvirt");
        }
        return 0;
}

static int on_returned(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct lane_calls calls = TAILQ_HEAD_INITIALIZER(calls);
        struct lane *lane = userdata;
        struct lane_call *call;
        eventfd_t value;

        eventfd_read(fd, &value);
        pthread_mutex_lock(&lane->mutex);
        TAILQ_CONCAT(&calls, &lane->returned, link);
        pthread_mutex_unlock(&lane->mutex);

        while ((call = TAILQ_FIRST(&calls))) {
                TAILQ_REMOVE(&calls, call, link);
                if (!call->overdue) {
                        call_finish(call, call->result, call->text);
                        continue;
                }
                if (call->late)
                        call->late(call);
                call->release(call);
        }
        return 0;
}

int lane_new(sd_event *loop, const char *uri, unsigned max_workers, struct lane **ret_lane) {
        struct lane *lane;
        pthread_condattr_t attributes;
        int r;

        assert(max_workers >= 1 && max_workers <= LANE_WORKERS_MAX);
        if (uri && libvirt_init() < 0)
                return -EIO;
        lane = calloc(1, sizeof(*lane));
        if (!lane)
                return -ENOMEM;
        pthread_mutex_init(&lane->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&lane->work, &attributes);
        pthread_cond_init(&lane->ended, &attributes);
        pthread_condattr_destroy(&attributes);
        TAILQ_INIT(&lane->waiting);
        TAILQ_INIT(&lane->running);
        TAILQ_INIT(&lane->returned);
        lane->n_refs = 1;
        lane->max_workers = max_workers;
        lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (lane->wake_fd < 0)
                r = -errno;
        else if (uri && !(lane->uri = strdup(uri)))
                r = -ENOMEM;
        else
                r = sd_event_add_io(loop, &lane->source, lane->wake_fd, EPOLLIN, on_returned, lane);
        if (r < 0) {
                lane_free(lane);
                return r;
        }
        lane->loop = sd_event_ref(loop);
        *ret_lane = lane;
        return 0;
}

struct lane *lane_free(struct lane *lane) {
        struct lane_call *call;
        usec_t end = lane_now() + FREE_WAIT_USEC;

        if (!lane)
                return NULL;
        lane->source = sd_event_source_disable_unref(lane->source);
        pthread_mutex_lock(&lane->mutex);
        lane->stopping = true;
        TAILQ_CONCAT(&lane->returned, &lane->waiting, link);
        TAILQ_FOREACH(call, &lane->returned, link)
                call->timer = sd_event_source_disable_unref(call->timer);
        TAILQ_FOREACH(call, &lane->running, link)
                call->timer = sd_event_source_disable_unref(call->timer);
        /* Closing a connection may block, so it takes a worker. */
        if (lane->n_workers == 0 && !LIST_EMPTY(&lane->connections)) {
                lane->n_idle = 0;
                lane_hire(lane, 1);
        }
        pthread_cond_broadcast(&lane->work);
        while (lane->n_workers > 0 && lane_now() < end)
                wait_for(&lane->ended, &lane->mutex, end - lane_now());
        while ((call = TAILQ_FIRST(&lane->returned))) {
                TAILQ_REMOVE(&lane->returned, call, link);
                call->release(call);
        }
        lane->loop = sd_event_unref(lane->loop);
        lane_unref_unlock(lane);
        return NULL;
}

int lane_submit(struct lane *lane, struct lane_call *call) {
        struct lane_call *other;
        unsigned n_same = 0;
        int r;

        r = sd_event_add_time_relative(lane->loop, &call->timer, CLOCK_MONOTONIC, call->timeout_usec,
                                       USEC_PER_MSEC, on_deadline, call);
        if (r < 0)
                return r;
        call->lane = lane;
        call->deadline_usec = lane_now() + call->timeout_usec;
        call->state = LANE_CALL_WAITING;

        pthread_mutex_lock(&lane->mutex);
        other = lane_find_running(lane, call->domain);
        r = other && other->overdue ? -EBUSY : 0;
        TAILQ_FOREACH(other, &lane->waiting, link)
                n_same += strcmp(other->domain, call->domain) == 0;
        if (n_same >= LANE_DOMAIN_CALLS_MAX)
                r = -EBUSY;
        if (r == 0)
                r = lane_hire(lane, lane->n_waiting + 1);
        if (r == 0) {
                TAILQ_INSERT_TAIL(&lane->waiting, call, link);
                lane->n_waiting++;
        }
        pthread_mutex_unlock(&lane->mutex);
        if (r < 0)
                call->timer = sd_event_source_disable_unref(call->timer);
        return r;
}

void lane_warm(struct lane *lane) {
        pthread_mutex_lock(&lane->mutex);
        if (lane->uri && lane_count_idle(lane) < LANE_CONNECTIONS_WARM) {
                lane->open_wanted = true;
                lane_hire(lane, lane->n_waiting + 1);
        }
        pthread_mutex_unlock(&lane->mutex);
}

bool lane_stuck(struct lane *lane, const char *domain) {
        struct lane_call *call;
        bool stuck;

        pthread_mutex_lock(&lane->mutex);
        call = lane_find_running(lane, domain);
        stuck = call && call->overdue;
        pthread_mutex_unlock(&lane->mutex);
        return stuck;
}
