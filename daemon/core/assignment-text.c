/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The text forms of a request. What stands right of "=" decides: a sign makes it a VM's amount or range, anything else
 * is the VM that a range goes to. So "0-1GiB=vm-a" is a range also where a VM is called "0-1GiB". */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/quote.h"
#include "daemon/core/assignment.h"

static const char *const assignment_kind_table[] = {
        [ASSIGN_RANGE] = "range",
        [ASSIGN_EXTEND] = "extend",
        [ASSIGN_EXTEND_RANGE] = "extend-range",
        [ASSIGN_RELEASE] = "release",
        [ASSIGN_RELEASE_RANGE] = "release-range",
        [ASSIGN_RELEASE_TOP] = "release-top",
};
DEFINE_ENUM_TABLE(assignment_kind, assignment_kind_table)

/* Where to say what is wrong. */
struct complaint {
        const char *item; /* as it was written */
        char *why;
        size_t size;
};

static int complain(const struct complaint *c, const char *part, const char *text) {
        char item[QUOTE_LEN], quoted[QUOTE_LEN];

        if (part)
                snprintf(c->why, c->size, "\"%s\": \"%s\" %s", text_quote(c->item, strlen(c->item), item),
                         text_quote(part, strlen(part), quoted), text);
        else
                snprintf(c->why, c->size, "\"%s\": %s", text_quote(c->item, strlen(c->item), item), text);
        return -EINVAL;
}

static int parse_size(const struct complaint *c, const char *text, uint64_t *ret) {
        int r = size_parse(text, ret);

        if (r == -ERANGE)
                return complain(c, text, "is larger than any memory; ask for what the pool has");
        return r < 0 ? complain(c, text, "is no size; write it like 512MiB or 1GiB") : 0;
}

/* "0-1GiB" in its two sizes. */
static bool split_range(const char *text, char start[UNITS_TEXT_MAX], const char **ret_end) {
        const char *dash = strchr(text, '-');

        if (!dash || dash == text || !dash[1] || (size_t) (dash - text) >= UNITS_TEXT_MAX)
                return false;
        memcpy(start, text, (size_t) (dash - text));
        start[dash - text] = 0;
        *ret_end = dash + 1;
        return true;
}

int span_parse(const char *text, struct span *ret) {
        char start[UNITS_TEXT_MAX];
        struct span span;
        const char *end;

        if (!split_range(text, start, &end) || size_parse(start, &span.start) < 0 || size_parse(end, &span.end) < 0)
                return -EINVAL;
        *ret = span;
        return 0;
}

static int parse_range(const struct complaint *c, const char *text, struct span *ret) {
        char start[UNITS_TEXT_MAX];
        struct span span;
        const char *end;
        int r;

        if (!split_range(text, start, &end))
                return complain(c, text, "is no range; write it like 0-1GiB");
        r = parse_size(c, start, &span.start);
        if (r == 0)
                r = parse_size(c, end, &span.end);
        if (r == 0)
                *ret = span;
        return r;
}

static bool is_word(char c, bool first) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (!first && (c == '_' || c == '.' || c == '-'));
}

static int parse_vm(const struct complaint *c, const char *text, char ret[NAME_LEN]) {
        size_t n = strlen(text);
        bool good = n > 0 && n < NAME_LEN;

        for (size_t i = 0; i < n; i++)
                good = good && is_word(text[i], i == 0);
        if (!good)
                return complain(c, text, "is no VM's name; see failoverctl status");
        memcpy(ret, text, n + 1);
        return 0;
}

/* What stands behind the sign. */
static int parse_change(const struct complaint *c, const char *text, struct assignment_item *item) {
        bool extend = text[0] == '+';

        if (strncmp(text, "-top:", 5) == 0) {
                item->kind = ASSIGN_RELEASE_TOP;
                return parse_size(c, text + 5, &item->bytes);
        }
        if (strchr(text + 1, '-')) {
                item->kind = extend ? ASSIGN_EXTEND_RANGE : ASSIGN_RELEASE_RANGE;
                return parse_range(c, text + 1, &item->span);
        }
        item->kind = extend ? ASSIGN_EXTEND : ASSIGN_RELEASE;
        return parse_size(c, text + 1, &item->bytes);
}

