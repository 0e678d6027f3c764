/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A file that says how something is: the text and a newline take the place of what it said before, under another name
 * first, so that nobody reads half of it. A negative errno where it cannot be written. */
int status_file_replace(const char *path, const char *text);
