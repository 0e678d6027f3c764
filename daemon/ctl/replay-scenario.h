/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Recordings as files, and scenarios made of them: a directory with README, policy.yaml, events and expect, which
 * `failoverctl simulate` and tests/scenarios/run run as they run one with a timeline. */

#include <stdbool.h>

#include "daemon/replay/replay.h"

struct ctl;

#define RECORDING_FILE_MAX (64 * MIB)

struct recording_file {
        char *text;            /* owned */
        struct policy *policy; /* owned; of a scenario's directory, else NULL */
};

/* Reads a recording, or a scenario's directory. An exit status, with the reason printed. */
int recording_file_read(const char *path, struct recording_file *ret);
void recording_file_deinit(struct recording_file *file);

/* Is this a directory with recorded events? */
bool replay_scenario_is(const char *path);
/* Prints what is decided: all of a scenario's output. An exit status, with the reason printed. */
int replay_scenario_run(const char *path);
/* Makes the directory ctl->scenario out of a recording: what lies between the times, or around the first flow. */
int replay_scenario_write(const struct ctl *ctl, const struct recording_file *file, const struct replay_options *times);
