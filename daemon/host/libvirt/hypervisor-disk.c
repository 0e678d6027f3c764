/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls that attach and detach disks: an application's own, and those of overflow. */

#include <errno.h>
#include <stdio.h>

#include "daemon/host/libvirt/hypervisor-call-internal.h"
#include "daemon/host/libvirt/hypervisor-events.h"

/* The disk's definition from the persistent XML. */
static int find_disk_definition(struct call *call, virDomainPtr domain, char **ret_device) {
        _cleanup_error_ struct error error = ERROR_INIT;
        _cleanup_free_ char *xml = NULL;
        int r;

        r = call_get_xml(call, domain, VIR_DOMAIN_XML_INACTIVE, &xml);
        if (r < 0)
                return r;
        r = domain_xml_disk(xml, call->target, ret_device, &error);
        return r < 0 ? call_error(call, &error) : 0;
}

/* 1: attached; 0: not; or an error. */
static int is_attached(struct call *call, virDomainPtr domain, char **ret_alias) {
        _cleanup_error_ struct error error = ERROR_INIT;
        _cleanup_free_ char *xml = NULL;
        int r;

        r = call_get_xml(call, domain, 0, &xml);
        if (r < 0)
                return r;
        r = call->kind == CALL_ATTACH_DISK || call->kind == CALL_DETACH_DISK
                    ? domain_xml_attached_disk(xml, call->target, ret_alias, &error)
                    : domain_xml_attached_overflow(xml, call->app_name, ret_alias, &error);
        if (r == -ENOENT)
                return 0;
        return r < 0 ? call_error(call, &error) : 1;
}

/* A failover waits for it, so libvirtd is asked no more than it takes: whether an earlier call has attached it already
 * is looked at where it is refused. */
int call_attach_disk(struct call *call, virConnectPtr connection) {
        _cleanup_free_ char *device = NULL, *alias = NULL;
        _cleanup_domain_ virDomainPtr domain = NULL;
        char why[EVENT_TEXT_LEN];
        int r;

        r = call_open_running(call, connection, &domain);
        if (r < 0)
                return r;
        r = find_disk_definition(call, domain, &device);
        if (r < 0)
                return r;
        if (virDomainAttachDeviceFlags(domain, device, VIR_DOMAIN_AFFECT_LIVE) == 0)
                return call_end(call, 0, "");
        r = call_libvirt_error(call);
        text_copy(why, sizeof(why), call->lane.text);
        if (is_attached(call, domain, &alias) > 0)
                return call_end(call, 0, "it was attached before");
        return call_end(call, r, why);
}

/* Its target and serial number are chosen by the XML of this moment; of one domain one call runs at a time. */
int call_attach_overflow(struct call *call, virConnectPtr connection) {
        _cleanup_free_ char *xml = NULL, *device = NULL;
        _cleanup_error_ struct error error = ERROR_INIT;
        _cleanup_domain_ virDomainPtr domain = NULL;
        int r;

        r = call_open_running(call, connection, &domain);
        if (r == 0)
                r = call_get_xml(call, domain, 0, &xml);
        if (r < 0)
                return r;
        r = domain_xml_overflow(xml, call->app_name, call->socket, &device, &error);
        if (r == -EEXIST)
                return call_end(call, 0, "it was attached before");
        if (r < 0)
                return call_error(call, &error);
        if (virDomainAttachDeviceFlags(domain, device, VIR_DOMAIN_AFFECT_LIVE) < 0)
                return call_libvirt_error(call);
        return call_end(call, 0, "");
}

/* Detaching is a request to the guest. That it is done is read off the live XML, out of which libvirt takes the disk
 * when QEMU has said that the device is deleted, and not before. A request that was refused may be one too many: an
 * earlier one is still with the guest. */
int call_detach_disk(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        bool asked = false;
        int r, refused = 0;

        r = call_open_running(call, connection, &domain);
        if (r < 0)
                return r;
        do {
                _cleanup_free_ char *alias = NULL;

                r = is_attached(call, domain, &alias);
                if (r <= 0)
                        return r;
                /* Of the calls that detach, this one does not wait for the guest by itself. */
                if (!asked && virDomainDetachDeviceAlias(domain, alias, VIR_DOMAIN_AFFECT_LIVE) < 0)
                        refused = call_libvirt_error(call);
                asked = true;
        } while (call_look_again(call));
        if (refused < 0)
                return refused;
        snprintf(call->lane.text, sizeof(call->lane.text), "the guest does not let go of %s", call->target);
        return -ETIMEDOUT;
}

/* Asks only: a failover's own calls for this domain must not wait for a guest that takes its time. */
int call_detach_overflow(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        _cleanup_free_ char *alias = NULL;
        int r;

        r = call_open_running(call, connection, &domain);
        if (r < 0)
                return r;
        r = is_attached(call, domain, &alias);
        if (r <= 0)
                return r;
        return virDomainDetachDeviceAlias(domain, alias, VIR_DOMAIN_AFFECT_LIVE) < 0 ? call_libvirt_error(call) : 0;
}
