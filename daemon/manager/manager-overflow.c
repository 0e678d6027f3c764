/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Overflow disks follow the policy: twice a second each is compared with what there is, and core/overflow.h says what
 * is next. What is kept here is of no weight: a failoverd that starts finds disks and pagers by their names.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "daemon/manager/manager-internal.h"
#include "daemon/manager/manager-places.h"

#define LOOK_USEC (500 * USEC_PER_MSEC)
#define HURRY_USEC (50 * USEC_PER_MSEC) /* while the start of an application waits for its disk */
#define RETRY_USEC (10 * USEC_PER_SEC)
#define TELL_USEC (5 * USEC_PER_SEC) /* how much room there is, where that has not changed */
#define VM_SPACE "vm.overflow" /* no application's name has a point in it */

/* ---- what is said of them -------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3)))
static void say(struct overflow_place *place, const char *format, ...) {
        struct action action = { .kind = ACTION_RECORD, .record_kind = RECORD_OVERFLOW, .pair = place->pair,
                                 .side = place->side, .app = NO_APP };
        char text[sizeof(action.text)];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (place->pair == NO_PAIR) {
                fprintf(stderr, "overflow %s: %s\n", place->name, text);
                return;
        }
        snprintf(action.text, sizeof(action.text), "overflow %.110s: %.120s", place->name, text);
        manager_act(place->overflow->manager, &action);
}

/* What goes wrong is said once, until something works again. */
static void fail(struct overflow_place *place, const char *what, const char *why, usec_t now) {
        char text[sizeof(place->text)];

        snprintf(text, sizeof(text), "%s: %.200s", what, why);
        if (strcmp(text, place->text) != 0) {
                snprintf(place->text, sizeof(place->text), "%s", text);
                say(place, "%s", text);
        }
        place->retry_usec = now + RETRY_USEC;
}

/* ---- what is done ---------------------------------------------------------------------------------------- */

static void on_set(void *userdata, int result, const char *text) {
        struct overflow_place *place = userdata;

        place->busy = false;
        place->retry_usec = manager_now() + LOOK_USEC; /* the VM is looked at again meanwhile */
        if (result < 0 && (place->attaching || !place->detaching))
                fail(place, place->attaching ? "cannot be attached" : "cannot be detached", text, manager_now());
        else if (place->attaching) {
                place->text[0] = 0;
                say(place, "attached: the VM may use memory of other hosts");
        } else { /* a request refused may be one too many: an earlier one is still with the guest */
                place->detaching = true;
                place->retry_usec = manager_now() + RETRY_USEC;
        }
}

static int set_attached(struct overflow_place *place, bool attach) {
        struct overflow *overflow = place->overflow;
        char socket[PAGER_PATH_LEN];
        int r = pagers_socket(overflow->pagers, place->name, socket);

        if (r < 0)
                return r;
        place->attaching = attach;
        r = hypervisor_set_overflow(overflow->manager->hypervisor, place->pair, place->side, place->app,
                                    attach ? socket : NULL, on_set, place);
        place->busy = r >= 0;
        return r;
}

/* With each look, since an agent that hears nothing more of it uses the disk again. */
static void ask(struct overflow_place *place, usec_t now) {
        struct manager_pair *slot = place->overflow->manager->pairs[place->pair];
        const struct member_state *member =
                &place->overflow->manager->engine->pairs[place->pair]->members[place->side];
        struct message message = { .type = MESSAGE_OVERFLOW };

        if (!slot->links[place->side])
                return;
        if (member->greeted && member->protocol < PROTOCOL_VERSION_REMOTE) {
                fail(place, "cannot be taken off", "the guest's agent is too old to let go of it; update it", now);
                return;
        }
        snprintf(message.text, sizeof(message.text), "%s", place->serial);
        if (agent_link_send(slot->links[place->side], &message) < 0)
                return;
        if (place->asked_usec == 0)
                place->asked_usec = now;
        if (!place->asked)
                say(place, "no longer wanted as it is; the guest is asked to let go of it");
        place->asked = true;
        place->asked_last_usec = now;
}

