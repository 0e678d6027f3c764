/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/fake-manager.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/bus/explain-json.h"
#include "daemon/bus/history-json.h"
#include "daemon/host/records/evidence.h"

#define AGO(ms) (FAKE_NOW - (ms) * USEC_PER_MSEC)
#define WALL_AGO(s) (FAKE_WALL - (s) * USEC_PER_SEC)

static void set(char *to, size_t size, const char *text) {
        snprintf(to, size, "%s", text);
}

static void add_application(struct pair_policy *pair, const char *name, enum application_kind kind, uint64_t bytes) {
        struct application *app = &pair->applications[pair->n_applications++];

        application_init(app);
        set(app->name, sizeof(app->name), name);
        app->kind = kind;
        app->memory_bytes = bytes;
        app->restart_budget = 3;
        app->restart_window_usec = 600 * USEC_PER_SEC;
}

static void make_pair_policy(struct pair_policy *pair, const char *name) {
        pair_policy_init(pair);
        set(pair->name, sizeof(pair->name), name);
        for (int side = 0; side < SIDE_MAX; side++) {
                snprintf(pair->members[side].domain, NAME_LEN, "%s-%s", name, side == SIDE_A ? "a" : "b");
                pair->members[side].base_bytes = 256 * MIB;
                pair->members[side].memory_bytes = 256 * MIB;
        }
        pair->objective_usec = 5 * USEC_PER_SEC;
        pair->applications = calloc(2, sizeof(*pair->applications));
        assert(pair->applications);
}

static void add_region(struct application *app, const char *name, unsigned kind, usec_t write_back_usec) {
        struct state_region *region = &app->regions[app->n_regions++];

        *region = (struct state_region) { .kind = kind, .size_bytes = 64 * MIB, .write_back_usec = write_back_usec };
        set(region->name, sizeof(region->name), name);
        set(region->holder, sizeof(region->holder), "depot");
}

static void make_policy(struct fake *fake) {
        struct policy *policy = policy_new();

        assert(policy);
        free(policy->hypervisor_uri);
        policy->hypervisor_uri = strdup("qemu:///session");
        policy->pool_bytes = 4 * GIB;
        policy->extent_bytes = 128 * MIB;
        policy->pairs = calloc(3, sizeof(*policy->pairs));
        assert(policy->hypervisor_uri && policy->pairs);
        policy->n_pairs = 3;
        make_pair_policy(&policy->pairs[0], "web");
        add_application(&policy->pairs[0], "shop", APPLICATION_HOT_STANDBY, 512 * MIB);
        add_application(&policy->pairs[0], "batch", APPLICATION_PLAIN, 128 * MIB);
        make_pair_policy(&policy->pairs[1], "db");
        add_application(&policy->pairs[1], "base", APPLICATION_HOT_STANDBY, 256 * MIB);
        make_pair_policy(&policy->pairs[2], "mail");
        add_application(&policy->pairs[2], "imap", APPLICATION_HOT_STANDBY, 256 * MIB);
        add_region(&policy->pairs[0].applications[0], "ledger", 3, 200 * USEC_PER_MSEC);
        add_region(&policy->pairs[0].applications[0], "cache", 4, 0);
        set(policy->pairs[0].applications[0].regions[1].mirror, NAME_LEN, "annex");
        add_region(&policy->pairs[2].applications[0], "boxes", 1, 0);
        policy->servers = calloc(1, sizeof(*policy->servers));
        assert(policy->servers);
        policy->n_servers = 1;
        set(policy->servers[0].name, sizeof(policy->servers[0].name), "depot");
        policy->servers[0].control = strdup("/nonexistent/depot.sock");
        fake->engine.policy = policy;
}

