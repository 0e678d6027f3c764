/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Reads history for whoever asks, each question in a thread with a connection of its own: a disk that stalls keeps
 * those waiting who ask, and not the loop.
 */

#include <systemd/sd-event.h>

#include "daemon/host/store/store-history.h"

#define READER_QUESTIONS_MAX 8 /* that may wait for the disk */

struct store_reader;

/* `rows` are valid during the call; NULL where `result` is negative. */
typedef void (*history_answer_t)(void *userdata, int result, const struct history_rows *rows);

/* For the database at `path`, and the evidence below `evidence_dir`; that and `vfs` may be NULL. */
int store_reader_new(sd_event *loop, const char *path, const char *evidence_dir, const char *vfs,
                     struct store_reader **ret);
/* Questions that wait are answered with -ECANCELED. Takes NULL; returns NULL. */
struct store_reader *store_reader_free(struct store_reader *reader);

/* As store_ask_history(). */
int store_reader_ask(struct store_reader *reader, const char *pair, const char *failover, size_t max,
                     history_answer_t answer, void *userdata);
