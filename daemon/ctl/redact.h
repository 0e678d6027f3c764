/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Leaves secrets out of text that goes to other people. */

/* A copy in which what looks like a secret is "REDACTED": the value after a word such as password, secret, api-key
 * or access-token (with = or : or as the next word), user and password in a URI, and private keys in PEM. Line by
 * line otherwise unchanged. NULL when out of memory. */
char *redact(const char *text);
