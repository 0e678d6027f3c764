/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/node.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "daemon/base/cleanup.h"

/* Frees a node and all below it. Takes NULL; returns NULL. */
struct node *node_free(struct node *node) {
        if (!node)
                return NULL;
        for (struct node *child = node->first, *next; child; child = next) {
                next = child->next;
                node_free(child);
        }
        free(node->key);
        free(node->text);
        free(node);
        return NULL;
}

/* The value of a key, or NULL where the mapping does not have it or the node is no mapping. */
const struct node *node_get(const struct node *mapping, const char *key) {
        if (mapping->kind != NODE_MAPPING)
                return NULL;
        for (const struct node *child = mapping->first; child; child = child->next)
                if (strcmp(child->key, key) == 0)
                        return child;
        return NULL;
}

static const struct node *node_child(const struct node *node, size_t index) {
        if (node->kind != NODE_SEQUENCE)
                return NULL;
        for (const struct node *child = node->first; child; child = child->next)
                if (child->index == index)
                        return child;
        return NULL;
}

/* The node at a path such as "pairs[0].active.base", or the deepest one on the way to it where the text does not
 * go on, so that a default still has a place to be reported at. */
const struct node *node_locate(const struct node *root, const char *path) {
        const struct node *at = root, *next;
        char key[NODE_PATH_LEN];
        size_t n;

        while (*path) {
                if (*path == '[') {
                        next = node_child(at, strtoul(path + 1, NULL, 10));
                        n = strcspn(path, "]") + 1;
                } else {
                        path += *path == '.';
                        n = strcspn(path, ".[");
                        if (n >= sizeof(key))
                                return at;
                        memcpy(key, path, n);
                        key[n] = 0;
                        next = node_get(at, key);
                }
                if (!next)
                        return at;
                at = next;
                path += n;
        }
        return at;
}

/* The path of a node, as messages show it; "" for the root. Returns `buffer`. */
const char *node_path(const struct node *node, char buffer[static NODE_PATH_LEN]) {
        const struct node *chain[NODE_DEPTH_MAX + 1];
        char quoted[QUOTE_LEN];
        size_t n = 0, used = 0;

        for (; node->parent && n < ELEMENTSOF(chain); node = node->parent)
                chain[n++] = node;
        buffer[0] = 0;
        while (n-- > 0 && used + QUOTE_LEN + 24 < NODE_PATH_LEN) {
                const struct node *step = chain[n];

                if (step->key)
                        used += (size_t) snprintf(buffer + used, NODE_PATH_LEN - used, "%s%s", used ? "." : "",
                                                  text_quote(step->key, strlen(step->key), quoted));
                else
                        used += (size_t) snprintf(buffer + used, NODE_PATH_LEN - used, "[%zu]", step->index);
        }
        return buffer;
}

/* What a node is, in words. */
const char *node_kind_text(const struct node *node) {
        switch (node->kind) {
        case NODE_SCALAR:
                return node->length > 0 ? "a single value" : "nothing";
        case NODE_SEQUENCE:
                return "a list";
        case NODE_MAPPING:
                return "a block of keys";
        }
        return "nothing";
}
