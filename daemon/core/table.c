/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/table.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows with a fixed place. */
enum { ROW_MONITOR, ROW_OVERHEAD, ROW_RESERVE, ROW_UNUSED, ROW_FIRST_FREE };

static size_t vm_index(struct holder vm) {
        return (size_t) vm.pair * SIDE_MAX + vm.side;
}

/* Where the table keeps the place of a VM's row (its system's, or an application's). The VM has one already. */
static unsigned *row_place(const struct table *table, struct holder vm, int app) {
        struct table_vm *places = &table->vms[vm_index(vm)];

        return app < 0 ? &places->system : &places->apps[app];
}

static struct region *find_row(const struct table *table, struct holder vm, int app) {
        unsigned place;

        if (vm.pair < 0 || vm_index(vm) >= table->n_vms)
                return NULL;
        place = *row_place(table, vm, app);
        return place ? &table->rows[place] : NULL;
}

static bool make_place(struct table *table, struct holder vm) {
        size_t n = table->n_vms ? table->n_vms : 16;
        struct table_vm *grown;

        while (n <= vm_index(vm))
                n *= 2;
        if (n == table->n_vms)
                return true;
        grown = realloc(table->vms, n * sizeof(*grown));
        if (!grown)
                return false;
        memset(grown + table->n_vms, 0, (n - table->n_vms) * sizeof(*grown));
        table->vms = grown;
        table->n_vms = n;
        return true;
}

static struct region *add_row(struct table *table, enum region_kind kind, const char *name, struct holder user,
                              int app) {
        struct region *row;

        if (table->n_rows == table->n_allocated) {
                size_t n = table->n_allocated ? table->n_allocated * 2 : 16;
                struct region *grown = realloc(table->rows, n * sizeof(*grown));

                if (!grown)
                        return NULL;
                table->rows = grown;
                table->n_allocated = n;
        }
        if (user.pair >= 0) {
                if (!make_place(table, user))
                        return NULL;
                *row_place(table, user, app) = (unsigned) table->n_rows;
        }
        row = &table->rows[table->n_rows++];
        *row = (struct region) { .kind = kind, .user = user, .target = user, .app = app };
        snprintf(row->name, sizeof(row->name), "%s", name);
        return row;
}

static void remove_row(struct table *table, struct region *row) {
        size_t i = (size_t) (row - table->rows);

        assert(i >= ROW_FIRST_FREE && row->usage_bytes == 0);
        *row_place(table, row->user, row->app) = 0;
        memmove(row, row + 1, (table->n_rows - i - 1) * sizeof(*row));
        table->n_rows--;
        for (; i < table->n_rows; i++)
                *row_place(table, table->rows[i].user, table->rows[i].app) = (unsigned) i;
}

/* The one way in which memory changes rows. */
static int transfer(struct region *from, struct region *to, uint64_t bytes) {
        if (from->usage_bytes < bytes)
                return -ENOSPC;
        from->usage_bytes -= bytes;
        to->usage_bytes += bytes;
        return 0;
}

static struct region *unused(const struct table *table) {
        return &table->rows[ROW_UNUSED];
}

int table_init(struct table *table, uint64_t governed_bytes, uint64_t monitor_bytes, uint64_t reserve_bytes) {
        if (monitor_bytes > governed_bytes || reserve_bytes > governed_bytes - monitor_bytes)
                return -ENOSPC;

        *table = (struct table) { .governed_bytes = governed_bytes };
        if (!add_row(table, REGION_MONITOR, "monitor", HOLDER_MONITOR, -1))
                return -ENOMEM;
        /* The first addition made room for the other three. */
        add_row(table, REGION_OVERHEAD, "QEMU overhead", HOLDER_MONITOR, -1);
        add_row(table, REGION_RESERVE, "reserve", HOLDER_MONITOR, -1);
        add_row(table, REGION_UNUSED, "unused", HOLDER_MONITOR, -1);
        table->rows[ROW_MONITOR].usage_bytes = monitor_bytes;
        table->rows[ROW_RESERVE].usage_bytes = reserve_bytes;
        table->rows[ROW_UNUSED].usage_bytes = governed_bytes - monitor_bytes - reserve_bytes;
        return 0;
}

void table_deinit(struct table *table) {
        free(table->rows);
        free(table->vms);
        *table = (struct table) { 0 };
}

void table_check(const struct table *table) {
        uint64_t sum = 0;

        for (size_t i = 0; i < table->n_rows; i++) {
                const struct region *row = &table->rows[i];

                assert(sum <= UINT64_MAX - row->usage_bytes);
                sum += row->usage_bytes;
                assert((i < ROW_FIRST_FREE) == (row->kind >= REGION_MONITOR));
                assert((row->kind >= REGION_MONITOR) == (row->user.pair < 0));
                assert((row->kind == REGION_APPLICATION || row->kind == REGION_REHEARSAL) == (row->app >= 0));
                assert(i < ROW_FIRST_FREE || find_row(table, row->user, row->app) == row);
        }
        assert(sum == table->governed_bytes);
}

uint64_t table_unused(const struct table *table) {
        return unused(table)->usage_bytes;
}

uint64_t table_reserve(const struct table *table) {
        return table->rows[ROW_RESERVE].usage_bytes;
}

uint64_t table_monitor(const struct table *table) {
        return table->rows[ROW_MONITOR].usage_bytes;
}

uint64_t table_overhead(const struct table *table) {
        return table->rows[ROW_OVERHEAD].usage_bytes;
}