static void make_member(struct member_state *member, const char *system) {
        member->domain = DOMAIN_RUNNING;
        member->reason = REASON_BOOTED;
        member->domain_usec = AGO(3000);
        member->process_known = member->process_alive = true;
        member->pid = 4711;
        member->link_up = member->greeted = member->configured = true;
                member->protocol = PROTOCOL_VERSION;
        member->greeted_usec = AGO(600000);
        set(member->agent_version, sizeof(member->agent_version), "0.1.0");
        set(member->system, sizeof(member->system), system);
        member->total_bytes = 240 * MIB;
        member->detector.verdict = VERDICT_ALIVE;
        member->detector.watching = true;
        member->detector.beat_usec = member->detector.confirm_usec = 500 * USEC_PER_MSEC;
        member->detector.beats_missed = 3;
        member->detector.last_pong_usec = AGO(240);
        member->detector.path_known[PATH_BALLOON] = true;
        member->detector.last_path_usec[PATH_BALLOON] = AGO(900);
        member->fence_usec = 0;
}

static struct pair *make_pair(struct fake *fake, int slot, enum side owner) {
        struct pair *pair = calloc(1, sizeof(*pair));
        const struct pair_policy *policy = &fake->engine.policy->pairs[slot];

        assert(pair);
        pair->slot = slot;
        pair->policy = policy;
        set(pair->record.pair, sizeof(pair->record.pair), policy->name);
        pair->record.known = true;
        pair->record.n_apps = (unsigned) policy->n_applications;
        make_member(&pair->members[SIDE_A], "systemd 252");
        make_member(&pair->members[SIDE_B], "initramfs");
        for (size_t i = 0; i < policy->n_applications; i++) {
                struct record_app *app = &pair->record.apps[i];

                set(app->name, sizeof(app->name), policy->applications[i].name);
                app->owner = owner;
                app->token = 4;
                app->granted_bytes[owner] = policy->applications[i].memory_bytes;
                pair->members[owner].plugged_bytes[i] = policy->applications[i].memory_bytes;
                pair->record.apps[i].kind = policy->applications[i].kind;
                pair->apps[i].state[owner] = APPLICATION_RUNNING;
                pair->apps[i].state_usec[owner] = AGO(500000);
                pair->apps[i].healthy = true;
                pair->apps[i].checked[side_other(owner)] = true;
                pair->apps[i].checked_usec[side_other(owner)] = AGO(12 * USEC_PER_SEC);
        }
        fake->engine.pairs[slot] = pair;
        return pair;
}

static struct flow make_flow(uint64_t number, const char *cause, usec_t start_usec, unsigned step_ms, enum phase last) {
        struct flow flow = { .kind = FLOW_OS_FAILURE, .number = number, .from = SIDE_B, .to = SIDE_A };

        set(flow.cause, sizeof(flow.cause), cause);
        for (int i = PHASE_DETECTED; i <= (int) last; i++)
                flow.phase_usec[i] = start_usec + (usec_t) (i - PHASE_DETECTED) * step_ms * USEC_PER_MSEC;
        return flow;
}

