/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/space-name.h"

#include <ctype.h>

int space_word_is_valid(const char *word) {
        if (!isalnum((unsigned char) *word))
                return 0;
        for (; *word; word++)
                if (!isalnum((unsigned char) *word) && !strchr("_.:@+-", *word))
                        return 0;
        return 1;
}
