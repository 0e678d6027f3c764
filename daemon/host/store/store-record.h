/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Records to rows and back: tables pair, application, flow, flap and last_drill.
 */

#include <sqlite3.h>
#include <stddef.h>

#include "daemon/base/error.h"
#include "daemon/core/record.h"

/* True where a record can be written: a name, enums in their tables, counts within bounds. */
bool record_is_valid(const struct record *record);

/* Replaces the rows of the record's pair, in the transaction that the caller has begun. A negative errno leaves the
 * transaction to be rolled back. */
int record_write(sqlite3 *db, const struct record *record);

/* All records, sorted by name, as an array that the caller frees. -EUCLEAN, with a message that names the row,
 * where one does not make sense. */
int record_read_all(sqlite3 *db, struct record **ret, size_t *ret_n, struct error *error);
