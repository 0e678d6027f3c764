/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A part of a recording as a recording of its own, without the decisions: what a scenario keeps of it. It begins with
 * a snapshot that the replay has come to by then, and its policy is a file beside it.
 */

#include "daemon/base/buffer.h"
#include "daemon/base/error.h"
#include "daemon/base/units.h"
#include "policy/policy.h"

/* Appends the events between two times since the recording's beginning (`until_usec` 0: to its end). `policy` as in
 * struct replay_options. `ret_policy` gets the policy that was in force when the part begins, as a file has it; the
 * caller frees it. -ENODATA where nothing lies between the two, -EBADMSG and -ENOMEM as replay_run(). */
int recording_cut(const char *text, size_t n, usec_t from_usec, usec_t until_usec, const struct policy *policy,
                  struct buffer *out, struct policy **ret_policy, struct error *error);
