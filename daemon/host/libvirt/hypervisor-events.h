/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The watching connection: libvirt's events, brought to the loop as plain data.
 *
 * It carries no calls, so nothing stuck can hold it up, and its keepalive (5 s, three times) tells a hung libvirtd
 * from a quiet one. Two threads: one runs libvirt's event loop, whose callbacks only copy; the other opens the
 * connection, waits for its loss, closes it and opens it again after 200 ms to 5 s. Events are registered for all
 * domains: that works before a domain is defined and after it is defined anew under another UUID, and names that
 * are not watched are dropped by whoever takes the notes.
 */

#include <systemd/sd-event.h>

#include "daemon/base/error.h"
#include "daemon/core/event.h"

#define NOTES_MAX 4096 /* kept for the loop; more are lost, and NOTE_LOST says so */

enum note_kind {
        NOTE_UP,             /* connected, and events are registered */
        NOTE_DOWN,           /* text: why */
        NOTE_LOST,           /* notes were lost: look at everything again */
        NOTE_LIFECYCLE,      /* event, detail: virDomainEventType and its detail */
        NOTE_REBOOT,
        NOTE_WATCHDOG,       /* event: virDomainEventWatchdogAction */
        NOTE_IO_ERROR,       /* event: virDomainEventIOErrorAction; text: device and reason */
        NOTE_MEMORY_FAILURE, /* event: recipient, detail: action; text: both in words */
        NOTE_DEVICE_SIZE,    /* alias, bytes */
        NOTE_DEVICE_REMOVED, /* alias */
        NOTE_KIND_MAX,
        NOTE_KIND_INVALID = -EINVAL,
};

#define ALIAS_LEN (NAME_LEN + 8)

struct note {
        enum note_kind kind;
        char domain[NAME_LEN]; /* empty for UP, DOWN and LOST */
        int event, detail;
        char alias[ALIAS_LEN];
        uint64_t bytes;
        char text[EVENT_TEXT_LEN]; /* printable */
};

struct watcher;

/* Starts both threads; `note` is called on the loop. Returns 0 or a negative errno. */
int watcher_new(sd_event *loop, const char *uri, void (*note)(void *userdata, const struct note *note),
                void *userdata, struct watcher **ret_watcher);
/* Gives the connection a second to close; after that its thread is left behind. Takes NULL; returns NULL. */
struct watcher *watcher_free(struct watcher *watcher);

/* Copies text of others for logs and events: what cannot be printed becomes '?'. */
void text_copy(char *buffer, size_t size, const char *text);
