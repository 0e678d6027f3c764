/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/text.h"

#include <errno.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "policy/keys.h"

/* Writes by the reader's own tables, so that no key can be read and not written. Every key is written, those that
 * have their default too: the text then says all that holds. Texts are always in quotes, since a name such as
 * "null" or "1e3" means something else to other readers of YAML. */

static void indent(FILE *f, int depth) {
        fprintf(f, "%*s", depth * 2, "");
}

static void write_quoted(FILE *f, const char *text) {
        fputc('"', f);
        for (const char *p = text; *p; p++)
                if (*p == '"' || *p == '\\')
                        fprintf(f, "\\%c", *p);
                else if (*p == '\n')
                        fputs("\\n", f);
                else if (*p == '\t')
                        fputs("\\t", f);
                else
                        fputc(*p, f);
        fputc('"', f);
}

static void write_words(FILE *f, char *const *words, size_t n_words) {
        fputc('[', f);
        for (size_t i = 0; i < n_words; i++) {
                if (i > 0)
                        fputs(", ", f);
                write_quoted(f, words[i]);
        }
        fputs("]\n", f);
}

static void write_keys(FILE *f, const struct key *keys, const void *object, int depth, bool first_in_place);

static bool facet_equal(const struct application_side *a, const struct application_side *b, const char *name) {
        if (strcmp(name, "stop") == 0)
                return command_equal(&a->stop, &b->stop);
        if (strcmp(name, "health") == 0)
                return command_equal(&a->health, &b->health);
        if (strcmp(name, "canary") == 0)
                return command_equal(&a->canary, &b->canary);
        if (!a->unit != !b->unit || (a->unit && strcmp(a->unit, b->unit) != 0))
                return false;
        return command_equal(&a->start, &b->start);
}

static bool facet_is_set(const struct application_side *side, const char *name) {
        if (strcmp(name, "stop") == 0)
                return side->stop.n_words > 0;
        if (strcmp(name, "health") == 0)
                return side->health.n_words > 0;
        if (strcmp(name, "canary") == 0)
                return side->canary.n_words > 0;
        return side->unit || side->start.n_words > 0;
}

/* Writes start, stop, health or canary; by side only where the sides differ. */
static void write_run(FILE *f, const struct key *run, const struct application *application, int depth) {
        const struct application_side *a = &application->sides[SIDE_A], *b = &application->sides[SIDE_B];
        bool equal = facet_equal(a, b, run->name);
        bool a_set = facet_is_set(a, run->name), b_set = facet_is_set(b, run->name);

        if (!a_set && !b_set && strcmp(run->name, "health") != 0)
                return;
        indent(f, depth);
        fprintf(f, "%s:\n", run->name);
        for (const struct key *key = run->children; key->name; key++) {
                struct key one[2] = { *key, { NULL } };
                bool by_side = key->kind == KEY_BLOCK, flat = key->kind == KEY_COMMAND || key->kind == KEY_UNIT;

                if ((by_side && equal) || (flat && !equal))
                        continue;
                if (by_side && !(strcmp(key->name, "active") == 0 ? a_set : b_set))
                        continue;
                write_keys(f, one, application, depth + 1, false);
        }
}

static void write_rules(FILE *f, const struct application *application, int depth) {
        char number[16];

        if (application->n_rules == 0)
                return;
        indent(f, depth);
        fputs("severity:\n", f);
        for (size_t i = 0; i < application->n_rules; i++) {
                const struct severity_rule *rule = &application->rules[i];
                const char *code = cause_keys[rule->cause].every;

                if (rule->code >= 0 && rule->cause == FAILURE_SIGNAL) {
                        code = signal_to_text(rule->code, number);
                } else if (rule->code >= 0) {
                        snprintf(number, sizeof(number), "%d", rule->code);
                        code = number;
                }
                indent(f, depth + 1);
                fprintf(f, "- {%s: %s, is: %s}\n", failure_cause_to_string(rule->cause), code,
                        severity_to_string(rule->severity));
        }
}

static void write_disks(FILE *f, const struct application *application, int depth) {
        if (application->n_disks == 0)
                return;
        indent(f, depth);
        fputs("disks: ", f);
        write_words(f, application->disks, application->n_disks);
}

