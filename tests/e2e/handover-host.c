/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What failoverd does on the host while a region changes hands between two VMs, without failoverd: for tests in places
 * where libvirt is too much.
 *
 *   handover-host HELPER_SOCKET OLD_USER PID NEW_USER PID REGION_MIB SYSTEM_MIB
 *
 * The region of application "db" is on its way as soon as it starts. It prints how much each has of it, in MiB, and
 * what protects each ("usage 96 0", "OLD_USER: protected: ..."), whenever that changes, until its standard input is
 * closed: then the region has been handed over, and it ends. Lines from there are
 *
 *   out            all that the old user has of the region is paged out; it prints what came of that ("paged out: 0")
 *   parts          it prints what of the region each has in memory and what is paged out, in MiB
 *                  ("OLD_USER: 3 in memory, 41 paged out")
 *   pool NAME MIB  the group of this name above both gets this hard limit; it prints what is in force ("pool: ...")
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/handover.h"
#include "daemon/core/update.h"
#include "daemon/host/memory/reclaim.h"
#include "daemon/host/memory/resident.h"

#define PRINT_USEC (200 * USEC_PER_MSEC)

struct host {
        sd_event *loop;
        struct reclaim *reclaim;
        struct reclaim_region region;
        struct shares_vm vms[SIDE_MAX];
        uint64_t seen_mib[SIDE_MAX];
        char protections[SIDE_MAX][SHARES_TEXT_LEN], pool[POOL_LIMIT_TEXT_LEN];
};

static void on_event(void *userdata, const struct event *event) {
        struct host *host = userdata;
        bool changed = false;

        if (event->kind == EVENT_RECLAIM)
                printf("reclaim %s: %s\n", event->up ? "able" : "unable", event->text);
        if (event->kind == EVENT_DONE)
                printf("paged out: %d\n", event->result);
        if (event->kind != EVENT_USAGE)
                return;
        for (enum side side = 0; side < SIDE_MAX; side++) {
                uint64_t pages = 0;

                for (unsigned i = 0; i < event->usage->n_extents; i++)
                        pages += event->usage->pages[side][i];
                changed |= pages * USAGE_PAGE_BYTES / MIB != host->seen_mib[side];
                host->seen_mib[side] = pages * USAGE_PAGE_BYTES / MIB;
        }
        if (changed)
                printf("usage %u %u\n", (unsigned) host->seen_mib[SIDE_A], (unsigned) host->seen_mib[SIDE_B]);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        struct host *host = userdata;
        char pool[POOL_LIMIT_TEXT_LEN];

        reclaim_describe_pool(host->reclaim, pool);
        if (strcmp(pool, host->pool) != 0)
                printf("pool: %s\n", pool);
        memcpy(host->pool, pool, sizeof(pool));

        for (enum side side = 0; side < SIDE_MAX; side++) {
                char text[SHARES_TEXT_LEN];

                reclaim_describe(host->reclaim, host->region.pair, side, text);
                if (text[0] && strcmp(text, host->protections[side]) != 0)
                        printf("%s: %s\n", host->region.domains[side], text);
                memcpy(host->protections[side], text, sizeof(text));
        }
        return sd_event_source_set_time_relative(source, PRINT_USEC);
}

static void print_parts(const struct host *host) {
        const struct app_names apps = { { "db" } };

        for (enum side side = 0; side < SIDE_MAX; side++) {
                struct resident_parts parts;
                char directory[32];
                int r;

                snprintf(directory, sizeof(directory), "/proc/%d", host->region.pids[side]);
                r = resident_read_parts(directory, &apps, &parts);
                if (r < 0 || !parts.apps[0].known)
                        printf("%s: its region is not known (%d)\n", host->region.domains[side], r);
                else
                        printf("%s: %u in memory, %u paged out\n", host->region.domains[side],
                               (unsigned) (parts.apps[0].bytes / MIB), (unsigned) (parts.apps[0].swapped_bytes / MIB));
        }
}

static void page_out(const struct host *host) {
        const struct action action = { .kind = ACTION_PAGE_OUT, .id = 1, .pair = host->region.pair, .side = SIDE_A,
                                       .app = host->region.app, .bytes = host->region.bytes };
        int r = reclaim_page_out(host->reclaim, &action);

        if (r < 0)
                printf("paged out: %d\n", r);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct host *host = userdata;
        char line[128], name[NAME_LEN];
        unsigned mib;
        ssize_t n = read(fd, line, sizeof(line) - 1);

        if (n <= 0)
                return sd_event_exit(host->loop, 0);
        line[n] = '\0';
        if (strcmp(line, "out\n") == 0)
                page_out(host);
        else if (strcmp(line, "parts\n") == 0)
                print_parts(host);
        else if (sscanf(line, "pool %63s %u", name, &mib) == 2)
                reclaim_set_pool(host->reclaim, name, mib * MIB);
        return 0;
}

static int run(struct host *host, const char *helper) {
        const struct reclaim_options options = { helper, "/run/host.lock", "/proc/self/mountinfo" };
        const struct sink sink = { on_event, host };
        sd_event_source *timer = NULL;
        int r;

        r = sd_event_new(&host->loop);
        if (r >= 0)
                r = reclaim_new(host->loop, &options, &sink, &host->reclaim);
        for (enum side side = 0; r >= 0 && side < SIDE_MAX; side++)
                reclaim_set_vm(host->reclaim, &host->vms[side]);
        if (r >= 0)
                r = reclaim_follow(host->reclaim, &host->region);
        if (r >= 0)
                r = sd_event_add_io(host->loop, NULL, STDIN_FILENO, EPOLLIN, on_input, host);
        if (r >= 0)
                r = sd_event_add_time_relative(host->loop, &timer, CLOCK_MONOTONIC, PRINT_USEC, 0, on_time, host);
        if (r >= 0)
                r = sd_event_source_set_enabled(timer, SD_EVENT_ON);
        if (r >= 0)
                r = sd_event_loop(host->loop);
        sd_event_source_unref(timer);
        reclaim_free(host->reclaim);
        sd_event_unref(host->loop);
        return r;
}

int main(int argc, char **argv) {
        struct host host = { .region = { .app_name = "db", .from = SIDE_A } };
        uint64_t system_bytes;
        int r;

        if (argc != 8)
                return EXIT_FAILURE;
        setvbuf(stdout, NULL, _IOLBF, 0);
        for (enum side side = 0; side < SIDE_MAX; side++) {
                snprintf(host.region.domains[side], NAME_LEN, "%s", argv[2 + 2 * side]);
                host.region.pids[side] = atoi(argv[3 + 2 * side]);
        }
        host.region.bytes = strtoull(argv[6], NULL, 10) * MIB;
        system_bytes = strtoull(argv[7], NULL, 10) * MIB;
        for (enum side side = 0; side < SIDE_MAX; side++) {
                host.vms[side] = (struct shares_vm){
                        .side = side, .pid = host.region.pids[side], .system_bytes = system_bytes,
                        .managed_bytes = system_bytes + (side == SIDE_B ? host.region.bytes : 0),
                };
                memcpy(host.vms[side].domain, host.region.domains[side], NAME_LEN);
        }
        r = run(&host, argv[1]);
        if (r < 0)
                fprintf(stderr, "%s\n", strerror(-r));
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
