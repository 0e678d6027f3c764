/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The nbdkit plugin: its life and requests (plugin.c), its parameters (plugin-config.c) and its log (plugin-journal.c).
 * nbdkit knows one plugin a process. */

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "agents/pager/spread.h"

extern struct spread_options plugin_options;
extern bool plugin_lock; /* keep the pager in memory */
extern char *plugin_alive_path; /* NULL: none */

int plugin_config(const char *key, const char *value);
int plugin_config_complete(void);
void plugin_config_free(void);
extern const char plugin_config_help[];

/* Locks the file for as long as this process lives, and for who asks with F_GETLK; it lives on without its parent. 0 or
 * -1, as nbdkit has been told. */
int plugin_lock_alive(const char *path);

/* Puts an event into the journal, or on standard error where there is none. */
void plugin_warn(const char *text);
void plugin_tell(const struct space_name *name, enum pager_event event, const char *text);
