/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "daemon/memserver/peer.h"

char *peer_uri(const char *uri, const char *capability) {
        const char *host = strstr(uri, "://"), *path = host ? strpbrk(host + 3, "/?") : NULL;
        int before = (int) (path ? (size_t) (path - uri) : strlen(uri));
        char *text;

        path = path && *path == '/' ? path + 1 : path;
        return asprintf(&text, "%.*s/%s%s", before, uri, capability, path ? path : "") < 0 ? NULL : text;
}
