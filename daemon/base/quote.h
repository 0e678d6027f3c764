/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#define QUOTE_LEN 44 /* 40 characters, "...", NUL */

/* Up to 40 characters of a text from outside, for a message: what cannot be printed is replaced by "?", and what is
 * cut off by "...". Returns `buffer`. */
const char *text_quote(const char *text, size_t length, char buffer[static QUOTE_LEN]);
