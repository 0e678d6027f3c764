/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Scope-bound ownership. A local that owns something carries _cleanup_(f) and is moved out with steal_ptr()
 * or steal_fd() on success, so that every early return releases exactly what it holds.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/* Defines fp(): calls `f` on the pointed-to pointer unless it is NULL. For types whose x_free() takes the
 * object. */
#define DEFINE_CLEANUP(type, f)              \
        static inline void f##p(type *p) {   \
                if (*p)                      \
                        f(*p);               \
        }

static inline void freep(void *p) {
        free(*(void **) p);
}

static inline void closep(int *fd) {
        if (*fd >= 0)
                close(*fd);
}

static inline void fclosep(FILE **f) {
        if (*f)
                fclose(*f);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

#define steal_ptr(p)                         \
        ({                                   \
                typeof(p) _stolen = (p);     \
                (p) = NULL;                  \
                _stolen;                     \
        })

static inline int steal_fd(int *fd) {
        int r = *fd;

        *fd = -1;
        return r;
}

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
