/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The plain files beside the databases: markers, the reserve and the lock. All are mode 0600. */

#include <stdbool.h>
#include <stddef.h>

/* A directory of ours, created with mode 0700 where missing (its parent has to be there). */
int directory_prepare(const char *path);

/* Writes a short file and syncs it and its directory, so that it is there after power loss. */
int marker_write(const char *path, const char *text);
/* 1 and the first line, 0 where there is no such file. */
int marker_read(const char *path, char *buffer, size_t size);

/* Space kept for ownership writes on a full disk. `make` returns 0 also where it is there already. */
#define RESERVE_BYTES (1024 * 1024)
int reserve_make(const char *path);
int reserve_release(const char *path);

/* Takes a lock that lasts as long as the returned descriptor; -EBUSY while another process has it. */
int lock_take(const char *path);

/* "NAME" or "NAME.damaged-SECONDS" and what SQLite keeps beside it: renamed, or removed where `to` is NULL. */
int database_move(const char *from, const char *to);
