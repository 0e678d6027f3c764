/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/redact.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"

#define HIDDEN "REDACTED"

static const char *const words[] = {
        "password", "passwd",       "passphrase", "pgpass",       "secret",       "api-key",     "api_key",
        "apikey",   "access-token", "auth-token", "access_token", "auth_token",   "bearer",      "authorization",
        "credential", "private-key", "private_key", "--token",    "_pwd",         "_token",      "_key",
};

/* Length of the word at `p` that announces a secret, 0 where there is none. What belongs to the same name behind
 * it ("password_file") is taken in. */
static size_t match_word(const char *p) {
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                size_t n = strlen(words[i]);

                if (strncasecmp(p, words[i], n) != 0)
                        continue;
                while (isalnum((unsigned char) p[n]) || p[n] == '_' || p[n] == '-')
                        n++;
                return n;
        }
        return 0;
}

/* Length of what stands between a name and its value: quotes, blanks, commas (of lists) and = or :. */
static size_t match_gap(const char *p) {
        return strspn(p, " \t\"'=:,");
}

static size_t match_value(const char *p, bool quoted) {
        return quoted ? strcspn(p, "\"'\n") : strcspn(p, " \t\"',;\n]})");
}

/* "://user:password@host": length of what stands before the @, 0 where there is none. */
static size_t match_userinfo(const char *p) {
        size_t n = strcspn(p, "/@ \t\"'\n");

        return p[n] == '@' && memchr(p, ':', n) ? n : 0;
}

static const char *skip_pem(const char *p) {
        const char *end = strstr(p, "-----END");

        return end ? end : p + strlen(p);
}

static const char *step(const char *p, FILE *out) {
        size_t n, gap, value;

        if (strncmp(p, "-----BEGIN", 10) == 0 && strncmp(p, "-----BEGIN CERTIFICATE", 22) != 0) {
                fputs(HIDDEN "\n", out);
                return skip_pem(p + 10);
        }
        if (strncmp(p, "://", 3) == 0 && (n = match_userinfo(p + 3)) > 0) {
                fputs("://" HIDDEN, out);
                return p + 3 + n;
        }
        n = match_word(p);
        if (n > 0) {
                gap = match_gap(p + n);
                value = gap > 0 ? match_value(p + n + gap, strpbrk("\"'", (char[]) { p[n + gap - 1], 0 }) != NULL) : 0;
                fwrite(p, 1, n + gap, out);
                if (value > 0)
                        fputs(HIDDEN, out);
                return p + n + gap + value;
        }
        fputc(*p, out);
        return p + 1;
}

char *redact(const char *text) {
        char *copy = NULL;
        size_t size;
        FILE *out = open_memstream(&copy, &size);

        while (out && *text)
                text = step(text, out);
        memstream_close(out, &copy);
        return copy;
}
