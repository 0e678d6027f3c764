/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/findings.h"
#include "daemon/bus/check-json.h"
#include "daemon/bus/explain-json.h"
#include "daemon/bus/history-json.h"
#include "daemon/bus/status-member.h"
#include "daemon/bus/status.h"
#include "daemon/bus/vms-json.h"
#include "tests/unit/fake-manager.h"
#include "tests/unit/golden.h"
#include "tests/unit/test.h"

static bool matches(const char *name, struct json_object *object) {
        _cleanup_free_ char *text = NULL;
        bool same;

        if (!object || asprintf(&text, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY)) < 0)
                return false;
        same = golden_matches(name, text);
        json_object_put(object);
        return same;
}

static void documents_are_as_documented(void) {
        struct fake *fake = fake_new();
        struct operator_command command = { .verb = COMMAND_DRILL, .fault = DRILL_PANIC };

        CHECK(matches("json-status", status_json(&fake->engine, &fake->facts, FAKE_NOW)));
        CHECK(matches("json-check", check_json(&fake->engine, NO_PAIR, NULL, &fake->facts, FAKE_NOW)));
        CHECK(matches("json-explain", explain_json(&fake->engine, 0, &fake->facts, FAKE_NOW)));
        CHECK(matches("json-table", table_json(&fake->engine, &fake->facts, FAKE_NOW)));
        CHECK(matches("json-regions", regions_json(&fake->engine, &fake->facts, FAKE_NOW)));
        CHECK(matches("json-plan", plan_json(&fake->engine, 0, &command)));
        fake_free(fake);
}

static uint64_t number_of(struct json_object *object, const char *key) {
        return (uint64_t) json_object_get_int64(json_object_object_get(object, key));
}

/* N: what is being taken back, how and how fast. A region that is followed is not estimated. */
static void a_region_that_changes_hands_says_how_far_and_how_fast(void) {
        const struct holder a = { .pair = 0, .side = SIDE_A }, b = { .pair = 0, .side = SIDE_B };
        struct fake *fake = fake_new();
        struct pair *pair = fake->engine.pairs[0];
        struct handover *handover = handover_new(512 * MIB, a, b, FAKE_NOW - 4 * USEC_PER_SEC);
        struct json_object *root, *region, *object, *side;

        REQUIRE(handover != NULL);
        handover->begun_bytes = 412 * MIB;
        handover->paged_bytes = 100 * MIB;
        handover->usage.known[SIDE_A] = true;
        handover->usage.extent_bytes = usage_extent_bytes(512 * MIB);
        handover->usage.n_extents = 256;
        handover->usage_usec = FAKE_NOW - 20 * USEC_PER_MSEC;
        for (unsigned i = 0; i < handover->usage.n_extents; i++)
                handover->usage.pages[SIDE_A][i] = i < 10 ? 256 : 0;
        pair->apps[0].handover = handover;
        pair->record.apps[0].using_bytes[SIDE_A] = 312 * MIB;
        root = memory_json(&fake->engine, &fake->facts, FAKE_NOW);
        region = json_object_array_get_idx(json_object_object_get(root, "regions"), 0);
        object = json_object_object_get(region, "handover");
        CHECK(number_of(object, "released_bytes") == 100 * MIB && number_of(object, "using_bytes") == 312 * MIB);
        CHECK(number_of(object, "paged_out_bytes") == 100 * MIB);
        CHECK(number_of(object, "bytes_per_sec") / MIB == 49); /* 200 MiB in 4 s, of whole bytes a millisecond */
        CHECK(number_of(object, "seen_age_ms") == 20);
        side = json_object_array_get_idx(json_object_object_get(region, "sides"), SIDE_A);
        CHECK(number_of(side, "resident_bytes") == 10 * MIB && number_of(side, "resident_error_bytes") == 0);
        side = json_object_array_get_idx(json_object_object_get(region, "sides"), SIDE_B);
        CHECK(json_object_object_get(side, "resident_bytes") == NULL); /* not seen yet */
        json_object_put(root);
        handover->begun_usec = FAKE_NOW;
        root = memory_json(&fake->engine, &fake->facts, FAKE_NOW);
        region = json_object_array_get_idx(json_object_object_get(root, "regions"), 0);
        CHECK(number_of(json_object_object_get(region, "handover"), "bytes_per_sec") == 0);
        json_object_put(root);
        pair->apps[0].handover = handover_free(handover);
        fake_free(fake);
}

