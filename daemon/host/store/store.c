/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/store/store-open.h"
#include "daemon/host/store/store-record.h"
#include "daemon/host/store/store-schema.h"
#include "daemon/host/store/store-worker.h"

#define FREE_TIMEOUT_USEC (2 * USEC_PER_SEC)

/* An answer that is owed. The loop's thread alone knows of these. */
struct waiter {
        enum persist_level level;
        uint64_t serial; /* of the worker's write that covers it */
        int pair;
        uint64_t action_id;
        usec_t due_usec;
        struct waiter *next;
};

struct store {
        struct store_paths paths;
        char *vfs;
        int lock_fd, notify_fd;
        sd_event *event;
        const struct sink *sink;
        sd_event_source *notify_source, *deadline_source;
        struct worker *workers[PERSIST_LEVEL_MAX];
        struct store_contents contents; /* as opened; handed out by store_load() */
        bool loaded;
        struct history_told *told; /* as opened, owned */
        size_t n_told;
        struct waiter *waiters;
        uint64_t late, dropped;
        struct store_reader *reader;
};

DEFINE_CLEANUP(struct store *, store_free)

/* ---- answers ---- */

static void answer(struct store *store, const struct waiter *waiter, int result, const char *text) {
        struct event event = {
                .kind = EVENT_DONE,
                .pair = waiter->pair,
                .app = NO_APP,
                .action = ACTION_PERSIST,
                .action_id = waiter->action_id,
                .result = result,
        };

        snprintf(event.text, sizeof(event.text), "%s", text);
        sink_event(store->sink, &event);
}

/* Takes out the waiters that a write covers (`level` and `serial`), or those past `due_usec` where serial is 0. */
static struct waiter *take_waiters(struct store *store, enum persist_level level, uint64_t serial, usec_t due_usec) {
        struct waiter *taken = NULL, **end = &taken, **p = &store->waiters;

        while (*p) {
                struct waiter *waiter = *p;
                bool matches = serial > 0 ? waiter->level == level && waiter->serial == serial
                                          : waiter->due_usec <= due_usec;

                if (!matches) {
                        p = &waiter->next;
                        continue;
                }
                *p = waiter->next;
                waiter->next = NULL;
                *end = waiter;
                end = &waiter->next;
        }
        return taken;
}

static void answer_all(struct store *store, struct waiter *waiter, int result, const char *text) {
        while (waiter) {
                struct waiter *next = waiter->next;

                answer(store, waiter, result, text);
                free(waiter);
                waiter = next;
        }
}

static void answer_finished(struct store *store) {
        for (int i = 0; i < PERSIST_LEVEL_MAX; i++) {
                enum persist_level level = (enum persist_level) i;
                struct worker_done done;

                while (worker_take(store->workers[level], &done))
                        answer_all(store, take_waiters(store, level, done.serial, 0), done.result, done.text);
        }
}

static void arm_deadline(struct store *store) {
        usec_t due_usec = USEC_INFINITY;

        for (const struct waiter *waiter = store->waiters; waiter; waiter = waiter->next)
                if (waiter->due_usec < due_usec)
                        due_usec = waiter->due_usec;
        if (due_usec == USEC_INFINITY) {
                (void) sd_event_source_set_enabled(store->deadline_source, SD_EVENT_OFF);
                return;
        }
        (void) sd_event_source_set_time(store->deadline_source, due_usec);
        (void) sd_event_source_set_enabled(store->deadline_source, SD_EVENT_ONESHOT);
}

static int on_notify(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct store *store = userdata;
        eventfd_t value;

        (void) eventfd_read(fd, &value);
        answer_finished(store);
        arm_deadline(store);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct store *store = userdata;
        struct waiter *expired;

        answer_finished(store); /* what has made it is not late */
        expired = take_waiters(store, PERSIST_STEP, 0, clock_usec(CLOCK_BOOTTIME));
        for (const struct waiter *waiter = expired; waiter; waiter = waiter->next)
                store->late++;
        answer_all(store, expired, -ETIMEDOUT, "the disk has not answered in time");
        arm_deadline(store);
        return 0;
}

