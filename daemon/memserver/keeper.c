/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/keeper.h"

#include <errno.h>
#include <inttypes.h>

static int place(struct keeper *keeper, const struct label *label) {
        const struct label *last = &keeper->last;

        if (last->session == 0 || label->session != last->session)
                return label->state == LABEL_FILLING && label->session != 0 ? KEEPER_NEW_SESSION : -ENOLINK;
        if (label->link < last->link)
                return -EPERM;
        if (label->number <= last->number)
                return -EINVAL;
        return label->link > last->link ? KEEPER_NEW_LINK : KEEPER_GOES_ON;
}

int keeper_hear(struct keeper *keeper, const struct label *label, usec_t now_usec) {
        int turn = place(keeper, label);
        size_t at = label->number % KEEPER_HEARD;

        if (turn < 0)
                return turn;
        if (turn == KEEPER_NEW_SESSION)
                *keeper = (struct keeper) { 0 };
        keeper->last = *label;
        keeper->heard_usec = now_usec;
        if (label->state != LABEL_COMPLETE)
                return turn;
        keeper->heard[at].number = label->number;
        keeper->heard[at].at_usec = now_usec;
        at = label->answered % KEEPER_HEARD;
        if (label->answered > 0 && keeper->heard[at].number == label->answered)
                keeper->sure_usec = keeper->heard[at].at_usec;
        return turn;
}

int keeper_judge(const struct keeper *keeper, usec_t lost_usec, usec_t now_usec, struct error *error) {
        usec_t sure_until = keeper->sure_usec + keeper->last.deadline_usec;
        usec_t lost = now_usec > lost_usec ? now_usec - lost_usec : 0;
        char text[UNITS_TEXT_MAX];

        if (keeper->last.session == 0)
                return error_set(error, -ESTALE, "it has never been filled");
        if (keeper->last.state == LABEL_GONE)
                return error_set(error, -ESTALE, "the primary has given it up");
        if (keeper->last.state != LABEL_COMPLETE || keeper->sure_usec == 0)
                return error_set(error, -ESTALE, "pages are missing: it was still being filled");
        if (lost > sure_until)
                return error_set(error, -ESTALE, "the primary may have gone on without it for up to %s",
                                 duration_format(text, lost - sure_until));
        return 0;
}
