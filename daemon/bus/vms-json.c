/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/vms-json.h"

#define STALE_USEC (5 * USEC_PER_SEC) /* a standby tells how it is once a second, also while it is busy */

static void put_last(struct json_builder *builder, struct json_object *object, const struct vm_fact *fact) {
        struct json_object *last;

        if (!fact || fact->decided_usec == 0) {
                json_put_null(builder, object, "last_failover");
                return;
        }
        last = json_put_object(builder, object, "last_failover");
        json_put_age(builder, last, "age_ms", fact->decided_usec);
        json_put_span(builder, last, "took_ms", fact->running_usec > fact->decided_usec
                                                        ? fact->running_usec - fact->decided_usec : USEC_INFINITY);
        json_put_span(builder, last, "lost_ms", fact->running_usec > 0 ? fact->lost_usec : USEC_INFINITY);
}

static bool is_stale(const struct vm_fact *fact, usec_t now_usec) {
        return !fact || fact->told_usec == 0 || fact->told_usec + STALE_USEC < now_usec;
}

static const struct vm_fact *fact_of(const struct host_facts *facts, size_t i) {
        return facts && i < facts->n_vms && facts->vms[i].told_usec != 0 ? &facts->vms[i] : NULL;
}

static void put_vm(struct json_builder *builder, struct json_object *object, const struct vm_policy *vm,
                   const struct vm_fact *fact) {
        const bool stale = is_stale(fact, builder->now_usec);

        json_put_text(builder, object, "domain", vm->domain);
        json_put_text(builder, object, "standby", vm_standby_to_string(vm->standby));
        json_put_text(builder, object, "state", stale ? "unknown" : fact->state);
        json_put_text(builder, object, "vm", stale ? "unknown" : fact->vm);
        json_put_age(builder, object, "age_ms", fact ? fact->told_usec : 0);
        json_put_number(builder, object, "memory_bytes", vm->memory_bytes);
        json_put_span(builder, object, "checkpoint_every_ms", vm->checkpoint_usec);
        json_put_age(builder, object, "checkpoint_age_ms", fact ? fact->checkpoint_usec : 0);
        json_put_span(builder, object, "checkpoint_took_ms", fact && fact->took_usec ? fact->took_usec : USEC_INFINITY);
        json_put_number(builder, object, "checkpoint_copies", fact ? fact->copies : 0);
        json_put_age(builder, object, "checkpoint_seen_age_ms", fact ? fact->kept_usec : 0);
        json_put_text(builder, object, "doing", stale ? NULL : fact->doing);
        json_put_text(builder, object, "problem", fact ? fact->text : NULL);
        json_put_number(builder, object, "failovers", fact ? fact->failovers : 0);
        put_last(builder, object, fact);
}

void json_put_vms(struct json_builder *builder, struct json_object *root, const struct policy *policy,
                  const struct host_facts *facts) {
        struct json_object *array = json_put_array(builder, root, "vms");

        for (size_t i = 0; policy && i < policy->n_vms; i++)
                put_vm(builder, json_put_object(builder, array, NULL), &policy->vms[i],
                       fact_of(facts, i));
}

static void put_check(struct json_builder *builder, struct json_object *object, const struct vm_policy *vm,
                      const struct vm_fact *fact) {
        struct standby_report report = fact ? fact->report : (struct standby_report) { .state = STANDBY_UNKNOWN };
        struct standby_readiness readiness;
        struct json_object *cases;

        report.fresh = fact && !is_stale(fact, builder->now_usec);
        report.problem = fact ? fact->text : NULL;
        standby_readiness(&report, &readiness);
        json_put_text(builder, object, "domain", vm->domain);
        json_put_text(builder, object, "level", readiness_level_to_string(readiness.level));
        json_put_text(builder, object, "state", fact && report.fresh ? fact->state : "unknown");
        json_put_age(builder, object, "age_ms", fact ? fact->told_usec : 0);
        json_put_age(builder, object, "checkpoint_age_ms", fact ? fact->checkpoint_usec : 0);
        json_put_span(builder, object, "checkpoint_every_ms", vm->checkpoint_usec);
        json_put_number(builder, object, "checkpoint_copies", fact ? fact->copies : 0);
        json_put_age(builder, object, "checkpoint_seen_age_ms", fact ? fact->kept_usec : 0);
        json_put_number(builder, object, "failovers_left", (uint64_t) report.failovers_left);
        cases = json_put_array(builder, object, "cases");
        for (int i = 0; i < STANDBY_FAULT_MAX; i++) {
                struct json_object *one = json_put_object(builder, cases, NULL);

                json_put_text(builder, one, "fault", standby_fault_to_string((enum standby_fault) i));
                json_put_text(builder, one, "level", readiness_level_to_string(readiness.cases[i].level));
                json_put_text(builder, one, "why", readiness.cases[i].why);
                json_put_text(builder, one, "mend", readiness.cases[i].mend);
        }
}

void json_put_vm_checks(struct json_builder *builder, struct json_object *root, const struct policy *policy,
                        const struct host_facts *facts, const char *domain) {
        struct json_object *array = json_put_array(builder, root, "vms");

        for (size_t i = 0; policy && i < policy->n_vms; i++)
                if (!domain || strcmp(policy->vms[i].domain, domain) == 0)
                        put_check(builder, json_put_object(builder, array, NULL), &policy->vms[i], fact_of(facts, i));
}