/* How old the checkpoint is, is how much would be lost; what was told long ago is worth nothing. */
static void a_vm_that_stands_alone_says_what_would_be_lost(void) {
        struct vm_policy vms[] = { { .domain = "armed", .memory_bytes = GIB, .checkpoint_usec = 30 * USEC_PER_SEC },
                                   { .domain = "held" }, { .domain = "stale" }, { .domain = "silent" } };
        struct policy policy = { .vms = vms, .n_vms = ELEMENTSOF(vms) };
        struct json_builder builder = { .now_usec = FAKE_NOW };
        struct fake *fake = fake_new();
        struct host_facts *facts = &fake->facts;
        struct json_object *root = json_object_new_object();

        facts->n_vms = ELEMENTSOF(vms);
        facts->vms[0] = (struct vm_fact) {
                .told_usec = FAKE_NOW - USEC_PER_SEC, .vm = "running", .state = "armed", .doing = "saving",
                .checkpoint_usec = FAKE_NOW - 12 * USEC_PER_SEC, .took_usec = 4 * USEC_PER_SEC, .failovers = 2,
                .decided_usec = FAKE_NOW - 100 * USEC_PER_SEC, .running_usec = FAKE_NOW - 97 * USEC_PER_SEC,
                .lost_usec = 20 * USEC_PER_SEC, .copies = 2, .kept_usec = FAKE_NOW - 3 * USEC_PER_SEC,
                .report = { .state = STANDBY_ARMED, .failovers_left = 1, .hears_panic = true },
        };
        facts->vms[1] = (struct vm_fact) { .told_usec = FAKE_NOW, .vm = "lost", .state = "held", .text = "damaged",
                                           .decided_usec = FAKE_NOW - USEC_PER_SEC,
                                           .report = { .state = STANDBY_HELD } };
        facts->vms[2] = (struct vm_fact) { .told_usec = FAKE_NOW - 6 * USEC_PER_SEC, .vm = "running", .state = "armed",
                                           .checkpoint_usec = FAKE_NOW - 20 * USEC_PER_SEC };
        json_put_vms(&builder, root, &policy, facts);
        CHECK(matches("json-vms", json_finish(&builder, root)));
        root = json_object_new_object();
        json_put_vm_checks(&builder, root, &policy, facts, NULL);
        CHECK(matches("json-vm-checks", json_finish(&builder, root)));
        root = json_object_new_object();
        json_put_vm_checks(&builder, root, &policy, facts, "held");
        CHECK(json_object_array_length(json_object_object_get(root, "vms")) == 1);
        json_object_put(root);
        fake_free(fake);
}

static void status_works_before_anything_is_known(void) {
        struct engine engine = { 0 };
        struct json_object *root = status_json(&engine, NULL, FAKE_NOW), *value;

        REQUIRE(root != NULL);
        CHECK(json_object_array_length(json_object_object_get(root, "pairs")) == 0);
        CHECK(json_object_object_get_ex(json_object_object_get(root, "hypervisor"), "uri", &value) && value == NULL);
        CHECK(json_object_object_get_ex(json_object_object_get(root, "hypervisor"), "age_ms", &value) && value == NULL);
        CHECK(json_object_object_get_ex(json_object_object_get(root, "store"), "up", &value) && value == NULL);
        json_object_put(root);
        root = table_json(&engine, NULL, FAKE_NOW);
        REQUIRE(root != NULL);
        CHECK(json_object_get_int64(json_object_object_get(root, "total_bytes")) == 0);
        json_object_put(root);
}

