/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/quote.h"

#define PATH_LEN 128
#define INFINITE "inf"
#define NONE "-"

/* ---- out ------------------------------------------------------------------------------------------------- */

/* Where the writer stands: "members[0].detector." */
struct path {
        char text[PATH_LEN];
        size_t n;
};

static bool all_zero(const void *object, size_t n) {
        const char *bytes = object;

        return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

static bool equal(const struct layout_row *row, const void *at, const void *base) {
        if (row->kind == LAYOUT_TEXT)
                return base ? strncmp(at, base, row->size) == 0 : *(const char *) at == 0;
        return base ? memcmp(at, base, row->size) == 0 : all_zero(at, row->size);
}

static unsigned list_get(const struct layout_row *row, const void *at, size_t i) {
        return row->each == 1 ? ((const uint8_t *) at)[i] : ((const uint16_t *) at)[i];
}

static void write_list(struct buffer *out, const struct layout_row *row, const void *at) {
        size_t n = row->size / row->each;

        while (n > 0 && list_get(row, at, n - 1) == 0)
                n--;
        if (n == 0)
                buffer_add_char(out, '0');
        for (size_t i = 0, next; i < n; i = next) {
                unsigned number = list_get(row, at, i);

                for (next = i + 1; next < n && list_get(row, at, next) == number;)
                        next++;
                if (i > 0)
                        buffer_add_char(out, ',');
                buffer_add_number(out, number);
                if (next - i > 1) {
                        buffer_add_char(out, '*');
                        buffer_add_number(out, next - i);
                }
        }
}

static void write_value(struct buffer *out, const struct layout_row *row, const void *at) {
        const char *word;

        switch (row->kind) {
        case LAYOUT_UINT64:
                if (*(const uint64_t *) at == UINT64_MAX)
                        buffer_add_text(out, INFINITE);
                else
                        buffer_add_number(out, *(const uint64_t *) at);
                break;
        case LAYOUT_UNSIGNED:
                buffer_add_number(out, *(const unsigned *) at);
                break;
        case LAYOUT_INT:
                buffer_add_signed(out, *(const int *) at);
                break;
        case LAYOUT_BOOL:
                buffer_add_char(out, *(const bool *) at ? '1' : '0');
                break;
        case LAYOUT_WORD:
                word = row->to_string(*(const int *) at);
                if (word && strchr(word, ' '))
                        buffer_add_quoted(out, word);
                else
                        buffer_add_text(out, word ? word : NONE);
                break;
        case LAYOUT_TEXT:
                buffer_add_quoted(out, at);
                break;
        case LAYOUT_LIST:
                write_list(out, row, at);
                break;
        default:
                break;
        }
}

static size_t enter(struct path *path, const char *name, bool is_array, size_t index) {
        size_t before = path->n;
        int n = is_array ? snprintf(path->text + path->n, PATH_LEN - path->n, "%s[%zu]", name, index)
                         : snprintf(path->text + path->n, PATH_LEN - path->n, "%s", name);

        path->n += (size_t) n; /* the tables are ours: no path is as long as PATH_LEN, and a test writes them all */
        return before;
}

static void leave(struct path *path, size_t before) {
        path->n = before;
        path->text[before] = 0;
}

static void write_row(struct buffer *out, struct path *path, const struct layout_row *row, const char *object,
                      const char *base);

static void write_rows(struct buffer *out, struct path *path, const struct layout *layout, const char *object,
                       const char *base) {
        for (size_t i = 0; i < layout->n_rows; i++)
                write_row(out, path, &layout->rows[i], object, base);
}

static void write_row(struct buffer *out, struct path *path, const struct layout_row *row, const char *object,
                      const char *base) {
        for (size_t i = 0; i < (row->count ? row->count : 1) && row->kind != LAYOUT_LEFT_OUT; i++) {
                const char *at = object + row->offset + i * row->size,
                           *base_at = base ? base + row->offset + i * row->size : NULL;

                if (equal(row, at, base_at))
                        continue;
                if (row->kind == LAYOUT_STRUCT) {
                        size_t before = enter(path, row->name, row->count > 0, i);

                        enter(path, ".", false, 0);
                        write_rows(out, path, row->layout, at, base_at);
                        leave(path, before);
                        continue;
                }
                buffer_add_char(out, ' ');
                buffer_add(out, path->text, path->n);
                buffer_add_text(out, row->name);
                if (row->count > 0) {
                        buffer_add_char(out, '[');
                        buffer_add_number(out, i);
                        buffer_add_char(out, ']');
                }
                buffer_add_char(out, '=');
                write_value(out, row, at);
        }
}

void layout_write(struct buffer *out, const struct layout *layout, const void *object, const void *base,
                  const char *prefix) {
        struct path path = { .n = 0 };

        enter(&path, prefix, false, 0);
        write_rows(out, &path, layout, object, base);
}

static void write_lines(struct buffer *out, struct path *path, const struct layout *layout, const char *object,
                        const char *head) {
        struct path none = { .n = 0 };
        size_t before = out->n, head_end;

        buffer_add_text(out, head);
        if (path->n > 0)
                buffer_add_char(out, ' ');
        buffer_add(out, path->text, path->n);
        head_end = out->n;
        for (size_t i = 0; i < layout->n_rows; i++)
                if (layout->rows[i].kind != LAYOUT_STRUCT)
                        write_row(out, &none, &layout->rows[i], object, NULL);
        if (out->n == head_end)
                out->n = before;
        else
                buffer_add_char(out, '\n');
        for (size_t i = 0; i < layout->n_rows; i++) {
                const struct layout_row *row = &layout->rows[i];

                for (size_t k = 0; row->kind == LAYOUT_STRUCT && k < (row->count ? row->count : 1); k++) {
                        const char *at = object + row->offset + k * row->size;
                        size_t outside = path->n;

                        if (all_zero(at, row->size))
                                continue;
                        if (path->n > 0)
                                enter(path, ".", false, 0);
                        enter(path, row->name, row->count > 0, k);
                        write_lines(out, path, row->layout, at, head);
                        leave(path, outside);
                }
        }
}

void layout_write_lines(struct buffer *out, const struct layout *layout, const void *object, const char *head) {
        struct path path = { .n = 0 };

        write_lines(out, &path, layout, object, head);
}

/* ---- in -------------------------------------------------------------------------------------------------- */

static int bad(struct error *error, const char *name, const char *value, const char *expected) {
        char quoted[QUOTE_LEN], quoted_value[QUOTE_LEN];

        return error_set(error, -EBADMSG, "%s: \"%s\" is %s", text_quote(name, strlen(name), quoted),
                         text_quote(value, strlen(value), quoted_value), expected);
}

static int read_uint64(const char *value, uint64_t *ret) {
        char *end;

        if (strcmp(value, INFINITE) == 0) {
                *ret = UINT64_MAX;
                return 0;
        }
        if (value[0] < '0' || value[0] > '9')
                return -EBADMSG;
        errno = 0;
        *ret = strtoull(value, &end, 10);
        return errno || *end ? -EBADMSG : 0;
}

static int read_number(const struct layout_row *row, void *at, const char *name, const char *value,
                       struct error *error) {
        uint64_t number = 0;
        bool negative = row->kind == LAYOUT_INT && value[0] == '-';
        int r = read_uint64(value + negative, &number);

        if (r < 0 || (row->kind != LAYOUT_UINT64 && number > UINT32_MAX) ||
            (row->kind == LAYOUT_INT && number > INT32_MAX + (uint64_t) negative))
                return bad(error, name, value, "no number that fits there");
        if (row->kind == LAYOUT_BOOL && number > 1)
                return bad(error, name, value, "neither 0 nor 1");
        if (row->kind == LAYOUT_INT) {
                int64_t whole = negative ? -(int64_t) number : (int64_t) number;

                if (whole < row->min || whole > (int64_t) row->max)
                        return bad(error, name, value, "out of its range");
                *(int *) at = (int) whole;
                return 0;
        }
        if (row->kind != LAYOUT_BOOL && row->max > 0 && number > row->max)
                return bad(error, name, value, "out of its range");
        if (row->kind == LAYOUT_UINT64)
                *(uint64_t *) at = number;
        else if (row->kind == LAYOUT_UNSIGNED)
                *(unsigned *) at = (unsigned) number;
        else
                *(bool *) at = number;
        return 0;
}

static int read_list(const struct layout_row *row, void *at, const char *name, const char *value, struct error *error) {
        size_t used = 0, n = row->size / row->each;

        memset(at, 0, row->size);
        for (const char *p = value;; p++) {
                unsigned long number, times = 1;
                char *end;

                if (*p < '0' || *p > '9')
                        return bad(error, name, value, "no list of numbers");
                number = strtoul(p, &end, 10);
                if (end[0] == '*' && end[1] >= '0' && end[1] <= '9')
                        times = strtoul(end + 1, &end, 10);
                if (number > (row->each == 1 ? UINT8_MAX : UINT16_MAX) || times > n - used)
                        return bad(error, name, value, "past its range");
                for (; times > 0; times--, used++)
                        if (row->each == 1)
                                ((uint8_t *) at)[used] = (uint8_t) number;
                        else
                                ((uint16_t *) at)[used] = (uint16_t) number;
                if (*end == 0)
                        return 0;
                if (*end != ',')
                        return bad(error, name, value, "no list of numbers");
                p = end;
        }
}

static int read_value(const struct layout_row *row, void *at, const char *name, const char *value,
                      struct error *error) {
        size_t n = strlen(value);
        int word;

        switch (row->kind) {
        case LAYOUT_TEXT:
                if (n >= row->size)
                        return bad(error, name, value, "longer than it may be");
                memset(at, 0, row->size);
                memcpy(at, value, n);
                return 0;
        case LAYOUT_LIST:
                return read_list(row, at, name, value, error);
        case LAYOUT_WORD:
                word = strcmp(value, NONE) == 0 ? -EINVAL : row->from_string(value);
                if (word < 0 && !(row->or_none && strcmp(value, NONE) == 0))
                        return bad(error, name, value, "an unknown word");
                *(int *) at = word;
                return 0;
        default:
                return read_number(row, at, name, value, error);
        }
}

/* Finds what a name's first part ("members[0]") stands for. Steps over it. NULL where no row has that name. */
static const struct layout_row *find_row(const struct layout *layout, const char **name, size_t *ret_index) {
        size_t n = strcspn(*name, "[.");
        const struct layout_row *row = NULL;
        char *end;

        for (size_t i = 0; i < layout->n_rows && !row; i++)
                if (layout->rows[i].kind != LAYOUT_LEFT_OUT && strlen(layout->rows[i].name) == n &&
                    memcmp(layout->rows[i].name, *name, n) == 0)
                        row = &layout->rows[i];
        *ret_index = 0;
        if (!row)
                return NULL;
        *name += n;
        if ((**name == '[') != (row->count > 0))
                return NULL;
        if (**name == '[') {
                if ((*name)[1] < '0' || (*name)[1] > '9')
                        return NULL;
                *ret_index = strtoul(*name + 1, &end, 10);
                if (*end != ']' || *ret_index >= row->count)
                        return NULL;
                *name = end + 1;
        }
        return row;
}

static int unknown(struct layout_reading *reading, const struct layout *layout, const char *name, struct error *error) {
        char quoted[QUOTE_LEN];

        if (!reading->lenient)
                return error_set(error, -EBADMSG, "%s has no field \"%s\"", layout->name,
                                 text_quote(name, strlen(name), quoted));
        if (reading->n_unknown++ == 0)
                snprintf(reading->unknown, sizeof(reading->unknown), "%s of %.16s",
                         text_quote(name, strlen(name), quoted), layout->name);
        return 0;
}

/* Follows a name to the struct that it stands for, and to the row in it unless it names the struct itself. NULL in
 * `*layout` where it names nothing. */
static const struct layout_row *follow(const struct layout **layout, char **object, const char *name,
                                       size_t *ret_index) {
        for (;;) {
                const struct layout_row *row = find_row(*layout, &name, ret_index);

                if (!row || (row->kind == LAYOUT_STRUCT && *name != 0 && *name != '.') ||
                    (row->kind != LAYOUT_STRUCT && *name != 0))
                        break;
                if (row->kind != LAYOUT_STRUCT)
                        return row;
                *object += row->offset + *ret_index * row->size;
                *layout = row->layout;
                if (*name == 0)
                        return NULL;
                name++;
        }
        *layout = NULL;
        return NULL;
}

int layout_read_field(const struct layout *layout, void *object, const char *name, const char *value,
                      struct layout_reading *reading, struct error *error) {
        const struct layout *inside = layout;
        char *at = object;
        size_t index;
        const struct layout_row *row = follow(&inside, &at, name, &index);

        if (!row)
                return unknown(reading, layout, name, error);
        return read_value(row, at + row->offset + index * row->size, name, value, error);
}

/* Takes the escapes out of a quoted text in place. `*text` stands behind the first quote, and behind the last one
 * afterwards. */
static int unquote(char **text, struct error *error) {
        char *from = *text, *to = *text;

        while (*from && *from != '"') {
                unsigned c;

                if (*from != '\\')
                        *to++ = *from++;
                else if (from[1] == '"' || from[1] == '\\') {
                        *to++ = from[1];
                        from += 2;
                } else if (from[1] == 'x' && strspn(from + 2, "0123456789abcdef") >= 2 &&
                           sscanf(from + 2, "%2x", &c) == 1 && c > 0) {
                        *to++ = (char) c;
                        from += 4;
                } else
                        return error_set(error, -EBADMSG, "a text holds a backslash that escapes nothing");
        }
        if (*from != '"')
                return error_set(error, -EBADMSG, "a text has no end");
        *text = from + 1;
        *to = 0;
        return 0;
}

int layout_next(char **text, char **ret_name, char **ret_value, struct error *error) {
        char *p = *text + strspn(*text, " ");
        int r;

        if (*p == 0)
                return 0;
        *ret_name = p;
        *ret_value = NULL;
        p += strcspn(p, " =");
        if (*p == '=') {
                *p++ = 0;
                *ret_value = p;
                if (*p == '"') {
                        *ret_value = ++p;
                        r = unquote(&p, error);
                        if (r < 0)
                                return r;
                        if (*p && *p != ' ')
                                return error_set(error, -EBADMSG, "%s: a text is followed by more than a space",
                                                 *ret_name);
                } else
                        p += strcspn(p, " ");
        }
        if (*p)
                *p++ = 0;
        *text = p;
        return 1;
}

int layout_read(const struct layout *layout, void *object, const char *text, struct layout_reading *reading,
                struct error *error) {
        _cleanup_free_ char *copy = strdup(text);
        char *p = copy, *name, *value;
        bool first = true;
        size_t index;
        int r;

        if (!copy)
                return error_set(error, -ENOMEM, "out of memory");
        while ((r = layout_next(&p, &name, &value, error)) > 0) {
                if (value)
                        r = layout_read_field(layout, object, name, value, reading, error);
                else if (first) {
                        const struct layout *inside = layout;
                        char *at = object;

                        if (follow(&inside, &at, name, &index) || !inside)
                                return unknown(reading, layout, name, error); /* and with it all of its fields */
                        layout = inside;
                        object = at;
                } else
                        r = bad(error, name, "", "without a value");
                first = false;
                if (r < 0)
                        return r;
        }
        return r;
}
