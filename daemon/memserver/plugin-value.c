/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/plugin-value.h"

#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "daemon/base/units.h"

int plugin_value_refuse(const char *key, const char *value, const char *text) {
        nbdkit_error("%s=%s: %s", key, value, text);
        return -1;
}

int plugin_value_size(const char *key, const char *value, uint64_t *ret) {
        return size_parse(value, ret) == 0 ? 0 : plugin_value_refuse(key, value, "not a size, which is a number and "
                                                                     "its unit, such as 512MiB");
}

int plugin_value_bool(const char *value, bool *ret) {
        int r = nbdkit_parse_bool(value);

        if (r < 0)
                return -1;
        *ret = r;
        return 0;
}

int plugin_value_path(const char *value, char **ret) {
        free(*ret);
        *ret = nbdkit_absolute_path(value);
        return *ret ? 0 : -1;
}