/* What is short of room is said once, until there is some to spare. */
static void say_room(struct overflow_place *place, uint64_t room_bytes) {
        uint64_t size_bytes = place->keys->size_bytes;
        char room[UNITS_TEXT_MAX];

        if (room_bytes < size_bytes && !place->was_short)
                say(place, "memory servers have room for %s of it alone; the guest is told, and uses no more",
                    size_format(room, room_bytes));
        if (room_bytes < size_bytes || room_bytes >= size_bytes + size_bytes / 16)
                place->was_short = room_bytes < size_bytes;
}

/* The guest has no more slices of the disk on than that (failover-agent(8)). An agent that has just started knows
 * nothing of it, and one with nothing new to hear is not spoken to all the time. */
static void tell_room(struct overflow_place *place, usec_t now) {
        struct manager_pair *slot = place->overflow->manager->pairs[place->pair];
        struct message message = { .type = MESSAGE_ROOM, .bytes = place->status.capacity_bytes / MIB * MIB };
        usec_t again = LOOK_USEC;

        if (!place->status.fresh || place->status.capacity_bytes == 0)
                return;
        if (message.bytes == place->told_bytes)
                again = TELL_USEC;
        if (now < place->told_usec + again)
                return;
        snprintf(message.text, sizeof(message.text), "%s", place->serial);
        if (!slot->links[place->side] || agent_link_send(slot->links[place->side], &message) < 0)
                return;
        place->told_bytes = message.bytes;
        place->told_usec = now;
        say_room(place, message.bytes);
}

/* The policy's text holds no secret, and neither does this one: keys are named by their files. NULL: out of memory. */
static char *parameters_of(const struct overflow_place *place) {
        const struct engine *engine = place->overflow->manager->engine;
        const struct policy *policy = engine->policy;
        char *text = NULL, size[UNITS_TEXT_MAX];
        bool unencrypted = false;
        size_t length;
        FILE *f = open_memstream(&text, &length);

        if (!f)
                return NULL;
        fprintf(f, "node=%s\nowner=%s\nspace=%s\nsize=%s\nmirror=%s\n", place->overflow->node,
                engine->pairs[place->pair]->policy->members[place->side].domain, *place->app ? place->app : VM_SPACE,
                size_format(size, place->keys->size_bytes), yes_no_to_string(place->keys->mirror));
        for (size_t i = 0, keyed = 0; i < place->keys->n_servers; i++) {
                int found = policy_find_server(policy, place->keys->servers[i]);
                const struct memory_server *server = found < 0 ? NULL : &policy->servers[found];

                if (!server)
                        continue;
                fprintf(f, "server=%s,%s\n", server->control, server->uri);
                if (server->psk && keyed++ == 0)
                        fprintf(f, "psk=%s\n", server->psk);
                if (server->certificates && keyed++ == 0)
                        fprintf(f, "certificates=%s\n", server->certificates);
                unencrypted |= server->unencrypted == SAID_YES;
        }
        fprintf(f, "tls-required=%s\n", unencrypted ? "no" : "yes");
        return memstream_close(f, &text) < 0 ? NULL : text;
}

/* That a start was begun says nothing: it has come up, or it is begun again. */
static void tell_start(struct overflow_place *place, usec_t now) {
        char where[PAGER_WHERE_LEN];

        if (place->started_usec > 0)
                fail(place, "its pager does not come up, and is started again; see",
                     pagers_where(place->overflow->pagers, place->name, where), now);
}

static void carry_out(struct overflow_place *place, enum overflow_work work, const char *parameters, usec_t now) {
        struct pagers *pagers = place->overflow->pagers;
        int r = 0;

        switch (work) {
        case OVERFLOW_CONFIGURE:
                r = pagers_configure(pagers, place->name, parameters);
                break;
        case OVERFLOW_START:
                tell_start(place, now);
                r = pagers_start(pagers, place->name);
                place->started_usec = r < 0 ? 0 : now;
                break;
        case OVERFLOW_ATTACH:
        case OVERFLOW_DETACH:
                r = set_attached(place, work == OVERFLOW_ATTACH);
                break;
        case OVERFLOW_ASK:
                ask(place, now);
                break;
        case OVERFLOW_END:
                r = pagers_end(pagers, place->name);
                break;
        case OVERFLOW_FORGET:
                r = pagers_forget(pagers, place->name);
                break;
        default:
                break;
        }
        if (r < 0)
                fail(place, overflow_work_to_string(work), strerror(-r), now);
}

