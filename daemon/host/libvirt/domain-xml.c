/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/domain-xml.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml-internal.h"

/* Name of the application whose device this is; NULL where it is nobody's. */
static const char *device_app(const xmlNode *device, char alias[NAME_LEN + 8]) {
        size_t n = strlen(APP_ALIAS_PREFIX);

        node_attribute(node_child(device, "alias"), "name", alias, NAME_LEN + 8);
        return strncmp(alias, APP_ALIAS_PREFIX, n) == 0 ? alias + n : NULL;
}

#define ORDINARY_PAGE_MAX (64 * KIB)

/* Is a node in a set as libvirt writes it, "0-2,4"? */
static bool set_has(const char *set, unsigned long node) {
        while (*set) {
                char *end;
                unsigned long first = strtoul(set, &end, 10), last = first;

                if (end == set)
                        return false;
                if (*end == '-')
                        last = strtoul(end + 1, &end, 10);
                if (first <= node && node <= last)
                        return true;
                set = *end == ',' ? end + 1 : "";
        }
        return false;
}

/* What backs a device: its own <pagesize>, else what <memoryBacking> says of its node, else of all. */
static bool has_huge_pages(const xmlNode *root, const xmlNode *device, unsigned node) {
        const xmlNode *own = node_child(node_child(device, "source"), "pagesize");
        const xmlNode *huge = node_child(node_child(root, "memoryBacking"), "hugepages");
        bool is_huge = huge && !node_child(huge, "page");
        char text[64];

        if (own)
                return node_size(own) > ORDINARY_PAGE_MAX;
        for (xmlNode *page = node_child(huge, "page"); page; page = node_next(huge, page, "page")) {
                bool is_large = attribute_size(page, "size") > ORDINARY_PAGE_MAX;

                node_attribute(page, "nodeset", text, sizeof(text));
                if (text[0] && set_has(text, node))
                        return is_large;
                is_huge |= !text[0] && is_large;
        }
        return is_huge;
}

static void parse_memory_devices(const xmlNode *root, const struct app_names *apps, struct domain_facts *facts,
                                 uint64_t *ret_devices_bytes) {
        const xmlNode *devices = node_child(root, "devices");
        uint64_t sum = 0;

        facts->preflight.requested_zero = true;
        for (xmlNode *d = node_child(devices, "memory"); d; d = node_next(devices, d, "memory")) {
                const xmlNode *target = node_child(d, "target");
                uint64_t requested = node_size(node_child(target, "requested"));
                char alias[NAME_LEN + 8];
                const char *app = device_app(d, alias);

                sum += node_size(node_child(target, "size"));
                if (!attribute_is(d, "model", "virtio-mem"))
                        continue;
                if (requested > 0)
                        facts->preflight.requested_zero = false;
                for (size_t i = 0; app && *app && i < POLICY_APPLICATIONS_MAX; i++) {
                        if (strcmp(apps->names[i], app) != 0)
                                continue;
                        facts->preflight.apps[i].present = true;
                        facts->preflight.apps[i].node = node_child(target, "node")
                                                                ? (int) node_number(node_child(target, "node"))
                                                                : -1;
                        facts->preflight.apps[i].size_bytes = node_size(node_child(target, "size"));
                        facts->preflight.apps[i].block_bytes = node_size(node_child(target, "block"));
                        facts->preflight.apps[i].requested_bytes = requested;
                        facts->preflight.apps[i].huge_pages =
                                has_huge_pages(root, d, (unsigned) facts->preflight.apps[i].node);
                        facts->plugged[i].known = node_child(target, "current") != NULL;
                        facts->plugged[i].bytes = node_size(node_child(target, "current"));
                }
        }
        *ret_devices_bytes = sum;
}

/* Boot memory: the NUMA cells where there are any (<memory> counts the devices' full sizes too). */
static void parse_base(const xmlNode *root, uint64_t devices_bytes, struct domain_facts *facts) {
        const xmlNode *numa = node_child(node_child(root, "cpu"), "numa"), *vcpu = node_child(root, "vcpu");
        uint64_t base = 0, memory = node_size(node_child(root, "memory"));
        char text[32];

        for (xmlNode *c = node_child(numa, "cell"); c; c = node_next(numa, c, "cell"))
                base += attribute_size(c, "memory");
        if (base == 0 && memory > devices_bytes)
                base = memory - devices_bytes;
        facts->preflight.base_bytes = base;

        facts->preflight.vcpus_max = (unsigned) node_number(vcpu);
        facts->preflight.vcpus = (unsigned) text_number(node_attribute(vcpu, "current", text, sizeof(text)), 10);
        if (facts->preflight.vcpus == 0)
                facts->preflight.vcpus = facts->preflight.vcpus_max;
}

