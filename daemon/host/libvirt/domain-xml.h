/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What failoverd reads out of libvirt's domain XML, and the few pieces of XML that it gives back. Pure: text in,
 * facts out. The texts come from libvirt, but parts of them were written by whoever defined the domain, so they
 * are limited in size and nothing outside of them is ever loaded.
 */

#include "daemon/base/error.h"
#include "daemon/core/event.h"
#include "policy/xml-snippet.h"

#define DOMAIN_XML_MAX (4 * MIB)
#define SOCKET_PATH_LEN 108 /* sun_path */
#define CONSOLE_PATH_LEN 256

#define CHANNEL_NAME "org.failover1.agent.0"
#define APP_ALIAS_PREFIX "ua-"

/* Applications of a pair by slot; empty where a slot is free. */
struct app_names {
        char names[POLICY_APPLICATIONS_MAX][NAME_LEN];
};

/* Disks of failoverd's own making, on memory servers: told by their alias, which no application's device can have. */
#define OVERFLOW_ALIAS "ua--overflow" /* of the VM's own; with "-" and its name, of an application's */
#define OVERFLOW_SERIAL_LEN 21        /* what virtio-blk tells a guest, with its NUL */

struct overflow_disks {
        unsigned n;
        struct {
                char app[NAME_LEN]; /* empty: the VM's own */
                char serial[OVERFLOW_SERIAL_LEN];
        } disks[OVERFLOW_DISKS_MAX];
};

struct domain_facts {
        struct preflight preflight; /* all but defined, persistent and autostart, which are not in the XML */
        char channel_path[SOCKET_PATH_LEN]; /* agent channel; empty: none, or libvirt will choose it at start */
        char echo_path[SOCKET_PATH_LEN]; /* tty whose echo the guest's kernel does; empty: none */
        char console_path[CONSOLE_PATH_LEN]; /* file that what the guest says on its console goes to; empty: none */
        struct overflow_disks overflow;      /* attached: live XML only */
        bool balloon;                    /* a virtio balloon, with statistics or not */
        struct {
                bool known;     /* QEMU's plugged size is told: live XML only */
                uint64_t bytes;
        } plugged[POLICY_APPLICATIONS_MAX];
};

/* Parses a domain's XML, live or persistent. The echo port is the unix serial port with the alias "ua-echo", else
 * the first unix serial port past the console's (port 0), else a unix virtio console. Returns 0, -EINVAL for text
 * that is no domain XML, -E2BIG for too much of it, or -ENOMEM. */
int domain_xml_parse(const char *text, const struct app_names *apps, struct domain_facts *ret_facts,
                     struct error *error);
/* Which failures of its system a VM's devices tell of: a panic device, where what follows is not a start anew, and a
 * watchdog that pauses the VM. */
int domain_xml_alarms(const char *text, bool *ret_panic, bool *ret_hang, struct error *error);


/* The application's memory device out of a live XML, with another requested size: what virDomainUpdateDeviceFlags()
 * takes. `ret_device` is the caller's to free. -ENOENT where there is no such device; -ERANGE where the size is
 * not a multiple of the device's block, or more than the device holds. */
int domain_xml_resize(const char *text, const char *app, uint64_t bytes, char **ret_device, struct error *error);

/* The <disk> with that target among those that failoverd attaches, in <metadata> (DISKS_NAMESPACE of xml-snippet.h),
 * without what belongs to one attachment (address, generated alias). `ret_device` is the caller's to free. -ENOENT
 * where there is none. */
int domain_xml_disk(const char *text, const char *target, char **ret_device, struct error *error);

/* Alias of the disk with that target in <devices> of a live XML: what virDomainDetachDeviceAlias() takes. `ret_alias`
 * is the caller's to free. -ENOENT where no such disk is attached. */
int domain_xml_attached_disk(const char *text, const char *target, char **ret_alias, struct error *error);

#define DISK_FORMAT_LEN 32

/* What a disk of the domain reads and writes: the disk's own source, and those behind it (backing files). */
struct domain_source {
        char target[DISK_TARGET_LEN];
        const char *path; /* of a file or block device; "" where it is neither */
        char format[DISK_FORMAT_LEN]; /* "raw", "qcow2"; "" where it is not said */
        bool block;       /* a block device */
        bool writable;
};

/* Calls `found` for each source of each disk in <devices>, as far as the XML names them (of a running domain libvirt
 * names all), until it returns non-zero; what it has returned, or 0. A medium that is not there is none. -E2BIG where
 * a path is longer than PATH_MAX. */
int domain_xml_sources(const char *text, int (*found)(const struct domain_source *source, void *userdata),
                       void *userdata, struct error *error);

/* The file, of format qcow2, that a disk's writes go to from a snapshot on. */
struct domain_overlay {
        const char *target, *path;
};

/* What virDomainSnapshotCreateXML() takes to put memory and processor state into the file `path`, to freeze the disks
 * for which there are overlays, and no other. The caller frees `ret_xml`. */
int domain_xml_memory_snapshot(const char *text, const char *path, const struct domain_overlay *overlays, size_t n,
                               char **ret_xml, struct error *error);

/* The domain with another file, of format qcow2, behind the disk with that target. The caller frees `ret_xml`. -ENOENT
 * where there is no such disk. */
int domain_xml_replace_disk(const char *text, const char *target, const char *path, char **ret_xml,
                            struct error *error);

/* The overflow disk of an application, or with an empty name the VM's own, as virDomainAttachDeviceFlags() takes it:
 * the NBD server at `socket`, under a target and a serial number that are free in a live XML. `ret_device` is the
 * caller's to free. -EEXIST where it is attached, -ENOSPC where there is no further one. */
int domain_xml_overflow(const char *text, const char *app, const char *socket, char **ret_device, struct error *error);

/* Alias of that disk in a live XML, as above. -ENOENT where it is not attached. */
int domain_xml_attached_overflow(const char *text, const char *app, char **ret_alias, struct error *error);
