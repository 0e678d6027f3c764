/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

/* Closes a stream of open_memstream(), which may be NULL. Returns 0 and leaves the caller the whole text, or -ENOMEM
 * with `*text` NULL: without a look, the C library hands out a text that is cut off, or none. */
int memstream_close(FILE *stream, char **text);
