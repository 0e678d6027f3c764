/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/standby-document.h"

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/host/children/standby-file.h"

FIELD_WORDS(alone_state)
FIELD_WORDS(standby_state)
FIELD_WORDS(standby_news)

static const struct field flap_rows[] = { { .name = "at_usec", .kind = FIELD_UINT64, .max = INT64_MAX } };
static const struct fields flap_fields = { flap_rows, ELEMENTSOF(flap_rows), FIELD_BIT(0) };

#define DOCUMENT struct standby_document
#define RECORD_AT(member) .name = #member, .offset = offsetof(DOCUMENT, record.member)
static const struct field rows[] = {
        CHARS_FIELD(DOCUMENT, domain, text_is_name),
        BYTES_FIELD(DOCUMENT, time_usec),
        WORD_FIELD(DOCUMENT, vm, alone_state),
        WORD_FIELD(DOCUMENT, state, standby_state),
        BYTES_FIELD(DOCUMENT, every_usec),
        BYTES_FIELD(DOCUMENT, took_usec),
        BYTES_FIELD(DOCUMENT, decided_usec),
        BYTES_FIELD(DOCUMENT, running_usec),
        BYTES_FIELD(DOCUMENT, lost_usec),
        INT_FIELD(DOCUMENT, copies, 0, STANDBY_COPIES_MAX),
        BYTES_FIELD(DOCUMENT, kept_usec),
        INT_FIELD(DOCUMENT, flaps_left, 0, POLICY_FLAPS_MAX),
        { FIELD_AT(DOCUMENT, hears_panic), .kind = FIELD_BOOL },
        { FIELD_AT(DOCUMENT, hears_hang), .kind = FIELD_BOOL },
        WORD_FIELD(DOCUMENT, news, standby_news),
        BYTES_FIELD(DOCUMENT, news_usec),
        CHARS_FIELD(DOCUMENT, news_text, text_valid),
        CHARS_FIELD(DOCUMENT, doing, text_valid),
        CHARS_FIELD(DOCUMENT, text, text_valid),
        { RECORD_AT(run), .kind = FIELD_UINT64 },
        { RECORD_AT(slot), .kind = FIELD_INT, .min = 0, .max = 1 },
        { RECORD_AT(seen_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(taken_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(saved_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(other_taken_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(other_saved_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(aside), .kind = FIELD_BOOL },
        { RECORD_AT(resumed_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(wanted), .kind = FIELD_BOOL },
        { RECORD_AT(wanted_usec), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(held), .kind = FIELD_BOOL },
        { RECORD_AT(failovers), .kind = FIELD_UINT64, .max = INT64_MAX },
        { RECORD_AT(flaps_usec), .kind = FIELD_ARRAY, .max = POLICY_FLAPS_MAX, .size = sizeof(usec_t),
          .element = &flap_fields, .count_offset = offsetof(DOCUMENT, record.n_flaps) },
};
#undef DOCUMENT
static const struct fields document_fields = { rows, ELEMENTSOF(rows), FIELD_BIT(0) | FIELD_BIT(1) | FIELD_BIT(2) |
                                                                       FIELD_BIT(3) };

int standby_document_read(const char *dir, struct standby_document *ret, struct error *error) {
        struct standby_document document = { 0 };
        int r = standby_file_read(dir, STANDBY_DOCUMENT_FILE, &document_fields, &document, error);

        if (r == 0)
                *ret = document;
        return r;
}

int standby_document_write(const char *dir, const struct standby_document *document, struct error *error) {
        return standby_file_write(dir, STANDBY_DOCUMENT_FILE, &document_fields, document, false, error);
}
