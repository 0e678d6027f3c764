/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Every key of a policy, once. The tables here are what the reader reads by, what the writer writes by, and what
 * the schema and the manual page are compared with by test-policy-schema.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "policy/policy.h"

#define POLICY_TEXT_LEN 256             /* longest free text: a URI, a unit, a word of a list; with its NUL */
#define POLICY_WORD_LEN 1024            /* longest word of a command; with its NUL */
#define POLICY_COMMAND_BYTES (24 * KIB) /* all commands of one side of a pair: one protocol message holds them */
#define POLICY_SIZE_MAX (64 * 1024 * GIB)

enum key_kind {
        KEY_SIZE,     /* uint64_t, bytes */
        KEY_DURATION, /* usec_t */
        KEY_COUNT,    /* unsigned */
        KEY_WORD,     /* an enum */
        KEY_NAME,     /* char[NAME_LEN] */
        KEY_TEXT,     /* char *, owned */
        KEY_UNIT,     /* char *, owned, a systemd unit's name */
        KEY_COMMAND,  /* struct command */
        KEY_BLOCK,    /* keys of the object at `offset` */
        KEY_RUN,      /* `children` describe one application_side; "active" and "standby" may differ */
        KEY_RULES,    /* severity rules of an application */
        KEY_DISKS,    /* disks of an application */
        KEY_NAMES,    /* char[max][NAME_LEN] */
        KEY_LIST,     /* list of objects that `children` describe */
};

struct reader;
struct node;

/* One key. `offset` counts from the object that its table describes. */
struct key {
        const char *name;
        enum key_kind kind;
        size_t offset;
        uint64_t min, max;        /* of a size, duration or count; of a list, its length */
        bool required;
        const char *(*word)(int); /* of KEY_WORD: the words, NULL past the last */
        const struct key *children; /* ends with a name of NULL */
        void (*read)(struct reader *r, const struct node *list, const struct key *key, void *object); /* KEY_LIST */
        size_t item_size, count_offset; /* KEY_LIST: its items lie at `offset`, as an array or behind a pointer.
                                         * KEY_NAMES: how many there are. KEY_BLOCK: counted in the block, and with
                                         * 0 the block is not there */
        bool inside;                    /* KEY_LIST: the array is part of the object */
};

extern const struct key policy_keys[];
extern const struct key pair_keys[];
extern const struct key application_keys[];
extern const struct key address_keys[];

/* The severity rules' keys: a cause, its word for "every one" and the codes that it may name. */
struct cause_key {
        enum failure_cause cause;
        const char *every;
        int code_max; /* -1 where only the word is possible */
};
extern const struct cause_key cause_keys[FAILURE_CAUSE_MAX];

int signal_from_text(const char *text);
const char *signal_to_text(int signal, char buffer[static 16]);

void policy_keys_print(FILE *f);

/* Readers of lists (text-parse.c), named by the tables. */
void read_pairs(struct reader *r, const struct node *list, const struct key *key, void *object);
void read_applications(struct reader *r, const struct node *list, const struct key *key, void *object);
void read_regions(struct reader *r, const struct node *list, const struct key *key, void *object);
void read_addresses(struct reader *r, const struct node *list, const struct key *key, void *object);
void read_servers(struct reader *r, const struct node *list, const struct key *key, void *object);
void read_vms(struct reader *r, const struct node *list, const struct key *key, void *object);
