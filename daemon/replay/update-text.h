/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An update as text, complete: a line for each action, with all that it carries. Two updates are equal where their
 * texts are. */

#include "daemon/base/buffer.h"
#include "daemon/core/update.h"

#define DIGEST_BEGIN UINT64_C(0xcbf29ce484222325)

void action_text_write(struct buffer *out, const struct action *action);
void update_text_write(struct buffer *out, const struct update *update);

/* Takes a text into a running digest (FNV-1a, 64 bits): it tells versions of the engine apart, it proves nothing
 * against whoever wants to deceive. */
uint64_t digest_add(uint64_t digest, const char *text, size_t n);
