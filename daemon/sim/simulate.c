/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/sim/simulate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/sim/inject.h"
#include "daemon/sim/world.h"

#define REST_USEC (10 * USEC_PER_SEC)

void sim_add(struct sim *sim, struct item item, usec_t delay_usec) {
        item.at_usec = sim->now_usec + delay_usec;
        if (!queue_add(&sim->queue, &item)) {
                free(item.record);
                sim->failed = true;
        }
}

uint64_t sim_draw(uint64_t *random) {
        uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

usec_t sim_latency(struct sim *sim, usec_t usec) {
        return sim->random ? usec / 2 + sim_draw(&sim->random) % (usec + usec / 2 + 1) : usec;
}

bool sim_chance(struct sim *sim, unsigned percent) {
        return percent >= 100 || (percent > 0 && sim->random && sim_draw(&sim->random) % 100 < percent);
}

unsigned sim_below(struct sim *sim, unsigned n) {
        return sim->random ? (unsigned) (sim_draw(&sim->random) % n) : 0;
}

usec_t sim_since(const struct sim *sim) {
        return sim->now_usec - SIM_BEGIN_USEC;
}

static void link_back(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        vm->link_cut = false;
        if (vm->process)
                host_link(sim, item->pair, item->side, true);
}

static void libvirt_back(struct sim *sim) {
        host_libvirt(sim, true);
        for (int i = 0; i < sim->n_pairs; i++)
                for (int side = 0; side < SIDE_MAX; side++)
                        libvirt_unstick(sim, i, side);
}

static void dispatch(struct sim *sim, struct item *item) {
        switch (item->kind) {
        case ITEM_LINE:
                inject(sim, sim->timeline.lines[item->value]);
                if (++item->value < sim->timeline.n_lines)
                        sim_add(sim, *item, sim->timeline.lines[item->value]->at_usec - sim_since(sim));
                break;
        case ITEM_STARVED_OVER:
                vm_runs_again(sim, item);
                break;
        case ITEM_HANG_OVER:
                libvirt_unstick(sim, item->pair, item->side);
                break;
        case ITEM_LINK_BACK:
                link_back(sim, item);
                break;
        case ITEM_LIBVIRT_BACK:
                libvirt_back(sim);
                break;
        case ITEM_FAILOVERD_START:
                failoverd_start(sim);
                break;
        case ITEM_FORETOLD:
                foretell_judge(sim);
                break;
        case ITEM_WAKE:
        case ITEM_FROM_AGENT:
        case ITEM_CALL_END:
        case ITEM_EVENT:
        case ITEM_LOOK:
        case ITEM_PAGED_OUT:
        case ITEM_OVERFLOW:
                host_item(sim, item);
                break;
        case ITEM_NOTHING:
                break;
        default:
                vm_item(sim, item);
                break;
        }
}

bool sim_is_released(const struct pair *pair) {
        for (size_t i = 0; pair->policy->retired && i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].granted_bytes[SIDE_A] || pair->record.apps[i].granted_bytes[SIDE_B])
                        return false;
        return pair->policy->retired;
}

/* With `must_arm` the run may end once every fault is healed and every pair has been armed for a while. */
static void look_for_rest(struct sim *sim) {
        bool armed = sim->engine != NULL && sim->n_commands == 0;

        for (int i = 0; armed && i < sim->engine->n_pairs; i++)
                armed = !sim->engine->pairs[i] || sim_is_released(sim->engine->pairs[i]) ||
                        (sim->engine->pairs[i]->state == PAIR_ARMED &&
                         sim->engine->pairs[i]->record.rehearsal == REHEARSAL_NONE);
        if (!armed)
                sim->armed_usec = 0;
        else if (sim->armed_usec == 0)
                sim->armed_usec = sim->now_usec;
        else if (sim->now_usec - sim->armed_usec >= REST_USEC)
                sim->until_usec = sim->now_usec;
}

