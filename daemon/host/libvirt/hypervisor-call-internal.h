/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of calls on libvirt share: hypervisor-call.c and hypervisor-disk.c. On a lane's thread. */

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-call.h"

static inline void domain_freep(virDomainPtr *domain) {
        if (*domain)
                virDomainFree(*domain);
}

static inline void error_deinitp(struct error *error) {
        error_deinit(error);
}

#define _cleanup_domain_ _cleanup_(domain_freep)
#define _cleanup_error_ _cleanup_(error_deinitp)

/* Keeps libvirt's message of this thread as the call's text and turns its code into an errno. */
int call_libvirt_error(struct call *call);
/* The same of an error of ours. */
int call_error(struct call *call, const struct error *error);
/* An end with a word of its own, also a good one. Returns `code`. */
int call_end(struct call *call, int code, const char *text);

int call_open_domain(struct call *call, virConnectPtr connection, virDomainPtr *ret_domain);
/* The same of one that has to run. */
int call_open_running(struct call *call, virConnectPtr connection, virDomainPtr *ret_domain);
/* A heap string that the caller frees. */
int call_get_xml(struct call *call, virDomainPtr domain, unsigned flags, char **ret_xml);
/* Sleeps a little. False when the call's time is over. */
bool call_look_again(const struct call *call);

/* hypervisor-disk.c */
int call_attach_disk(struct call *call, virConnectPtr connection);
int call_detach_disk(struct call *call, virConnectPtr connection);
int call_attach_overflow(struct call *call, virConnectPtr connection);
int call_detach_overflow(struct call *call, virConnectPtr connection);