/* Also where there was no memory to keep the reason in. */
static void a_policy_file_that_is_not_taken_is_never_told_as_taken(void) {
        struct engine engine = { 0 };
        struct host_facts facts = { .policy_is_last = true };
        struct json_object *root = status_json(&engine, &facts, FAKE_NOW), *daemon, *taken;

        REQUIRE(root != NULL && json_object_object_get_ex(root, "failoverd", &daemon));
        CHECK(json_object_object_get_ex(daemon, "policy_taken", &taken) && !json_object_get_boolean(taken));
        json_object_put(root);
}

/* Counts the objects in a document that state something which was seen and do not say when. */
static unsigned count_without_age(struct json_object *object) {
        struct json_object *state;
        unsigned n = 0;

        if (json_object_is_type(object, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(object); i++)
                        n += count_without_age(json_object_array_get_idx(object, i));
        } else if (json_object_is_type(object, json_type_object)) {
                if (json_object_object_get_ex(object, "state", &state) &&
                    json_object_is_type(state, json_type_string) &&
                    !json_object_object_get_ex(object, "age_ms", NULL) &&
                    !json_object_object_get_ex(object, "state_age_ms", NULL))
                        n++;
                json_object_object_foreach(object, key, value) {
                        (void) key;
                        n += count_without_age(value);
                }
        }
        return n;
}

static void every_state_has_its_age(void) {
        struct fake *fake = fake_new();
        struct json_object *root = status_json(&fake->engine, &fake->facts, FAKE_NOW);

        CHECK(count_without_age(root) == 0);
        json_object_put(root);
        fake_free(fake);
}

static void table_rows_add_up_and_stand_in_order(void) {
        struct fake *fake = fake_new();
        struct json_object *root = table_json(&fake->engine, NULL, FAKE_NOW),
                           *rows = json_object_object_get(root, "rows");
        size_t n = json_object_array_length(rows);

        CHECK(json_object_get_int64(json_object_object_get(root, "total_bytes")) ==
              json_object_get_int64(json_object_object_get(root, "governed_bytes")));
        CHECK(n == fake->engine.table.n_rows);
        CHECK_TEXT(json_object_get_string(json_object_object_get(json_object_array_get_idx(rows, 1), "name")),
                   "QEMU overhead");
        CHECK_TEXT(json_object_get_string(json_object_object_get(json_object_array_get_idx(rows, n - 1), "name")),
                   "unused");
        for (size_t i = 0; i < n; i++)
                CHECK(json_object_object_get(json_object_array_get_idx(rows, i), "resident_bytes") == NULL);
        json_object_put(root);
        fake_free(fake);
}

static void region_keys_are_unique(void) {
        struct fake *fake = fake_new();
        char a[REGION_KEY_LEN], b[REGION_KEY_LEN];

        for (size_t i = 0; i < fake->engine.table.n_rows; i++)
                for (size_t k = 0; k < i; k++)
                        CHECK(strcmp(region_key(&fake->engine, &fake->engine.table.rows[i], a),
                                     region_key(&fake->engine, &fake->engine.table.rows[k], b)) != 0);
        fake_free(fake);
}

static void restarts_outside_the_window_do_not_count(void) {
        struct fake *fake = fake_new();
        struct pair *pair = fake->engine.pairs[0];

        CHECK(application_restarts_left(pair, 0, FAKE_NOW) == 2);
        CHECK(application_restarts_left(pair, 0, FAKE_NOW + 601 * USEC_PER_SEC) == 3);
        pair->apps[0].n_restarts = 5;
        for (int i = 0; i < 5; i++)
                pair->apps[0].restarts_usec[i] = FAKE_NOW;
        CHECK(application_restarts_left(pair, 0, FAKE_NOW) == 0);
        fake_free(fake);
}

static bool has_finding(const struct finding *findings, size_t n, const char *words) {
        for (size_t i = 0; i < n; i++)
                if (strstr(findings[i].text, words))
                        return true;
        return false;
}

