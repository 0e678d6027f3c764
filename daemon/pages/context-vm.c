/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-vm.h"

#include <libvirt/virterror.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"
#include "daemon/host/libvirt/domain-xml.h"

#define LOOK_MSEC 100

static void no_handler(void *userdata, virErrorPtr error) {
}

static int libvirt_failed(struct error *error, int code) {
        const char *text = virGetLastErrorMessage();

        return error_set(error, code, "libvirt: %s", text ? text : "unknown error");
}

/* "qemu:///system", "qemu+unix:///session?socket=...": no host between the slashes. */
static bool is_local(const char *uri) {
        const char *host = strstr(uri, "://");

        return host && host[3] == '/';
}

int context_vm_connect(const char *uri, virConnectPtr *ret, struct error *error) {
        virConnectPtr connection;

        if (!is_local(uri))
                return error_set(error, -EINVAL, "%s is not a libvirt of this host: run failoverctl on the host where "
                                 "the VM is to be", uri);
        virSetErrorFunc(NULL, no_handler); /* told by who asked */
        connection = virConnectOpen(uri);
        if (!connection) {
                int r = libvirt_failed(error, -ENOTCONN);
                error_prefix(error, "%s cannot be reached", uri);
                return r;
        }
        *ret = connection;
        return 0;
}

static int read_domain(struct context_vm *vm, struct error *error) {
        virDomainInfo info;
        int state, r = virDomainGetState(vm->domain, &state, NULL, 0);

        if (r == 0)
                r = virDomainGetInfo(vm->domain, &info);
        if (r == 0)
                r = virDomainGetUUIDString(vm->domain, vm->uuid);
        if (r < 0)
                return libvirt_failed(error, -EIO);
        if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_PAUSED && state != VIR_DOMAIN_BLOCKED)
                return error_set(error, -ESHUTDOWN, "VM %s does not run, so it has no memory to save", vm->name);
        vm->paused = state == VIR_DOMAIN_PAUSED;
        vm->memory_bytes = (uint64_t) info.memory * KIB;
        vm->xml = virDomainGetXMLDesc(vm->domain, 0);
        return vm->xml ? 0 : libvirt_failed(error, -EIO);
}

int context_vm_find(virConnectPtr connection, const char *name, struct context_vm *ret, struct error *error) {
        struct context_vm vm = { .connection = connection };
        int r;

        if (strlen(name) >= sizeof(vm.name))
                return error_set(error, -EINVAL, "VM %s: its name is longer than %zu", name, sizeof(vm.name) - 1);
        strcpy(vm.name, name);
        vm.domain = virDomainLookupByName(connection, name);
        if (!vm.domain)
                return libvirt_failed(error, virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? -ENOENT : -EIO);
        r = read_domain(&vm, error);
        if (r < 0) {
                context_vm_deinit(&vm);
                return r;
        }
        *ret = vm;
        return 0;
}

int context_vm_read_xml(struct context_vm *vm, struct error *error) {
        char *xml = virDomainGetXMLDesc(vm->domain, 0);

        if (!xml)
                return libvirt_failed(error, -EIO);
        free(vm->xml);
        vm->xml = xml;
        return 0;
}

void context_vm_deinit(struct context_vm *vm) {
        if (vm->domain)
                virDomainFree(vm->domain);
        free(vm->xml);
        *vm = (struct context_vm) { 0 };
}

