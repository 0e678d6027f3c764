/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/faulty-heap.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The real heap: a sanitizer's where there is one. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__interceptor_malloc(size_t size) __attribute__((weak));
extern void *__interceptor_calloc(size_t n, size_t size) __attribute__((weak));
extern void *__interceptor_realloc(void *old, size_t size) __attribute__((weak));

static atomic_uint turn;  /* allocations until one fails; 0: none does */
static atomic_bool failed; /* in this run */
static atomic_bool counts_all;
static _Thread_local bool counts;
static _Thread_local enum heap_spare spared;
static enum heap_lack lack;
static const char *trace; /* file to be made when an allocation fails */

/* An allocation is met: does it fail? */
static bool fails(bool grows) {
        unsigned left = atomic_load(&turn);

        if ((!counts && !atomic_load(&counts_all)) || spared == HEAP_SPARE_ALL || (spared == HEAP_SPARE_NEW && !grows))
                return false;
        do {
                if (left == 0)
                        return false;
                if (left == 1 && lack == HEAP_LACK_LARGE)
                        break;
        } while (!atomic_compare_exchange_weak(&turn, &left, left - 1));
        if (left > 1)
                return false;
        atomic_store(&failed, true);
        if (trace)
                close(open(trace, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        errno = ENOMEM;
        return true;
}

bool heap_meet(void) {
        return fails(false);
}

void *malloc(size_t size) {
        if (fails(false))
                return NULL;
        return __interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
        if (fails(false))
                return NULL;
        return __interceptor_calloc ? __interceptor_calloc(n, size) : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
        if (fails(true))
                return NULL;
        return __interceptor_realloc ? __interceptor_realloc(old, size) : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t n, size_t size) {
        size_t bytes;

        if (__builtin_mul_overflow(n, size, &bytes)) {
                errno = ENOMEM;
                return NULL;
        }
        return realloc(old, bytes);
}

/* A sanitizer's own would not come by here. */
char *strndup(const char *text, size_t most) {
        size_t n = strnlen(text, most);
        char *copy = malloc(n + 1);

        if (!copy)
                return NULL;
        memcpy(copy, text, n);
        copy[n] = 0;
        return copy;
}

char *strdup(const char *text) {
        return strndup(text, PTRDIFF_MAX);
}

/* A sanitizer asks it in each thread that begins, and does not survive that it fails. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr) {
        int (*real)(pthread_t, pthread_attr_t *), r;
        enum heap_spare before = spared;

        spared = HEAP_SPARE_ALL;
        *(void **) &real = dlsym(RTLD_NEXT, "pthread_getattr_np");
        r = real ? real(thread, attr) : ENOSYS;
        spared = before;
        return r;
}

void heap_fail_from_environment(void) {
        const char *nth = getenv("HEAP_FAIL");

        if (!nth)
                return;
        trace = getenv("HEAP_FAILED");
        heap_begin(true);
        atomic_store(&turn, (unsigned) strtoul(nth, NULL, 10));
}

void heap_begin(bool every_thread) {
        counts = true;
        atomic_store(&counts_all, every_thread);
}

void heap_spare(enum heap_spare spare) {
        spared = spare;
}

bool heap_end(void) {
        counts = false;
        atomic_store(&counts_all, false);
        return atomic_load(&failed);
}

unsigned heap_fail_each(void (*run)(void), enum heap_lack most) {
        const char *text = getenv("HEAP_EVERY");
        unsigned n = 0, every = text ? (unsigned) strtoul(text, NULL, 10) : 1;

        for (lack = 0; lack <= most; lack++)
                for (n = 1;; n += every ? every : 1) {
                        atomic_store(&failed, false);
                        atomic_store(&turn, n);
                        run();
                        atomic_store(&turn, 0);
                        if (!atomic_load(&failed))
                                break;
                }
        return n - 1;
}