static void run(struct sim *sim) {
        struct item item;

        while (!sim->failed && queue_next(&sim->queue) <= sim->until_usec && queue_take(&sim->queue, &item)) {
                if (item.at_usec > sim->now_usec)
                        sim->now_usec = item.at_usec;
                dispatch(sim, &item);
                if (item.kind == ITEM_WAKE && item.pair < 0 && sim->healed_usec && sim->options->must_arm)
                        look_for_rest(sim);
                if (item.pair >= 0)
                        checker_world(sim, item.pair);
                else
                        for (int i = 0; item.kind == ITEM_LINE && i < sim->n_pairs; i++)
                                checker_world(sim, i);
        }
        sim->now_usec = sim->until_usec;
}

void sim_pair_init(struct sim_pair *pair, const char *name) {
        for (int side = 0; side < SIDE_MAX; side++)
                free(pair->vms[side].deferred);
        *pair = (struct sim_pair) { .present = true };
        snprintf(pair->name, sizeof(pair->name), "%s", name);
        for (int side = 0; side < SIDE_MAX; side++) {
                pair->vms[side].domain = DOMAIN_SHUTOFF;
                pair->vms[side].plug_percent = pair->vms[side].unplug_percent = 100;
        }
}

/* All VMs are off at the beginning. */
static int set_up(struct sim *sim) {
        sim->pairs = calloc(sim->policy->n_pairs + 1, sizeof(*sim->pairs));
        if (!sim->pairs)
                return -ENOMEM;
        sim->n_pairs = (int) sim->policy->n_pairs;
        for (int i = 0; i < sim->n_pairs; i++) {
                sim_pair_init(&sim->pairs[i], sim->policy->pairs[i].name);
                sim->pairs[i].policy = &sim->policy->pairs[i];
        }
        return 0;
}

static void tear_down(struct sim *sim) {
        engine_free(sim->engine);
        update_deinit(&sim->update);
        recorder_deinit(&sim->recorder);
        for (int i = 0; i < sim->n_pairs; i++)
                for (int side = 0; side < SIDE_MAX; side++)
                        free(sim->pairs[i].vms[side].deferred);
        free(sim->pairs);
        queue_deinit(&sim->queue);
        timeline_deinit(&sim->timeline);
        rights_deinit(&sim->rights);
        for (size_t i = 0; i < sim->n_policies; i++)
                policy_free(sim->policies[i]);
        free(sim->policies);
        free(sim);
}

static int check_lines(const struct sim *sim, struct error *error) {
        for (size_t i = 0; i < sim->timeline.n_lines; i++) {
                int r = inject_check(sim, sim->timeline.lines[i], error);

                if (r < 0)
                        return r;
                if (strcmp(sim->timeline.lines[i]->words[0], "apply") == 0)
                        break; /* what follows may name what only the new policy has */
        }
        return 0;
}

int simulate_run(const struct policy *policy, const char *timeline, FILE *out, const struct simulate_options *options,
                 struct simulate_result *ret, struct error *error) {
        struct sim *sim = calloc(1, sizeof(*sim));
        int r;

        if (!sim)
                return -ENOMEM;
        sim->policy = sim->file_policy = policy;
        sim->out = out;
        sim->options = options;
        sim->now_usec = SIM_BEGIN_USEC;
        sim->libvirt_up = true;
        sim->swap_bytes = 64 * GIB;
        r = timeline_parse(timeline, &sim->timeline, error);
        if (r >= 0)
                r = set_up(sim);
        if (r >= 0)
                r = check_lines(sim, error);
        if (r >= 0) {
                sim->random = sim->record_random = options->seed ? options->seed : sim->timeline.seed;
                sim->until_usec = SIM_BEGIN_USEC + sim->timeline.end_usec;
                if (sim->timeline.n_lines)
                        sim_add(sim, (struct item){ .kind = ITEM_LINE,
                                                    .pair = NO_PAIR }, sim->timeline.lines[0]->at_usec);
                failoverd_start(sim);
                run(sim);
                checker_end(sim);
                print_end(sim);
                sim->result.span_usec = sim_since(sim);
                if (ret)
                        *ret = sim->result;
                if (sim->failed)
                        r = error_set(error, -ENOMEM, "out of memory");
        }
        tear_down(sim);
        return r;
}
