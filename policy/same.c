/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Do two policies say the same of a pair? What the structures hold by value is compared as a whole, so that a new key
 * counts by itself; so does what lies between members, which policy.c fills with zeros and copies along. What they
 * point to is compared by what stands there. In doubt the answer is no: then the pair takes the policy over as a
 * changed one.
 */

#include <string.h>

#include "policy/policy.h"

static bool text_equal(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

bool command_equal(const struct command *a, const struct command *b) {
        if (a->n_words != b->n_words)
                return false;
        for (size_t i = 0; i < a->n_words; i++)
                if (strcmp(a->words[i], b->words[i]) != 0)
                        return false;
        return true;
}

static bool side_equal(const struct application_side *a, const struct application_side *b) {
        return text_equal(a->unit, b->unit) && command_equal(&a->start, &b->start) &&
               command_equal(&a->stop, &b->stop) && command_equal(&a->health, &b->health) &&
               command_equal(&a->canary, &b->canary);
}

static bool application_equal(const struct application *a, const struct application *b) {
        struct application x, y;

        memcpy(&x, a, sizeof(x)); /* an assignment may leave out what is between the members */
        memcpy(&y, b, sizeof(y));
        memset(x.sides, 0, sizeof(x.sides));
        memset(y.sides, 0, sizeof(y.sides));
        memset(x.disks, 0, sizeof(x.disks));
        memset(y.disks, 0, sizeof(y.disks));
        memset(x.addresses, 0, sizeof(x.addresses));
        memset(y.addresses, 0, sizeof(y.addresses));
        if (memcmp(&x, &y, sizeof(x)) != 0)
                return false;
        for (enum side side = 0; side < SIDE_MAX; side++)
                if (!side_equal(&a->sides[side], &b->sides[side]))
                        return false;
        for (size_t i = 0; i < a->n_disks; i++)
                if (strcmp(a->disks[i], b->disks[i]) != 0)
                        return false;
        for (size_t i = 0; i < a->n_addresses; i++)
                if (!text_equal(a->addresses[i].cidr, b->addresses[i].cidr) ||
                    !text_equal(a->addresses[i].link, b->addresses[i].link))
                        return false;
        return true;
}

bool pair_policy_same(const struct pair_policy *a, const struct pair_policy *b) {
        struct pair_policy x, y;

        memcpy(&x, a, sizeof(x));
        memcpy(&y, b, sizeof(y));
        x.on_event = y.on_event = NULL;
        x.applications = y.applications = NULL;
        if (memcmp(&x, &y, sizeof(x)) != 0 || !text_equal(a->on_event, b->on_event))
                return false;
        for (size_t i = 0; i < a->n_applications; i++)
                if (!application_equal(&a->applications[i], &b->applications[i]))
                        return false;
        return true;
}
