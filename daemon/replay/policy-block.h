/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A policy inside a recording: its text as failoverd-policy(5) has it, each line behind a "|". A policy that is in
 * force may hold what no policy's text can say: pairs and applications that were taken out of it while they held
 * memory. Each such pair follows as a text of its own, behind a line "retired pair" or "retired applications".
 */

#include <stdio.h>

#include "daemon/base/buffer.h"
#include "daemon/base/error.h"
#include "policy/policy.h"

/* Appends the block. Returns 0 or -ENOMEM. */
int policy_block_write(struct buffer *out, const struct policy *policy);
/* The same for a policy whose own text is in a file beside the recording: only what was taken out of it. */
int policy_block_write_beside(struct buffer *out, const struct policy *policy);
/* The whole as a file, whose beginning is the policy's own text. Returns 0 or -ENOMEM. */
int policy_block_write_whole(FILE *f, const struct policy *policy);
/* Reads that, or a policy's own text. -EBADMSG with the first reason, -ENOMEM. */
int policy_block_parse_whole(const char *text, size_t n, struct policy **ret, struct error *error);
/* The policy's own text, as a file for people. Returns 0 or -ENOMEM. */
int policy_block_write_file(FILE *f, const struct policy *policy);

/* Reads what stands between "|" and newline on the lines of one text as a policy. It was in force: what a new one would
 * be refused for is taken where that is possible. -EBADMSG with the first reason. */
int policy_block_parse(const char *lines, size_t n, struct policy **ret, struct error *error);
/* Adds what a text behind "retired applications" (or "retired pair": `whole`) says to a policy. -EBADMSG, -ENOMEM. */
int policy_block_parse_retired(struct policy *policy, bool whole, const char *lines, size_t n, struct error *error);
