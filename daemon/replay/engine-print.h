/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parts of an engine in words, as simulations and replays end with them. */

#include <stdio.h>

#include "daemon/core/engine.h"

/* The resource management table. */
void engine_print_table(const struct engine *engine, FILE *f);
/* A pair's state, and why it is not armed. */
void engine_print_pair(const struct pair *pair, FILE *f);
/* A pair's applications: who owns them, and what each side's agent said last. */
void engine_print_applications(const struct pair *pair, FILE *f);
