/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The text of a policy as a tree of nodes that know their place.
 *
 * The tree is built from the parser's events and not from its documents, because a document refuses only what
 * its author thought of: aliases multiply there, the second of two equal keys ends the parse, and a mapping does
 * not know where it begins. Here an alias, an anchor, a tag, a merge key or a second document is refused as it is
 * met, before anything could have been expanded, and each limit is one comparison.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/quote.h"
#include "policy/diagnostics.h"

#define NODE_TEXT_MAX (1024 * 1024) /* bytes of a whole text */
#define NODE_DEPTH_MAX 16           /* a policy needs 8 */
#define NODES_MAX 200000
#define NODE_KEYS_MAX 64 /* of one mapping; no mapping of a policy has as many */
#define NODE_PATH_LEN 512

enum node_kind { NODE_SCALAR, NODE_SEQUENCE, NODE_MAPPING };

struct node {
        enum node_kind kind;
        unsigned line, column;         /* of the value, from 1 */
        unsigned key_line, key_column; /* of its key, where it is in a mapping */
        char *key;                     /* NULL where it is not in a mapping */
        size_t index;                  /* among its parent's children */
        char *text;                    /* of a scalar; "" where nothing was written */
        size_t length;                 /* of `text`, which may hold any byte but ends in a NUL */
        struct node *parent, *first, *last, *next;
        size_t n_children;
};

int node_parse(const char *text, size_t n, struct diagnostics *d, struct node **ret);
struct node *node_free(struct node *node);

const struct node *node_get(const struct node *mapping, const char *key);
const struct node *node_locate(const struct node *root, const char *path);
const char *node_path(const struct node *node, char buffer[static NODE_PATH_LEN]);
const char *node_kind_text(const struct node *node);