static void write_names(FILE *f, const struct key *key, const void *object, int depth) {
        const char (*names)[NAME_LEN] = (const void *) ((const char *) object + key->offset);
        size_t n = *(const size_t *) (const void *) ((const char *) object + key->count_offset);

        indent(f, depth);
        fprintf(f, "%s: [", key->name);
        for (size_t i = 0; i < n; i++) {
                fputs(i > 0 ? ", " : "", f);
                write_quoted(f, names[i]);
        }
        fputs("]\n", f);
}

/* False for a block that counts nothing. */
static bool block_is_there(const struct key *key, const void *block) {
        const void *count = (const char *) block + key->count_offset;

        return key->count_offset == 0 || *(const size_t *) count > 0;
}

static void write_list(FILE *f, const struct key *key, const void *object, int depth) {
        size_t n = *(const size_t *) (const void *) ((const char *) object + key->count_offset);
        const char *items = (const char *) object + key->offset;

        if (n == 0 && !key->required)
                return;
        indent(f, depth);
        fprintf(f, "%s:%s\n", key->name, n == 0 ? " []" : "");
        if (!key->inside)
                items = *(const char *const *) (const void *) items;
        for (size_t i = 0; i < n; i++) {
                indent(f, depth + 1);
                fputs("- ", f);
                write_keys(f, key->children, items + i * key->item_size, depth + 2, true);
        }
}

/* Writes a key whose value stands behind it on the same line. */
static void write_scalar(FILE *f, const struct key *key, const void *at, int depth) {
        char units[UNITS_TEXT_MAX];

        indent(f, depth);
        fprintf(f, "%s: ", key->name);
        switch (key->kind) {
        case KEY_SIZE:
                fprintf(f, "%s\n", size_format(units, *(const uint64_t *) at));
                break;
        case KEY_DURATION:
                fprintf(f, "%s\n", duration_format(units, *(const usec_t *) at));
                break;
        case KEY_COUNT:
                fprintf(f, "%u\n", *(const unsigned *) at);
                break;
        case KEY_WORD:
                fprintf(f, "%s\n", key->word(*(const int *) at));
                break;
        case KEY_COMMAND:
                write_words(f, ((const struct command *) at)->words, ((const struct command *) at)->n_words);
                break;
        default:
                write_quoted(f, key->kind == KEY_NAME ? at : *(const char *const *) at);
                fputc('\n', f);
                break;
        }
}

/* Writes an object by its table. `first_in_place`: the cursor already stands where the first key begins. */
static void write_keys(FILE *f, const struct key *keys, const void *object, int depth, bool first_in_place) {
        for (const struct key *key = keys; key->name; key++) {
                const void *at = (const char *) object + key->offset;
                int d = first_in_place ? 0 : depth;

                if ((key->kind == KEY_TEXT || key->kind == KEY_UNIT) && !*(const char *const *) at)
                        continue;
                if (key->kind == KEY_NAME && !key->required && !*(const char *) at)
                        continue;
                if (key->kind == KEY_COMMAND && ((const struct command *) at)->n_words == 0)
                        continue;
                if (key->kind == KEY_BLOCK && !block_is_there(key, at))
                        continue;
                switch (key->kind) {
                case KEY_BLOCK:
                        indent(f, d);
                        fprintf(f, "%s:\n", key->name);
                        write_keys(f, key->children, at, depth + 1, false);
                        break;
                case KEY_RUN:
                        write_run(f, key, object, depth);
                        break;
                case KEY_RULES:
                        write_rules(f, object, depth);
                        break;
                case KEY_DISKS:
                        write_disks(f, object, depth);
                        break;
                case KEY_NAMES:
                        write_names(f, key, object, d);
                        break;
                case KEY_LIST:
                        write_list(f, key, object, depth);
                        break;
                default:
                        write_scalar(f, key, at, d);
                        break;
                }
                first_in_place = false;
        }
}

/* Writes a policy as text that reads back equal. The policy keeps the parser's limits. -EIO where the stream
 * failed. */
int policy_write(const struct policy *policy, FILE *f) {
        write_keys(f, policy_keys, policy, 0, false);
        return fflush(f) != 0 || ferror(f) ? -EIO : 0;
}
