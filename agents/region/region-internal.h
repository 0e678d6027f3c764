/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A region's parts: its page table and memory here; who waits for pages (region-fault.c, kinds 1 and 2); what was
 * stored and has to get to the other end (region-write.c); filling all at once (region-fill.c). All share one lock,
 * which no other region has. Whoever holds it calls no channel; a channel's answers take it.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "agents/region/failover-region.h"
#include "agents/region/region-channel.h"
#include "agents/region/region-table.h"

#define CHUNK_PAGES 64 /* of one request */
#define CHUNK_BYTES (CHUNK_PAGES * REGION_PAGE_BYTES)
#define RETRY_MIN_USEC (20 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (500 * USEC_PER_MSEC)
#define FENCED_TEXT "the right to write to it was taken away: another one has it now"
#define STREAMS_MAX 4 /* sequential readers at a time that read-ahead is kept for */

struct fetch;
struct stream;

struct read_ahead {
        uint64_t next;   /* page after the last that was fetched for it */
        uint64_t window; /* pages */
        uint64_t used;   /* when: the oldest makes room */
};

struct failover_region {
        struct region_source source;
        pid_t pid; /* its memory and its threads are that process's */
        int kind;
        bool write, atomic, user_only;
        uint64_t size_bytes;
        uint64_t mapped_bytes; /* whole pages */
        char *data;

        pthread_mutex_t lock;
        pthread_cond_t changed; /* pages came or failed, something was written */
        struct region_table table;
        struct failover_region_statistics statistics;

        /* kinds 1 and 2 */
        int uffd, event_fd, nothing_fd;
        bool faulting; /* its thread runs */
        pthread_t fault_thread;
        struct region_channel reading;
        struct fetch *fetches; /* under way or to be asked again */
        struct fetch *spare;   /* as many as n_spare, to be used again */
        unsigned n_spare;
        struct read_ahead streams[STREAMS_MAX];
        uint64_t clock; /* of their use */
        uint64_t wish_first, wish_n; /* pages that a prefetch wants */
        uint64_t n_failures;         /* fetches that nobody waited for included */
        int failure;                 /* why the last one failed */
        uint64_t resident_pages;     /* most; 0: no limit */
        uint64_t hand;               /* where to look next for a page that can go */
        usec_t retry_usec, retry_at_usec; /* next attempt to make the channel */
        _Atomic bool stopping;

        /* open for writing */
        bool writing; /* its thread runs */
        pthread_t write_thread;
        struct region_channel written;
        pthread_cond_t to_write;
        char *shadow;        /* kinds 3, 4: what the other end has, or is being sent */
        char *staging;       /* kinds 1, 2: what is being sent */
        uint64_t flush_wanted, flush_done; /* numbers of passes */
        int flush_result;
        bool unflushed, closing;
        _Atomic bool fenced;               /* the other end refused it: others write now */

        /* open for writing, at a holder that takes reports */
        bool reporting; /* its thread runs */
        pthread_t report_thread;
        struct region_channel reports;
        pthread_cond_t to_report;
        bool report_over;
        struct channel *telling; /* that a report is under way over; NULL: none is */
        unsigned char *stored;   /* kinds 3, 4: bits of pages that were seen to differ from the shadow */
        uint64_t n_stored, look_at;

        /* since when it fails without a break, CLOCK_BOOTTIME, and how: writing, and reports */
        struct region_trouble {
                int code; /* 0: it does not */
                usec_t since_usec;
        } writing_trouble, holder_trouble;
        usec_t taken_usec; /* when the other end took stores last, CLOCK_BOOTTIME */

        struct stream *stream; /* NULL: it is none */
};

/* region-fault.c: -errno, with what failed before undone by region_fault_stop(). */
int region_fault_start(struct failover_region *region, const struct failover_region_options *options,
                       struct error *error);
void region_fault_stop(struct failover_region *region);
/* Wakes its thread. */
void region_fault_kick(struct failover_region *region);
int region_fault_prefetch(struct failover_region *region, uint64_t first, uint64_t n, struct error *error);
int region_fault_refresh(struct failover_region *region, struct error *error);

/* region-write.c */
/* The connection that stores go over. */
int region_write_connect(struct failover_region *region, struct error *error);
int region_write_start(struct failover_region *region, struct error *error);
/* Writes back what there is, and ends its thread. */
int region_write_stop(struct failover_region *region);
int region_write_flush(struct failover_region *region, struct error *error);

/* region-report.c: tells the holder what is counted here, in a thread that nothing else waits for. */
int region_report_start(struct failover_region *region, struct error *error);
/* Has it end, also in the middle of a report, which region_report_stop() waits for. */
void region_report_finish(struct failover_region *region);
void region_report_stop(struct failover_region *region);
/* With the lock held: it went so, this time. */
/* What has to be written, as far as it has been seen. With the lock held. */
uint64_t region_dirty_bytes(const struct failover_region *region);
void region_trouble_note(struct region_trouble *trouble, int r);
/* As a program is told: not there, in whatever way, is -ENOTCONN; what the other end answers is another thing. */
int region_trouble_code(int r);
/* 0, or what is wrong with the way to the other end. */
int region_check(struct failover_region *region, struct error *error);

/* region-stored.c: with the lock held. */
int region_stored_init(struct failover_region *region);
void region_stored_deinit(struct failover_region *region);
/* At some of the region, and lets the lock go in between. */
void region_stored_look(struct failover_region *region);
/* A write-back has come by that page, and took it where it was stored to: it counts as dirty then, and not twice. With
 * the lock held. */
void region_stored_taken(struct failover_region *region, uint64_t page);

/* region-fill.c: reads all of the region into `to`. */
int region_fill(struct region_channel *channel, char *to, uint64_t size_bytes, struct error *error);

/* region-error.c: what failover_region_error() tells in this thread; returns the error's code and empties it. */
int region_error_keep(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
