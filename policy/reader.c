/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/reader.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "daemon/base/cleanup.h"

__attribute__((format(printf, 6, 0)))
static void add(struct reader *r, const char *path, unsigned line, unsigned column, bool is_warning,
                const char *format, va_list ap) {
        _cleanup_free_ char *message = NULL;

        if (vasprintf(&message, format, ap) < 0) {
                message = NULL;
                r->error = -ENOMEM;
                return;
        }
        if (diagnostics_add(r->d, line, column, is_warning, path, "%s", message) < 0)
                r->error = -ENOMEM;
}

/* Reports an error at a node's value. */
void reader_report(struct reader *r, const struct node *node, const char *format, ...) {
        char path[NODE_PATH_LEN];
        va_list ap;

        va_start(ap, format);
        add(r, node_path(node, path), node->line, node->column, false, format, ap);
        va_end(ap);
}

/* Reports a warning at a node's value. */
void reader_warn(struct reader *r, const struct node *node, const char *format, ...) {
        char path[NODE_PATH_LEN];
        va_list ap;

        va_start(ap, format);
        add(r, node_path(node, path), node->line, node->column, true, format, ap);
        va_end(ap);
}

/* Reports an error about a key that a mapping does not have, at the mapping. */
void reader_report_path(struct reader *r, const struct node *node, const char *key, const char *format, ...) {
        struct node missing = { .parent = (struct node *) node, .key = (char *) key };
        char path[NODE_PATH_LEN];
        va_list ap;

        va_start(ap, format);
        add(r, node_path(&missing, path), node->line, node->column, false, format, ap);
        va_end(ap);
}

/* Reports an error at a node's key. */
void reader_report_key(struct reader *r, const struct node *node, const char *format, ...) {
        char path[NODE_PATH_LEN];
        va_list ap;

        va_start(ap, format);
        add(r, node_path(node, path), node->key_line, node->key_column, false, format, ap);
        va_end(ap);
}

/* Edit distance, where one more, one less, another or two swapped characters count one. Both are short. */
static size_t distance(const char *a, const char *b) {
        size_t rows[3][QUOTE_LEN + 1], n = strlen(b);

        for (size_t j = 0; j <= n; j++)
                rows[0][j] = j;
        for (size_t i = 1; a[i - 1]; i++) {
                size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];

                now[0] = i;
                for (size_t j = 1; j <= n; j++) {
                        size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);

                        if (before[j] + 1 < best)
                                best = before[j] + 1;
                        if (now[j - 1] + 1 < best)
                                best = now[j - 1] + 1;
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && earlier[j - 2] + 1 < best)
                                best = earlier[j - 2] + 1;
                        now[j] = best;
                }
        }
        return rows[strlen(a) % 3][n];
}

/* The word that a mistyped one most likely means, or NULL where none is near. `word(i)` is NULL past the last. */
const char *nearest_word(const char *text, const char *(*word)(int i, const void *words), const void *words) {
        const char *best = NULL, *w;
        size_t best_distance = 3, d;
        char folded[QUOTE_LEN];
        size_t n = strlen(text);

        if (n >= sizeof(folded))
                return NULL;
        for (size_t i = 0; i <= n; i++)
                folded[i] = text[i] == '_' || text[i] == ' ' ? '-' : (char) tolower((unsigned char) text[i]);
        for (int i = 0; (w = word(i, words)); i++) {
                if (strlen(w) >= QUOTE_LEN)
                        continue;
                d = distance(folded, w);
                if (d < best_distance && d * 2 < strlen(w) + 1) {
                        best = w;
                        best_distance = d;
                }
        }
        return best;
}

static const char *key_word(int i, const void *words) {
        return ((const struct key *) words)[i].name;
}

static const char *enum_word(int i, const void *words) {
        const struct key *key = words;

        return key->word(i);
}

/* Reports a node that is not of the wanted kind; `example` shows what to write. */
bool expect_kind(struct reader *r, const struct node *node, enum node_kind kind, const char *example) {
        if (node->kind == kind)
                return true;
        reader_report(r, node, "is %s; write %s", node_kind_text(node), example);
        return false;
}

