/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/sim/queue.h"

#include <stdlib.h>

void queue_deinit(struct queue *queue) {
        for (size_t i = 0; i < queue->n_heap; i++)
                free(queue->items[queue->heap[i]].record);
        free(queue->items);
        free(queue->heap);
        free(queue->unused);
        *queue = (struct queue) { 0 };
}

static bool before(const struct queue *queue, size_t a, size_t b) {
        const struct item *x = &queue->items[a], *y = &queue->items[b];

        return x->at_usec != y->at_usec ? x->at_usec < y->at_usec : x->order < y->order;
}

static bool grow(struct queue *queue) {
        size_t n = queue->n_items ? queue->n_items * 2 : 256;
        struct item *items = realloc(queue->items, n * sizeof(*items));
        size_t *heap, *unused;

        if (!items)
                return false;
        queue->items = items;
        heap = realloc(queue->heap, n * sizeof(*heap));
        if (!heap)
                return false;
        queue->heap = heap;
        unused = realloc(queue->unused, n * sizeof(*unused));
        if (!unused)
                return false;
        queue->unused = unused;
        for (size_t i = n; i-- > queue->n_items;)
                unused[queue->n_unused++] = i;
        queue->n_items = n;
        return true;
}

static bool add(struct queue *queue, const struct item *item, usec_t at_usec, uint64_t order) {
        size_t slot, i;

        if (queue->n_unused == 0 && !grow(queue))
                return false;
        slot = queue->unused[--queue->n_unused];
        queue->items[slot] = *item;
        queue->items[slot].at_usec = at_usec;
        queue->items[slot].order = order;
        i = queue->n_heap++;
        while (i > 0 && before(queue, slot, queue->heap[(i - 1) / 2])) {
                queue->heap[i] = queue->heap[(i - 1) / 2];
                i = (i - 1) / 2;
        }
        queue->heap[i] = slot;
        return true;
}

bool queue_add(struct queue *queue, const struct item *item) {
        return add(queue, item, item->at_usec, ++queue->order);
}

bool queue_put_off(struct queue *queue, const struct item *item, usec_t at_usec) {
        return add(queue, item, at_usec, item->order);
}

bool queue_take(struct queue *queue, struct item *ret) {
        size_t top, last, i = 0;

        if (queue->n_heap == 0)
                return false;
        top = queue->heap[0];
        *ret = queue->items[top];
        queue->unused[queue->n_unused++] = top;
        last = queue->heap[--queue->n_heap];
        while (2 * i + 1 < queue->n_heap) {
                size_t child = 2 * i + 1;

                if (child + 1 < queue->n_heap && before(queue, queue->heap[child + 1], queue->heap[child]))
                        child++;
                if (!before(queue, queue->heap[child], last))
                        break;
                queue->heap[i] = queue->heap[child];
                i = child;
        }
        if (queue->n_heap)
                queue->heap[i] = last;
        return true;
}

usec_t queue_next(const struct queue *queue) {
        return queue->n_heap ? queue->items[queue->heap[0]].at_usec : USEC_INFINITY;
}

void queue_each(struct queue *queue, void (*visit)(struct item *item, void *userdata), void *userdata) {
        for (size_t i = 0; i < queue->n_heap; i++)
                visit(&queue->items[queue->heap[i]], userdata);
}
