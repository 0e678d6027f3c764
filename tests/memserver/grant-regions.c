/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Asks holders for an application's regions as failoverd does:
 *
 *   grant-regions HOW TOKEN[:GRANTED] DEADLINE_MS NAME:SIZE:KIND:hold|start:CONTROL:GUESTS[,CONTROL:URI]...
 *
 * HOW: new; moved: new there, since they were elsewhere; or known: they have been at their holders. other: known,
 * and whoever had them may still be able to write. tend: their mirrors are looked after, of regions that are in use
 * under that token.
 *
 * GRANTED is the token of the grant before, the last two are of a mirror, which guests reach as servers do.
 * Prints the result, the token that a holder knows, what is to be said, and the list that a program is handed.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/pages/region-grant.h"

static char *cut(char **at) {
        char *word = *at, *end = strchr(word, ':');

        if (!end)
                exit(2);
        *end = 0;
        *at = end + 1;
        return word;
}

static void add_server(struct granted_region *region, const char *name, const char *control, const char *uri) {
        struct region_server *server = &region->servers[region->n_servers++];

        server->name = strdup(name);
        server->control = strdup(control);
        server->guests = strdup(uri);
        server->uri = strdup(uri);
}

int main(int argc, char **argv) {
        struct region_grant grant = { .node = "n1", .owner = "orders" };

        if (argc < 5 || argc - 4 > POLICY_REGIONS_MAX)
                return 2;
        grant.alone = strcmp(argv[1], "other") != 0;
        grant.token = strtoull(argv[2], NULL, 10);
        grant.granted = strchr(argv[2], ':') ? strtoull(strchr(argv[2], ':') + 1, NULL, 10) : 0;
        grant.deadline_usec = strtoull(argv[3], NULL, 10) * USEC_PER_MSEC;
        for (int i = 4; i < argc; i++) {
                struct granted_region *region = &grant.regions[grant.n_regions++];
                char *at = argv[i], *mirror = strchr(at, ','), *control;

                if (mirror)
                        *mirror++ = 0;
                region->has_moved = strcmp(argv[1], "moved") == 0;
                region->may_be_new = region->has_moved || strcmp(argv[1], "new") == 0;
                snprintf(region->policy.name, NAME_LEN, "%s", cut(&at));
                region->policy.size_bytes = strtoull(cut(&at), NULL, 10);
                region->policy.kind = (unsigned) strtoul(cut(&at), NULL, 10);
                region->policy.on_lost = strcmp(cut(&at), "start") == 0 ? HOLDER_LOST_START : HOLDER_LOST_HOLD;
                region->policy.write_back_usec = region->policy.kind >= REGION_KIND_RESIDENT ? 200 * USEC_PER_MSEC : 0;
                snprintf(region->policy.holder, NAME_LEN, "depot");
                control = cut(&at);
                add_server(region, "depot", control, at);
                if (!mirror)
                        continue;
                control = cut(&mirror);
                add_server(region, "annex", control, mirror);
        }
        if (strcmp(argv[1], "tend") == 0) {
                region_grant_tend(&grant);
                for (size_t i = 0; i < grant.n_regions; i++) {
                        grant.result = grant.tended[i].result < 0 ? grant.tended[i].result : grant.result;
                        if (grant.tended[i].text[0])
                                region_remark(grant.text, "%s", grant.tended[i].text);
                }
        } else {
                region_grant_ask(&grant);
        }
        printf("%d\n%llu\n%s\n%s\n", grant.result, (unsigned long long) grant.token_known, grant.text,
               grant.list ? grant.list : "");
        region_grant_deinit(&grant);
        return 0;
}
