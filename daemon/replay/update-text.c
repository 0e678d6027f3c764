/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/replay/update-text.h"

#include "daemon/replay/layouts.h"

void action_text_write(struct buffer *out, const struct action *action) {
        buffer_add_text(out, action_kind_to_string(action->kind));
        layout_write(out, &action_layout, action, NULL, "");
        if (action->message)
                layout_write(out, &message_layout, action->message, NULL, "message.");
        if (action->record)
                layout_write(out, &record_layout, action->record, NULL, "record.");
        buffer_add_char(out, '\n');
}

void update_text_write(struct buffer *out, const struct update *update) {
        for (size_t i = 0; i < update->n_actions; i++)
                action_text_write(out, &update->actions[i]);
}

uint64_t digest_add(uint64_t digest, const char *text, size_t n) {
        for (size_t i = 0; i < n; i++)
                digest = (digest ^ (unsigned char) text[i]) * UINT64_C(0x100000001b3);
        return digest;
}
