/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include <libfyaml.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/utf8.h"
#include "policy/node.h"

DEFINE_CLEANUP(struct node *, node_free)
DEFINE_CLEANUP(struct fy_parser *, fy_parser_destroy)
DEFINE_CLEANUP(struct fy_diag *, fy_diag_destroy)

/* The tree while it grows. */
struct builder {
        struct diagnostics *d;
        struct node *root; /* owned until handed over */
        struct node *at;   /* innermost open mapping or sequence; NULL at the top */
        char *key;         /* owned: key that waits for its value */
        unsigned key_line, key_column;
        size_t n_nodes, n_documents;
        unsigned depth;
};

/* The path of the node that comes next. Returns `buffer`. */
static const char *next_path(const struct builder *b, char buffer[static NODE_PATH_LEN]) {
        struct node next = { .parent = b->at, .key = b->key, .index = b->at ? b->at->n_children : 0 };

        if (b->at && b->at->kind == NODE_MAPPING && !b->key)
                return node_path(b->at, buffer);
        return node_path(&next, buffer);
}

/* Reports something that ends the parse. Returns -EINVAL. */
static int refuse(struct builder *b, unsigned line, unsigned column, const char *message) {
        char path[NODE_PATH_LEN];

        diagnostics_add(b->d, line, column, false, next_path(b, path), "%s", message);
        return -EINVAL;
}

static void place_of(struct fy_event *event, const struct builder *b, unsigned *ret_line, unsigned *ret_column) {
        const struct fy_mark *mark = fy_event_start_mark(event);

        *ret_line = mark ? (unsigned) mark->line + 1 : b->key_line;
        *ret_column = mark ? (unsigned) mark->column + 1 : b->key_column;
}

/* Hangs a new node where the text stands and consumes the waiting key. */
static int add_node(struct builder *b, enum node_kind kind, unsigned line, unsigned column, struct node **ret) {
        _cleanup_(node_freep) struct node *node = NULL;

        if (++b->n_nodes > NODES_MAX) {
                (void) refuse(b, line, column, "too many values for a policy");
                return -EINVAL;
        }
        node = malloc(sizeof(*node));
        if (!node)
                return -ENOMEM;
        *node = (struct node) {
                .kind = kind,
                .line = line,
                .column = column,
                .key_line = b->key_line,
                .key_column = b->key_column,
                .key = steal_ptr(b->key),
                .parent = b->at,
        };
        *ret = node;
        if (!b->at) {
                b->root = steal_ptr(node);
                return 0;
        }
        node->index = b->at->n_children++;
        if (b->at->last)
                b->at->last->next = node;
        else
                b->at->first = node;
        b->at->last = steal_ptr(node);
        return 0;
}

/* Takes a scalar as the next key of the open mapping. Equal keys are reported here, each with both places. */
static int take_key(struct builder *b, const char *text, size_t length, unsigned line, unsigned column) {
        char quoted[QUOTE_LEN], path[NODE_PATH_LEN];
        const struct node *first;

        text_quote(text, length, quoted);
        if (b->at->n_children >= NODE_KEYS_MAX)
                return refuse(b, line, column, "too many keys in one block");
        if (length == 0 || memchr(text, 0, length))
                return refuse(b, line, column, "a key must be a word; write KEY: VALUE");
        b->key = strndup(text, length);
        if (!b->key)
                return -ENOMEM;
        b->key_line = line;
        b->key_column = column;
        first = node_get(b->at, b->key);
        if (first)
                diagnostics_add(b->d, line, column, false, node_path(first, path),
                                "\"%s\" stands here a second time, first in line %u; leave one of them out", quoted,
                                first->key_line);
        if (strcmp(b->key, "<<") == 0)
                diagnostics_add(b->d, line, column, false, node_path(b->at, path),
                                "merge keys (<<) are refused; write the keys out");
        return 0;
}

static int on_scalar(struct builder *b, struct fy_event *event) {
        struct node *node;
        const char *text = NULL;
        size_t length = 0;
        unsigned line, column;
        int r;

        if (event->scalar.value)
                text = fy_token_get_text(event->scalar.value, &length);
        if (!text && event->scalar.value)
                return -ENOMEM;
        if (!text)
                text = "";
        place_of(event, b, &line, &column);
        if (b->at && b->at->kind == NODE_MAPPING && !b->key)
                return take_key(b, text, length, line, column);

        r = add_node(b, NODE_SCALAR, line, column, &node);
        if (r < 0)
                return r;
        node->text = malloc(length + 1);
        if (!node->text)
                return -ENOMEM;
        memcpy(node->text, text, length);
        node->text[length] = 0;
        node->length = length;
        return 0;
}

static int on_start(struct builder *b, struct fy_event *event, enum node_kind kind) {
        struct node *node;
        unsigned line, column;
        int r;

        place_of(event, b, &line, &column);
        if (b->at && b->at->kind == NODE_MAPPING && !b->key)
                return refuse(b, line, column, "a key must be a word; write KEY: VALUE");
        if (++b->depth > NODE_DEPTH_MAX)
                return refuse(b, line, column, "nested more deeply than any policy");
        r = add_node(b, kind, line, column, &node);
        if (r < 0)
                return r;
        b->at = node;
        return 0;
}

/* Refuses what makes a text mean more than it says. */
static void check_plainness(struct builder *b, struct fy_event *event, struct fy_token *anchor, struct fy_token *tag) {
        char path[NODE_PATH_LEN];
        unsigned line, column;

        if (!anchor && !tag)
                return;
        place_of(event, b, &line, &column);
        next_path(b, path);
        if (anchor)
                diagnostics_add(b->d, line, column, false, path, "anchors (&NAME) are refused; write the value out "
                                "where it is needed");
        if (tag)
                diagnostics_add(b->d, line, column, false, path, "tags (!NAME) are refused; the key alone says what "
                                "the value is");
}

