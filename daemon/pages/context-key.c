/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-key.h"

#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

static int read_key(const char *path, struct context_key *ret, struct error *error) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        struct context_key key;
        struct stat st;

        if (fd < 0)
                return errno == ENOENT ? -ENOENT : error_set(error, -errno, "%s: %s", path, strerror(errno));
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
                return error_set(error, -EPERM, "%s, the key of contexts, has to be a file of yours that nobody else "
                                 "can read (mode 0600)", path);
        if (st.st_size != sizeof(key.bytes) || read(fd, key.bytes, sizeof(key.bytes)) != sizeof(key.bytes))
                return error_set(error, -EBADMSG, "%s is no key of contexts: it has to be of %zu bytes; move it away, "
                                 "and a new one is made", path, sizeof(key.bytes));
        *ret = key;
        return 0;
}

/* Makes a whole one, or leaves the one that somebody else has made meanwhile. */
static int make_key(const char *path, struct error *error) {
        _cleanup_free_ char *fresh = NULL;
        _cleanup_close_ int fd = -1;
        struct context_key key;
        int r = 0;

        if (gnutls_rnd(GNUTLS_RND_KEY, key.bytes, sizeof(key.bytes)) < 0)
                return error_set(error, -EIO, "no random bytes for a key of contexts");
        if (asprintf(&fresh, "%s.XXXXXX", path) < 0) {
                fresh = NULL;
                return error_set(error, -ENOMEM, "out of memory");
        }
        fd = mkostemp(fresh, O_CLOEXEC); /* mode 0600 */
        if (fd < 0)
                return error_set(error, -errno, "%s: %s", fresh, strerror(errno));
        if (write(fd, key.bytes, sizeof(key.bytes)) != sizeof(key.bytes) || fsync(fd) < 0 ||
            (link(fresh, path) < 0 && errno != EEXIST))
                r = error_set(error, -errno, "%s: %s", path, strerror(errno));
        (void) unlink(fresh);
        explicit_bzero(&key, sizeof(key));
        return r;
}

int context_key_load(const char *path, struct context_key *ret, struct error *error) {
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *directory = strndup(path, slash ? (size_t) (slash - path) : 0);
        int r = read_key(path, ret, error);

        if (r != -ENOENT)
                return r;
        if (directory && *directory)
                (void) mkdir(directory, 0700); /* where this fails, the file says so */
        r = make_key(path, error);
        if (r < 0)
                return r;
        r = read_key(path, ret, error);
        return r == -ENOENT ? error_set(error, r, "%s: somebody has removed it", path) : r;
}

int context_key_seal(const struct context_key *key, const unsigned char sum[static CONTEXT_SUM_BYTES],
                     unsigned char ret[static CONTEXT_SUM_BYTES]) {
        return gnutls_hmac_fast(GNUTLS_MAC_SHA256, key->bytes, sizeof(key->bytes), sum, CONTEXT_SUM_BYTES, ret) < 0
                       ? -ENOMEM : 0;
}

bool context_key_vouches(const struct context_key *key, const unsigned char sum[static CONTEXT_SUM_BYTES],
                         const unsigned char seal[static CONTEXT_SUM_BYTES]) {
        unsigned char expected[CONTEXT_SUM_BYTES];

        return context_key_seal(key, sum, expected) == 0 && gnutls_memcmp(expected, seal, sizeof(expected)) == 0;
}