struct region *table_find_system(const struct table *table, struct holder vm) {
        return find_row(table, vm, -1);
}

static struct region *find_kind(const struct table *table, struct holder vm, int app, enum region_kind kind) {
        struct region *row;

        assert(app >= 0);
        row = find_row(table, vm, app);
        return row && row->kind == kind ? row : NULL;
}

struct region *table_find_application(const struct table *table, struct holder vm, int app) {
        return find_kind(table, vm, app, REGION_APPLICATION);
}

struct region *table_find_rehearsal(const struct table *table, struct holder vm, int app) {
        return find_kind(table, vm, app, REGION_REHEARSAL);
}

int table_add_vm(struct table *table, struct holder vm, const char *name, uint64_t bytes, uint64_t overhead_bytes) {
        struct region *row;

        if (table_find_system(table, vm))
                return -EEXIST;
        if (unused(table)->usage_bytes < bytes || unused(table)->usage_bytes - bytes < overhead_bytes)
                return -ENOSPC;
        row = add_row(table, REGION_SYSTEM, name, vm, -1);
        if (!row)
                return -ENOMEM;
        transfer(unused(table), row, bytes);
        transfer(unused(table), &table->rows[ROW_OVERHEAD], overhead_bytes);
        table_check(table);
        return 0;
}

int table_grant(struct table *table, struct holder vm, uint64_t bytes) {
        struct region *system = table_find_system(table, vm);

        assert(system);
        return transfer(unused(table), system, bytes);
}

int table_grant_application(struct table *table, struct holder vm, int app, uint64_t bytes) {
        struct region *region = table_find_application(table, vm, app);

        return region ? transfer(unused(table), region, bytes) : table_grant(table, vm, bytes);
}

int table_release(struct table *table, struct holder vm, uint64_t bytes) {
        struct region *system = table_find_system(table, vm);

        assert(system);
        return transfer(system, unused(table), bytes);
}

static int carve(struct table *table, enum region_kind kind, struct holder vm, uint64_t floor_bytes, int app,
                 const char *name, uint64_t bytes, struct holder target) {
        struct region *system = table_find_system(table, vm), *row;
        size_t system_index;

        assert(system && app >= 0);
        if (find_row(table, vm, app))
                return -EEXIST;
        if (system->usage_bytes < floor_bytes || system->usage_bytes - floor_bytes < bytes)
                return -ENOSPC;
        system_index = (size_t) (system - table->rows);
        row = add_row(table, kind, name, vm, app);
        if (!row)
                return -ENOMEM;
        row->target = target;
        transfer(&table->rows[system_index], row, bytes);
        table_check(table);
        return 0;
}

int table_carve(struct table *table, struct holder vm, uint64_t floor_bytes, int app, const char *name,
                uint64_t bytes, struct holder target) {
        return carve(table, REGION_APPLICATION, vm, floor_bytes, app, name, bytes, target);
}

int table_carve_rehearsal(struct table *table, struct holder vm, uint64_t floor_bytes, int app, const char *name,
                          uint64_t bytes) {
        char text[sizeof(((struct region *) NULL)->name)];

        snprintf(text, sizeof(text), "%.63s (rehearsal)", name);
        return carve(table, REGION_REHEARSAL, vm, floor_bytes, app, text, bytes, HOLDER_MONITOR);
}

void table_join_system(struct table *table, struct region *region) {
        struct region *system = table_find_system(table, region->user);

        assert(region->kind == REGION_REHEARSAL && system);
        transfer(region, system, region->usage_bytes);
        remove_row(table, region);
        table_check(table);
}

void table_shrink(struct table *table, struct region *region, uint64_t bytes) {
        assert(region - table->rows >= ROW_FIRST_FREE && bytes <= region->usage_bytes);
        transfer(region, unused(table), bytes);
        if (region->usage_bytes == 0)
                remove_row(table, region);
        table_check(table);
}

void table_move(struct table *table, struct region *region, struct holder user, struct holder target) {
        assert(region->kind == REGION_APPLICATION);
        assert(table_find_system(table, user) && !find_row(table, user, region->app));
        *row_place(table, region->user, region->app) = 0;
        *row_place(table, user, region->app) = (unsigned) (region - table->rows);
        region->user = user;
        region->target = target;
}

uint64_t table_grow(struct table *table, struct region *region, uint64_t bytes) {
        if (bytes > unused(table)->usage_bytes)
                bytes = unused(table)->usage_bytes;
        transfer(unused(table), region, bytes);
        table_check(table);
        return bytes;
}

void table_give_back(struct table *table, struct region *region) {
        assert(region - table->rows >= ROW_FIRST_FREE);
        transfer(region, unused(table), region->usage_bytes);
        remove_row(table, region);
        table_check(table);
}

uint64_t table_replace_lost(struct table *table, struct region *region, uint64_t bytes) {
        struct region *const sources[] = { &table->rows[ROW_RESERVE], unused(table) };
        uint64_t replaced = 0;

        if (bytes > region->usage_bytes)
                bytes = region->usage_bytes;
        region->usage_bytes -= bytes;
        table->governed_bytes -= bytes;
        for (size_t i = 0; i < 2 && replaced < bytes; i++) {
                uint64_t take = bytes - replaced;

                if (take > sources[i]->usage_bytes)
                        take = sources[i]->usage_bytes;
                transfer(sources[i], region, take);
                replaced += take;
        }
        table_check(table);
        return replaced;
}
