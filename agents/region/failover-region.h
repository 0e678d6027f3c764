/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FAILOVER_REGION_H
#define FAILOVER_REGION_H

/*
 * Shared regions over dedicated channels: memory whose other end is on another machine, and that a program uses like
 * any other memory. failover-region(3) tells all about it.
 *
 * Sizes and offsets are bytes, times milliseconds. Functions return 0 (or what they say) on success and a negative
 * errno on failure; failover_region_error() then tells more, in the thread that called. Any thread may call anything
 * at any time, but failover_region_close() and failover_share_close() have to be the last calls on their object.
 * Nothing is printed, no signal handler is installed, and the library's threads take no signals.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct failover_region failover_region;
typedef struct failover_share failover_share;

/* The four kinds: what this end is. Virtual memory is filled at the first access, page by page, and stores are on
 * their way at once; real memory is filled before failover_region_open() returns, is locked, never faults afterwards,
 * and what was stored is written back on request, periodically, or at the end. */
enum failover_region_kind {
        FAILOVER_REGION_CONFIGURED = 0,      /* as the configuration says; 1 where there is none */
        FAILOVER_REGION_VIRTUAL = 1,         /* both ends virtual */
        FAILOVER_REGION_VIRTUAL_TO_REAL = 2, /* virtual here, resident at the server */
        FAILOVER_REGION_REAL_TO_VIRTUAL = 3, /* resident here, virtual at the server */
        FAILOVER_REGION_REAL = 4             /* both ends resident */
};

#define FAILOVER_REGION_WRITE 1u    /* stores are allowed; without it they are SIGSEGV */
#define FAILOVER_REGION_LAZY 2u     /* kinds 1, 2: ask for the name and set the channel up at the first access only */
#define FAILOVER_REGION_UNLOCKED 4u /* kinds 3, 4: go on where the memory cannot be locked */

struct failover_region_options {
        size_t options_size;       /* sizeof(struct failover_region_options) */
        int kind;                  /* enum failover_region_kind */
        unsigned flags;            /* FAILOVER_REGION_* */
        uint64_t size;             /* 0: as configured, or as large as the server's end; needed with LAZY and a
                                    * name that only the name server knows */
        const char *uri;           /* of the server's end (NBD); NULL: the one of that name in the configuration,
                                    * or what the name server says */
        const char *names;         /* socket of the name server; NULL: $FAILOVER_NAMES, or failoverd's own */
        const char *psk_file;      /* TLS with pre-shared keys, for nbds: URIs; NULL: none */
        const char *certificates;  /* TLS with certificates, a directory; NULL: none */
        uint64_t bandwidth;        /* bytes a second; 0: as configured, else no limit */
        uint32_t deadline;         /* of an access, a flush's next answer, a connection; 0: as configured, else 5000 */
        uint32_t write_back;       /* kinds 3, 4: write back so often; 0: as configured, else on request and at close */
        uint64_t resident;         /* kinds 1, 2: so much of it is kept here at most, the oldest goes; 0: no limit */
        int userfaultfd;           /* kinds 1, 2: an open /dev/userfaultfd; 0: $FAILOVER_USERFAULTFD_FD, the device, or
                                    * the system call */
        uint32_t buffers;          /* 2 to 16: the region is a stream's window, with so many real buffers behind it */
};

#define FAILOVER_REGION_OPTIONS_INIT \
        { sizeof(struct failover_region_options), 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0 }

/* Opens the region `name`; `options` may be NULL. -ENOENT where nobody has that name, -EBUSY where another one writes
 * to it, -ETIMEDOUT, -EPERM where it was refused or its memory cannot be locked, -ENOTCONN, -ERANGE for a size beyond
 * the server's, -EINVAL, -ENOMEM. Close it with failover_region_close(). */
int failover_region_open(const char *name, const struct failover_region_options *options, failover_region **ret);

/* Its memory, until it is closed; page-aligned. Not inherited over fork(). */
void *failover_region_data(failover_region *region);
uint64_t failover_region_size(failover_region *region);
/* Whether a write-back is applied at the other end whole or not at all. */
int failover_region_atomic(failover_region *region);

/* Returns when all that was stored before the call is at the other end (and on its mirror, where it has one). -EPERM
 * where the right to write was taken away, -ENOTCONN where the other end was lost or does not answer, or what it
 * answered (it is tried again later). Waits as long as each answer comes within the deadline after the one before. */
int failover_region_flush(failover_region *region);

/* Whether what is stored gets to the other end, without waiting for anything: -EPERM where the right to write was taken
 * away, -ENOTCONN where the other end was lost and nothing has got through since, or what it answered (it is tried
 * again), as far as is known: by the last write-back, and where the region came with the program's start by its holder,
 * which is heard every two seconds. 0: nothing is wrong. */
