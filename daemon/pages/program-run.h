/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/pages/program.h"

/* Becomes the program, with these arguments (NULL at the end, the first its name) and this process's everything else.
 * A process of its own fetches the pages, and ends after it. Returns only where the program was not started. */
int program_run(const struct program_job *job, const char *name, char *const *arguments, struct error *error);
