/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Domain XML as a tree, for the domain-xml*.c alone. */

#include <libxml/tree.h>

#include "daemon/host/libvirt/domain-xml.h"

static inline void free_docp(xmlDoc **doc) {
        if (*doc)
                xmlFreeDoc(*doc);
}

static inline void free_xmlp(xmlChar **text) {
        if (*text)
                xmlFree(*text);
}

#define _cleanup_doc_ _cleanup_(free_docp)
#define _cleanup_xml_ _cleanup_(free_xmlp)

bool node_is(const xmlNode *node, const char *name);
xmlNode *node_next(const xmlNode *parent, const xmlNode *child, const char *name);
xmlNode *node_child(const xmlNode *parent, const char *name);
const char *node_attribute(const xmlNode *node, const char *name, char *buffer, size_t size);
bool attribute_is(const xmlNode *node, const char *name, const char *value);
uint64_t text_number(const char *text, int base);
uint64_t node_number(const xmlNode *node);
uint64_t node_size(const xmlNode *node);
uint64_t attribute_size(const xmlNode *node, const char *name);
int print_node(xmlNode *node, char **ret_text);
int domain_xml_open(const char *text, xmlDoc **ret_doc, struct error *error);

void list_disks(const xmlNode *parent, struct disk_list *list);
xmlNode *kept_disks(const xmlNode *root);
void domain_xml_list_overflow(const xmlNode *devices, struct overflow_disks *ret);