int context_vm_present(virConnectPtr connection, const char *name, const char *uuid, struct error *error) {
        virDomainPtr found[2] = { virDomainLookupByName(connection, name), NULL };
        char other[VIR_UUID_STRING_BUFLEN];
        int r = 0;

        if (!found[0] && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
                return libvirt_failed(error, -EIO);
        found[1] = virDomainLookupByUUIDString(connection, uuid);
        if (!found[1] && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
                r = libvirt_failed(error, -EIO);
        if (r == 0 && found[0] && virDomainGetUUIDString(found[0], other) == 0 && strcmp(other, uuid) != 0)
                r = error_set(error, -EEXIST, "another VM is called %s there, with UUID %s", name, other);
        for (int i = 0; i < 2 && r == 0; i++) {
                int active = found[i] ? virDomainIsActive(found[i]) : 0;

                if (active < 0)
                        r = libvirt_failed(error, -EIO);
                if (active > 0) {
                        (void) error_set(error, -EBUSY, "VM %s runs there already; stop it, or swap it for the "
                                         "context", virDomainGetName(found[i]));
                        r = 1;
                }
        }
        for (int i = 0; i < 2; i++)
                if (found[i])
                        virDomainFree(found[i]);
        return r;
}

int context_vm_suspend(struct context_vm *vm, struct error *error) {
        if (vm->paused || vm->suspended)
                return 0;
        if (virDomainSuspend(vm->domain) < 0)
                return libvirt_failed(error, -EIO);
        vm->suspended = true;
        return 0;
}

int context_vm_go_on(struct context_vm *vm, struct error *error) {
        if (!vm->suspended)
                return 0;
        if (virDomainResume(vm->domain) < 0) {
                (void) libvirt_failed(error, -EIO);
                return error_prefix(error, "VM %s is paused and could not be let go on; `virsh resume %s`", vm->name,
                                    vm->name);
        }
        vm->suspended = false;
        return 0;
}

int context_vm_active(const char *uri, const char *uuid, struct error *error) {
        virConnectPtr connection = NULL;
        virDomainPtr domain = NULL;
        int r = context_vm_connect(uri, &connection, error);

        if (r < 0)
                return r;
        domain = virDomainLookupByUUIDString(connection, uuid);
        if (domain)
                r = virDomainIsActive(domain);
        else
                r = virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : -1;
        if (r < 0)
                r = libvirt_failed(error, -EIO);
        if (domain)
                virDomainFree(domain);
        (void) virConnectClose(connection);
        return r;
}

bool context_vm_absent(virConnectPtr connection, const char *uri, const char *uuid) {
        return virConnectIsAlive(connection) == 1 && context_vm_active(uri, uuid, NULL) == 0;
}

int context_vm_end(struct context_vm *vm, const char *uri, struct error *error) {
        struct error look = ERROR_INIT;
        int r;

        if (virDomainDestroy(vm->domain) < 0) {
                (void) libvirt_failed(error, -EIO);
                r = context_vm_active(uri, vm->uuid, &look);
                if (r != 0)
                        (void) error_prefix(error, "VM %s %s%s", vm->name, r > 0 ? "has not ended (yet)" : "may have "
                                            "ended, which cannot be seen: ", r > 0 ? "" : error_text(&look));
                error_deinit(&look);
                if (r != 0)
                        return -EIO;
                if (error)
                        error_deinit(error);
        }
        vm->suspended = false;
        return 0;
}

/* A call of libvirt's that takes its time, on a thread of its own. */
struct call {
        int (*run)(struct call *call); /* negative errno, with `error` filled in */
        struct context_vm *vm;
        virConnectPtr connection;
        const char *path, *xml;
        unsigned flags;
        uint64_t limit_bytes; /* of what it writes to `path`; 0: none */
        struct error error;
        int result, over_fd;
};

static void *call_run(void *userdata) {
        const uint64_t one = 1;
        struct call *call = userdata;

        call->result = call->run(call);
        (void) !write(call->over_fd, &one, sizeof(one));
        return NULL;
}

/* How far libvirt is with what it does to the domain. */
static void get_progress(virDomainPtr domain, uint64_t *ret_done, uint64_t *ret_total) {
        virTypedParameterPtr parameters = NULL;
        unsigned long long done = 0, total = 0;
        int n = 0, type;

        if (virDomainGetJobStats(domain, &type, &parameters, &n, 0) == 0) {
                (void) virTypedParamsGetULLong(parameters, n, VIR_DOMAIN_JOB_MEMORY_PROCESSED, &done);
                (void) virTypedParamsGetULLong(parameters, n, VIR_DOMAIN_JOB_MEMORY_TOTAL, &total);
                virTypedParamsFree(parameters, n);
        }
        *ret_done = done;
        *ret_total = total;
}

static bool has_outgrown(const struct call *call) {
        struct stat st;

        return call->limit_bytes > 0 && stat(call->path, &st) == 0 && (uint64_t) st.st_size > call->limit_bytes;
}

/* Waits for it. Where it is given up, libvirt is told once, and it ends in its own time; returns whether. */
static bool watch(struct call *call, enum context_phase phase, const struct context_progress *progress) {
        struct pollfd over = { .fd = call->over_fd, .events = POLLIN };
        bool aborted = false;

        while (poll(&over, 1, LOOK_MSEC) <= 0) {
                uint64_t done = 0, total = 0;

                if (call->vm)
                        get_progress(call->vm->domain, &done, &total);
                if ((context_tell(progress, phase, done, total) < 0 || has_outgrown(call)) && call->vm && !aborted)
                        aborted = virDomainAbortJob(call->vm->domain) == 0;
        }
        return aborted;
}

static int carry_out(struct call *call, enum context_phase phase, const struct context_progress *progress,
                     struct error *error) {
        _cleanup_close_ int over_fd = eventfd(0, EFD_CLOEXEC);
        pthread_t thread;
        bool aborted;
        int r;

        call->over_fd = over_fd;
        r = over_fd < 0 ? -errno : thread_start_joined(call_run, call, &thread);
        if (r < 0)
                return error_set(error, r, "%s", strerror(-r));
        aborted = watch(call, phase, progress);
        (void) pthread_join(thread, NULL);
        r = call->result;
        if (r < 0 && aborted && has_outgrown(call))
                r = error_set(error, -ENOSPC, "the VM writes to its memory faster than %s takes that up: its state was "
                              "past %llu MiB there, and has been given up", call->path,
                              (unsigned long long) (call->limit_bytes / MIB));
        else if (r < 0 && aborted)
                r = error_set(error, -ECANCELED, "it was given up");
        else if (r < 0)
                (void) error_set(error, r, "%s", error_text(&call->error));
        error_deinit(&call->error);
        return r;
}

static int take_snapshot(struct call *call) {
        virDomainSnapshotPtr snapshot = virDomainSnapshotCreateXML(call->vm->domain, call->xml, call->flags);

        if (!snapshot)
                return libvirt_failed(&call->error, -EIO);
        virDomainSnapshotFree(snapshot);
        return 0;
}

/* What libvirt takes to write the state into a file, and to freeze what a checkpoint freezes. */
static int snapshot_xml(const struct context_vm *vm, const char *path, const struct context_checkpoint *checkpoint,
                        char **ret, struct error *error) {
        _cleanup_free_ struct domain_overlay *overlays = NULL;
        size_t n = 0;

        if (checkpoint) {
                overlays = calloc(checkpoint->n_disks + 1, sizeof(*overlays));
                if (!overlays)
                        return error_set(error, -ENOMEM, "out of memory");
                for (size_t i = 0; i < checkpoint->n_disks; i++)
                        if (checkpoint->disks[i].overlay)
                                overlays[n++] = (struct domain_overlay) { checkpoint->disks[i].target,
                                                                          checkpoint->disks[i].overlay };
        }
        return domain_xml_memory_snapshot(vm->xml, path, overlays, n, ret, error);
}

int context_vm_image(struct context_vm *vm, const char *path, const struct context_checkpoint *checkpoint,
                     uint64_t limit_bytes, const struct context_progress *progress, struct error *error) {
        _cleanup_free_ char *xml = NULL;
        struct call call = { .run = take_snapshot, .vm = vm, .path = path,
                             .limit_bytes = limit_bytes, .flags = VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA };
        int r;

        if (checkpoint)
                call.flags |= VIR_DOMAIN_SNAPSHOT_CREATE_LIVE;
        r = snapshot_xml(vm, path, checkpoint, &xml, error);
        if (r < 0)
                return r;
        call.xml = xml;
        return carry_out(&call, CONTEXT_STATE_OUT, progress, error);
}

int context_vm_alarms(const struct context_vm *vm, bool *ret_panic, bool *ret_hang, struct error *error) {
        return domain_xml_alarms(vm->xml, ret_panic, ret_hang, error);
}

int context_vm_image_xml(const struct context_vm *vm, const char *path, char **ret_xml, struct error *error) {
        char *xml = virDomainSaveImageGetXMLDesc(vm->connection, path, 0);

        if (!xml)
                return libvirt_failed(error, -EIO);
        *ret_xml = xml;
        return 0;
}

static int restore(struct call *call) {
        return virDomainRestoreFlags(call->connection, call->path, call->xml, call->flags) < 0
                       ? libvirt_failed(&call->error, -EIO) : 0;
}

int context_vm_start(virConnectPtr connection, const char *path, const char *xml, bool paused,
                     const struct context_progress *progress, struct error *error) {
        struct call call = {
                .run = restore,
                .connection = connection,
                .path = path,
                .xml = xml,
                .flags = paused ? VIR_DOMAIN_SAVE_PAUSED : VIR_DOMAIN_SAVE_RUNNING,
        };

        return carry_out(&call, CONTEXT_STATE_IN, progress, error);
}