static void make_pairs(struct fake *fake) {
        struct pair *web = make_pair(fake, 0, SIDE_A), *db = make_pair(fake, 1, SIDE_A),
                    *mail = make_pair(fake, 2, SIDE_B);

        web->state = PAIR_ARMED;
        web->state_usec = web->armed_usec = AGO(7500 * 1000);
        web->readiness = READINESS_LIMITED;
        web->readiness_usec = AGO(7400 * 1000);
        web->record.failovers = 3;
        web->members[SIDE_B].preflight_usec = AGO(9000);
        web->members[SIDE_B].preflight = (struct preflight) {
                .defined = true, .persistent = true, .channel = true, .panic_device = true, .crash_preserved = true,
                .balloon_stats = true, .requested_zero = true, .base_bytes = 256 * MIB, .vcpus = 1, .vcpus_max = 1,
                .apps = { { .present = true, .node = 1, .size_bytes = 512 * MIB, .block_bytes = 2 * MIB },
                          { .present = true, .node = 2, .size_bytes = 128 * MIB, .block_bytes = 2 * MIB } },
        };
        web->last_flow = make_flow(3, "web-b: kernel panic", AGO(7600 * 1000), 200, PHASE_HEALTHY);
        web->record.last_drill = (struct drill_result) {
                .level = DRILL_LEVEL_FULL, .at_usec = FAKE_WALL - 90000 * USEC_PER_SEC,
                .took_usec = 1200 * USEC_PER_MSEC, .ok = true,
                .objective_usec = 5 * USEC_PER_SEC, .number = 2, .text = "healthy; started after 1200 ms on web-b",
        };
        web->apps[0].restarts_usec[0] = AGO(100 * 1000);
        web->apps[0].n_restarts = 1;
        web->apps[0].state_token = web->record.apps[0].token;
        web->record.apps[0].state_kept = 3;
        mail->record.apps[0].state_kept = 1;
        set(mail->apps[0].state_failure, MESSAGE_TEXT_LEN, "depot does not answer");
        mail->apps[0].state_failed_usec = AGO(12000);

        db->record.rehearsal = REHEARSAL_LATE;
        db->record.rehearsal_side = SIDE_B;
        db->record.apps[0].rehearsed = true;
        db->record.apps[0].granted_bytes[SIDE_B] = 128 * MIB;
        db->rehearsal.since_usec = AGO(65000);
        db->state = PAIR_UNPROTECTED;
        db->state_usec = db->readiness_usec = AGO(312 * 1000);
        db->readiness = READINESS_UNCOVERED;
        set(db->reasons[db->n_reasons++], EVENT_TEXT_LEN, "the agent of the standby db-b is not connected");
        set(db->reasons[db->n_reasons++], EVENT_TEXT_LEN, "db-b: libvirt starts it by itself at boot");
        db->members[SIDE_B].link_up = db->members[SIDE_B].greeted = false;
        db->members[SIDE_B].detector.verdict = VERDICT_UNKNOWN;
        db->members[SIDE_B].detector.watching = false;
        db->members[SIDE_B].preflight_usec = AGO(20000);
        db->members[SIDE_B].preflight = (struct preflight) {
                .defined = true, .persistent = true, .autostart = true, .channel = true, .panic_device = true,
                .crash_preserved = true, .balloon_stats = true, .requested_zero = true, .base_bytes = 256 * MIB,
                .vcpus = 1, .vcpus_max = 1,
                .apps = { { .present = true, .node = 1, .size_bytes = 256 * MIB, .block_bytes = 2 * MIB } },
        };

        mail->state = PAIR_FAILOVER;
        mail->state_usec = mail->readiness_usec = AGO(420);
        mail->readiness = READINESS_UNCOVERED;
        mail->record.failovers = 1;
        mail->record.flow = make_flow(1, "mail-b: QEMU is gone", AGO(450), 100, PHASE_GRANTED);
        mail->record.apps[0].moving = true;
        mail->members[SIDE_B].domain = DOMAIN_CRASHED;
        mail->members[SIDE_B].reason = REASON_CRASHED;
        mail->members[SIDE_B].link_up = false;
        mail->members[SIDE_B].detector.verdict = VERDICT_UNKNOWN;
        mail->members[SIDE_B].process_alive = false;
        mail->members[SIDE_B].fence = FENCE_GONE;
        mail->members[SIDE_B].fence_usec = AGO(300);
        set(mail->members[SIDE_B].failure, EVENT_TEXT_LEN, "QEMU is gone");
        mail->members[SIDE_B].failure_usec = AGO(450);
}

static void add_row(struct fake *fake, const char *name, enum region_kind kind, uint64_t mib, int user, enum side side,
                    int target, enum side target_side, int app) {
        struct region *region = &fake->engine.table.rows[fake->engine.table.n_rows++];

        set(region->name, sizeof(region->name), name);
        region->kind = kind;
        region->usage_bytes = mib * MIB;
        region->user = (struct holder) { .pair = user, .side = side };
        region->target = (struct holder) { .pair = target, .side = target_side };
        region->app = app;
        fake->engine.table.governed_bytes += region->usage_bytes;
        if (user >= 0) {
                struct table_vm *places = &fake->engine.table.vms[user * SIDE_MAX + side];

                *(app < 0 ? &places->system : &places->apps[app]) = (unsigned) fake->engine.table.n_rows - 1;
        }
}