/* ---- life ---- */

static int start_workers(struct store *store, struct error *error) {
        int r = 0;

        for (int i = 0; r >= 0 && i < PERSIST_LEVEL_MAX; i++) {
                struct worker_options options = {
                        .level = (enum persist_level) i,
                        .notify_fd = store->notify_fd,
                        .reserve_path = i == PERSIST_OWNER ? store->paths.reserve : NULL,
                        .lost_path = store->paths.lost,
                };

                r = worker_new(steal_ptr(store->contents.databases[i]), &options, &store->workers[i]);
        }
        return r < 0 ? error_set(error, r, "no thread for the store: %s", strerror(-r)) : 0;
}

static int watch(struct store *store, sd_event *event, struct error *error) {
        int r;

        store->event = sd_event_ref(event);
        store->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (store->notify_fd < 0)
                return error_set(error, -errno, "eventfd: %s", strerror(errno));
        r = sd_event_add_io(event, &store->notify_source, store->notify_fd, EPOLLIN, on_notify, store);
        if (r >= 0)
                r = sd_event_add_time(event, &store->deadline_source, CLOCK_BOOTTIME, 0, USEC_PER_MSEC, on_deadline,
                                      store);
        if (r >= 0)
                r = sd_event_source_set_enabled(store->deadline_source, SD_EVENT_OFF);
        return r < 0 ? error_set(error, r, "event loop: %s", strerror(-r)) : 0;
}

int store_new(const struct store_options *options, sd_event *event, const struct sink *sink, struct store **ret,
              struct store_finding *ret_finding, struct error *error) {
        _cleanup_(store_freep) struct store *store = calloc(1, sizeof(*store));
        struct store_finding finding = { 0 };
        int r;

        if (!store)
                return error_set(error, -ENOMEM, "out of memory");
        store->lock_fd = store->notify_fd = -1;
        store->sink = sink;
        r = store_paths_init(&store->paths, options);
        if (r >= 0 && options->vfs) {
                store->vfs = strdup(options->vfs);
                r = store->vfs ? 0 : -ENOMEM;
        }
        if (r < 0)
                return error_set(error, r, "out of memory");
        r = store_prepare(&store->paths, options, &store->lock_fd, error);
        if (r >= 0)
                r = watch(store, event, error);
        if (r >= 0)
                r = store_open(&store->paths, options, &store->contents, &finding, error);
        if (r >= 0)
                r = start_workers(store, error);
        if (r >= 0) {
                r = store_reader_new(event, store->paths.owner, options->evidence_dir, store->vfs, &store->reader);
                if (r < 0)
                        error_set(error, r, "out of memory");
        }
        if (r < 0)
                return r;
        store->told = steal_ptr(store->contents.told);
        store->n_told = store->contents.n_told;
        *ret = steal_ptr(store);
        *ret_finding = finding;
        return 0;
}

struct store *store_free(struct store *store) {
        usec_t end_usec = clock_usec(CLOCK_MONOTONIC) + FREE_TIMEOUT_USEC;

        if (!store)
                return NULL;
        store_reader_free(store->reader); /* first: whoever closes last has the log to put away */
        for (int i = 0; i < PERSIST_LEVEL_MAX; i++) {
                usec_t now_usec = clock_usec(CLOCK_MONOTONIC);

                store->workers[i] = worker_free(store->workers[i], end_usec > now_usec ? end_usec - now_usec : 0);
        }
        sd_event_source_disable_unref(store->notify_source);
        sd_event_source_disable_unref(store->deadline_source);
        sd_event_unref(store->event);
        while (store->waiters) {
                struct waiter *waiter = store->waiters;
                store->waiters = waiter->next;
                free(waiter);
        }
        store_contents_deinit(&store->contents);
        closep(&store->notify_fd);
        closep(&store->lock_fd);
        store_paths_deinit(&store->paths);
        free(store->told);
        free(store->vfs);
        free(store);
        return NULL;
}

/* ---- records ---- */

