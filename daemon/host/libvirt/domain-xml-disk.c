/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A domain's disks: those it boots with, those kept for applications, what is behind them, and what becomes of them in
 * a snapshot. */

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml-internal.h"

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
                for (const xmlNode *b = node_child(d, "backingStore"); b && r == 0;
                     b = node_child(b, "backingStore")) {
                        node_attribute(node_child(b, "format"), "type", source.format, sizeof(source.format));
                        r = tell_source(b, &source, found, userdata, error);
                }
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
static bool add_disk(xmlNode *disks, const xmlNode *of, const struct domain_overlay *overlays, size_t n) {
        xmlNode *disk = add_child(disks, "disk");
        char target[DISK_TARGET_LEN];
        size_t i = 0;

        node_attribute(node_child(of, "target"), "dev", target, sizeof(target));
        while (i < n && strcmp(overlays[i].target, target) != 0)
                i++;
        if (i == n)
                return add_attribute(disk, "name", target) && add_attribute(disk, "snapshot", "no");
        return add_attribute(disk, "name", target) && add_attribute(disk, "snapshot", "external") &&
               add_attribute(add_child(disk, "driver"), "type", "qcow2") &&
               add_attribute(add_child(disk, "source"), "file", overlays[i].path);
}

int domain_xml_memory_snapshot(const char *text, const char *path, const struct domain_overlay *overlays, size_t n,
                               char **ret_xml, struct error *error) {
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
                whole = add_disk(disks, d, overlays, n);
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
