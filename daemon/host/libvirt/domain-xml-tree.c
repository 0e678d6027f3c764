/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Domain XML as a tree: its elements, their texts, numbers and sizes. */

#include <errno.h>
#include <libxml/parser.h>
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

/* A number at the text's beginning; 0 where there is none, or it is negative or too large. */
uint64_t text_number(const char *text, int base) {
        char *end;
        unsigned long long v;

        errno = 0;
        v = strtoull(text, &end, base);
        return errno == 0 && end != text && *text != '-' ? v : 0;
}

uint64_t node_number(const xmlNode *node) {
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

uint64_t node_size(const xmlNode *node) {
        char unit[16];

        return scale(node_number(node), node_attribute(node, "unit", unit, sizeof(unit)));
}

/* The same of an attribute, with `unit` beside it. */
uint64_t attribute_size(const xmlNode *node, const char *name) {
        char number[32], unit[16];

        return scale(text_number(node_attribute(node, name, number, sizeof(number)), 10),
                     node_attribute(node, "unit", unit, sizeof(unit)));
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
