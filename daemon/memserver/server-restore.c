/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/persist.h"
#include "daemon/memserver/server-internal.h"

#define READ_BYTES MIB /* at once */

static int read_pages(struct space *space) {
        _cleanup_free_ char *buffer = malloc(READ_BYTES);
        uint64_t offset = 0, length;
        int r;

        if (!buffer)
                return -ENOMEM;
        while ((r = persist_next(space->file, &offset, &length)) > 0) {
                if (length > READ_BYTES)
                        length = READ_BYTES;
                r = persist_read(space->file, buffer, length, offset);
                if (r == 0)
                        r = page_space_write(space->pages, buffer, length, offset);
                if (r < 0)
                        return r;
                offset += length;
        }
        return r;
}

/* A space that was found on disk. It has no capability that anybody knows, until it is granted or promoted. */
static int restore(const struct label *label, struct persist_file *file, void *userdata) {
        static const char nobody[CAPABILITY_LEN];
        struct server *server = userdata;
        struct server_open open = { .name = label->name,
                                    .role = SPACE_MIRROR,
                                    .size_bytes = label->size_bytes,
                                    .token = label->token };
        struct space *space;
        int r = server_add_space(server, &open, nobody, &space, NULL);

        if (r < 0) {
                persist_free(file);
                return r;
        }
        space->file = file;
        space->restored = true;
        space->keeper.last.state = label->state;
        r = read_pages(space);
        if (r < 0) {
                server->n_spaces--;
                space_unref(space);
                return r;
        }
        events_add(server->events, EVENT_OPENED, &label->name, "as mirror, token %" PRIu64 ", brought back from disk",
                   label->token);
        return 0;
}

int server_restore(struct server *server, struct error *error) {
        int r = persist_each(server->persist_path, restore, server, error);

        return r < 0 ? r : 0;
}