/* A copy of a scalar that holds printable text, tabs and newlines only and is shorter than `length_max`; the
 * caller frees it. NULL after a report. */
char *read_text(struct reader *r, const struct node *node, size_t length_max, const char *example) {
        char *copy;

        if (!expect_kind(r, node, NODE_SCALAR, example))
                return NULL;
        if (node->length == 0) {
                reader_report(r, node, "has no value; write %s", example);
                return NULL;
        }
        if (node->length >= length_max) {
                reader_report(r, node, "is %zu bytes long; at most %zu are possible", node->length, length_max - 1);
                return NULL;
        }
        for (size_t i = 0; i < node->length; i++) {
                unsigned char c = (unsigned char) node->text[i];

                if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f) {
                        reader_report(r, node, "holds the control character 0x%02x; leave it out", c);
                        return NULL;
                }
        }
        copy = strdup(node->text);
        if (!copy)
                r->error = -ENOMEM;
        return copy;
}

/* Reads a name of a pair, domain or application. */
bool read_name(struct reader *r, const struct node *node, char ret[static NAME_LEN]) {
        _cleanup_free_ char *text = read_text(r, node, NAME_LEN, "a name");
        char quoted[QUOTE_LEN];
        size_t n;

        if (!text)
                return false;
        for (n = 0; text[n]; n++)
                if (!isalnum((unsigned char) text[n]) && (n == 0 || !strchr("_.-", text[n])))
                        break;
        if (text[n]) {
                reader_report(r, node, "\"%s\" is not a name; use letters, digits, \"_\", \".\" and \"-\", beginning "
                              "with a letter or digit", text_quote(text, strlen(text), quoted));
                return false;
        }
        strcpy(ret, text);
        return true;
}

static void read_size(struct reader *r, const struct node *node, const struct key *key, uint64_t *ret) {
        char quoted[QUOTE_LEN], min[UNITS_TEXT_MAX], max[UNITS_TEXT_MAX];
        _cleanup_free_ char *text = read_text(r, node, POLICY_TEXT_LEN, "a size such as 512MiB");
        uint64_t bytes;
        int q;

        if (!text)
                return;
        text_quote(text, strlen(text), quoted);
        q = size_parse(text, &bytes);
        if (q == -EINVAL && text[strspn(text, "0123456789")] == 0)
                reader_report(r, node, "\"%s\" has no unit; write %sMiB", quoted, quoted);
        else if (q == -EINVAL)
                reader_report(r, node,
                              "\"%s\" is not a size; write a number with B, KiB, MiB, GiB or TiB, as in 512MiB",
                              quoted);
        else if (q < 0 || bytes < key->min || bytes > key->max)
                reader_report(r, node, "%s is out of range; from %s to %s is possible", quoted,
                              size_format(min, key->min), size_format(max, key->max));
        else
                *ret = bytes;
}

static void read_duration(struct reader *r, const struct node *node, const struct key *key, usec_t *ret) {
        char quoted[QUOTE_LEN], min[UNITS_TEXT_MAX], max[UNITS_TEXT_MAX], taken[UNITS_TEXT_MAX];
        _cleanup_free_ char *text = read_text(r, node, POLICY_TEXT_LEN, "a duration such as 500ms");
        usec_t usec;
        int q;

        if (!text)
                return;
        text_quote(text, strlen(text), quoted);
        q = duration_parse(text, &usec);
        if (q == -EINVAL && text[strspn(text, "0123456789")] == 0)
                reader_report(r, node, "\"%s\" has no unit; write %ss or %sms", quoted, quoted, quoted);
        else if (q == -EINVAL)
                reader_report(r, node, "\"%s\" is not a duration; write a number with us, ms, s, min, h or d, as in "
                              "500ms", quoted);
        else if (q < 0 || ((usec < key->min || usec > key->max) && !r->in_force))
                reader_report(r, node, "%s is out of range; from %s to %s is possible", quoted,
                              duration_format(min, key->min), duration_format(max, key->max));
        else if (usec < key->min || usec > key->max) {
                *ret = usec < key->min ? key->min : key->max;
                r->d->n_tolerated++;
                reader_warn(r, node, "%s is out of range, %s is taken; from %s to %s is possible", quoted,
                            duration_format(taken, *ret), duration_format(min, key->min),
                            duration_format(max, key->max));
        } else
                *ret = usec;
}

