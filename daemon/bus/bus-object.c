/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The objects below /org/failover1: which there are now, and telling who listens when that changes. The list is
 * made anew from the engine and compared with the last one; both are sorted by path.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/bus/bus-internal.h"

static const struct {
        const char *prefix, *interface;
        const sd_bus_vtable *vtable;
} kinds[BUS_OBJECT_KIND_MAX] = {
        [BUS_OBJECT_PAIR] = { BUS_PAIR_PREFIX, BUS_PAIR_INTERFACE, bus_pair_vtable },
        [BUS_OBJECT_APPLICATION] = { BUS_APPLICATION_PREFIX, BUS_APPLICATION_INTERFACE, bus_application_vtable },
        [BUS_OBJECT_REGION] = { BUS_REGION_PREFIX, BUS_REGION_INTERFACE, bus_region_vtable },
};

int bus_path(const char *prefix, const char *name, char **ret) {
        return sd_bus_path_encode(prefix, name, ret) < 0 ? -ENOMEM : 0;
}

const struct pair *bus_object_pair(const struct bus_object *object) {
        const struct engine *engine = object->bus->interface->engine;
        const struct pair *pair =
                object->slot >= 0 && object->slot < engine->n_pairs ? engine->pairs[object->slot] : NULL;

        if (!pair || !pair->policy)
                return NULL;
        if (object->kind == BUS_OBJECT_APPLICATION && (size_t) object->app >= pair->policy->n_applications)
                return NULL;
        return pair;
}

const struct region *bus_object_region(const struct bus_object *object) {
        const struct engine *engine = object->bus->interface->engine;
        char key[REGION_KEY_LEN];

        for (size_t i = 0; i < engine->table.n_rows; i++)
                if (strcmp(region_key(engine, &engine->table.rows[i], key), object->key) == 0)
                        return &engine->table.rows[i];
        return NULL;
}

static int compare(const void *a, const void *b) {
        return strcmp(((const struct bus_object *) a)->path, ((const struct bus_object *) b)->path);
}

static void objects_free(struct bus_object *objects, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(objects[i].path);
        free(objects);
}

void bus_objects_free(struct bus *bus) {
        objects_free(bus->objects, bus->n_objects);
        bus->objects = NULL;
        bus->n_objects = 0;
}

/* What a region object shows, to find out whether it changed. */
static void region_shown(const struct engine *engine, const struct region *region,
                         char ret[sizeof(((struct bus_object *) NULL)->shown)]) {
        snprintf(ret, sizeof(((struct bus_object *) NULL)->shown), "%" PRIu64 " %s %s", region->usage_bytes,
                 holder_text(engine, region->user), holder_text(engine, region->target));
}

struct list {
        struct bus *bus;
        struct bus_object *objects;
        size_t n, allocated;
        bool failed;
};

static struct bus_object *list_add(struct list *list, enum bus_object_kind kind, const char *name, int slot, int app) {
        struct bus_object *object;

        if (list->n == list->allocated) {
                size_t allocated = list->allocated ? 2 * list->allocated : 16;
                struct bus_object *grown = reallocarray(list->objects, allocated, sizeof(*grown));

                if (!grown) {
                        list->failed = true;
                        return NULL;
                }
                list->objects = grown;
                list->allocated = allocated;
        }
        object = &list->objects[list->n];
        *object = (struct bus_object) { .bus = list->bus, .kind = kind, .slot = slot, .app = app };
        if (bus_path(kinds[kind].prefix, name, &object->path) < 0) {
                list->failed = true;
                return NULL;
        }
        list->n++;
        return object;
}

static int list_fill(struct list *list, const struct engine *engine) {
        char name[REGION_KEY_LEN];

        for (int slot = 0; slot < engine->n_pairs; slot++) {
                const struct pair *pair = engine->pairs[slot];

                if (!pair || !pair->policy)
                        continue;
                list_add(list, BUS_OBJECT_PAIR, pair->policy->name, slot, NO_APP);
                for (size_t i = 0; i < pair->policy->n_applications; i++) {
                        snprintf(name, sizeof(name), "%s:%s", pair->policy->name, pair->policy->applications[i].name);
                        list_add(list, BUS_OBJECT_APPLICATION, name, slot, (int) i);
                }
        }
        for (size_t i = 0; i < engine->table.n_rows; i++) {
                const struct region *region = &engine->table.rows[i];
                struct bus_object *object = list_add(list, BUS_OBJECT_REGION, region_key(engine, region, name),
                                                     region->user.pair, region->app);

                if (object) {
                        snprintf(object->key, sizeof(object->key), "%s", name);
                        region_shown(engine, region, object->shown);
                }
        }
        if (list->failed)
                return -ENOMEM;
        if (list->n > 0)
                qsort(list->objects, list->n, sizeof(*list->objects), compare);
        return 0;
}