/* ---- the look -------------------------------------------------------------------------------------------- */

/* Whether the VM runs, as far as it matters here: one that is being fenced, or that a flow leaves, is somebody else's.
 * The one that takes over has its disk from the grant on. */
static void see_vm(const struct overflow_place *place, struct overflow_sight *sight) {
        const struct pair *pair = place->overflow->manager->engine->pairs[place->pair];
        const struct member_state *member = &pair->members[place->side];
        struct hypervisor *hypervisor = place->overflow->manager->hypervisor;
        bool runs = member->domain == DOMAIN_RUNNING && hypervisor_overflow(hypervisor, place->pair, place->side);
        bool gone = member->process_known && !member->process_alive &&
                    (member->domain == DOMAIN_SHUTOFF || member->domain == DOMAIN_UNDEFINED);

        sight->vm_known = hypervisor_up(hypervisor) && (runs || gone) && member->fence == FENCE_NONE &&
                          !pair->record.fence_wanted[place->side] &&
                          (pair->record.flow.kind == FLOW_NONE || pair->record.flow.from != place->side);
        sight->vm_ready = runs && member->greeted && member->protocol >= PROTOCOL_VERSION_REMOTE;
        sight->attached = runs && place->serial[0];
        sight->wanted = runs && place->keys;
}

static void see_pager(struct overflow_place *place, const char *parameters, struct overflow_sight *sight, usec_t now) {
        struct pager_status *status = &place->status;
        bool idle;

        pagers_look(place->overflow->pagers, place->name, parameters, status);
        sight->configured = status->configured;
        sight->current = status->current;
        sight->bearable = status->bearable;
        sight->pager_known = status->known == 0;
        sight->alive = status->alive;
        sight->told = status->fresh;
        sight->serving = status->serving;
        sight->recovering = status->recovering;
        sight->held_bytes = status->held_bytes;
        sight->waiting = status->waiting;
        sight->clients = status->clients;
        idle = status->alive && status->fresh && status->clients == 0 && !sight->attached;
        place->idle_usec = !idle ? 0 : place->idle_usec ? place->idle_usec : now;
        place->dead_usec = status->known < 0 || status->alive ? 0 : place->dead_usec ? place->dead_usec : now;
        sight->dead_usec = place->dead_usec;
        if (now > place->asked_last_usec + 2 * LOOK_USEC)
                place->asked_usec = 0;
        if (status->alive)
                place->started_usec = 0;
        sight->asked_usec = place->asked_usec;
        sight->started_usec = place->started_usec;
        sight->idle_usec = place->idle_usec;
}

/* A pager that cannot be looked at is left alone, and its disk where it is. */
static void tell_unknown(struct overflow_place *place) {
        int known = place->status.known;

        if (known == place->was_known)
                return;
        place->was_known = known;
        if (known == 0)
                say(place, "its pager can be looked at again");
        else if (known == -EACCES || known == -EPERM)
                say(place, "whether its pager lives cannot be told (%s), so all is left as it is; failoverd has to be "
                           "in the group of failover-pager@.service", strerror(-known));
        else
                say(place, "whether its pager lives cannot be told (%s), so all is left as it is", strerror(-known));
}

static void tell_changes(struct overflow_place *place, const struct overflow_sight *sight) {
        bool late;

        tell_unknown(place);
        if (!sight->pager_known)
                return;
        if (place->was_alive && !sight->alive && sight->attached && sight->vm_known)
                say(place, "its pager has ended; what it kept of the VM's memory is lost");
        if (place->status.lost_bytes > place->lost_bytes)
                say(place, "%llu KiB of the VM's memory were lost with memory servers%s%s%s",
                    (unsigned long long) ((place->status.lost_bytes - place->lost_bytes) / KIB),
                    *place->status.lost ? " (" : "", place->status.lost, *place->status.lost ? " of the disk)" : "");
        place->asked &= sight->attached && (place->detaching || !(sight->wanted && sight->bearable));
        late = sight->attached && sight->alive && sight->wanted && sight->bearable && !sight->current;
        if (late && !place->was_late)
                say(place, "the pager goes on as it was started; what the policy says now holds once its VM is off");
        place->was_late = late;
        place->was_alive = sight->alive;
        place->lost_bytes = place->status.lost_bytes;
}

