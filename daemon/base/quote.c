/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/quote.h"

#include <string.h>

#define SHOWN 40

const char *text_quote(const char *text, size_t length, char buffer[static QUOTE_LEN]) {
        size_t n = length > SHOWN ? SHOWN : length;

        for (size_t i = 0; i < n; i++)
                buffer[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
        strcpy(buffer + n, length > SHOWN ? "..." : "");
        return buffer;
}
