/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/policy-block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "policy/text.h"

#define RETIRED_POOL_BYTES (64 * 1024 * GIB) /* nothing is checked against it */

DEFINE_CLEANUP(struct policy *, policy_free)

static int write_text(struct buffer *out, const struct policy *policy) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);
        int r = f ? policy_write(policy, f) : -ENOMEM;

        if (memstream_close(f, &text) < 0)
                r = -ENOMEM;
        for (char *line = text, *end; r >= 0 && *line; line = end) {
                end = strchrnul(line, '\n');
                buffer_add_char(out, '|');
                buffer_add(out, line, (size_t) (end - line));
                buffer_add_char(out, '\n');
                end += *end == '\n';
        }
        return r < 0 ? r : out->failed ? -ENOMEM : 0;
}

/* A pair with its retired applications only, as a policy of its own. */
static int write_retired(struct buffer *out, const struct policy *policy, const struct pair_policy *pair) {
        _cleanup_(policy_freep) struct policy *one = policy_new();
        struct pair_policy *copy;
        size_t n = 0;

        if (!one || policy_retire_pair(one, pair) < 0)
                return -ENOMEM;
        one->pool_bytes = RETIRED_POOL_BYTES;
        one->extent_bytes = policy->extent_bytes;
        one->reserve_bytes = 0;
        copy = &one->pairs[0];
        for (size_t i = 0; i < copy->n_applications; i++)
                if (pair->applications[i].retired)
                        copy->applications[n++] = copy->applications[i];
                else
                        application_deinit(&copy->applications[i]);
        copy->n_applications = n;
        if (n == 0)
                return 0;
        if (!pair->retired) /* what it holds above its base is the business of the applications that are not here */
                for (enum side side = 0; side < SIDE_MAX; side++)
                        copy->members[side].memory_bytes = copy->members[side].base_bytes;
        buffer_add_text(out, pair->retired ? "retired pair\n" : "retired applications\n");
        return write_text(out, one);
}

static int without_retired(const struct policy *policy, struct policy **ret) {
        struct policy *plain = policy_copy(policy);

        if (!plain)
                return -ENOMEM;
        policy_drop_retired(plain);
        *ret = plain;
        return 0;
}

int policy_block_write_beside(struct buffer *out, const struct policy *policy) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < policy->n_pairs; i++)
                r = write_retired(out, policy, &policy->pairs[i]);
        return r;
}

int policy_block_write(struct buffer *out, const struct policy *policy) {
        _cleanup_(policy_freep) struct policy *plain = NULL;
        int r = without_retired(policy, &plain);

        if (r >= 0)
                r = write_text(out, plain);
        return r < 0 ? r : policy_block_write_beside(out, policy);
}

int policy_block_write_file(FILE *f, const struct policy *policy) {
        _cleanup_(policy_freep) struct policy *plain = NULL;
        int r = without_retired(policy, &plain);

        return r < 0 ? r : policy_write(plain, f);
}

int policy_block_write_whole(FILE *f, const struct policy *policy) {
        struct buffer beside = { 0 };
        int r = policy_block_write_file(f, policy);

        if (r >= 0)
                r = policy_block_write_beside(&beside, policy);
        if (r >= 0 && beside.failed)
                r = -ENOMEM;
        if (r >= 0 && beside.n > 0)
                fwrite(beside.bytes, 1, beside.n, f);
        buffer_deinit(&beside);
        return r;
}

static char *without_bars(const char *lines, size_t n) {
        char *text = malloc(n + 1), *to = text;

        for (const char *p = lines, *end; text && p < lines + n; p = end) {
                size_t left = (size_t) (lines + n - p);

                end = memchr(p, '\n', left);
                end = end ? end + 1 : lines + n;
                if (*p == '|')
                        p++;
                to = mempcpy(to, p, (size_t) (end - p));
        }
        if (text)
                *to = 0;
        return text;
}

int policy_block_parse(const char *lines, size_t n, struct policy **ret, struct error *error) {
        _cleanup_free_ char *text = without_bars(lines, n), *line = NULL;
        struct diagnostics diagnostics = { 0 };
        size_t first = 0;
        int r;

        if (!text)
                return error_set(error, -ENOMEM, "out of memory");
        r = policy_parse_in_force(text, strlen(text), "policy", ret, &diagnostics);
        while (first < diagnostics.n_items && diagnostics.items[first].is_warning)
                first++;
        if (r < 0 && first < diagnostics.n_items && diagnostics_format(&diagnostics, first, &line) >= 0)
                error_set(error, r == -ENOMEM ? r : -EBADMSG, "%s", line);
        else if (r < 0)
                error_set(error, r, "the policy cannot be read: %s", strerror(-r));
        diagnostics_deinit(&diagnostics);
        return r < 0 ? (r == -ENOMEM ? r : -EBADMSG) : 0;
}

int policy_block_parse_retired(struct policy *policy, bool whole, const char *lines, size_t n, struct error *error) {
        _cleanup_(policy_freep) struct policy *one = NULL;
        int r, i;

        r = policy_block_parse(lines, n, &one, error);
        if (r < 0)
                return r;
        if (one->n_pairs != 1)
                return error_set(error, -EBADMSG, "what was taken out of the policy is told pair by pair");
        i = policy_find_pair(policy, one->pairs[0].name);
        if ((i < 0) != whole)
                return error_set(error, -EBADMSG, "%s %s", one->pairs[0].name,
                                 whole ? "is in the policy and was taken out of it" : "is not in the policy");
        if (whole)
                r = policy_retire_pair(policy, &one->pairs[0]);
        for (size_t k = 0; !whole && r >= 0 && k < one->pairs[0].n_applications; k++) {
                if (pair_policy_find_application(&policy->pairs[i], one->pairs[0].applications[k].name) >= 0)
                        return error_set(error, -EBADMSG, "%s is in the policy and was taken out of it",
                                         one->pairs[0].applications[k].name);
                r = pair_policy_retire(&policy->pairs[i], &one->pairs[0].applications[k]);
        }
        return r < 0 ? error_set(error, r == -ENOMEM ? r : -EBADMSG,
                                 "what was taken out of the policy does not fit in: %s", strerror(-r))
                     : 0;
}

/* Where the next "retired ..." line begins, or `end`. */
static const char *find_retired(const char *at, const char *end) {
        for (const char *line = at; line < end; line++) {
                if (end - line > 8 && memcmp(line, "retired ", 8) == 0)
                        return line;
                line = memchr(line, '\n', (size_t) (end - line));
                if (!line)
                        break;
        }
        return end;
}

int policy_block_parse_whole(const char *text, size_t n, struct policy **ret, struct error *error) {
        _cleanup_(policy_freep) struct policy *policy = NULL;
        const char *end = text + n, *at = find_retired(text, end);
        int r = policy_block_parse(text, (size_t) (at - text), &policy, error);

        while (r >= 0 && at < end) {
                bool whole = end - at > 12 && memcmp(at, "retired pair", 12) == 0;
                const char *block = memchr(at, '\n', (size_t) (end - at));

                block = block ? block + 1 : end;
                at = find_retired(block, end);
                r = policy_block_parse_retired(policy, whole, block, (size_t) (at - block), error);
        }
        if (r < 0)
                return r;
        *ret = steal_ptr(policy);
        return 0;
}