/* That the guest has let go of a device is seen by its being gone. Until then it must not begin to use the disk again:
 * what it has been asked for cannot be taken back. */
static void follow_detach(struct overflow_place *place, const struct overflow_sight *sight, usec_t now) {
        if (!place->detaching || place->busy)
                return;
        if (!sight->attached) {
                place->detaching = false;
                place->retry_usec = 0;
                place->text[0] = 0;
                if (place->pair != NO_PAIR && sight->vm_known)
                        say(place, "detached");
                return;
        }
        if (now >= place->retry_usec) {
                fail(place, "cannot be detached", "the guest does not let go of its overflow disk", now);
                place->retry_usec = now; /* it is asked again */
        }
        if (sight->alive)
                ask(place, now);
}

/* Of a VM that nobody governs any more nothing is known; its pager ends when it has been without a client. */
static void look_at(struct overflow_place *place, usec_t now) {
        struct overflow_sight sight = { .vm_known = true };
        _cleanup_free_ char *parameters = NULL;

        if (place->keys)
                parameters = parameters_of(place);
        if (place->keys && !parameters)
                return;
        if (place->pair != NO_PAIR)
                see_vm(place, &sight);
        see_pager(place, parameters, &sight, now);
        tell_changes(place, &sight);
        follow_detach(place, &sight, now);
        if (sight.attached && sight.wanted && sight.bearable && sight.alive && !place->detaching)
                tell_room(place, now);
        place->sight = sight;
        place->work = overflow_next(&sight, now);
        if (!place->busy && now >= place->retry_usec)
                carry_out(place, place->work, parameters, now);
}

/* What the engine is told of one side of a pair. */
struct told {
        uint32_t disks; /* bits: of which applications the disk is there */
        bool stalled;   /* it may be waiting for its pages */
};

_Static_assert(POLICY_APPLICATIONS_MAX <= 32, "a bit for each application");

static void note_place(const struct overflow_place *place, struct told *side) {
        const struct pair *pair = place->overflow->manager->engine->pairs[place->pair];

        side->stalled |= overflow_stalls(&place->sight);
        for (size_t app = 0; pair && app < pair->policy->n_applications; app++)
                if (place->sight.attached && place->sight.alive &&
                    strcmp(place->app, pair->policy->applications[app].name) == 0)
                        side->disks |= UINT32_C(1) << app;
}

/* What it believes is compared, so that a pair which a policy has made anew is told again. A step may end a pair. */
static void tell_side(struct overflow *overflow, int slot, enum side side, const struct told *told) {
        struct manager *manager = overflow->manager;
        const struct pair *pair = manager->engine->pairs[slot];
        struct event event = { .kind = EVENT_SPACE, .pair = slot, .side = side, .app = NO_APP, .up = !told->stalled };

        if (pair && told->stalled != (pair->members[side].stalled_usec > 0))
                manager_event(manager, &event);
        event.kind = EVENT_OVERFLOW;
        for (event.app = 0;
             (pair = manager->engine->pairs[slot]) && (size_t) event.app < pair->policy->n_applications; event.app++) {
                event.up = told->disks >> event.app & 1;
                if (event.up != pair->apps[event.app].overflow[side])
                        manager_event(manager, &event);
        }
}

/* Tells the engine of VMs that may be waiting for their pages, and when that is over, and which applications' disks are
 * there: a start may wait for one. Of one pair, or with NO_PAIR of all. */
