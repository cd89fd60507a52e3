/* Binary heaps; see heap.h. Memory is given back when a heap has become much smaller. */
#include "broker/heap.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/jobs.h"
#include "common/bytes.h"

enum { HEAP_CAP_MIN = 4, HEAP_SHRINK_OVER = 1024 };

static void set(struct heap *heap, uint32_t at, struct job *job)
{
    heap->at[at] = job;
    job->place[heap->kind] = at;
}

static void up(struct heap *heap, uint32_t at, struct job *job)
{
    for (; at > 1 && heap->before(job, heap->at[at / 2]); at /= 2)
        set(heap, at, heap->at[at / 2]);
    set(heap, at, job);
}

static void down(struct heap *heap, uint32_t at, struct job *job)
{
    for (uint32_t child; (child = at * 2) <= heap->n; at = child) {
        if (child < heap->n && heap->before(heap->at[child + 1], heap->at[child]))
            child++;
        if (!heap->before(heap->at[child], job))
            break;
        set(heap, at, heap->at[child]);
    }
    set(heap, at, job);
}

static void resize(struct heap *heap, uint32_t cap)
{
    heap->cap = cap;
    heap->at = ab_realloc(heap->at, (cap + (size_t)1) * sizeof(struct job *));
}

void heap_push(struct heap *heap, struct job *job)
{
    assert(!job->place[heap->kind]);
    if (heap->n == heap->cap)
        resize(heap, heap->cap ? heap->cap * 2 : HEAP_CAP_MIN);
    up(heap, ++heap->n, job);
}

struct job *heap_top(const struct heap *heap)
{
    return heap->n ? heap->at[1] : NULL;
}

void heap_remove(struct heap *heap, struct job *job)
{
    uint32_t at = job->place[heap->kind];
    assert(heap_has(heap, job));
    struct job *last = heap->at[heap->n--];
    job->place[heap->kind] = 0;
    if (last != job) {
        if (at > 1 && heap->before(last, heap->at[at / 2]))
            up(heap, at, last);
        else
            down(heap, at, last);
    }
    if (heap->cap > HEAP_SHRINK_OVER && heap->n < heap->cap / 4)
        resize(heap, heap->cap / 2);
}

struct job *heap_pop(struct heap *heap)
{
    struct job *top = heap_top(heap);
    if (top)
        heap_remove(heap, top);
    return top;
}

bool heap_has(const struct heap *heap, const struct job *job)
{
    uint32_t at = job->place[heap->kind];
    return at && at <= heap->n && heap->at[at] == job;
}

void heap_finish(struct heap *heap)
{
    free(heap->at);
    heap->at = NULL;
    heap->n = heap->cap = 0;
}
