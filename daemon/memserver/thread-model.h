/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <dlfcn.h>

/*
 * nbdkit from 1.32.4 on, Debian 12's among them, may abort when a client hangs up while several of its requests are
 * under way. A worker whose answer cannot be sent closes the sending side and forgets its descriptor; another one that
 * has found the connection open and waits for its turn to send asserts in raw_send_socket() that there is one. Between
 * that look and that assertion no plugin is asked anything, so none can keep it from happening, and the server would
 * end with all its pages. Versions that know nbdkit_parse_delay() have that mended; under others the requests of one
 * connection are carried out one after the other, and a client that wants more at once opens more connections.
 *
 * On one host that loses little: a thread that has a connection for itself wakes nobody, where several that take turns
 * at one socket wake each other. With them, a pager's answer to a lone request took twice as long, and 16 reads at once
 * were a seventh faster, saves not at all. It is over a network that they would pay.
 */
static inline int nbdkit_thread_model_here(void) {
        return dlsym(RTLD_DEFAULT, "nbdkit_parse_delay") ? NBDKIT_THREAD_MODEL_PARALLEL
                                                         : NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
}
