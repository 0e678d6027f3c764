/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts a detached thread that takes no signals: they are the loop's. Returns 0 or a negative errno. */
int thread_start(void *(*run)(void *userdata), void *userdata);
