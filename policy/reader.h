/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Typed reading of nodes into the model. Whatever is wrong is reported with its place, and reading goes on. */

#include "policy/diagnostics.h"
#include "policy/keys.h"
#include "policy/node.h"

struct reader {
        struct diagnostics *d;
        bool in_force; /* a time that is out of its range, which an upgrade may have changed, is the nearest in it */
        int error;     /* -ENOMEM once memory ran out; the model is then incomplete */
};

void reader_report(struct reader *r, const struct node *node, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
void reader_warn(struct reader *r, const struct node *node, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
void reader_report_path(struct reader *r, const struct node *node, const char *key, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
void reader_report_key(struct reader *r, const struct node *node, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

void read_keys(struct reader *r, const struct node *mapping, const struct key *keys, void *object);
char *read_text(struct reader *r, const struct node *node, size_t length_max, const char *example);
bool expect_kind(struct reader *r, const struct node *node, enum node_kind kind, const char *example);
bool read_name(struct reader *r, const struct node *node, char ret[static NAME_LEN]);

const char *nearest_word(const char *text, const char *(*word)(int i, const void *words), const void *words);

/* Read by read_keys(), defined in text-parse.c. */
void read_run(struct reader *r, const struct node *node, const struct key *key, void *object);
void read_rules(struct reader *r, const struct node *node, void *object);
void read_disks(struct reader *r, const struct node *node, void *object);
void read_names(struct reader *r, const struct node *node, const struct key *key, void *object);