/* A unix socket that QEMU listens on; libvirt chooses the path, and mode "bind", where the XML is silent. */
static bool is_bound_socket(const xmlNode *device) {
        const xmlNode *source = node_child(device, "source");

        return attribute_is(device, "type", "unix") &&
               (attribute_is(source, "mode", "bind") || attribute_is(source, "mode", ""));
}

static void parse_channel(const xmlNode *devices, struct domain_facts *facts) {
        for (xmlNode *d = node_child(devices, "channel"); d; d = node_next(devices, d, "channel")) {
                if (!attribute_is(node_child(d, "target"), "name", CHANNEL_NAME) || !is_bound_socket(d))
                        continue;
                facts->preflight.channel = true;
                node_attribute(node_child(d, "source"), "path", facts->channel_path, sizeof(facts->channel_path));
                return;
        }
}

static const xmlNode *find_echo(const xmlNode *devices) {
        const xmlNode *found = NULL;

        for (xmlNode *d = node_child(devices, "serial"); d; d = node_next(devices, d, "serial")) {
                if (!is_bound_socket(d))
                        continue;
                if (attribute_is(node_child(d, "alias"), "name", "ua-echo"))
                        return d;
                if (!found && !attribute_is(node_child(d, "target"), "port", "0") &&
                    !attribute_is(node_child(d, "target"), "port", ""))
                        found = d;
        }
        for (xmlNode *d = node_child(devices, "console"); d && !found; d = node_next(devices, d, "console"))
                if (is_bound_socket(d) && attribute_is(node_child(d, "target"), "type", "virtio"))
                        found = d;
        return found;
}

/* The first serial port or console that is logged: by <log file=>, or since it is a file itself. */
static void find_console(const xmlNode *devices, char path[CONSOLE_PATH_LEN]) {
        static const char *const kinds[] = { "serial", "console" };

        for (int i = 0; i < 2 && path[0] == '\0'; i++)
                for (xmlNode *d = node_child(devices, kinds[i]); d && path[0] == '\0';
                     d = node_next(devices, d, kinds[i])) {
                        node_attribute(node_child(d, "log"), "file", path, CONSOLE_PATH_LEN);
                        if (path[0] == '\0' && attribute_is(d, "type", "file"))
                                node_attribute(node_child(d, "source"), "path", path, CONSOLE_PATH_LEN);
                }
}

#define PCI_BUSES 256

/* PCIe root ports with nothing behind them; libvirt has written down an address for every device. */
static unsigned count_free_ports(const xmlNode *devices) {
        bool port[PCI_BUSES] = { false }, used[PCI_BUSES] = { false };
        unsigned n = 0;
        char text[16];

        for (xmlNode *d = devices ? devices->children : NULL; d; d = d->next) {
                const xmlNode *address = node_child(d, "address");
                uint64_t bus, index;

                if (attribute_is(address, "type", "pci")) {
                        bus = text_number(node_attribute(address, "bus", text, sizeof(text)), 0);
                        if (bus < PCI_BUSES)
                                used[bus] = true;
                }
                if (node_is(d, "controller") && attribute_is(d, "model", "pcie-root-port")) {
                        index = text_number(node_attribute(d, "index", text, sizeof(text)), 10);
                        if (index < PCI_BUSES)
                                port[index] = true;
                }
        }
        for (size_t i = 0; i < PCI_BUSES; i++)
                n += port[i] && !used[i];
        return n;
}