int store_load(struct store *store, struct record **ret, size_t *ret_n) {
        const struct store_contents *contents = &store->contents;
        const struct record *a = contents->records[PERSIST_STEP], *b = contents->records[PERSIST_OWNER];
        size_t n_a = contents->n_records[PERSIST_STEP], n_b = contents->n_records[PERSIST_OWNER], n = 0;
        struct record *records;

        if (store->loaded)
                return -EALREADY;
        records = calloc(n_a + n_b + 1, sizeof(*records));
        if (!records)
                return -ENOMEM;
        while (n_a > 0 || n_b > 0) {
                int order = n_a == 0 ? 1 : n_b == 0 ? -1 : strcmp(a->pair, b->pair);

                if (order == 0)
                        records[n++] = a->seq > b->seq ? *a : *b;
                else
                        records[n++] = order < 0 ? *a : *b;
                if (order > 0) /* of an earlier boot: what memory is bad now has to show again */
                        records[n - 1].lost_bytes = records[n - 1].reserve_used_bytes = 0;
                if (order <= 0)
                        a++, n_a--;
                if (order >= 0)
                        b++, n_b--;
        }
        store_contents_deinit(&store->contents);
        store->loaded = true;
        *ret = records;
        *ret_n = n;
        return 0;
}

int store_persist(struct store *store, const struct record *record, enum persist_level level, int pair,
                  uint64_t action_id, usec_t deadline_usec) {
        _cleanup_free_ struct waiter *waiter = malloc(sizeof(*waiter));
        usec_t now_usec = clock_usec(CLOCK_BOOTTIME);
        uint64_t serial;
        int r;

        if (!waiter)
                return -ENOMEM;
        if (!record_is_valid(record) || !(level == PERSIST_STEP || level == PERSIST_OWNER))
                return -EINVAL;
        *waiter = (struct waiter) {
                .level = level,
                .pair = pair,
                .action_id = action_id,
                .due_usec = deadline_usec >= USEC_INFINITY - now_usec ? USEC_INFINITY : now_usec + deadline_usec,
        };
        /* An ownership is answered for by the disk alone; the copy among the steps keeps the two in order. */
        r = worker_write(store->workers[PERSIST_STEP], record, &serial);
        if (r >= 0 && level == PERSIST_OWNER)
                r = worker_write(store->workers[PERSIST_OWNER], record, &serial);
        if (r < 0)
                return r;
        waiter->serial = serial;
        waiter->next = store->waiters;
        store->waiters = steal_ptr(waiter);
        arm_deadline(store);
        return 0;
}

void store_settle(struct store *store) {
        worker_settle(store->workers[PERSIST_OWNER]);
}

struct store_counts store_get_counts(struct store *store) {
        struct store_counts counts = { .late = store->late };

        for (int i = 0; i < PERSIST_LEVEL_MAX; i++) {
                struct worker_counts worker = worker_get_counts(store->workers[i]);

                counts.written[i] = worker.written;
                counts.failed[i] = worker.failed;
                counts.history_dropped += worker.history_dropped;
                counts.history_waiting += worker.history_waiting;
                counts.reserve_spent = counts.reserve_spent || worker.reserve_spent;
        }
        return counts;
}

/* ---- history ---- */

static void add_event(struct store *store, enum history_line_kind kind, const struct history_event *event,
                      const char *pair, const char *text) {
        struct history_line *line = calloc(1, sizeof(*line));

        if (!line)
                return worker_count_dropped(store->workers[PERSIST_OWNER]);
        line->kind = kind;
        line->event = *event;
        snprintf(line->event.pair, sizeof(line->event.pair), "%s", pair ?: "");
        snprintf(line->event.text, sizeof(line->event.text), "%s", text);
        worker_add_line(store->workers[PERSIST_OWNER], line);
}

void store_add_event(struct store *store, const char *pair, enum side side, enum record_kind kind, const char *text) {
        const struct history_event event = { .time_usec = clock_usec(CLOCK_REALTIME), .side = side, .kind = kind };

        add_event(store, HISTORY_EVENT, &event, pair, text);
}

