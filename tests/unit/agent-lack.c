/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* failover-agent with a heap that runs out, for test-heap-agent: linked with its main(). */

#include "tests/unit/faulty-heap.h"

__attribute__((constructor)) static void begin(void) {
        heap_fail_from_environment();
}
