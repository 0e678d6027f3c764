/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The local end of a space on memory servers (T, I): a large memory of which every page is at a server, or nowhere.
 *
 * The pager opens its space at the first server that takes it, has it mirrored at a second one, and speaks to the
 * primary alone. When that is lost, the mirror is promoted, becomes the primary, and is given a mirror in turn.
 * Requests wait meanwhile. Where no server can be had for as long as its patience, or all have answered and none has
 * the space, its pages are lost, and are I/O errors: those that were at a server, and no others. It goes on with a new
 * space as soon as a server takes one.
 *
 * What a request needs is decided under one lock, and the request itself is on its way without it.
 */

#include "agents/pager/page-map.h"
#include "agents/pager/pager-state.h"
#include "daemon/base/error.h"
#include "daemon/base/units.h"
#include "daemon/memserver/space.h"

struct pager;

struct pager_server {
        const char *control; /* path of its control socket */
        const char *uri;     /* its NBD URI, without an export name */
};

/* Strings and arrays outlive the pager. */
struct pager_options {
        struct space_name name;
        uint64_t size_bytes;
        struct pager_server servers[PAGE_HOLDERS_MAX];
        size_t n_servers;
        bool mirror;
        bool asked; /* a space that an earlier pager has left is gone on with, else it is dropped */
        bool resume; /* and where nothing of one is found, there is no pager: whoever uses it has pages */
        bool keep;  /* the space is left behind at the end */
        usec_t deadline_usec; /* for an answer of a server */
        usec_t patience_usec; /* how long requests wait for a server to come back */
        unsigned n_connections;
        uint64_t bandwidth_bytes; /* a second; 0: no limit */
        uint64_t fill_rate_bytes; /* a second, of a new mirror */
        const char *psk_file, *certificates; /* TLS; NULL: none */
        bool tls_required;                   /* other than over unix sockets */
        const char *status_path;             /* file that says how it is; NULL: none */
        void (*tell)(const struct space_name *name, enum pager_event event, const char *text); /* may be NULL */
};

/* Opens the space; spaces of that name that nobody uses are gone on with, or dropped first. -EEXIST where one is in
 * use, -EAGAIN where it is not sure what an earlier pager has left, and what the last server answered where none takes
 * it. */
int pager_new(const struct pager_options *options, struct pager **ret, struct error *error);
/* No request is under way. Drops the space, at each server that answers, unless it is to be kept. */
struct pager *pager_free(struct pager *pager);
/* Has the space moved to another server, from 1, when that can be begun: then it goes on there by itself. */
void pager_move(struct pager *pager, unsigned server);
/* The pages that are held: `found` is called for each stretch. Before requests come. */
void pager_list(struct pager *pager, void (*found)(void *userdata, uint64_t offset, uint64_t length), void *userdata);

/* A client came (1) or went (-1): the status says how many there are. */
void pager_count_client(struct pager *pager, int change);
/* Requests, inside the space; any number of threads may call at once. -EIO where a page is lost, or where there is no
 * server, -EPERM where the pager was fenced, and what a server answers (-ENOSPC where it is full). */
int pager_read(struct pager *pager, void *buffer, uint64_t length, uint64_t offset);
int pager_write(struct pager *pager, const void *buffer, uint64_t length, uint64_t offset);
int pager_trim(struct pager *pager, uint64_t length, uint64_t offset);
int pager_flush(struct pager *pager);
/* Whether the page at `offset` is anywhere, and for how many bytes, at most `length`, that is so. */
bool pager_extent(struct pager *pager, uint64_t length, uint64_t offset, uint64_t *ret_length);

/* How it is. Servers are counted from 1; 0: there is none. */
struct pager_view {
        enum pager_state state;
        unsigned primary, mirror, moving_to;
        int mirror_state; /* enum copy_state */
        uint64_t n_takeovers, n_moves, held_bytes, unclean_bytes, lost_bytes, saved_bytes, returned_bytes;
};

void pager_look(struct pager *pager, struct pager_view *ret);
bool pager_is_serving(struct pager *pager);
