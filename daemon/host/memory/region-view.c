/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/region-view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/helper-client.h"
#include "daemon/host/memory/page-out.h"
#include "daemon/host/memory/qemu-memory.h"
#include "daemon/host/memory/reclaim.h"
#include "daemon/host/memory/usage-reader.h"

#define HELPER_USEC (10 * USEC_PER_SEC)

static void fill_request(struct helper_request *request, const struct reclaim_region *region, enum side side) {
        memcpy(request->domain, region->domains[side], sizeof(request->domain));
        memcpy(request->app, region->app_name, sizeof(request->app));
}

/* ---- looking ---- */

static int open_own(int pid, const char *app, struct region_view *ret) {
        struct memory_block block;
        char path[48];
        int r, fd;

        r = qemu_memory_locate(pid, app, &block);
        if (r < 0)
                return r;
        snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret = (struct region_view) {
                .open = true, .pagemap_fd = fd, .start = block.start, .bytes = block.end - block.start,
        };
        return 0;
}

static int view_open(const char *helper_path, const struct reclaim_region *region, enum side side,
                     struct region_view *ret) {
        struct helper_request request = { .op = HELPER_LOOK };
        struct helper_reply reply;
        int r, fd;

        if (region->pids[side] <= 0)
                return -ESRCH;
        if (!helper_path)
                return open_own(region->pids[side], region->app_name, ret);
        fill_request(&request, region, side);
        r = helper_ask(helper_path, &request, HELPER_USEC, &reply, &fd);
        if (r < 0)
                return r;
        *ret = (struct region_view) { .open = true, .pagemap_fd = fd, .start = reply.start, .bytes = reply.bytes };
        return 0;
}

void region_view_close(struct region_view *view) {
        if (view->open)
                close(view->pagemap_fd);
        view->open = false;
}

bool region_view_look(struct region_view *view, const char *helper_path, const struct reclaim_region *region,
                      enum side side, bool only_empty, struct usage *usage) {
        uint64_t bytes = region->bytes;
        bool known = usage->known[side];
        int r;

        if (!view->open && view_open(helper_path, region, side, view) < 0) {
                usage->known[side] = false;
                return known;
        }
        r = usage_read(view->pagemap_fd, view->start, bytes < view->bytes ? bytes : view->bytes, side, only_empty,
                       usage);
        if (r < 0) {
                region_view_close(view);
                return known;
        }
        return r > 0;
}

/* ---- paging out ---- */

static int page_own_out(int pid, const char *app, uint64_t offset, uint64_t bytes) {
        _cleanup_close_ int pidfd = pidfd_open(pid, 0);
        struct memory_block block;
        int r;

        if (pidfd < 0)
                return -errno;
        r = qemu_memory_locate(pid, app, &block);
        if (r < 0)
                return r;
        if (offset + bytes > block.end - block.start)
                return -ERANGE;
        return page_out(pidfd, block.start + offset, bytes);
}

int region_page_out(const char *helper_path, const struct reclaim_region *region, uint64_t offset, uint64_t bytes) {
        struct helper_request request = { .op = HELPER_PAGE_OUT, .offset = offset, .bytes = bytes };

        if (!helper_path)
                return page_own_out(region->pids[region->from], region->app_name, offset, bytes);
        fill_request(&request, region, region->from);
        return helper_ask(helper_path, &request, HELPER_USEC, NULL, NULL);
}
