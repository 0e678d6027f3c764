/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Writes small files as a whole, off the loop. The old file stays until the new one is complete and safe on disk; a
 * disk that stalls holds nobody up but a thread.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "daemon/base/error.h"
#include "daemon/base/units.h"

struct file_writer;

/* 0, or a negative errno with a text for people. `result` of a write whose time is over is -ETIMEDOUT: the old file is
 * still there, and will stay. */
typedef void (*file_written_t)(void *userdata, int result, const char *text);

int file_writer_new(sd_event *loop, struct file_writer **ret);
/* Does not wait for a write under way: it is finished, or given up with the process. Nobody is told. Takes NULL;
 * returns NULL. */
struct file_writer *file_writer_free(struct file_writer *writer);

/* Begins to write `text` (copied) to `path`, readable as the umask has it. `done` is called from the loop, once, unless
 * this fails; it may begin the next. USEC_INFINITY: without a deadline. -EBUSY while the last write is under way, also
 * one whose time is over. */
int file_writer_begin(struct file_writer *writer, const char *path, const char *text, usec_t timeout_usec,
                      file_written_t done, void *userdata);