static void read_count(struct reader *r, const struct node *node, const struct key *key, unsigned *ret) {
        _cleanup_free_ char *text = read_text(r, node, POLICY_TEXT_LEN, "a number");
        char quoted[QUOTE_LEN];
        uint64_t value;

        if (!text)
                return;
        text_quote(text, strlen(text), quoted);
        if (text[strspn(text, "0123456789")] != 0 && key->min == key->max) {
                reader_report(r, node, "\"%s\" is not known here; write %" PRIu64, quoted, key->min);
                return;
        }
        if (text[strspn(text, "0123456789")] != 0) {
                reader_report(r, node, "\"%s\" is not a whole number; write one from %" PRIu64 " to %" PRIu64, quoted,
                              key->min, key->max);
                return;
        }
        value = strlen(text) > 9 ? UINT64_MAX : strtoul(text, NULL, 10);
        if (value >= key->min && value <= key->max)
                *ret = (unsigned) value;
        else if (key->min == key->max)
                reader_report(r, node, "%s is not known here; write %" PRIu64, quoted, key->min);
        else
                reader_report(r, node, "%s is out of range; from %" PRIu64 " to %" PRIu64 " is possible", quoted,
                              key->min, key->max);
}

static void read_word(struct reader *r, const struct node *node, const struct key *key, int *ret) {
        _cleanup_free_ char *text = NULL;
        char quoted[QUOTE_LEN], all[POLICY_TEXT_LEN] = "";
        const char *near;
        size_t used = 0;

        for (int i = 0; key->word(i) && used < sizeof(all); i++)
                used += (size_t) snprintf(all + used, sizeof(all) - used, "%s%s",
                                          i == 0             ? ""
                                          : key->word(i + 1) ? ", "
                                                             : " or ",
                                          key->word(i));
        text = read_text(r, node, POLICY_TEXT_LEN, all);
        if (!text)
                return;
        for (int i = 0; key->word(i); i++)
                if (strcmp(key->word(i), text) == 0) {
                        *ret = i;
                        return;
                }
        text_quote(text, strlen(text), quoted);
        near = nearest_word(text, enum_word, key);
        if (near)
                reader_report(r, node, "\"%s\" is not known; did you mean \"%s\"?", quoted, near);
        else
                reader_report(r, node, "\"%s\" is not known; write %s", quoted, all);
}

static void read_unit(struct reader *r, const struct node *node, char **ret) {
        _cleanup_free_ char *text = read_text(r, node, POLICY_TEXT_LEN, "a systemd unit such as web.service");
        char quoted[QUOTE_LEN];
        const char *dot;

        if (!text)
                return;
        text_quote(text, strlen(text), quoted);
        for (const char *p = text; *p; p++)
                if (!isalnum((unsigned char) *p) && !strchr(":-_.\\@%", *p)) {
                        reader_report(r, node, "\"%s\" is not a unit; write the name alone, as in web.service", quoted);
                        return;
                }
        dot = strrchr(text, '.');
        if (!dot || dot == text || !dot[1]) {
                reader_report(r, node, "\"%s\" does not say which kind of unit it is; write %s.service", quoted,
                              quoted);
                return;
        }
        free(*ret);
        *ret = steal_ptr(text);
}

static void read_command(struct reader *r, const struct node *node, struct command *command) {
        if (!expect_kind(r, node, NODE_SEQUENCE, "a list of words such as [/usr/bin/db, --foreground]"))
                return;
        if (node->n_children == 0 || node->n_children > POLICY_WORDS_MAX) {
                reader_report(r, node, "has %zu words; from 1 to %d are possible", node->n_children, POLICY_WORDS_MAX);
                return;
        }
        command_deinit(command);
        for (const struct node *child = node->first; child; child = child->next) {
                _cleanup_free_ char *word = NULL;

                if (child->kind == NODE_SCALAR && child->length == 0 && child != node->first)
                        word = strdup("");
                else
                        word = read_text(r, child, POLICY_WORD_LEN, "a word in quotes");
                if (word && command_append(command, word) < 0)
                        r->error = -ENOMEM;
        }
}

