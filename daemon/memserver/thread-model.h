/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <dlfcn.h>

/*
 * nbdkit from 1.32.4 on, Debian 12's among them, may abort when a client hangs up while several of its requests are
 * under way: a thread that wants to answer asserts that the connection is open, which another one has just closed. The
 * server would end with all its pages. Versions that know nbdkit_parse_delay() have that mended; under others the
 * requests of one connection are carried out one after the other, and a client that wants more at once opens more
 * connections.
 */
static inline int nbdkit_thread_model_here(void) {
        return dlsym(RTLD_DEFAULT, "nbdkit_parse_delay") ? NBDKIT_THREAD_MODEL_PARALLEL
                                                         : NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
}