static void make_table(struct fake *fake) {
        fake->engine.table.rows = calloc(16, sizeof(struct region));
        fake->engine.table.n_vms = 3 * SIDE_MAX;
        fake->engine.table.vms = calloc(fake->engine.table.n_vms, sizeof(struct table_vm));
        assert(fake->engine.table.rows && fake->engine.table.vms);
        add_row(fake, "monitor", REGION_MONITOR, 64, -1, 0, -1, 0, -1);
        add_row(fake, "overhead", REGION_OVERHEAD, 720, -1, 0, -1, 0, -1);
        add_row(fake, "reserve", REGION_RESERVE, 128, -1, 0, -1, 0, -1);
        add_row(fake, "unused", REGION_UNUSED, 384, -1, 0, -1, 0, -1);
        for (int pair = 0; pair < 3; pair++)
                for (int side = 0; side < SIDE_MAX; side++)
                        add_row(fake, fake->engine.policy->pairs[pair].members[side].domain, REGION_SYSTEM, 256, pair,
                                (enum side) side, pair, (enum side) side, -1);
        add_row(fake, "shop", REGION_APPLICATION, 512, 0, SIDE_A, 0, SIDE_B, 0);
        add_row(fake, "batch", REGION_APPLICATION, 128, 0, SIDE_A, -1, 0, 1);
        add_row(fake, "base", REGION_APPLICATION, 256, 1, SIDE_A, 1, SIDE_B, 0);
        add_row(fake, "imap", REGION_APPLICATION, 256, 2, SIDE_B, 2, SIDE_A, 0);
}

static void make_facts(struct fake *fake) {
        struct link_fact up = { .known = true, .up = true, .since_usec = AGO(40000 * 1000) };

        fake->facts = (struct host_facts) {
                .realtime_offset_usec = (int64_t) (FAKE_WALL - FAKE_NOW),
                .started_usec = AGO(40000 * 1000),
                .user_mode = true,
                .policy_path = "policy.yaml",
                .decisions_dir = "/var/lib/failoverd/decisions",
                .observe = up, .act = up, .fence = up, .store = up,
                .store_write_usec = { 400, AGO(1000) },
                .pool_limit = "3968 MiB in /machine.slice/machine-failover.slice",
                .monitor_resident = { 21 * MIB + 300 * KIB, AGO(500) },
                .members = fake->members,
                .n_members = ELEMENTSOF(fake->members),
                .names = fake->names, .n_names = ELEMENTSOF(fake->names), .node = "host",
        };
        fake->names[0] = (struct name_fact) { .name = "prices", .pid = 4712, .uid = 1000, .size_bytes = 16 * MIB,
                                              .kinds = 1U << 1 | 1U << 3, .since_usec = AGO(90000), .resolved = 2 };
        fake->members[0].app_granted_usec[0] = AGO(500000);
        fake->members[0].resident = (struct fact) { 700 * MIB, AGO(2000) };
        fake->members[0].processor_usec = (struct fact) { 520 * USEC_PER_MSEC, AGO(800) };
        fake->members[0].processor_span_usec = 500 * USEC_PER_MSEC;
        fake->members[0].overhead = (struct fact) { 87 * MIB, AGO(2000) };
        fake->members[0].system_resident = (struct fact) { 201 * MIB + 512 * KIB, AGO(2000) };
        fake->members[0].app_resident[0] = (struct fact) { 412 * MIB, AGO(2000), 2560 * KIB };
        fake->members[0].app_swapped[0] = (struct fact) { 88 * MIB, AGO(2000) };
}

/* The manager's side of the interface. */

static usec_t now(void *userdata) {
        return FAKE_NOW;
}

static const struct host_facts *facts(void *userdata) {
        return &((struct fake *) userdata)->facts;
}

