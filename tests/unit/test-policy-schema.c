/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser's tables, etc/policy.schema.json and failoverd-policy(5) name the same keys, words and ranges. */
#include <inttypes.h>
#include <stdio.h>

#include <json-c/json.h>

#include "daemon/base/cleanup.h"
#include "policy/keys.h"
#include "policy/text.h"
#include "tests/unit/test.h"

#define LINES_MAX 256

struct lines {
        char *items[LINES_MAX];
        size_t n;
};

static void lines_deinit(struct lines *lines) {
        for (size_t i = 0; i < lines->n; i++)
                free(lines->items[i]);
}

static void lines_add(struct lines *lines, const char *text) {
        REQUIRE(lines->n < LINES_MAX);
        lines->items[lines->n] = strdup(text);
        REQUIRE(lines->items[lines->n++] != NULL);
}

static int compare_lines(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static void parser_lines(struct lines *lines) {
        _cleanup_free_ char *text = NULL;
        char *save = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        REQUIRE(f != NULL);
        policy_keys_print(f);
        fclose(f);
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                lines_add(lines, line);
}

static const char *string_of(struct json_object *object, const char *key) {
        struct json_object *value;

        return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : NULL;
}

static struct json_object *resolve(struct json_object *root, struct json_object *schema) {
        const char *reference = string_of(schema, "$ref");
        struct json_object *target = root;

        if (!reference)
                return schema;
        REQUIRE(strncmp(reference, "#/$defs/", 8) == 0);
        REQUIRE(json_object_object_get_ex(root, "$defs", &target));
        REQUIRE(json_object_object_get_ex(target, reference + 8, &target));
        return target;
}

static void walk(struct json_object *root, struct json_object *schema, const char *path, struct lines *lines);

/* One property, in the words of policy_keys_print(). A size's or duration's range stands in the schema's
 * "x-range", since JSON Schema cannot compare texts with units. */
static void walk_property(struct json_object *root, struct json_object *property, const char *path,
                          struct lines *lines) {
        struct json_object *schema = resolve(root, property), *value, *items;
        const char *reference = string_of(property, "$ref"), *type = string_of(schema, "type");
        const char *range = string_of(property, "x-range"), *every = string_of(property, "x-every");
        char line[1024], inner[512];

        CHECK(string_of(property, "description") || string_of(schema, "description"));
        if (every) {
                snprintf(line, sizeof(line), "%s cause %s", path, every);
        } else if (reference && strcmp(reference, "#/$defs/size") == 0) {
                snprintf(line, sizeof(line), "%s size %s", path, range ? range : "?");
        } else if (reference && strcmp(reference, "#/$defs/duration") == 0) {
                snprintf(line, sizeof(line), "%s duration %s", path, range ? range : "?");
        } else if (json_object_object_get_ex(schema, "enum", &value) && type && strcmp(type, "string") == 0) {
                snprintf(line, sizeof(line), "%s word ", path);
                for (size_t i = 0; i < json_object_array_length(value); i++) {
                        if (i > 0)
                                strcat(line, "|");
                        strcat(line, json_object_get_string(json_object_array_get_idx(value, i)));
                }
        } else if (type && strcmp(type, "integer") == 0) {
                snprintf(line, sizeof(line), "%s count %s..%s", path, string_of(schema, "minimum"),
                         string_of(schema, "maximum"));
        } else if (type && strcmp(type, "string") == 0) {
                snprintf(line, sizeof(line), "%s text", path);
        } else if (type && strcmp(type, "array") == 0) {
                snprintf(line, sizeof(line), "%s list", path);
                if (json_object_object_get_ex(schema, "items", &items)) {
                        snprintf(inner, sizeof(inner), "%s[]", path);
                        walk(root, resolve(root, items), inner, lines);
                }
        } else {
                snprintf(line, sizeof(line), "%s block", path);
                walk(root, schema, path, lines);
        }
        lines_add(lines, line);
}

static void walk(struct json_object *root, struct json_object *schema, const char *path, struct lines *lines) {
        struct json_object *properties, *closed;
        char inner[300];

        if (!json_object_object_get_ex(schema, "properties", &properties))
                return;
        /* An unknown key is an error to the parser, so it is one to the schema. */
        CHECK(json_object_object_get_ex(schema, "additionalProperties", &closed) && !json_object_get_boolean(closed));
        json_object_object_foreach(properties, name, property) {
                snprintf(inner, sizeof(inner), "%s%s%s", path, *path ? "." : "", name);
                walk_property(root, property, inner, lines);
        }
}

/* Calls back for each property that has a default, with its path. */
static void walk_defaults(struct json_object *root, struct json_object *schema, const char *path,
                          void (*found)(const char *path, const char *text, void *data), void *data) {
        struct json_object *properties, *items, *value;
        char inner[512];

        schema = resolve(root, schema);
        if (json_object_object_get_ex(schema, "items", &items)) {
                snprintf(inner, sizeof(inner), "%s[]", path);
                walk_defaults(root, items, inner, found, data);
        }
        if (!json_object_object_get_ex(schema, "properties", &properties))
                return;
        json_object_object_foreach(properties, name, property) {
                snprintf(inner, sizeof(inner), "%s%s%s", path, *path ? "." : "", name);
                if (json_object_object_get_ex(property, "default", &value))
                        found(inner, json_object_get_string(value), data);
                walk_defaults(root, property, inner, found, data);
        }
}

static char *source_path(const char *name) {
        const char *dir = getenv("TEST_SOURCE_DIR");
        char *path = NULL;

        REQUIRE(asprintf(&path, "%s/%s", dir ? dir : ".", name) > 0);
        return path;
}

static void the_schema_has_the_parsers_keys_words_and_ranges(void) {
        _cleanup_(lines_deinit) struct lines parser = { 0 };
        _cleanup_(lines_deinit) struct lines schema = { 0 };
        _cleanup_free_ char *path = source_path("etc/policy.schema.json");
        struct json_object *root = json_object_from_file(path);

        REQUIRE(root != NULL);
        parser_lines(&parser);
        walk(root, root, "", &schema);
        json_object_put(root);
        CHECK(parser.n > 60);
        CHECK(parser.n == schema.n);
        qsort(parser.items, parser.n, sizeof(parser.items[0]), compare_lines);
        qsort(schema.items, schema.n, sizeof(schema.items[0]), compare_lines);
        for (size_t i = 0; i < parser.n && i < schema.n; i++) {
                CHECK_TEXT(schema.items[i], parser.items[i]);
                if (strcmp(schema.items[i], parser.items[i]) != 0) {
                        fprintf(stderr, "\nparser: %s\nschema: %s\n", parser.items[i], schema.items[i]);
                        break;
                }
        }
}

/* The text of a key's item in the page, up to the next item; NULL where there is none. The caller frees it. */
static char *page_item(const char *page, const char *key) {
        char start[300];
        const char *at, *end;

        snprintf(start, sizeof(start), "\n.It Ic %s\n", key);
        at = strstr(page, start);
        if (!at)
                return NULL;
        at += strlen(start);
        end = strstr(at, "\n.");
        return end ? strndup(at, (size_t) (end - at)) : strdup(at);
}

static void check_item(const char *page, const char *line) {
        _cleanup_free_ char *item = NULL;
        char key[256], kind[16], range[128], *high, wanted[300];

        REQUIRE(sscanf(line, "%255s %15s", key, kind) == 2);
        item = page_item(page, key);
        if (!item)
                fprintf(stderr, "\nfailoverd-policy.5 has no item for %s\n", key);
        CHECK(item != NULL);
        if (!item || sscanf(line, "%*s %*s %127s", range) != 1 || !(high = strstr(range, "..")))
                return;
        *high = 0;
        high += 2;
        if (strcmp(range, high) == 0)
                snprintf(wanted, sizeof(wanted), "always %s", high);
        else
                snprintf(wanted, sizeof(wanted), "from %s to %s", range, high);
        if (!strstr(item, wanted))
                fprintf(stderr, "\nfailoverd-policy.5: %s does not say \"%s\"\n", key, wanted);
        CHECK(strstr(item, wanted) != NULL);
}

/* Each key has an item in the page, and the item says its range as the parser has it. */
static void the_manual_page_has_every_key_with_its_range(void) {
        _cleanup_(lines_deinit) struct lines parser = { 0 };
        _cleanup_free_ char *path = source_path("man/failoverd-policy.5"), *page = calloc(1, 1 << 20);
        _cleanup_fclose_ FILE *f = fopen(path, "r");

        REQUIRE(f && page && fread(page, 1, (1 << 20) - 1, f) > 0);
        parser_lines(&parser);
        for (size_t i = 0; i < parser.n; i++)
                check_item(page, parser.items[i]);
}

struct defaults {
        const char *written, *page;
        size_t n;
};

static void check_default(const char *path, const char *text, void *data) {
        struct defaults *defaults = data;
        _cleanup_free_ char *item = page_item(defaults->page, path);
        const char *name = strrchr(path, '.') ? strrchr(path, '.') + 1 : path;
        char line[300], quoted[300], wanted[300];

        defaults->n++;
        snprintf(line, sizeof(line), "%s: %s\n", name, text);
        snprintf(quoted, sizeof(quoted), "%s: \"%s\"\n", name, text);
        snprintf(wanted, sizeof(wanted), "efault %s.", text);
        if (!strstr(defaults->written, line) && !strstr(defaults->written, quoted))
                fprintf(stderr, "\nthe schema's default of %s, %s, is not the parser's\n", path, text);
        CHECK(strstr(defaults->written, line) || strstr(defaults->written, quoted));
        if (!item || !strstr(item, wanted))
                fprintf(stderr, "\nfailoverd-policy.5: %s does not say \"default %s\"\n", path, text);
        CHECK(item && strstr(item, wanted));
}

/* The least policy with a VM that stands alone, written out, has every default. */
static void the_schema_and_the_page_have_the_parsers_defaults(void) {
        _cleanup_free_ char *schema_path = source_path("etc/policy.schema.json"), *written = NULL,
                            *policy_path = source_path("etc/policy.example-minimal.yaml"),
                            *page_path = source_path("man/failoverd-policy.5"), *page = calloc(1, 1 << 20);
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };
        _cleanup_fclose_ FILE *f = fopen(page_path, "r");
        struct json_object *root = json_object_from_file(schema_path);
        struct defaults defaults = { .page = page };
        struct policy *policy = NULL;
        size_t n;
        FILE *out = open_memstream(&written, &n);

        REQUIRE(root && f && page && out && fread(page, 1, (1 << 20) - 1, f) > 0);
        REQUIRE(policy_load(policy_path, &policy, &d) == 0);
        policy->vms = calloc(1, sizeof(*policy->vms));
        REQUIRE(policy->vms != NULL);
        vm_policy_init(&policy->vms[policy->n_vms++]);
        CHECK(policy_write(policy, out) == 0);
        fclose(out);
        defaults.written = written;
        walk_defaults(root, root, "", check_default, &defaults);
        CHECK(defaults.n > 25);
        json_object_put(root);
        policy_free(policy);
}

TEST_MAIN("policy-schema",
          TEST(the_schema_has_the_parsers_keys_words_and_ranges),
          TEST(the_manual_page_has_every_key_with_its_range),
          TEST(the_schema_and_the_page_have_the_parsers_defaults))