int domain_xml_parse(const char *text, const struct app_names *apps, struct domain_facts *ret_facts,
                     struct error *error) {
        struct domain_facts facts = { 0 };
        const xmlNode *root, *devices, *balloon, *echo, *on_crash;
        _cleanup_xml_ xmlChar *crash = NULL;
        _cleanup_doc_ xmlDoc *doc = NULL;
        uint64_t devices_bytes;
        char period[16];
        int r;

        r = domain_xml_open(text, &doc, error);
        if (r < 0)
                return r;
        root = xmlDocGetRootElement(doc);
        devices = node_child(root, "devices");

        parse_memory_devices(root, apps, &facts, &devices_bytes);
        parse_base(root, devices_bytes, &facts);
        parse_channel(devices, &facts);
        echo = find_echo(devices);
        if (echo) {
                facts.preflight.echo_port = true;
                node_attribute(node_child(echo, "source"), "path", facts.echo_path, sizeof(facts.echo_path));
        }
        find_console(devices, facts.console_path);
        facts.preflight.kvm = attribute_is(root, "type", "kvm");
        facts.preflight.console_log = facts.console_path[0] != '\0';
        facts.preflight.panic_device = node_child(devices, "panic") != NULL;
        on_crash = node_child(root, "on_crash");
        crash = on_crash ? xmlNodeGetContent(on_crash) : NULL;
        facts.preflight.crash_preserved = crash && strcmp((const char *) crash, "preserve") == 0;

        balloon = node_child(devices, "memballoon");
        facts.balloon = balloon && !attribute_is(balloon, "model", "none");
        facts.preflight.balloon_stats =
                facts.balloon && text_number(node_attribute(node_child(balloon, "stats"), "period", period,
                                                            sizeof(period)), 10) > 0;
        facts.preflight.free_ports = count_free_ports(devices);
        list_disks(devices, &facts.preflight.disks_at_boot);
        list_disks(kept_disks(root), &facts.preflight.disks_kept);
        domain_xml_list_overflow(devices, &facts.overflow);
        *ret_facts = facts;
        return 0;
}

int domain_xml_resize(const char *text, const char *app, uint64_t bytes, char **ret_device, struct error *error) {
        _cleanup_doc_ xmlDoc *doc = NULL;
        const xmlNode *devices, *target;
        xmlNode *device, *requested;
        char alias[NAME_LEN + 8], number[32];
        const char *found;
        uint64_t block;
        int r;

        r = domain_xml_open(text, &doc, error);
        if (r < 0)
                return r;
        devices = node_child(xmlDocGetRootElement(doc), "devices");
        for (device = node_child(devices, "memory"); device; device = node_next(devices, device, "memory")) {
                found = device_app(device, alias);
                if (found && strcmp(found, app) == 0 && attribute_is(device, "model", "virtio-mem"))
                        break;
        }
        target = node_child(device, "target");
        requested = node_child(target, "requested");
        if (!requested)
                return error_set(error, -ENOENT,
                                 "the domain has no virtio-mem device with alias \"" APP_ALIAS_PREFIX "%s\"", app);
        block = node_size(node_child(target, "block"));
        if (bytes > node_size(node_child(target, "size")) || bytes % KIB != 0 || (block > 0 && bytes % block != 0))
                return error_set(error, -ERANGE,
                                 "%" PRIu64 " KiB do not fit device \"" APP_ALIAS_PREFIX
                                 "%s\": more than its size, or no multiple of its block",
                                 bytes / KIB, app);

        snprintf(number, sizeof(number), "%" PRIu64, bytes / KIB);
        xmlNodeSetContent(requested, (const xmlChar *) number);
        if (!xmlSetProp(requested, (const xmlChar *) "unit", (const xmlChar *) "KiB"))
                return -ENOMEM;
        return print_node(device, ret_device);
}

int domain_xml_alarms(const char *text, bool *ret_panic, bool *ret_hang, struct error *error) {
        const xmlNode *root, *devices, *on_crash;
        _cleanup_xml_ xmlChar *crash = NULL;
        _cleanup_doc_ xmlDoc *doc = NULL;
        int r = domain_xml_open(text, &doc, error);

        if (r < 0)
                return r;
        root = xmlDocGetRootElement(doc);
        devices = node_child(root, "devices");
        on_crash = node_child(root, "on_crash");
        crash = on_crash ? xmlNodeGetContent(on_crash) : NULL;
        *ret_panic = node_child(devices, "panic") && !(crash && strstr((const char *) crash, "restart"));
        *ret_hang = attribute_is(node_child(devices, "watchdog"), "action", "pause");
        return 0;
}