static struct bus_object *find_path(struct bus_object *objects, size_t n, const char *path) {
        struct bus_object key = { .path = (char *) path };

        return n > 0 ? bsearch(&key, objects, n, sizeof(*objects), compare) : NULL;
}

int bus_objects_refresh(struct bus *bus) {
        struct list list = { .bus = bus };
        struct bus_object *old = bus->objects;
        size_t n_old = bus->n_objects;

        if (list_fill(&list, bus->interface->engine) < 0) {
                objects_free(list.objects, list.n);
                return -ENOMEM;
        }
        bus->objects = list.objects;
        bus->n_objects = list.n;
        for (size_t i = 0; bus->ready && i < n_old; i++)
                if (!find_path(bus->objects, bus->n_objects, old[i].path))
                        (void) sd_bus_emit_interfaces_removed(bus->connection, old[i].path,
                                                              kinds[old[i].kind].interface, NULL);
        for (size_t i = 0; bus->ready && i < bus->n_objects; i++) {
                const struct bus_object *object = &bus->objects[i], *before = find_path(old, n_old, object->path);

                if (!before)
                        (void) sd_bus_emit_interfaces_added(bus->connection, object->path,
                                                            kinds[object->kind].interface, NULL);
                else if (object->kind == BUS_OBJECT_REGION && strcmp(before->shown, object->shown) != 0)
                        (void) sd_bus_emit_properties_changed(bus->connection, object->path, BUS_REGION_INTERFACE,
                                                              "UsageBytes", "User", "FailoverTarget", NULL);
        }
        objects_free(old, n_old);
        return 0;
}

static int find(sd_bus *connection, const char *path, const char *interface, void *userdata, void **ret_found,
                sd_bus_error *ret_error) {
        struct bus *bus = userdata;
        struct bus_object *object = find_path(bus->objects, bus->n_objects, path);

        if (!object || strcmp(kinds[object->kind].interface, interface) != 0)
                return 0;
        if (object->kind == BUS_OBJECT_REGION ? !bus_object_region(object) : !bus_object_pair(object))
                return 0;
        *ret_found = object;
        return 1;
}

/* sd-bus hands in the path that was asked about, which may lie above ours: the kind tells which are meant. */
static int enumerate(struct bus *bus, enum bus_object_kind kind, char ***ret_nodes) {
        char **nodes = calloc(bus->n_objects + 1, sizeof(*nodes));
        size_t n = 0;

        if (!nodes)
                return -ENOMEM;
        for (size_t i = 0; i < bus->n_objects; i++) {
                if (bus->objects[i].kind != kind)
                        continue;
                nodes[n] = strdup(bus->objects[i].path);
                if (!nodes[n]) {
                        while (n > 0)
                                free(nodes[--n]);
                        free(nodes);
                        return -ENOMEM;
                }
                n++;
        }
        *ret_nodes = nodes;
        return 1;
}

static int enumerate_pairs(sd_bus *connection, const char *prefix, void *userdata, char ***ret_nodes,
                           sd_bus_error *ret_error) {
        return enumerate(userdata, BUS_OBJECT_PAIR, ret_nodes);
}

static int enumerate_applications(sd_bus *connection, const char *prefix, void *userdata, char ***ret_nodes,
                                  sd_bus_error *ret_error) {
        return enumerate(userdata, BUS_OBJECT_APPLICATION, ret_nodes);
}

static int enumerate_regions(sd_bus *connection, const char *prefix, void *userdata, char ***ret_nodes,
                             sd_bus_error *ret_error) {
        return enumerate(userdata, BUS_OBJECT_REGION, ret_nodes);
}

int bus_objects_register(struct bus *bus) {
        static const sd_bus_node_enumerator_t enumerators[BUS_OBJECT_KIND_MAX] = {
                [BUS_OBJECT_PAIR] = enumerate_pairs,
                [BUS_OBJECT_APPLICATION] = enumerate_applications,
                [BUS_OBJECT_REGION] = enumerate_regions,
        };
        int r;

        r = sd_bus_add_object_manager(bus->connection, NULL, BUS_PATH);
        if (r >= 0)
                r = sd_bus_add_object_vtable(bus->connection, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, bus_manager_vtable,
                                             bus);
        for (int kind = 0; r >= 0 && kind < BUS_OBJECT_KIND_MAX; kind++) {
                r = sd_bus_add_fallback_vtable(bus->connection, NULL, kinds[kind].prefix, kinds[kind].interface,
                                               kinds[kind].vtable, find, bus);
                if (r >= 0)
                        r = sd_bus_add_node_enumerator(bus->connection, NULL, kinds[kind].prefix, enumerators[kind],
                                                       bus);
        }
        return r < 0 ? r : 0;
}
