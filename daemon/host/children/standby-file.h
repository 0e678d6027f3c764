/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A JSON file in the directory of a standby (host/standbys.h): written as a whole or not at all, and read by those who
 * do not trust who wrote it to keep to sizes.
 */

#include <stdbool.h>

#include "agents/protocol/fields.h"
#include "daemon/base/error.h"
#include "daemon/base/units.h"

#define STANDBY_FILE_MAX (512 * KIB)

/* `*object` is filled in as far as `fields` go; it is not touched where this fails. -ENOENT where there is no file,
 * -EBADMSG where it is none. */
int standby_file_read(const char *dir, const char *name, const struct fields *fields, void *object,
                      struct error *error);
/* `synced`: the file and its directory are on the disk before this returns. -E2BIG where it could not be read again;
 * the file before stays then. */
int standby_file_write(const char *dir, const char *name, const struct fields *fields, const void *object, bool synced,
                       struct error *error);
