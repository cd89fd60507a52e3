/* Heads: an open-addressing table by commit number, with linear probing and removal by shifting back. */
#include "storage/sqlite/heads.h"

#include <stdlib.h>

#include "common/bytes.h"

enum { HEADS_MIN = 1024 };

static size_t home(const struct heads *heads, uint64_t n)
{
    return (size_t)((n * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (heads->cap - 1);
}

/* The slot of n, or the empty one where it would go. */
static size_t find(const struct heads *heads, uint64_t n)
{
    size_t at = home(heads, n);
    while (heads->slots[at].n && heads->slots[at].n != n)
        at = (at + 1) & (heads->cap - 1);
    return at;
}

static void grow(struct heads *heads)
{
    struct heads bigger = {.cap = heads->cap ? heads->cap * 2 : HEADS_MIN, .n = heads->n};
    bigger.slots = ab_calloc(bigger.cap, sizeof *bigger.slots);
    for (size_t i = 0; i < heads->cap; i++)
        if (heads->slots[i].n)
            bigger.slots[find(&bigger, heads->slots[i].n)] = heads->slots[i];
    free(heads->slots);
    *heads = bigger;
}

bool heads_get(const struct heads *heads, uint64_t n, struct head *head)
{
    if (!heads->cap)
        return false;
    size_t at = find(heads, n);
    if (!heads->slots[at].n)
        return false;
    *head = heads->slots[at];
    return true;
}

void heads_put(struct heads *heads, const struct head *head)
{
    if (heads->n >= HEADS_MAX)
        heads_clear(heads);
    if ((heads->n + 1) * 4 > heads->cap * 3)
        grow(heads);
    size_t at = find(heads, head->n);
    heads->n += !heads->slots[at].n;
    heads->slots[at] = *head;
}

void heads_remove(struct heads *heads, uint64_t n)
{
    if (!heads->cap)
        return;
    size_t hole = find(heads, n);
    if (!heads->slots[hole].n)
        return;
    size_t mask = heads->cap - 1;
    for (size_t at = (hole + 1) & mask; heads->slots[at].n; at = (at + 1) & mask) {
        size_t wanted = home(heads, heads->slots[at].n);
        if (((at - wanted) & mask) >= ((at - hole) & mask)) { /* it may stand in the hole */
            heads->slots[hole] = heads->slots[at];
            hole = at;
        }
    }
    heads->slots[hole].n = 0;
    heads->n--;
}

void heads_clear(struct heads *heads)
{
    heads_finish(heads);
}

void heads_finish(struct heads *heads)
{
    free(heads->slots);
    *heads = (struct heads){0};
}