static void every_finding_says_how_to_mend_it(void) {
        struct fake *fake = fake_new();
        struct pair_policy *pair = &fake->engine.policy->pairs[0];
        struct finding findings[FINDINGS_MAX];
        struct preflight nothing = { .defined = true, .autostart = true }, missing = { 0 };
        size_t n;

        pair->applications[0].vcpus = 1;
        pair->applications[0].disks[0] = strdup("vdb");
        pair->applications[0].n_disks = 1;
        n = findings_list(fake->engine.policy, pair, SIDE_A, &nothing, findings);
        CHECK(n == 15);
        for (size_t i = 0; i < n; i++)
                CHECK(findings[i].text[0] && findings[i].mend[0]);
        CHECK(has_finding(findings, n, "disk vdb of "));
        nothing.disks_kept = (struct disk_list){ .n = 1, .targets = { "vdb" } };
        n = findings_list(fake->engine.policy, pair, SIDE_A, &nothing, findings);
        CHECK(!has_finding(findings, n, "disk vdb of "));
        nothing.disks_at_boot = nothing.disks_kept;
        n = findings_list(fake->engine.policy, pair, SIDE_A, &nothing, findings);
        CHECK(has_finding(findings, n, "is attached whenever the domain starts"));
        CHECK(findings_list(fake->engine.policy, pair, SIDE_A, &missing, findings) == 1);
        CHECK(!findings[0].advice);
        fake_free(fake);
}

static unsigned count_overhead_findings(struct fake *fake) {
        struct json_object *root = status_pair_json(&fake->engine, 0, &fake->facts, FAKE_NOW);
        struct json_object *findings = json_object_object_get(root, "findings");
        unsigned n = 0;

        for (size_t i = 0; i < json_object_array_length(findings); i++) {
                struct json_object *finding = json_object_array_get_idx(findings, i);

                n += strstr(json_object_get_string(json_object_object_get(finding, "text")), "QEMU itself uses") &&
                     json_object_get_boolean(json_object_object_get(finding, "advice"));
        }
        json_object_put(root);
        return n;
}

static void more_overhead_than_planned_is_an_advice(void) {
        struct fake *fake = fake_new();

        CHECK(count_overhead_findings(fake) == 0);
        fake->members[0].overhead.value = fake->engine.policy->overhead_bytes;
        CHECK(count_overhead_findings(fake) == 0);
        fake->members[0].overhead.value++;
        CHECK(count_overhead_findings(fake) == 1);
        fake_free(fake);
}

/* OpenMetrics: a family's samples stand together below its TYPE, and the text ends with # EOF. */
static void metrics_keep_families_together(void) {
        struct fake *fake = fake_new();
        _cleanup_free_ char *text = NULL;
        char family[128] = "";
        size_t length;

        REQUIRE(metrics_text(&fake->engine, &fake->facts, FAKE_NOW, &text) == 0);
        length = strlen(text);
        CHECK(length > 6 && strcmp(text + length - 6, "# EOF\n") == 0);
        CHECK(strstr(text,
                     "failover_region_bytes{region=\"web:a:shop\",kind=\"application\",user=\"web-a\",target=\"web-b\"}"
                     " 536870912\n") != NULL);
        CHECK(strstr(text, "failover_pair_state_age_seconds{pair=\"web\"} 7500.000000\n") != NULL);
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (sscanf(line, "# TYPE %127s", family) == 1 || line[0] == '#')
                        continue;
                CHECK(strncmp(line, family, strlen(family)) == 0);
        }
        fake_free(fake);
}

