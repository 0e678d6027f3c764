/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/utf8.h"

#include <string.h>

size_t utf8_length(const unsigned char *p, size_t n) {
        size_t length = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;

        if (length == 0 || length > n)
                return 0;
        for (size_t i = 1; i < length; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
            (*p == 0xf4 && p[1] > 0x8f))
                return 0;
        return length;
}

void utf8_mend(char *text) {
        size_t left = strlen(text), n;

        for (; left > 0; text += n, left -= n) {
                n = utf8_length((const unsigned char *) text, left);
                if (n > 0)
                        continue;
                *text = '?';
                n = 1;
        }
}
