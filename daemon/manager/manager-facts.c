/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the host knows beside the engine, gathered when somebody looks. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/process.h"
#include "daemon/manager/manager-internal.h"

#define FACTS_FRESH_USEC (500 * USEC_PER_MSEC)

static struct member_facts *find_member(struct host_facts *facts, int slot, enum side side) {
        size_t i = (size_t) slot * SIDE_MAX + (size_t) side;

        return i < facts->n_members ? &facts->members[i] : NULL;
}

/* A sample made after the last count is newer than that. */
static void put_newer(struct fact *fact, const struct resident_part *part, usec_t seen_usec) {
        if (part->known && seen_usec >= fact->seen_usec)
                *fact = (struct fact) { part->bytes, seen_usec, part->error_bytes };
}

/* Puts down what the last survey has found of one VM's process. */
static void fill_resident(struct manager *manager, const struct pair *pair, enum side side,
                          struct member_facts *member) {
        int pid = hypervisor_pid(manager->hypervisor, pair->slot, side);

        for (int kind = 0; kind < RESIDENT_LOOK_MAX; kind++) {
                struct resident_answer answer;

                if (resident_survey_find(manager->survey, (enum resident_look) kind, pid, &answer) < 0 ||
                    answer.result < 0)
                        continue;
                put_newer(&member->system_resident, &answer.parts.system, answer.seen_usec);
                put_newer(&member->overhead, &answer.parts.overhead, answer.seen_usec);
                for (size_t app = 0; app < pair->policy->n_applications; app++) {
                        put_newer(&member->app_resident[app], &answer.parts.apps[app], answer.seen_usec);
                        if (kind == RESIDENT_COUNTED && answer.parts.apps[app].known)
                                member->app_swapped[app] =
                                        (struct fact) { answer.parts.apps[app].swapped_bytes, answer.seen_usec };
                }
        }
}

static void fill_member(struct manager *manager, const struct pair *pair, enum side side, struct member_facts *member) {
        reclaim_describe(manager->reclaim, pair->slot, side, member->protection);
        for (size_t app = 0; app < pair->policy->n_applications; app++)
                if (pair->record.apps[app].owner == side)
                        member->app_granted_usec[app] =
                                region_holder_since(manager->regions, pair->policy->name,
                                                    pair->policy->applications[app].name,
                                                    pair->record.apps[app].token);
        fill_resident(manager, pair, side, member);
}

static void fill_names(struct manager *manager) {
        const struct name_table *table = name_server_names(manager->names);
        size_t n = table ? name_table_count(table) : 0;
        struct name_status *names = n > 0 ? calloc(n, sizeof(*names)) : NULL;
        struct host_facts *facts = &manager->facts;

        free(facts->names);
        facts->n_names = 0;
        facts->names = names ? calloc(n, sizeof(*facts->names)) : NULL;
        if (facts->names)
                facts->n_names = name_table_list(table, names, n);
        for (size_t i = 0; i < facts->n_names; i++) {
                struct name_fact *fact = &facts->names[i];

                *fact = (struct name_fact) { .pid = (uint64_t) names[i].pid, .uid = names[i].uid,
                                             .size_bytes = names[i].size_bytes, .kinds = names[i].kinds,
                                             .since_usec = names[i].since_usec, .resolved = names[i].resolved };
                strcpy(fact->name, names[i].name);
        }
        free(names);
}

/* Asks for a look at every QEMU process. True while one is under way. */
static bool begin_survey(struct manager *manager, usec_t now) {
        size_t n = 0, n_allocated = (size_t) manager->engine->n_pairs * SIDE_MAX;
        _cleanup_free_ struct resident_question *questions = calloc(n_allocated, sizeof(*questions));

        for (int slot = 0; questions && slot < manager->engine->n_pairs; slot++) {
                const struct pair *pair = manager->engine->pairs[slot];

                for (enum side side = 0; pair && side < SIDE_MAX; side++) {
                        struct resident_question *question = &questions[n];

                        question->pid = hypervisor_pid(manager->hypervisor, slot, side);
                        if (question->pid <= 0)
                                continue;
                        strcpy(question->domain, pair->policy->members[side].domain);
                        for (size_t app = 0; app < pair->policy->n_applications; app++)
                                strcpy(question->apps.names[app], pair->policy->applications[app].name);
                        n++;
                }
        }
        return resident_survey_begin(manager->survey, questions, questions ? n : 0, now) > 0;
}

static bool make_room(struct host_facts *facts, size_t n) {
        struct member_facts *grown;

        if (n > facts->n_members) {
                grown = realloc(facts->members, n * sizeof(*grown));
                if (!grown)
                        return false;
                facts->members = grown;
                facts->n_members = n;
        }
        if (facts->members)
                memset(facts->members, 0, facts->n_members * sizeof(*facts->members));
        return true;
}

