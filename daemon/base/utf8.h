/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* UTF-8, as RFC 3629 has it: shortest form, no surrogates, nothing past U+10FFFF. */

#include <stddef.h>

/* Length of the character at `p`, of which `n` bytes, at least one, may be read; 0 where there is none. */
size_t utf8_length(const unsigned char *p, size_t n);
/* Each byte that is of no character becomes "?": a text that was cut to a size may end, or go on, in the middle of one,
 * and D-Bus and JSON refuse that. */
void utf8_mend(char *text);