int failover_region_check(failover_region *region);

/* Brings pages in, before they are accessed. -ERANGE, or as an access would fail. */
int failover_region_prefetch(failover_region *region, uint64_t offset, uint64_t length);

/* Forgets what is here and was not stored to, so that the next access sees what the other end has now; kinds 3 and 4,
 * if not open for writing, are filled anew. Accesses that failed may succeed again. No thread may access the region
 * meanwhile. */
int failover_region_refresh(failover_region *region);

/* A stream's reader: the next block is in the window, when it has come. The data's address stays the same. -ETIMEDOUT
 * where none came within the deadline (the old one stays), -EPIPE where the writer has ended, -EINVAL for no stream. */
int failover_region_flip(failover_region *region);

/* Writes back and lets the region go, also where it fails: NULL is allowed. What could not be written back is lost, and
 * the error says so. */
int failover_region_close(failover_region *region);

struct failover_region_statistics {
        uint64_t faults;         /* accesses that had to wait for a page */
        uint64_t joined;         /* of these, on pages that were on their way already */
        uint64_t fetches;        /* requests for pages, read-ahead included */
        uint64_t fetched;        /* bytes */
        uint64_t stores_seen;    /* first stores to pages since they were written */
        uint64_t written;        /* bytes */
        uint64_t flushes;        /* write-backs that were confirmed */
        uint64_t resident;       /* bytes */
        uint64_t dirty;          /* bytes that have to be written, as far as that has been seen */
        uint64_t errors;         /* accesses that ended as SIGBUS */
        uint64_t channels;       /* set up, the first one included */
        uint64_t blocks;         /* flips */
        uint64_t stalls;         /* flips that had to wait */
};

/* `size` is that of the caller's struct; what this library does not know is 0. */
int failover_region_get_statistics(failover_region *region, struct failover_region_statistics *ret, size_t size);

#define FAILOVER_SHARE_WRITE 1u /* clients may write, one at a time */

struct failover_share_options {
        size_t options_size;    /* sizeof(struct failover_share_options) */
        int kind;               /* 2, 4: a file is read into resident memory at once; 1, 3: it is mapped */
        unsigned flags;         /* FAILOVER_SHARE_* */
        uint64_t size;          /* without a file, needed */
        const char *file;       /* what is shared; NULL: memory that begins as zeroes */
        const char *socket;     /* unix socket to listen at; NULL: one in a private directory */
        const char *port;       /* TCP port in place of a socket; "0" is not allowed */
        const char *host;       /* under which clients reach the port, for the name server; NULL: localhost */
        const char *psk_file;   /* with a port: only clients with one of these keys, over TLS */
        const char *names;      /* name server's socket; NULL: as for a region; "": the name is not registered */
        uint32_t deadline;      /* 0: 5000 */
        uint32_t buffers;       /* 2 to 16: a stream of blocks of `size` with so many buffers */
};

#define FAILOVER_SHARE_OPTIONS_INIT \
        { sizeof(struct failover_share_options), 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0 }

/* Shares memory or a file under a name, for as long as the share is open and the program lives: a server process of the
 * program's own (nbdkit) has the same memory. -EADDRINUSE, -ENOENT, -EPERM where the name server refused, -EINVAL,
 * -ENOMEM. */
int failover_region_share(const char *name, const struct failover_share_options *options, failover_share **ret);

/* What is shared; the program may use it at the same time as its clients. For a stream, the block to be filled next. */
void *failover_share_data(failover_share *share);
uint64_t failover_share_size(failover_share *share);
/* Where clients reach it. It holds the capability: whoever knows it may use the region. Valid until the share is
 * closed. */
const char *failover_share_uri(failover_share *share);
/* Whether clients find it, without waiting for anything: -EPERM where its name is refused now, as where another program
 * got it while the name server was away, -ENOTCONN where that does not answer (both are tried again) or the share's
 * server has ended. */
int failover_share_check(failover_share *share);
/* A stream's writer: the window's block is published, and the window is the next buffer. Waits while the reader still
 * has all others to read: -ETIMEDOUT where that took longer than the deadline; the block is published then, the window
 * still shows it and may not be stored to, and the next call goes on waiting. -ENOTCONN where its server has ended. */
int failover_share_flip(failover_share *share);
/* Ends it: clients meet errors. A stream's reader is given up to the deadline to read what was published; -EPIPE where
 * it did not. NULL is allowed. */
int failover_share_close(failover_share *share);

/* What the last function that failed in this thread has to say: what, why and what to do. Never NULL; valid until the
 * next call. */
const char *failover_region_error(void);

#ifdef __cplusplus
}
#endif

#endif
