/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * All that the engine remembers, as text, and back: what a recording begins with, so that it can begin at any instant.
 *
 *   policy                            where there is one; its block and those of what was taken out of it follow
 *                                     ("policy beside": it is in the file policy.yaml beside the recording)
 *   engine ready=1 now_usec=...
 *   row 0 name="monitor" ...          the table, row by row
 *   pair 0 slot=0 state=armed ...     each pair by its slot; its policy is found by record.pair
 *   pair 0 members[1].detector nonce=12 ...
 *   handover 0 1 from=a ...           application 1's of the pair in slot 0, where there is one
 *   range 0 1 span.end=134217728 ...  of its rights, each; so "granule" and "mean" of its early release
 *   end
 */

#include "daemon/base/buffer.h"
#include "daemon/core/engine.h"
#include "daemon/replay/layout.h"

/* `policy_text` is the line "policy" and what policy_block_write() gave for the engine's policy, or "policy beside" and
 * what policy_block_write_beside() gave; ignored where there is no policy. */
void snapshot_write(struct buffer *out, const struct engine *engine, const struct buffer *policy_text);

/* A snapshot that is being read, line by line. */
struct snapshot_reader {
        struct engine *engine; /* owned until snapshot_reader_finish() */
        int n_pairs;           /* for which there is a place */
        struct layout_reading *reading;
};

/* Begins with a policy (taken over, may be NULL). -ENOMEM. */
int snapshot_reader_init(struct snapshot_reader *reader, struct policy *policy, struct layout_reading *reading);
void snapshot_reader_deinit(struct snapshot_reader *reader);
/* Takes one line, without its newline: as above. */
int snapshot_reader_line(struct snapshot_reader *reader, const char *line, struct error *error);
/* At "end": everything that the engine relies on is made sure, and the engine handed out. */
int snapshot_reader_finish(struct snapshot_reader *reader, struct engine **ret, struct error *error);

/* Would this engine be taken for a sound one? 0, or -EBADMSG with what does not hold (snapshot-check.c). */
int snapshot_check(const struct engine *engine, struct error *error);
