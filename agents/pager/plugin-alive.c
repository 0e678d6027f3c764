/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/pager/plugin.h"
#include "daemon/base/cleanup.h"

/* A record lock, since that tells who asks which process has it, also where they are of different users. It ends with
 * the process, however that ends, and with nothing else: the descriptor stays open and no other one is opened. */
int plugin_lock_alive(const char *path) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);

        if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0) {
                bool taken = fd >= 0 && (errno == EAGAIN || errno == EACCES);

                nbdkit_error("alive=%s: %s", path, taken ? "another pager has it" : strerror(errno));
                return -1;
        }
        (void) steal_fd(&fd);
        /* nbdkit 1.32 asks for a signal when its parent ends, also without --exit-with-parent: a pager outlives whoever
         * started it. */
        (void) prctl(PR_SET_PDEATHSIG, 0);
        return 0;
}