/* The cheap part, of whole processes. */
static void read_processes(struct manager *manager, usec_t now) {
        struct host_facts *facts = &manager->facts;
        uint64_t bytes;

        if (resident_read("/proc/self", &bytes) >= 0)
                facts->monitor_resident = (struct fact) { bytes, now };
        for (int slot = 0; slot < manager->engine->n_pairs; slot++)
                for (enum side side = 0; manager->engine->pairs[slot] && side < SIDE_MAX; side++) {
                        struct member_facts *member = find_member(facts, slot, side);
                        int pid = hypervisor_pid(manager->hypervisor, slot, side);
                        char path[64];

                        snprintf(path, sizeof(path), "/proc/%d", pid);
                        if (member && pid > 0 && resident_read(path, &bytes) >= 0)
                                member->resident = (struct fact) { bytes, now };
                }
}

static void read_store(struct manager *manager, usec_t now) {
        struct store_counts counts = store_get_counts(manager->store);
        struct link_fact *store = &manager->facts.store;
        bool full = counts.reserve_spent || counts.history_waiting > 0;

        if (!store->known || store->up == full)
                store->since_usec = now;
        store->known = true;
        store->up = !full;
        store->text[0] = 0;
        if (full)
                snprintf(store->text, sizeof(store->text), "its disk is full; make room there. Who owns the data is "
                         "written, %u lines of history wait", counts.history_waiting);
}

#define PROCESSOR_SPAN_USEC (400 * USEC_PER_MSEC) /* at least, between the two looks that are compared */

void manager_sample_processor(struct manager *manager, int slot, enum side side) {
        struct manager_pair *pair = slot >= 0 && slot < manager->n_pairs ? manager->pairs[slot] : NULL;
        int pid = pair ? hypervisor_pid(manager->hypervisor, slot, side) : 0;
        struct processor_use *use = pair ? &pair->processor[side] : NULL;
        struct process_stat stat;

        if (pid <= 0 || process_read_stat(pid, &stat) < 0)
                return;
        if (use->pid != pid)
                *use = (struct processor_use) { .pid = pid };
        if (use->seen_usec[1] - use->seen_usec[0] >= PROCESSOR_SPAN_USEC) {
                use->seen_usec[0] = use->seen_usec[1];
                use->used_usec[0] = use->used_usec[1];
        }
        use->seen_usec[1] = manager_now();
        use->used_usec[1] = stat.cpu_usec;
}

static void fill_processors(struct manager *manager) {
        for (int slot = 0; slot < manager->n_pairs; slot++)
                for (enum side side = 0; manager->pairs[slot] && side < SIDE_MAX; side++) {
                        const struct processor_use *use = &manager->pairs[slot]->processor[side];
                        struct member_facts *member = find_member(&manager->facts, slot, side);

                        if (!member || use->seen_usec[0] == 0 || use->used_usec[1] < use->used_usec[0])
                                continue;
                        member->processor_usec =
                                (struct fact){ use->used_usec[1] - use->used_usec[0], use->seen_usec[1] };
                        member->processor_span_usec = use->seen_usec[1] - use->seen_usec[0];
                }
}

const struct host_facts *manager_facts_at_decision(struct manager *manager) {
        manager->facts.realtime_offset_usec = (int64_t) manager_realtime() - (int64_t) manager_now();
        if (manager->facts.n_members >= (size_t) manager->engine->n_pairs * SIDE_MAX ||
            make_room(&manager->facts, (size_t) manager->engine->n_pairs * SIDE_MAX))
                fill_processors(manager);
        return &manager->facts;
}

const struct host_facts *manager_facts(struct manager *manager) {
        struct host_facts *facts = &manager->facts;
        usec_t now = manager_now();

        facts->realtime_offset_usec = (int64_t) manager_realtime() - (int64_t) now;
        facts->started_usec = manager->started_usec;
        facts->user_mode = manager->user;
        snprintf(facts->policy_path, sizeof(facts->policy_path), "%s", manager->policy_path);
        facts->policy_is_last = manager->policy_is_last;
        facts->policy_refused = manager->policy_refused;
        snprintf(facts->decisions_dir, sizeof(facts->decisions_dir), "%s", manager->decisions_dir);
        facts->observe = (struct link_fact) {
                .known = true, .up = manager->engine->hypervisor_up, .since_usec = manager->engine->hypervisor_usec,
        };
        if (manager->facts_usec == 0 || now - manager->facts_usec >= FACTS_FRESH_USEC) {
                if (!make_room(facts, (size_t) manager->engine->n_pairs * SIDE_MAX))
                        return facts;
                manager->facts_usec = now;
                read_store(manager, now);
                read_processes(manager, now);
                facts->surveying = begin_survey(manager, now);
        } else
                facts->surveying = resident_survey_working(manager->survey);
        for (int slot = 0; slot < manager->engine->n_pairs; slot++)
                for (enum side side = 0; manager->engine->pairs[slot] && side < SIDE_MAX; side++) {
                        struct member_facts *member = find_member(facts, slot, side);

                        if (member)
                                fill_member(manager, manager->engine->pairs[slot], side, member);
                }
        reclaim_describe_pool(manager->reclaim, facts->pool_limit);
        fill_processors(manager);
        fill_names(manager);
        manager_fill_vms(manager);
        region_holder_node(facts->node);
        return facts;
}