static void read_value(struct reader *r, const struct node *node, const struct key *key, void *object) {
        void *at = (char *) object + key->offset;
        char *text;

        switch (key->kind) {
        case KEY_SIZE:
                return read_size(r, node, key, at);
        case KEY_DURATION:
                return read_duration(r, node, key, at);
        case KEY_COUNT:
                return read_count(r, node, key, at);
        case KEY_WORD:
                return read_word(r, node, key, at);
        case KEY_NAME:
                read_name(r, node, at);
                return;
        case KEY_TEXT:
                text = read_text(r, node, POLICY_TEXT_LEN, "a text");
                if (text) {
                        free(*(char **) at);
                        *(char **) at = text;
                }
                return;
        case KEY_UNIT:
                return read_unit(r, node, at);
        case KEY_COMMAND:
                return read_command(r, node, at);
        case KEY_BLOCK:
                return read_keys(r, node, key->children, at);
        case KEY_RUN:
                return read_run(r, node, key, object);
        case KEY_RULES:
                return read_rules(r, node, object);
        case KEY_DISKS:
                return read_disks(r, node, object);
        case KEY_NAMES:
                return read_names(r, node, key, object);
        case KEY_LIST:
                return key->read(r, node, key, object);
        }
}

/* The keys of a table, as "a, b, c". Returns `buffer`. */
static const char *list_keys(const struct key *keys, char *buffer, size_t size) {
        size_t used = 0;

        for (const struct key *key = keys; key->name && used < size; key++)
                used += (size_t) snprintf(buffer + used, size - used, "%s%s", key == keys ? "" : ", ", key->name);
        return buffer;
}

/* Reports a key that the table does not have. Returns the one that was likely meant, or NULL where none is near or
 * the mapping has that one too. */
static const struct key *report_unknown(struct reader *r, const struct node *child, const struct key *keys) {
        const char *near = nearest_word(child->key, key_word, keys);
        char all[POLICY_TEXT_LEN];

        if (near)
                reader_report_key(r, child, "unknown key; did you mean \"%s\"?", near);
        else
                reader_report_key(r, child, "unknown key; possible here are %s", list_keys(keys, all, sizeof(all)));
        for (const struct key *key = keys; near && key->name; key++)
                if (strcmp(key->name, near) == 0 && !node_get(child->parent, near))
                        return key;
        return NULL;
}

/* Reads a mapping by its table into `object`. Unknown and missing keys are reported; what is not written keeps the
 * value that it has. A key that was mistyped is read as what was likely meant, so that one slip of the finger does
 * not bring about a second finding or hide one. */
void read_keys(struct reader *r, const struct node *mapping, const struct key *keys, void *object) {
        char example[POLICY_TEXT_LEN + 24], all[POLICY_TEXT_LEN];
        const struct key *key, *meant;
        uint64_t seen = 0; /* by index; no table has 64 keys */

        snprintf(example, sizeof(example), "a block of the keys %s", list_keys(keys, all, sizeof(all)));
        if (!expect_kind(r, mapping, NODE_MAPPING, example))
                return;
        for (const struct node *child = mapping->first; child; child = child->next) {
                for (key = keys; key->name && strcmp(key->name, child->key) != 0; key++)
                        ;
                meant = key->name ? key : report_unknown(r, child, keys);
                if (!meant || (seen & UINT64_C(1) << (meant - keys)))
                        continue;
                read_value(r, child, meant, object);
                seen |= UINT64_C(1) << (meant - keys);
        }
        for (key = keys; key->name; key++)
                if (key->required && !(seen & UINT64_C(1) << (key - keys)))
                        reader_report_path(r, mapping, key->name, "is missing; add it");
}
