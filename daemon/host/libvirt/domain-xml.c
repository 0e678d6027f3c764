/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/domain-xml.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml-internal.h"

bool node_is(const xmlNode *node, const char *name) {
        return node->type == XML_ELEMENT_NODE && strcmp((const char *) node->name, name) == 0;
}

/* Next child element of that name after `child`, or the first one where that is NULL. */
xmlNode *node_next(const xmlNode *parent, const xmlNode *child, const char *name) {
        xmlNode *n = child ? child->next : parent ? parent->children : NULL;

        while (n && !node_is(n, name))
                n = n->next;
        return n;
}

xmlNode *node_child(const xmlNode *parent, const char *name) {
        return node_next(parent, NULL, name);
}

/* The attribute's text; empty where there is none, or no room for it. Returns `buffer`. */
const char *node_attribute(const xmlNode *node, const char *name, char *buffer, size_t size) {
        _cleanup_xml_ xmlChar *value = node ? xmlGetNoNsProp(node, (const xmlChar *) name) : NULL;

        if (!value || (size_t) snprintf(buffer, size, "%s", (const char *) value) >= size)
                buffer[0] = '\0';
        return buffer;
}

bool attribute_is(const xmlNode *node, const char *name, const char *value) {
        char buffer[SOCKET_PATH_LEN];

        return strcmp(node_attribute(node, name, buffer, sizeof(buffer)), value) == 0;
}

static uint64_t text_number(const char *text, int base) {
        char *end;
        unsigned long long v;

        errno = 0;
        v = strtoull(text, &end, base);
        return errno == 0 && end != text && *text != '-' ? v : 0;
}

static uint64_t node_number(const xmlNode *node) {
        _cleanup_xml_ xmlChar *value = node ? xmlNodeGetContent(node) : NULL;
        const char *text = (const char *) value;

        while (text && (*text == ' ' || *text == '\n'))
                text++;
        return text ? text_number(text, 10) : 0;
}

/* A size as libvirt scales it; it always writes KiB itself. 0 where it is missing or out of range. */
static uint64_t scale(uint64_t number, const char *unit) {
        static const struct {
                const char *name;
                uint64_t factor;
        } units[] = {
                { "", KIB },     { "KiB", KIB }, { "k", KIB },     { "b", 1 },     { "bytes", 1 },
                { "MiB", MIB },  { "M", MIB },   { "GiB", GIB },   { "G", GIB },   { "TiB", 1024 * GIB },
                { "T", 1024 * GIB },
        };

        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strcmp(unit, units[i].name) == 0)
                        return number > UINT64_MAX / units[i].factor ? 0 : number * units[i].factor;
        return 0;
}

static uint64_t node_size(const xmlNode *node) {
        char unit[16];

        return scale(node_number(node), node_attribute(node, "unit", unit, sizeof(unit)));
}