static int parse_item(char *text, const struct complaint *c, struct assignment_item *ret) {
        struct assignment_item item = { .kind = ASSIGN_RANGE };
        char *right = strchr(text, '=');
        int r;

        if (!right)
                return complain(c, NULL, "it does not say what changes; write VM=+SIZE, VM=-SIZE or START-END=VM");
        *right++ = 0;
        if (right[0] == '+' || right[0] == '-') {
                r = parse_vm(c, text, item.vm);
                if (r == 0)
                        r = parse_change(c, right, &item);
        } else if (text[0] < '0' || text[0] > '9')
                return complain(c, NULL, "it does not say whether to extend or release; write VM=+SIZE or VM=-SIZE");
        else {
                r = parse_range(c, text, &item.span);
                if (r == 0)
                        r = parse_vm(c, right, item.vm);
        }
        if (r == 0)
                *ret = item;
        return r;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int assignment_parse(const char *text, struct assignment_item ret[ASSIGNMENT_ITEMS_MAX], size_t *ret_n, char *why,
                     size_t size) {
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        size_t n = 0;

        for (;;) {
                char whole[ASSIGNMENT_ITEM_LEN], divided[ASSIGNMENT_ITEM_LEN];
                struct complaint c = { .item = whole, .why = why, .size = size };
                size_t length = 0;
                int r;

                while (is_blank(*text))
                        text++;
                if (!*text)
                        break;
                while (text[length] && !is_blank(text[length]))
                        length++;
                memcpy(whole, text, length < sizeof(whole) ? length : sizeof(whole) - 1);
                whole[length < sizeof(whole) ? length : sizeof(whole) - 1] = 0;
                if (length >= sizeof(whole))
                        return complain(&c, NULL, "it is too long for any item; separate items by blanks");
                if (n == ASSIGNMENT_ITEMS_MAX) {
                        snprintf(why, size, "more than %d items; ask in several requests", ASSIGNMENT_ITEMS_MAX);
                        return -EINVAL;
                }
                memcpy(divided, whole, length + 1);
                r = parse_item(divided, &c, &items[n]);
                if (r < 0)
                        return r;
                n++;
                text += length;
        }
        if (n == 0) {
                snprintf(why, size, "nothing is asked for; write for example \"vm-a=-1GiB vm-b=+1GiB\"");
                return -EINVAL;
        }
        memcpy(ret, items, n * sizeof(items[0]));
        *ret_n = n;
        return 0;
}

const char *assignment_item_format(const struct assignment_item *item, char buffer[ASSIGNMENT_ITEM_LEN]) {
        char start[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX], bytes[UNITS_TEXT_MAX];
        bool extend = item->kind == ASSIGN_EXTEND || item->kind == ASSIGN_EXTEND_RANGE;

        size_format(start, item->span.start);
        size_format(end, item->span.end);
        size_format(bytes, item->bytes);
        switch (item->kind) {
        case ASSIGN_RANGE:
                snprintf(buffer, ASSIGNMENT_ITEM_LEN, "%s-%s=%s", start, end, item->vm);
                break;
        case ASSIGN_EXTEND_RANGE:
        case ASSIGN_RELEASE_RANGE:
                snprintf(buffer, ASSIGNMENT_ITEM_LEN, "%s=%c%s-%s", item->vm, extend ? '+' : '-', start, end);
                break;
        default:
                snprintf(buffer, ASSIGNMENT_ITEM_LEN, "%s=%c%s%s", item->vm, extend ? '+' : '-',
                         item->kind == ASSIGN_RELEASE_TOP ? "top:" : "", bytes);
        }
        return buffer;
}
