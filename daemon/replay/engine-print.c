/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/engine-print.h"

#include <inttypes.h>

static const char *holder_name(const struct engine *engine, struct holder holder) {
        const struct pair *pair = holder.pair >= 0 && holder.pair < engine->n_pairs ? engine->pairs[holder.pair] : NULL;

        return pair ? pair->policy->members[holder.side].domain : "monitor";
}

void engine_print_table(const struct engine *engine, FILE *f) {
        const struct table *table = &engine->table;

        fprintf(f, "\n%-24s %10s  %-12s %s\n", "region", "MiB", "user", "failover target");
        for (size_t i = 0; i < table->n_rows; i++) {
                const struct region *row = &table->rows[i];

                const struct pair *pair = row->user.pair >= 0 ? engine->pairs[row->user.pair] : NULL;
                uint64_t remote = pair ? pair_remote_bytes(pair, row) : 0;

                fprintf(f, "%-24s %10" PRIu64 "  %-12s %s\n", row->name, row->usage_bytes / MIB,
                        holder_name(engine, row->user), holder_name(engine, row->target));
                if (remote > 0)
                        fprintf(f, "%-24s %10" PRIu64 "  %-12s\n", "  at memory servers", remote / MIB,
                                holder_name(engine, row->user));
        }
}

void engine_print_pair(const struct pair *pair, FILE *f) {
        fprintf(f, "\n%s: %s\n", pair->policy->name, pair_state_to_string(pair->state));
        for (unsigned i = 0; i < pair->n_reasons; i++)
                fprintf(f, "  why: %s\n", pair->reasons[i]);
}

void engine_print_applications(const struct pair *pair, FILE *f) {
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct record_app *app = &pair->record.apps[i];
                const enum application_state *state = pair->apps[i].state;

                fprintf(f, "  %s: owner %s, token %" PRIu64 "%s; %s on %s, %s on %s\n", app->name,
                        pair->policy->members[app->owner].domain, app->token, app->ended ? ", ended" : "",
                        application_state_to_string(state[SIDE_A]), pair->policy->members[SIDE_A].domain,
                        application_state_to_string(state[SIDE_B]), pair->policy->members[SIDE_B].domain);
        }
}