static void tell(struct overflow *overflow, int slot) {
        int n = overflow->manager->engine->n_pairs;
        _cleanup_free_ struct told *told = calloc((size_t) n * SIDE_MAX + 1, sizeof(*told));

        if (!told)
                return; /* at the next look */
        for (size_t i = 0; i < overflow->n_places; i++) {
                const struct overflow_place *place = overflow->places[i];

                if (place->pair != NO_PAIR && (slot == NO_PAIR || place->pair == slot))
                        note_place(place, &told[place->pair * SIDE_MAX + (int) place->side]);
        }
        for (int i = slot == NO_PAIR ? 0 : slot; i < (slot == NO_PAIR ? n : slot + 1); i++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        tell_side(overflow, i, side, &told[i * SIDE_MAX + (int) side]);
}

static bool is_awaited(const struct engine *engine) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && pair_awaits_overflow(engine, engine->pairs[i]))
                        return true;
        return false;
}

void overflow_follow(struct overflow *overflow, int slot) {
        const struct engine *engine = overflow->manager->engine;

        if (overflow->hurries || slot < 0 || slot >= engine->n_pairs || !engine->pairs[slot] ||
            !pair_awaits_overflow(engine, engine->pairs[slot]))
                return;
        overflow->hurries = true;
        (void) sd_event_source_set_time_relative(overflow->timer, 0);
}

static bool is_over(const struct overflow_place *place) {
        return !place->busy && !place->keys && !place->serial[0] && !place->sight.configured && !place->sight.alive &&
               place->sight.pager_known;
}

static void look_at_all(struct overflow *overflow, usec_t now) {
        overflow_find_places(overflow);
        for (size_t i = 0; i < overflow->n_places; i++)
                look_at(overflow->places[i], now);
        tell(overflow, NO_PAIR);
        overflow_drop_places(overflow, is_over);
}

/* Between the looks at all: what one pair waits for costs no look at the others. */
static void look_at_pair(struct overflow *overflow, int slot, usec_t now) {
        overflow_find_places_of(overflow, slot);
        for (size_t i = 0; i < overflow->n_places; i++)
                if (overflow->places[i]->pair == slot)
                        look_at(overflow->places[i], now);
        tell(overflow, slot);
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct overflow *overflow = userdata;
        const struct engine *engine = overflow->manager->engine;
        usec_t now = manager_now();

        if (now >= overflow->all_usec) {
                look_at_all(overflow, now);
                overflow->all_usec = now + LOOK_USEC;
        } else {
                for (int i = 0; i < engine->n_pairs; i++)
                        if (engine->pairs[i] && pair_awaits_overflow(engine, engine->pairs[i]))
                                look_at_pair(overflow, i, now);
        }
        overflow->hurries = is_awaited(engine);
        (void) sd_event_source_set_time_relative(source, overflow->hurries ? HURRY_USEC : LOOK_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

/* A server's name for this host: what a name there may be of. */
static void node_name(char ret[static NAME_LEN]) {
        char host[NAME_LEN] = "";

        (void) gethostname(host, sizeof(host) - 1);
        snprintf(ret, NAME_LEN, "%s", text_is_name(host) ? host : "localhost");
}

int overflow_new(struct manager *manager, const struct pagers_options *options, struct overflow **ret,
                 struct error *error) {
        struct overflow *overflow = calloc(1, sizeof(*overflow));
        int r;

        if (!overflow)
                return error_set(error, -ENOMEM, "out of memory");
        overflow->manager = manager;
        node_name(overflow->node);
        r = pagers_new(manager->loop, options, &overflow->pagers, error);
        if (r < 0) {
                overflow_free(overflow);
                return r;
        }
        r = sd_event_add_time_relative(manager->loop, &overflow->timer, CLOCK_BOOTTIME, LOOK_USEC, 0, on_look,
                                       overflow);
        if (r < 0) {
                overflow_free(overflow);
                return error_set(error, r, "the timer for overflow disks cannot be set: %s", strerror(-r));
        }
        *ret = overflow;
        return 0;
}

struct overflow *overflow_free(struct overflow *overflow) {
        if (!overflow)
                return NULL;
        sd_event_source_disable_unref(overflow->timer);
        pagers_free(overflow->pagers);
        for (size_t i = 0; i < overflow->n_places; i++)
                free(overflow->places[i]);
        free(overflow->places);
        free(overflow);
        return NULL;
}