void store_add_told(struct store *store, const char *domain, usec_t realtime_usec, enum record_kind kind,
                    const char *text) {
        const struct history_event event = { .time_usec = realtime_usec, .side = SIDE_INVALID, .kind = kind };

        add_event(store, HISTORY_TOLD, &event, domain, text);
}

usec_t store_get_told(const struct store *store, const char *domain) {
        for (size_t i = 0; i < store->n_told; i++)
                if (strcmp(store->told[i].domain, domain) == 0)
                        return store->told[i].time_usec;
        return 0;
}

/* A flow as history shows it, with the times of the boot clock turned into those of the wall clock. */
static struct history_line *flow_line(const char *pair, const struct flow *flow) {
        struct history_line *line = calloc(1, sizeof(*line));
        usec_t real_usec = clock_usec(CLOCK_REALTIME), boot_usec = clock_usec(CLOCK_BOOTTIME);
        struct history_flow *out;

        if (!line)
                return NULL;
        line->kind = HISTORY_PHASE;
        out = &line->flow;
        snprintf(out->id, sizeof(out->id), "%s-%" PRIu64, pair, flow->number);
        snprintf(out->pair, sizeof(out->pair), "%s", pair);
        snprintf(out->cause, sizeof(out->cause), "%s", flow->cause);
        out->number = flow->number;
        out->kind = flow->kind;
        out->from = flow->from;
        out->to = flow->to;
        out->drill = flow->drill;
        for (int i = 0; i < PHASE_MAX; i++) {
                if (flow->phase_usec[i] == 0)
                        continue;
                out->phase_usec[i] = flow->phase_usec[i] + real_usec - boot_usec;
                if (out->begun_usec == 0 || out->phase_usec[i] < out->begun_usec)
                        out->begun_usec = out->phase_usec[i];
        }
        out->begun_usec = out->begun_usec ?: real_usec;
        return line;
}

void store_add_phase(struct store *store, const char *pair, const struct flow *flow, enum phase phase) {
        struct history_line *line = flow_line(pair, flow);

        if (!line)
                return worker_count_dropped(store->workers[PERSIST_OWNER]);
        if (phase_to_string(phase) && line->flow.phase_usec[phase] == 0)
                line->flow.phase_usec[phase] = clock_usec(CLOCK_REALTIME);
        worker_add_line(store->workers[PERSIST_OWNER], line);
}

void store_end_flow(struct store *store, const char *pair, const struct flow *flow, int result, const char *text) {
        struct history_line *line = flow_line(pair, flow);

        if (!line)
                return worker_count_dropped(store->workers[PERSIST_OWNER]);
        line->kind = HISTORY_END;
        line->flow.ended_usec = clock_usec(CLOCK_REALTIME);
        line->flow.result = result;
        snprintf(line->flow.text, sizeof(line->flow.text), "%s", text);
        worker_add_line(store->workers[PERSIST_OWNER], line);
}

void store_add_drill(struct store *store, const char *pair, const struct drill_result *result) {
        struct history_line *line = calloc(1, sizeof(*line));

        if (!line)
                return worker_count_dropped(store->workers[PERSIST_OWNER]);
        line->kind = HISTORY_DRILL;
        line->drill.result = *result;
        snprintf(line->drill.pair, sizeof(line->drill.pair), "%s", pair);
        worker_add_line(store->workers[PERSIST_OWNER], line);
}

void store_add_explanation(struct store *store, const char *pair, const struct flow *flow, const char *document) {
        struct history_line *line = strlen(document) < HISTORY_EXPLANATION_MAX ? flow_line(pair, flow) : NULL;

        if (line)
                line->explanation = strdup(document);
        if (!line || !line->explanation) {
                history_line_free(line);
                return worker_count_dropped(store->workers[PERSIST_OWNER]);
        }
        line->kind = HISTORY_EXPLANATION;
        worker_add_line(store->workers[PERSIST_OWNER], line);
}

int store_ask_history(struct store *store, const char *pair, const char *failover, size_t max,
                      history_answer_t answered, void *userdata) {
        return store_reader_ask(store->reader, pair, failover, max, answered, userdata);
}
