/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/agents/agent-recent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/memstream.h"

void agent_recent_deinit(struct agent_recent *recent) {
        for (size_t i = 0; i < AGENT_RECENT_MAX; i++)
                free(recent->lines[i].text);
}

void agent_recent_add(struct agent_recent *recent, const char *line, size_t length, bool pong, usec_t now_usec) {
        struct agent_recent_line *slot, *last = NULL;
        char *text;

        text = strndup(line, length < AGENT_RECENT_LEN ? length : AGENT_RECENT_LEN);
        if (!text)
                return;
        for (char *p = text; *p; p++)
                if (*p < 0x20 || *p == 0x7f)
                        *p = '?';
        if (recent->n_lines > 0)
                last = &recent->lines[(recent->n_lines - 1) % AGENT_RECENT_MAX];
        slot = pong && last && last->pong ? last : &recent->lines[recent->n_lines++ % AGENT_RECENT_MAX];
        free(slot->text);
        *slot = (struct agent_recent_line) { .text = text, .time_usec = now_usec, .pong = pong };
}

char *agent_recent_text(const struct agent_recent *recent, usec_t now_usec) {
        unsigned first = recent->n_lines > AGENT_RECENT_MAX ? recent->n_lines - AGENT_RECENT_MAX : 0;
        char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        if (!stream)
                return NULL;
        for (unsigned i = first; i < recent->n_lines; i++) {
                const struct agent_recent_line *line = &recent->lines[i % AGENT_RECENT_MAX];

                fprintf(stream, "%" PRIu64 " ms ago: %s\n", (now_usec - line->time_usec) / USEC_PER_MSEC, line->text);
        }
        memstream_close(stream, &text);
        return text;
}
