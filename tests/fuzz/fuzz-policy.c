/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *write_text(const struct policy *policy, size_t *ret_n) {
        char *text = NULL;
        FILE *f = open_memstream(&text, ret_n);
        int r;

        assert(f);
        r = policy_write(policy, f);
        assert(r >= 0);
        fclose(f);
        return text;
}

/* One input is the text of a policy: it is taken, or refused with a message. What is taken can be written, read back,
 * and is the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct diagnostics diagnostics = { 0 }, none = { 0 };
        struct policy *policy = NULL, *again = NULL;
        size_t n, n_again;
        int r = policy_parse((const char *) data, size, "policy.yaml", &policy, &diagnostics);

        assert((r >= 0) == (policy != NULL));
        assert(r >= 0 || diagnostics.n_errors > 0);
        if (r >= 0) {
                char *text = write_text(policy, &n), *text_again;

                r = policy_parse(text, n, "written.yaml", &again, &none);
                assert(r >= 0);
                text_again = write_text(again, &n_again);
                assert(n == n_again && memcmp(text, text_again, n) == 0);
                assert(policy->n_pairs == again->n_pairs);
                for (size_t i = 0; i < policy->n_pairs; i++)
                        assert(pair_policy_same(&policy->pairs[i], &again->pairs[i]));
                free(text);
                free(text_again);
        }
        policy_free(policy);
        policy_free(again);
        diagnostics_deinit(&diagnostics);
        diagnostics_deinit(&none);
        return 0;
}