static void history_finds_pairs_and_failovers(void) {
        struct fake *fake = fake_new();
        struct history_query query = { .policy = fake->engine.policy, .realtime_usec = FAKE_WALL };
        struct history_flow flow = { .id = "web-7", .pair = "web", .number = 7, .begun_usec = FAKE_WALL };
        struct history_event events[2] = {
                { .time_usec = FAKE_WALL, .pair = "web", .side = SIDE_A, .kind = RECORD_DECIDED, .text = "near" },
                { .time_usec = FAKE_WALL - 60 * USEC_PER_SEC, .pair = "web", .side = SIDE_INVALID, .text = "far" },
        };
        struct history_drill drills[2] = {
                { .pair = "web", .result = { .level = DRILL_LEVEL_FULL, .at_usec = FAKE_WALL, .number = 7 } },
                { .pair = "web", .result = { .level = DRILL_LEVEL_REHEARSE, .at_usec = FAKE_WALL } },
        };
        struct history_rows rows = {
                .flows = &flow, .drills = drills, .events = events, .n_flows = 1, .n_drills = 2, .n_events = 2,
        };
        struct json_object *json = NULL;
        char pair[NAME_LEN];

        query.id = "web-7";
        CHECK_TEXT(history_pair(&query, pair), "web");
        REQUIRE(history_json(&query, &rows, &json) == 0);
        CHECK(json_object_array_length(json_object_object_get(json, "flows")) == 1);
        CHECK(json_object_array_length(json_object_object_get(json, "drills")) == 1);
        CHECK(json_object_array_length(json_object_object_get(json, "events")) == 1);
        json_object_put(json);
        query.id = "web";
        CHECK_TEXT(history_pair(&query, pair), "web");
        REQUIRE(history_json(&query, &rows, &json) == 0);
        CHECK(json_object_array_length(json_object_object_get(json, "events")) == 2);
        CHECK(json_object_array_length(json_object_object_get(json, "drills")) == 2);
        json_object_put(json);
        query.id = "web-8";
        CHECK(history_json(&query, &rows, &json) == -ENOENT);
        fake_free(fake);
}

static char *read_source(const char *name) {
        _cleanup_free_ char *path = NULL;
        _cleanup_fclose_ FILE *f = NULL;
        char *text = NULL;
        size_t size = 0;

        REQUIRE(asprintf(&path, "%s/%s", getenv("TEST_SOURCE_DIR"), name) >= 0);
        f = fopen(path, "re");
        REQUIRE(f && getdelim(&text, &size, 0, f) > 0);
        return text;
}

/* Whatever failoverd writes to the journal under an id has its entry in the catalog, and the other way round. */
static void every_message_id_has_its_catalog_entry(void) {
        _cleanup_free_ char *catalog = read_source("etc/failoverd.catalog");
        _cleanup_free_ char *source = read_source("daemon/manager/journal.c");
        _cleanup_free_ char *header = read_source("daemon/manager/journal.h");
        unsigned n_ids = 0, n_entries = 0;

        for (const char *text = source; text; text = text == source ? header : NULL)
                for (const char *p = text; (p = strchr(p, '"')); p++) {
                        char entry[64];

                        if (strspn(p + 1, "0123456789abcdef") != 32 || p[33] != '"')
                                continue;
                        snprintf(entry, sizeof(entry), "\n-- %.32s\nSubject: ", p + 1);
                        CHECK(strstr(catalog, entry) != NULL);
                        n_ids++;
                        p += 33;
                }
        for (const char *p = catalog; (p = strstr(p, "\n-- ")); p++)
                n_entries++;
        CHECK(n_ids == RECORD_KIND_MAX + 2);
        CHECK(n_entries == n_ids);
}

TEST_MAIN("status",
          TEST(every_message_id_has_its_catalog_entry),
          TEST(documents_are_as_documented),
          TEST(a_region_that_changes_hands_says_how_far_and_how_fast),
          TEST(a_vm_that_stands_alone_says_what_would_be_lost),
          TEST(status_works_before_anything_is_known),
          TEST(a_policy_file_that_is_not_taken_is_never_told_as_taken),
          TEST(every_state_has_its_age),
          TEST(table_rows_add_up_and_stand_in_order),
          TEST(region_keys_are_unique),
          TEST(restarts_outside_the_window_do_not_count),
          TEST(every_finding_says_how_to_mend_it),
          TEST(more_overhead_than_planned_is_an_advice),
          TEST(metrics_keep_families_together),
          TEST(history_finds_pairs_and_failovers))