static void end_drill(struct fake *fake) {
        struct drill_result drill = {
                .level = DRILL_LEVEL_FULL, .at_usec = FAKE_WALL, .objective_usec = 5 * USEC_PER_SEC, .number = 4,
                .text = "done",
                .took_usec = fake->flow.phase_usec[PHASE_STARTED] - fake->flow.phase_usec[PHASE_DETECTED],
        };

        drill.ok = drill.took_usec <= drill.objective_usec;
        bus_drill_ended(fake->bus, 0, &drill, fake->flow.command_id);
}

/* One phase a turn of the loop, then the end, then the answer: as a manager does over time. */
static int next_phase(sd_event_source *source, void *userdata) {
        struct fake *fake = userdata;

        while (fake->next_phase < PHASE_MAX && fake->flow.phase_usec[fake->next_phase] == 0)
                fake->next_phase++;
        if (fake->next_phase < PHASE_MAX) {
                bus_phase(fake->bus, 0, &fake->flow, (enum phase) fake->next_phase++);
                return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        bus_record(fake->bus, 0, SIDE_B, RECORD_STARTED, "shop", "shop started on web-b");
        bus_flow_ended(fake->bus, 0, &fake->flow, 0, "done");
        if (fake->last_command.verb == COMMAND_DRILL)
                end_drill(fake);
        bus_reply(fake->bus, fake->flow.command_id, 0, NULL);
        sd_event_source_disable_unref(source);
        return 0;
}

static int begin_flow(struct fake *fake, const struct operator_command *command) {
        unsigned step = command->verb == COMMAND_DRILL && command->fault == DRILL_HANG ? 1200 : 150;

        fake->flow = make_flow(4, "asked for by an operator", FAKE_NOW - 30 * USEC_PER_SEC, step, PHASE_HEALTHY);
        fake->flow.kind = command->verb == COMMAND_DRILL ? FLOW_OS_FAILURE : FLOW_SWITCH;
        fake->flow.from = SIDE_A;
        fake->flow.to = SIDE_B;
        fake->flow.command_id = command->id;
        fake->next_phase = 0;
        return sd_event_add_defer(fake->event, NULL, next_phase, fake) < 0 ? -ENOMEM : 0;
}

/* A plan, which is too slow, and a rehearsal with less memory than there should be. */
static int end_at_once(struct fake *fake, int pair, const struct operator_command *command) {
        struct drill_result drill = {
                .level = command->dry_run ? DRILL_LEVEL_PLAN : DRILL_LEVEL_REHEARSE, .at_usec = FAKE_WALL,
                .objective_usec = 5 * USEC_PER_SEC,
                .took_usec = command->dry_run ? 7 * USEC_PER_SEC : 900 * USEC_PER_MSEC,
                .plugged_usec = 105 * USEC_PER_MSEC, .touched_usec = 770 * USEC_PER_MSEC,
                .canary_usec = 25 * USEC_PER_MSEC,
                .wanted_bytes = 512 * MIB, .rehearsed_bytes = 384 * MIB, .ok = !command->dry_run,
        };

        set(drill.text, sizeof(drill.text),
            command->dry_run ? "panic: by the policy 7000 ms" : "rehearsed 384 of 512 MiB: only 384 MiB were unused");
        bus_drill_ended(fake->bus, pair, &drill, command->id);
        bus_reply(fake->bus, command->id, 0, command->dry_run ? "It would be done." : drill.text);
        return 0;
}

/* A request for memory of "mail" is under way from then on; others are granted, and that is all. */
static void assign(struct fake *fake, const struct operator_command *command) {
        struct assigning *assigning = &fake->engine.assigning;
        char text[EVENT_TEXT_LEN], why[ASSIGNMENT_WHY_LEN];

        if (strncmp(command->request, "mail-", 5) == 0) {
                assigning->begun_usec = FAKE_NOW - USEC_PER_SEC;
                assigning->plan.running = assignment_parse(command->request, assigning->plan.items,
                                                           &assigning->plan.n_items, why, sizeof(why)) == 0;
        }
        snprintf(text, sizeof(text), "granted: %.180s; usage follows", command->request);
        bus_reply(fake->bus, command->id, 0, text);
}

static int on_command(void *userdata, int pair, const struct operator_command *command, struct error *error) {
        struct fake *fake = userdata;

        fake->last_command = *command;
        fake->last_pair = pair;
        if (command->verb == COMMAND_PAUSE && command->until_usec < UINT64_C(1700000000) * USEC_PER_SEC)
                return error_set(error, -EINVAL, "The end is not a time on CLOCK_REALTIME.");
        if (pair == 1 && command->verb == COMMAND_SWITCH)
                return error_set(error, -EPERM,
                                 "The pair is not armed: the agent of the standby db-b is not connected.");
        if (pair == 2 && command->verb == COMMAND_SWITCH) {
                bus_record(fake->bus, pair, SIDE_B, RECORD_DECIDED, "", "begun, and never ends");
                return 0;
        }
        if (pair == 2 && command->verb == COMMAND_DRILL)
                return error_set(error, -EBUSY, "A failover is under way.");
        if (command->verb == COMMAND_DRILL && (command->dry_run || command->level == DRILL_LEVEL_REHEARSE))
                return end_at_once(fake, pair, command);
        if (command->verb == COMMAND_ASSIGN) {
                assign(fake, command);
                return 0;
        }
        if (command->dry_run || command->verb > COMMAND_DRILL) {
                bus_reply(fake->bus, command->id, 0, command->dry_run ? "It would be done." : NULL);
                return 0;
        }
        return begin_flow(fake, command);
}

static void fill_history(struct history_flow *flow, uint64_t number, usec_t begun, int result) {
        *flow = (struct history_flow) {
                .number = number, .kind = FLOW_OS_FAILURE, .from = SIDE_A, .to = SIDE_B,
                .begun_usec = begun, .ended_usec = begun + 1400 * USEC_PER_MSEC, .result = result,
        };
        snprintf(flow->id, sizeof(flow->id), "web-%u", (unsigned) number);
        set(flow->pair, sizeof(flow->pair), "web");
        set(flow->cause, sizeof(flow->cause), "web-a: kernel panic");
        for (int i = PHASE_DETECTED; i <= PHASE_HEALTHY; i++)
                flow->phase_usec[i] = begun + (usec_t) (i - PHASE_DETECTED) * 200 * USEC_PER_MSEC;
}

static int on_history(void *userdata, uint64_t id, const char *failover_id, unsigned limit, struct error *error) {
        struct fake *fake = userdata;
        struct history_query query = { .id = failover_id, .policy = fake->engine.policy, .realtime_usec = FAKE_WALL };
        struct history_flow flows[2];
        struct history_event events[2] = {
                { .time_usec = WALL_AGO(3599), .side = SIDE_A, .kind = RECORD_FENCED, .pair = "web",
                  .text = "frozen and killed" },
                { .time_usec = WALL_AGO(3600), .side = SIDE_A, .kind = RECORD_DECIDED, .pair = "web",
                  .text = "panic: fail over" },
        };
        struct history_drill drill = {
                .pair = "web", .result = { .level = DRILL_LEVEL_FULL, .at_usec = WALL_AGO(90000),
                .took_usec = USEC_INFINITY,
                                           .objective_usec = 5 * USEC_PER_SEC, .number = 1,
                                           .text = "web-b failed while it took over" },
        };
        const struct evidence_file files[] = {
                { .name = "console-a", .bytes = 8 * KIB, .time_usec = WALL_AGO(3600) },
                { .name = "process-a", .bytes = 3 * KIB, .time_usec = WALL_AGO(3600) },
        };
        struct json_object *then = explain_json(&fake->engine, 0, &fake->facts, FAKE_NOW);
        struct history_rows rows = {
                .explanation = then ? json_object_to_json_string_ext(then, JSON_C_TO_STRING_PLAIN) : NULL,
                .evidence_dir = "/var/lib/failoverd/evidence/web-2", .files = files, .n_files = ELEMENTSOF(files),
                .flows = flows, .drills = &drill, .events = events,
                .n_flows = limit < 2 ? limit : 2, .n_drills = 1, .n_events = ELEMENTSOF(events),
        };
        struct json_object *json;
        int r;

        fill_history(&flows[0], 2, WALL_AGO(3600), 0);
        fill_history(&flows[1], 1, WALL_AGO(90000), -ETIMEDOUT);
        flows[1].drill = true;
        r = history_json(&query, &rows, &json);
        json_object_put(then);
        if (r < 0)
                return error_set(error, r, "No failover is called \"%s\".", failover_id);
        bus_reply(fake->bus, id, 0, json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
        json_object_put(json);
        return 0;
}

static int on_apply(void *userdata, uint64_t id, const char *text, bool dry_run, const char *who, struct error *error) {
        struct fake *fake = userdata;

        set(fake->last_text, sizeof(fake->last_text), text);
        if (strstr(text, "nonsense"))
                return error_set(error, -EINVAL, "policy:1:1: nonsense");
        bus_reply(fake->bus, id, 0, dry_run ? "would change pair web\n" : "changed pair web\n");
        return 0;
}

static int on_show(void *userdata, char **ret_text, struct error *error) {
        *ret_text = strdup("version: 1\nstart: [db, --password=hunter2]\n");
        return *ret_text ? 0 : -ENOMEM;
}

static int on_reload(void *userdata, uint64_t id, struct error *error) {
        return error_set(error, -EINVAL, "policy.yaml:3:1: unknown key \"pars\"");
}

struct fake *fake_new(void) {
        struct fake *fake = calloc(1, sizeof(*fake));

        assert(fake);
        fake->engine.ready = fake->engine.hypervisor_up = true;
        fake->engine.hypervisor_usec = AGO(40000 * 1000);
        fake->engine.now_usec = FAKE_NOW;
        fake->engine.n_watched = 5;
        make_policy(fake);
        fake->engine.pairs = calloc(3, sizeof(*fake->engine.pairs));
        assert(fake->engine.pairs);
        fake->engine.n_pairs = 3;
        make_pairs(fake);
        make_table(fake);
        make_facts(fake);
        fake->interface = (struct bus_interface) {
                .engine = &fake->engine, .userdata = fake, .now = now, .facts = facts, .command = on_command,
                .history = on_history, .apply_policy = on_apply, .show_policy = on_show, .reload = on_reload,
        };
        return fake;
}

struct fake *fake_free(struct fake *fake) {
        for (int i = 0; i < fake->engine.n_pairs; i++)
                free(fake->engine.pairs[i]);
        free(fake->engine.pairs);
        free(fake->engine.table.rows);
        free(fake->engine.table.vms);
        policy_free(fake->engine.policy);
        free(fake);
        return NULL;
}

void fake_break(struct fake *fake) {
        fake->engine.ready = false;
        fake->engine.hypervisor_up = false;
        fake->engine.hypervisor_usec = AGO(65000);
        fake->engine.store_lost = true;
        fake->engine.pairs[0]->state = PAIR_UNKNOWN;
        fake->engine.pairs[0]->record.paused = true;
        fake->engine.pairs[0]->record.paused_until_usec = FAKE_WALL + 3600 * USEC_PER_SEC;
        set(fake->engine.pairs[0]->record.pause_reason, RECORD_TEXT_LEN, "maintenance");
        fake->engine.pairs[0]->members[SIDE_B].operator_hold = true;
        fake->engine.pairs[0]->members[SIDE_B].domain = DOMAIN_PAUSED;
        fake->engine.pairs[1]->state = PAIR_HELD;
        fake->engine.pairs[1]->record.held = true;
        set(fake->engine.pairs[1]->record.held_reason, RECORD_TEXT_LEN, "the store was lost");
}
