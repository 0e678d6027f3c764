/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml-internal.h"

#define ALIAS_LEN (sizeof(OVERFLOW_ALIAS) + 1 + NAME_LEN)

static void alias_of(const char *app, char ret[ALIAS_LEN]) {
        snprintf(ret, ALIAS_LEN, OVERFLOW_ALIAS "%s%s", *app ? "-" : "", app);
}

/* Whose overflow disk this is; NULL where it is none. */
static const char *overflow_app(const xmlNode *disk, char alias[ALIAS_LEN]) {
        size_t n = strlen(OVERFLOW_ALIAS);

        node_attribute(node_child(disk, "alias"), "name", alias, ALIAS_LEN);
        if (strncmp(alias, OVERFLOW_ALIAS, n) != 0 || (alias[n] && (alias[n] != '-' || !alias[n + 1])))
                return NULL;
        return alias[n] ? alias + n + 1 : alias + n;
}

void domain_xml_list_overflow(const xmlNode *devices, struct overflow_disks *ret) {
        *ret = (struct overflow_disks) { 0 };
        for (xmlNode *d = node_child(devices, "disk"); d && ret->n < OVERFLOW_DISKS_MAX;
             d = node_next(devices, d, "disk")) {
                _cleanup_xml_ xmlChar *serial = NULL;
                char alias[ALIAS_LEN];
                const char *app = overflow_app(d, alias);
                const xmlNode *node = node_child(d, "serial");

                if (!app || strlen(app) >= NAME_LEN)
                        continue;
                serial = node ? xmlNodeGetContent(node) : NULL;
                strcpy(ret->disks[ret->n].app, app);
                snprintf(ret->disks[ret->n].serial, OVERFLOW_SERIAL_LEN, "%s", serial ? (const char *) serial : "");
                ret->n++;
        }
}

static bool lists(const struct disk_list *list, const char *target) {
        for (unsigned i = 0; i < list->n; i++)
                if (strcmp(list->targets[i], target) == 0)
                        return true;
        return false;
}

/* From the end of the alphabet, where the operator's are not. A domain with as many disks as are listed gets none. */
static bool find_target(const xmlNode *root, char ret[static DISK_TARGET_LEN]) {
        struct disk_list attached = { 0 }, kept = { 0 };

        list_disks(node_child(root, "devices"), &attached);
        list_disks(kept_disks(root), &kept);
        for (char c = 'z'; c >= 'a' && attached.n < DISKS_MAX; c--) {
                snprintf(ret, DISK_TARGET_LEN, "vd%c", c);
                if (!lists(&attached, ret) && !lists(&kept, ret))
                        return true;
        }
        return false;
}

static bool find_serial(const struct overflow_disks *disks, char ret[static OVERFLOW_SERIAL_LEN]) {
        bool used;

        for (unsigned i = 0; i < OVERFLOW_DISKS_MAX; i++) {
                snprintf(ret, OVERFLOW_SERIAL_LEN, OVERFLOW_SERIAL "-%u", i);
                used = false;
                for (unsigned k = 0; k < disks->n; k++)
                        used |= strcmp(disks->disks[k].serial, ret) == 0;
                if (!used)
                        return true;
        }
        return false;
}

/* Adds an element with pairs of attribute and value, which ends with NULL. NULL when out of memory. */
static xmlNode *add_node(xmlNode *parent, const char *name, const char *const *attributes) {
        xmlNode *node = parent ? xmlNewChild(parent, NULL, (const xmlChar *) name, NULL) : NULL;

        for (; node && *attributes; attributes += 2)
                if (!xmlNewProp(node, (const xmlChar *) attributes[0], (const xmlChar *) attributes[1]))
                        return NULL;
        return node;
}

#define ADD(parent, name, ...) add_node(parent, name, (const char *const[]) { __VA_ARGS__, NULL })

/* Errors go to the guest, whose kernel then keeps the page: with QEMU's default a full server would stop the VM. */
static int build(const char *alias, const char *target, const char *serial, const char *socket, char **ret_device) {
        _cleanup_doc_ xmlDoc *doc = xmlNewDoc((const xmlChar *) "1.0");
        xmlNode *disk = doc ? xmlNewDocNode(doc, NULL, (const xmlChar *) "disk", NULL) : NULL;
        xmlNode *source, *number;

        if (!disk)
                return -ENOMEM;
        xmlDocSetRootElement(doc, disk);
        if (!xmlNewProp(disk, (const xmlChar *) "type", (const xmlChar *) "network") ||
            !xmlNewProp(disk, (const xmlChar *) "device", (const xmlChar *) "disk") ||
            !ADD(disk, "driver", "name", "qemu", "type", "raw", "discard", "unmap", "error_policy", "report",
                 "rerror_policy", "report"))
                return -ENOMEM;
        source = ADD(disk, "source", "protocol", "nbd");
        number = xmlNewTextChild(disk, NULL, (const xmlChar *) "serial", (const xmlChar *) serial);
        if (!number || !ADD(source, "host", "transport", "unix", "socket", socket) ||
            !ADD(disk, "target", "dev", target, "bus", "virtio") || !ADD(disk, "alias", "name", alias))
                return -ENOMEM;
        return print_node(disk, ret_device);
}

int domain_xml_overflow(const char *text, const char *app, const char *socket, char **ret_device, struct error *error) {
        char alias[ALIAS_LEN], target[DISK_TARGET_LEN], serial[OVERFLOW_SERIAL_LEN];
        _cleanup_doc_ xmlDoc *doc = NULL;
        struct overflow_disks disks;
        const xmlNode *root;
        int r;

        r = domain_xml_open(text, &doc, error);
        if (r < 0)
                return r;
        root = xmlDocGetRootElement(doc);
        domain_xml_list_overflow(node_child(root, "devices"), &disks);
        for (unsigned i = 0; i < disks.n; i++)
                if (strcmp(disks.disks[i].app, app) == 0)
                        return error_set(error, -EEXIST, "it is attached already");
        if (!find_serial(&disks, serial) || !find_target(root, target))
                return error_set(error, -ENOSPC, "the domain has no place for a further overflow disk");
        alias_of(app, alias);
        return build(alias, target, serial, socket, ret_device);
}

int domain_xml_attached_overflow(const char *text, const char *app, char **ret_alias, struct error *error) {
        _cleanup_doc_ xmlDoc *doc = NULL;
        struct overflow_disks disks;
        char alias[ALIAS_LEN];
        int r;

        r = domain_xml_open(text, &doc, error);
        if (r < 0)
                return r;
        domain_xml_list_overflow(node_child(xmlDocGetRootElement(doc), "devices"), &disks);
        for (unsigned i = 0; i < disks.n; i++)
                if (strcmp(disks.disks[i].app, app) == 0) {
                        alias_of(app, alias);
                        *ret_alias = strdup(alias);
                        return *ret_alias ? 0 : -ENOMEM;
                }
        return error_set(error, -ENOENT, "no such overflow disk is attached");
}
