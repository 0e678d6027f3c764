/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/diagnostics.h"
#include "policy/policy.h"

#define KNOWN_DOMAINS_REASON_LEN 256

/* Asks libvirt which of the domains that `policy` names it does not know, and which that stand alone can write to a
 * disk, and adds an error for each to `d`, at its place in `text`, of `n_text` bytes, from which the policy was parsed.
 * libvirt has some seconds to answer. Returns how many errors there are, or a negative errno with the reason in
 * `reason` where it did not tell. */
int known_domains_check(const struct policy *policy, const char *text, size_t n_text, struct diagnostics *d,
                        char reason[static KNOWN_DOMAINS_REASON_LEN]);
