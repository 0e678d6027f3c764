/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of one application's life (supervised.c, supervised-start.c, supervised-stop.c) say to each other.
 * Nobody else includes this. */

#include "agents/guest/supervised.h"

/* Writes down what the next agent has to know. */
void supervised_persist(struct supervised *app);
/* Changes the state, and writes it down before anything is said about it. */
void supervised_set_state(struct supervised *app, enum application_state state);
/* Answers a start or restart that is still awaited; otherwise does nothing. */
void supervised_answer_start(struct supervised *app, int result, const char *text);
/* It has failed: reports that and kills what remains. `code` as failure_cause says; `hard`: here it cannot work. */
void supervised_fail(struct supervised *app, enum failure_cause cause, int code, bool hard, const char *text);
/* Takes its addresses away from the links. 0, also where they are not there; or the first -errno. */
int supervised_remove_addresses(struct supervised *app);

/* H: resource request. What it needs against what is there; short of it the monitor is asked. */
void supervised_start_when_ready(struct supervised *app);
/* Takes over the regions that a start or restart brings. -ENOMEM. */
int supervised_take_regions(struct supervised *app, const struct message *message);
void supervised_tell_use(struct supervised *app);
void supervised_send_request(struct supervised *app);
/* Poll while memory was granted and is not online yet. */
void supervised_wait_for_grant(struct supervised *app);
/* Handlers of its first process. The first also when its unit is up. */
void supervised_on_started(void *userdata);
void supervised_on_exec_failed(void *userdata, int error);
void supervised_on_exited(void *userdata, const struct process_exit *end);

/* Poll while it stops, or what is left of a failed one is killed: only when no process is left is it stopped,
 * however long that takes. */
void supervised_look_for_leftovers(struct supervised *app);
/* To all its processes, also one that is just being started. */
void supervised_signal(struct supervised *app, int signal_number);
/* Handlers of the stop command. */
void supervised_on_stop_exec_failed(void *userdata, int error);
void supervised_on_stop_exited(void *userdata, const struct process_exit *end);
