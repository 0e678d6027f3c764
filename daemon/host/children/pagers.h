/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The pagers on this host (failover-pager-plugin(1)): nbdkit processes, one an overflow disk, that outlive failoverd.
 *
 * Each has a name, by which everything of it is found again: its configuration in the run-time directory, and a
 * directory with its socket, its status and a file that it holds a record lock on for as long as it lives. The lock is
 * the one truth about whether it does, and which process it is; nothing about a process is remembered.
 *
 * In system mode a pager is the unit failover-pager@NAME.service, with a user and walls of its own. In session mode it
 * is a child in a session (setsid(2)) of its own.
 */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "daemon/base/error.h"
#include "daemon/base/units.h"

#define PAGER_NAME_LEN 160 /* "DOMAIN" or "DOMAIN@APPLICATION", with its NUL */
#define PAGER_PATH_LEN 108 /* of its socket: sun_path */
#define PAGER_WHERE_LEN 256
#define PAGER_LOST_LEN 48

struct pagers;

struct pagers_options {
        bool user;               /* session mode */
        const char *runtime_dir; /* configurations, and in session mode all the rest */
        const char *service_dir; /* where units have the rest, "/run/failover-pager" */
        const char *nbdkit, *plugin; /* session mode: the program, and the plugin's path */
};

struct pager_status {
        int known;                /* 0: the next five hold; -errno: why they cannot be told, it may well be alive */
        bool configured, current; /* there is a configuration; it is the given one */
        bool bearable;            /* it is, or differs in what can wait (pager-parameters.h) */
        bool alive;
        int pid;                  /* while it is */
        bool fresh;               /* the rest was told within the last seconds */
        bool serving;             /* "serving" or "recovering", not "down" and not "fenced" */
        bool recovering;          /* requests wait for a server */
        uint64_t held_bytes, lost_bytes;
        uint64_t capacity_bytes;  /* that servers could hold, with what they hold; 0: not told */
        unsigned clients;
        unsigned waiting;         /* requests, for a server */
        char lost[PAGER_LOST_LEN]; /* where on the disk the first of those are lost, "KiB 0-15, 64-67"; "": not told */
        char text[128];           /* what it says is wrong */
};

/* Options are copied. -ENOMEM, or the errno of the directory. */
int pagers_new(sd_event *loop, const struct pagers_options *options, struct pagers **ret, struct error *error);
/* Leaves the pagers alone. Takes NULL; returns NULL. */
struct pagers *pagers_free(struct pagers *pagers);

/* How it is now; `parameters`: what its configuration should say, NULL: nobody asks. */
void pagers_look(struct pagers *pagers, const char *name, const char *parameters, struct pager_status *ret);
/* Where it is said what is wrong with it: "journalctl -u UNIT", or its log file. Returns `buffer`. */
const char *pagers_where(const struct pagers *pagers, const char *name, char buffer[static PAGER_WHERE_LEN]);
/* Path of its NBD socket. -ENAMETOOLONG. */
int pagers_socket(const struct pagers *pagers, const char *name, char ret[static PAGER_PATH_LEN]);

/* Writes the configuration, for this user alone, as a whole or not at all. */
int pagers_configure(struct pagers *pagers, const char *name, const char *parameters);
/* Begins to start it, and to end it. That it worked is seen by pagers_look() alone. */
int pagers_start(struct pagers *pagers, const char *name);
int pagers_end(struct pagers *pagers, const char *name);
/* Removes what is left of one that does not live. -EBUSY: it does; or the errno of that not being known. */
int pagers_forget(struct pagers *pagers, const char *name);

/* Names that there is a configuration of: calls `found` for each. */
int pagers_list(struct pagers *pagers, void (*found)(void *userdata, const char *name), void *userdata);