static int on_event(struct builder *b, struct fy_event *event) {
        unsigned line, column;

        switch (event->type) {
        case FYET_DOCUMENT_START:
                place_of(event, b, &line, &column);
                if (++b->n_documents > 1)
                        return refuse(b, line, column, "a second document begins here; a policy is one document");
                return 0;
        case FYET_ALIAS:
                place_of(event, b, &line, &column);
                return refuse(b, line, column, "aliases (*NAME) are refused; write the value out");
        case FYET_SCALAR:
                check_plainness(b, event, event->scalar.anchor, event->scalar.tag);
                return on_scalar(b, event);
        case FYET_SEQUENCE_START:
                check_plainness(b, event, event->sequence_start.anchor, event->sequence_start.tag);
                return on_start(b, event, NODE_SEQUENCE);
        case FYET_MAPPING_START:
                check_plainness(b, event, event->mapping_start.anchor, event->mapping_start.tag);
                return on_start(b, event, NODE_MAPPING);
        case FYET_SEQUENCE_END:
        case FYET_MAPPING_END:
                b->at = b->at->parent;
                b->depth--;
                return 0;
        default:
                return 0;
        }
}

/* Moves the parser's first error into the list. */
static int syntax_error(struct diagnostics *d, struct fy_diag *diag) {
        struct fy_diag_error *error;
        void *iterator = NULL;

        while ((error = fy_diag_errors_iterate(diag, &iterator))) {
                if (error->type != FYET_ERROR)
                        continue;
                diagnostics_add(d, (unsigned) error->line, (unsigned) error->column, false, "", "not YAML: %s",
                                error->msg ? error->msg : "the text cannot be read");
                return -EINVAL;
        }
        diagnostics_add(d, 0, 0, false, "", "not YAML: the text cannot be read");
        return -EINVAL;
}

static int run(struct builder *b, struct fy_parser *parser, struct fy_diag *diag) {
        struct fy_event *event;
        int r = 0;

        while (r >= 0 && (event = fy_parser_parse(parser))) {
                r = on_event(b, event);
                fy_parser_event_free(parser, event);
        }
        if (r >= 0 && fy_parser_get_stream_error(parser))
                r = syntax_error(b->d, diag);
        return r;
}

/* Refuses what libfyaml (0.7.12) does not survive or does not see: to it a NUL ends the text, so that the rest would
 * be dropped without a word, and a directive with a malformed character makes it loop for ever. A policy has no use
 * for directives. */
static int check_bytes(const char *text, size_t n, struct diagnostics *d) {
        const unsigned char *p = (const unsigned char *) text;
        unsigned line = 1, column = 1;
        const char *refused = NULL;
        size_t length;

        if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark takes no column */
                p += 3;
                n -= 3;
        }
        for (size_t i = 0; i < n; i += length, column++) {
                length = utf8_length(p + i, n - i);
                if (length == 0)
                        refused = "not UTF-8; save the text in that encoding";
                else if (p[i] == 0)
                        refused = "a NUL byte stands here; leave it out";
                else if (p[i] == '%' && column == 1)
                        refused = "directives (%NAME) are refused; a line cannot begin with \"%\"";
                if (refused) {
                        diagnostics_add(d, line, column, false, "", "%s", refused);
                        return -EINVAL;
                }
                if (p[i] == '\n' || (p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n'))) {
                        line++;
                        column = 0;
                }
        }
        return 0;
}

/* Reads a text of `n` bytes into a tree that the caller frees with node_free(). The first syntax error ends it;
 * what is YAML but refused here is reported completely where the text allows. -EINVAL with the findings in `d`,
 * -E2BIG past NODE_TEXT_MAX (also in `d`), -ENOMEM. */
int node_parse(const char *text, size_t n, struct diagnostics *d, struct node **ret) {
        struct fy_diag_cfg diag_cfg = { .level = FYET_ERROR, .module_mask = ~0U };
        _cleanup_(fy_diag_destroyp) struct fy_diag *diag = NULL;
        _cleanup_(fy_parser_destroyp) struct fy_parser *parser = NULL;
        struct fy_parse_cfg cfg = { .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG };
        struct builder b = { .d = d, .key_line = 1, .key_column = 1 };
        size_t n_errors = d->n_errors;
        int r;

        if (n > NODE_TEXT_MAX) {
                diagnostics_add(d, 0, 0, false, "", "larger than 1MiB, the most that a policy may be");
                return -E2BIG;
        }
        r = check_bytes(text, n, d);
        if (r < 0)
                return r;
        diag = fy_diag_create(&diag_cfg);
        if (!diag)
                return -ENOMEM;
        fy_diag_set_collect_errors(diag, true);
        cfg.diag = diag;
        parser = fy_parser_create(&cfg);
        if (!parser || fy_parser_set_string(parser, text, n) < 0)
                return -ENOMEM;

        r = run(&b, parser, diag);
        if (r >= 0 && d->n_errors > n_errors)
                r = -EINVAL;
        if (r >= 0 && !b.root) {
                diagnostics_add(d, 1, 1, false, "", "the text is empty; begin with \"version: 1\"");
                r = -EINVAL;
        }
        free(b.key);
        if (r < 0) {
                node_free(b.root);
                return r;
        }
        *ret = b.root;
        return 0;
}