int domain_xml_open(const char *text, xmlDoc **ret_doc, struct error *error) {
        size_t length = strlen(text);
        xmlDoc *doc;

        if (length > DOMAIN_XML_MAX)
                return error_set(error, -E2BIG, "domain XML of more than %d MiB", (int) (DOMAIN_XML_MAX / MIB));
        /* No XML_PARSE_NOENT, DTDLOAD or HUGE: entities stay unexpanded, libxml2's own limits stay. */
        doc = xmlReadMemory(text, (int) length, "domain.xml", NULL,
                            XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        if (!doc)
                return error_set(error, -EINVAL, "libvirt's domain XML cannot be parsed");
        if (!xmlDocGetRootElement(doc) || !node_is(xmlDocGetRootElement(doc), "domain")) {
                xmlFreeDoc(doc);
                return error_set(error, -EINVAL, "this is no domain XML");
        }
        *ret_doc = doc;
        return 0;
}

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
        char text[64], unit[16];

        if (own)
                return node_size(own) > ORDINARY_PAGE_MAX;
        for (xmlNode *page = node_child(huge, "page"); page; page = node_next(huge, page, "page")) {
                bool is_large = scale(text_number(node_attribute(page, "size", text, sizeof(text)), 10),
                                      node_attribute(page, "unit", unit, sizeof(unit))) > ORDINARY_PAGE_MAX;

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
        char text[32], unit[16];

        for (xmlNode *c = node_child(numa, "cell"); c; c = node_next(numa, c, "cell"))
                base += scale(text_number(node_attribute(c, "memory", text, sizeof(text)), 10),
                              node_attribute(c, "unit", unit, sizeof(unit)));
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

void list_disks(const xmlNode *parent, struct disk_list *list) {
        for (const xmlNode *d = node_child(parent, "disk"); d && list->n < DISKS_MAX;
             d = node_next(parent, d, "disk")) {
                char *target = list->targets[list->n];

                if (node_attribute(node_child(d, "target"), "dev", target, DISK_TARGET_LEN)[0] != '\0')
                        list->n++;
        }
}

/* <metadata><failover:disks xmlns:failover="urn:failover1:disks"><disk .../></failover:disks></metadata>: libvirt
 * keeps it as it is and opens none of them. NULL where there is none. */
xmlNode *kept_disks(const xmlNode *root) {
        const xmlNode *metadata = node_child(root, "metadata");
        xmlNode *n;

        for (n = node_child(metadata, "disks"); n; n = node_next(metadata, n, "disks"))
                if (n->ns && strcmp((const char *) n->ns->href, DISKS_NAMESPACE) == 0)
                        break;
        return n;
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

/* Writes one element out as text of its own. */
int print_node(xmlNode *node, char **ret_text) {
        xmlBuffer *buffer = xmlBufferCreate();
        char *text = NULL;

        if (buffer && xmlNodeDump(buffer, node->doc, node, 0, 0) > 0)
                text = strdup((const char *) xmlBufferContent(buffer));
        if (buffer)
                xmlBufferFree(buffer);
        if (!text)
                return -ENOMEM;
        *ret_text = text;
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

static xmlNode *find_disk(const xmlNode *parent, const char *target) {
        xmlNode *d;

        for (d = node_child(parent, "disk"); d; d = node_next(parent, d, "disk"))
                if (attribute_is(node_child(d, "target"), "dev", target))
                        break;
        return d;
}

static void remove_children(xmlNode *parent, const char *name, const char *but_prefix) {
        xmlNode *n, *next;
        char text[NAME_LEN];

        for (n = node_child(parent, name); n; n = next) {
                next = node_next(parent, n, name);
                node_attribute(n, "name", text, sizeof(text));
                if (but_prefix && strncmp(text, but_prefix, strlen(but_prefix)) == 0)
                        continue;
                xmlUnlinkNode(n);
                xmlFreeNode(n);
        }
}

int domain_xml_disk(const char *text, const char *target, char **ret_device, struct error *error) {
        _cleanup_doc_ xmlDoc *doc = NULL;
        xmlNode *disk;
        int r;

        r = domain_xml_open(text, &doc, error);
        if (r < 0)
                return r;
        disk = find_disk(kept_disks(xmlDocGetRootElement(doc)), target);
        if (!disk)
                return error_set(error, -ENOENT, "no <disk> with target \"%s\" in <metadata> of the domain", target);
        remove_children(disk, "address", NULL);
        remove_children(disk, "alias", APP_ALIAS_PREFIX);
        return print_node(disk, ret_device);
}

int domain_xml_attached_disk(const char *text, const char *target, char **ret_alias, struct error *error) {
        _cleanup_doc_ xmlDoc *doc = NULL;
        char alias[NAME_LEN];
        xmlNode *disk;
        int r;

        r = domain_xml_open(text, &doc, error);
        if (r < 0)
                return r;
        disk = find_disk(node_child(xmlDocGetRootElement(doc), "devices"), target);
        if (!disk)
                return error_set(error, -ENOENT, "no disk \"%s\" is attached", target);
        *ret_alias = strdup(node_attribute(node_child(disk, "alias"), "name", alias, sizeof(alias)));
        return *ret_alias ? 0 : -ENOMEM;
}

/* One source element, of a disk or of a backing store, whose `type` says what it is. */
static int tell_source(const xmlNode *of, struct domain_source *source,
                       int (*found)(const struct domain_source *source, void *userdata), void *userdata,
                       struct error *error) {
        const xmlNode *element = node_child(of, "source");
        _cleanup_xml_ xmlChar *path = NULL;

        if (!element)
                return 0; /* an empty drive; the end of a chain */
        source->block = attribute_is(of, "type", "block");
        path = xmlGetNoNsProp(element, (const xmlChar *) (source->block ? "dev" : "file"));
        if (path && xmlStrlen(path) >= PATH_MAX)
                return error_set(error, -E2BIG, "disk %s: its path is too long", source->target);
        source->path = path && (source->block || attribute_is(of, "type", "file")) ? (const char *) path : "";
        return found(source, userdata);
}

/* Variables of the firmware: a file that the guest writes, like a disk. */
static int tell_nvram(const xmlNode *nvram, int (*found)(const struct domain_source *source, void *userdata),
                      void *userdata, struct error *error) {
        struct domain_source source = { .target = "nvram", .writable = true };
        _cleanup_xml_ xmlChar *path = NULL;

        if (!nvram || node_child(nvram, "source"))
                return nvram ? tell_source(nvram, &source, found, userdata, error) : 0;
        path = xmlNodeGetContent(nvram);
        if (!path || path[0] != '/')
                return 0;
        source.path = (const char *) path;
        return found(&source, userdata);
}

int domain_xml_sources(const char *text, int (*found)(const struct domain_source *source, void *userdata),
                       void *userdata, struct error *error) {
        _cleanup_doc_ xmlDoc *doc = NULL;
        const xmlNode *devices;
        int r = domain_xml_open(text, &doc, error);

        if (r < 0)
                return r;
        devices = node_child(xmlDocGetRootElement(doc), "devices");
        r = tell_nvram(node_child(node_child(xmlDocGetRootElement(doc), "os"), "nvram"), found, userdata, error);
        for (const xmlNode *d = node_child(devices, "disk"); d && r == 0; d = node_next(devices, d, "disk")) {
                struct domain_source source = { .writable = !node_child(d, "readonly") };

                node_attribute(node_child(d, "target"), "dev", source.target, sizeof(source.target));
                node_attribute(node_child(d, "driver"), "type", source.format, sizeof(source.format));
                r = tell_source(d, &source, found, userdata, error);
                source.writable = false;
                source.format[0] = 0;
                for (const xmlNode *b = node_child(d, "backingStore"); b && r == 0; b = node_child(b, "backingStore"))
                        r = tell_source(b, &source, found, userdata, error);
        }
        return r;
}

static bool add_attribute(xmlNode *node, const char *name, const char *value) {
        return node && xmlSetProp(node, (const xmlChar *) name, (const xmlChar *) value);
}

static xmlNode *add_child(xmlNode *parent, const char *name) {
        return parent ? xmlNewChild(parent, NULL, (const xmlChar *) name, NULL) : NULL;
}

/* Leaves a disk out of a snapshot, or has the domain go on in an overlay. */
static bool add_disk(xmlNode *disks, const xmlNode *of, const char *suffix) {
        xmlNode *disk = add_child(disks, "disk");
        _cleanup_xml_ xmlChar *file = NULL;
        char target[DISK_TARGET_LEN];
        _cleanup_free_ char *overlay = NULL;

        node_attribute(node_child(of, "target"), "dev", target, sizeof(target));
        file = node_child(of, "source") ? xmlGetNoNsProp(node_child(of, "source"), (const xmlChar *) "file") : NULL;
        if (!suffix || !file || node_child(of, "readonly"))
                return add_attribute(disk, "name", target) && add_attribute(disk, "snapshot", "no");
        if (asprintf(&overlay, "%s.%s", (const char *) file, suffix) < 0) {
                overlay = NULL;
                return false;
        }
        return add_attribute(disk, "name", target) && add_attribute(disk, "snapshot", "external") &&
               add_attribute(add_child(disk, "driver"), "type", "qcow2") &&
               add_attribute(add_child(disk, "source"), "file", overlay);
}

int domain_xml_memory_snapshot(const char *text, const char *path, const char *suffix, char **ret_xml,
                               struct error *error) {
        _cleanup_doc_ xmlDoc *domain = NULL, *doc = xmlNewDoc((const xmlChar *) "1.0");
        xmlNode *root = doc ? xmlNewDocNode(doc, NULL, (const xmlChar *) "domainsnapshot", NULL) : NULL;
        xmlNode *memory, *disks;
        const xmlNode *devices;
        bool whole;
        int r = domain_xml_open(text, &domain, error);

        if (r < 0)
                return r;
        if (!root)
                return error_set(error, -ENOMEM, "out of memory");
        xmlDocSetRootElement(doc, root);
        memory = add_child(root, "memory");
        disks = add_child(root, "disks");
        whole = disks && add_attribute(memory, "snapshot", "external") && add_attribute(memory, "file", path);
        devices = node_child(xmlDocGetRootElement(domain), "devices");
        for (const xmlNode *d = node_child(devices, "disk"); d && whole; d = node_next(devices, d, "disk"))
                whole = add_disk(disks, d, suffix);
        r = whole ? print_node(root, ret_xml) : -ENOMEM;
        return r < 0 ? error_set(error, r, "out of memory") : 0;
}

int domain_xml_replace_disk(const char *text, const char *target, const char *path, char **ret_xml,
                            struct error *error) {
        _cleanup_doc_ xmlDoc *doc = NULL;
        xmlNode *disk, *driver, *source;
        int r = domain_xml_open(text, &doc, error);

        if (r < 0)
                return r;
        disk = find_disk(node_child(xmlDocGetRootElement(doc), "devices"), target);
        driver = node_child(disk, "driver");
        source = node_child(disk, "source");
        if (!disk || !driver || !source)
                return error_set(error, -ENOENT, "the domain has no disk \"%s\" in a file", target);
        remove_children(disk, "backingStore", NULL);
        if (!add_attribute(driver, "type", "qcow2") || !add_attribute(source, "file", path) ||
            print_node(xmlDocGetRootElement(doc), ret_xml) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        return 0;
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
