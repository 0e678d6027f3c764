/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A heap that runs out: linking this puts malloc, calloc and realloc of the test program in front of the C library's
 * (or a sanitizer's), so that also what strdup(), asprintf(), open_memstream() and the libraries ask for is met.
 * Between heap_begin() and heap_end() allocations are counted, and the one whose turn it is fails.
 */

#include <stdbool.h>

enum heap_lack {
        HEAP_LACK_ONE,   /* one allocation fails, the next succeeds again */
        HEAP_LACK_LARGE, /* from that one on every allocation fails */
        HEAP_LACK_MAX,
};

/* Calls `run` with the first allocation failing, then with the second, and so on, until none was left to fail; for
 * each kind of lack up to `most`. `run` brackets what is looked at with heap_begin() and heap_end(), more than once if
 * it likes. Returns how many allocations there were to fail. HEAP_EVERY=N in the environment takes one in N. */
unsigned heap_fail_each(void (*run)(void), enum heap_lack most);

/* For a program that is run with HEAP_FAIL=N in its environment: its Nth allocation fails, and leaves the file
 * HEAP_FAILED behind. What it forks and executes is spared. */
void heap_fail_from_environment(void);

/* Allocations of this thread, or of `every_thread`, count from here to heap_end(). */
void heap_begin(bool every_thread);
/* Counts as an allocation; true if it fails. For a library's function that fails as a whole. */
bool heap_meet(void);
/* What does not count for a while: for calls of a library that does not survive it. */
enum heap_spare {
        HEAP_SPARE_NONE,
        HEAP_SPARE_NEW, /* all but what grows (realloc) */
        HEAP_SPARE_ALL,
};
void heap_spare(enum heap_spare spare);
/* Returns true if an allocation has failed in this run, in this bracket or an earlier one. */
bool heap_end(void);
