/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A client's memory as placement has it (placement.h): at one server, or each page at any of several.
 *
 * Saved fixed, it is one pager's space. Per save, there is a space at each server, a pager's each, which is mirrored
 * and recovers by itself; and the table here says in which of them a page is: its one truth. A page that is saved
 * elsewhere than it was is acknowledged there first, then the table is changed, and then the old copy is trimmed,
 * behind the client's back. Until that is done the page never goes where a copy of it is waiting to be trimmed.
 *
 * Where pages are returned from whoever has them when asked, a space moves to a server that has more room, as long as
 * there is discovery to tell of one; and a spread that begins anew finds the pages that an earlier one has left. Of a
 * page with two copies it could not know which is the latest: so then no save or trim is acknowledged before its old
 * copy is gone.
 */

#include "agents/pager/pager.h"
#include "agents/pager/placement.h"

struct spread;

struct spread_options {
        struct pager_options pager; /* the servers are the holders */
        enum placement_save save;
        enum placement_return returned;
        enum placement_decider decided;
        const char *discovery, *discovery_key; /* as decider.h's address and key file; NULL: none */
        void (*warn)(const char *text);        /* may be NULL */
};

/* Errors as of pager_new(). */
int spread_new(const struct spread_options *options, struct spread **ret, struct error *error);
/* No request is under way. Drops the spaces, at each server that answers. */
struct spread *spread_free(struct spread *spread);

/* A client came (1) or went (-1): see pager.h. */
void spread_count_client(struct spread *spread, int change);
/* As in pager.h. -ENOSPC where no server has room. */
int spread_read(struct spread *spread, void *buffer, uint64_t length, uint64_t offset);
int spread_write(struct spread *spread, const void *buffer, uint64_t length, uint64_t offset);
int spread_trim(struct spread *spread, uint64_t length, uint64_t offset);
int spread_flush(struct spread *spread);
bool spread_extent(struct spread *spread, uint64_t length, uint64_t offset, uint64_t *ret_length);
