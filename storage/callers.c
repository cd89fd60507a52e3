/* Callers by their route: a hash table with linear probing; rebuilt on removal, which is rare. */
#include "storage/callers.h"

#include <stdlib.h>

enum { CALLERS_MIN = 64 };

static size_t slot_of(const struct callers *callers, const struct ab_route *route)
{
    uint32_t h = 2166136261u;
    for (unsigned i = 0; i < route->n; i++)
        h = (h ^ route->b[i]) * 16777619u;
    size_t at = (h ^ h >> 13) & (callers->cap - 1);
    while (callers->slots[at].session && !ab_route_eq(&callers->slots[at].route, route))
        at = (at + 1) & (callers->cap - 1);
    return at;
}

/* All but those not heard since `before_ms` and the one named move to a table of another size. */
static void rebuild(struct callers *callers, size_t cap, int64_t before_ms, const struct ab_route *without)
{
    struct callers fresh = {.cap = cap, .sessions = callers->sessions};
    fresh.slots = ab_calloc(cap, sizeof *fresh.slots);
    for (size_t i = 0; i < callers->cap; i++) {
        const struct caller *p = &callers->slots[i];
        if (!p->session || p->heard_ms < before_ms || (without && ab_route_eq(&p->route, without)))
            continue;
        fresh.slots[slot_of(&fresh, &p->route)] = *p;
        fresh.n++;
    }
    free(callers->slots);
    *callers = fresh;
}

struct caller *callers_find(const struct callers *callers, const struct ab_route *route)
{
    if (!callers->n)
        return NULL;
    struct caller *p = &callers->slots[slot_of(callers, route)];
    return p->session ? p : NULL;
}

struct caller *callers_add(struct callers *callers, const struct ab_route *route)
{
    struct caller *p = callers_find(callers, route);
    if (p)
        return p;
    if (callers->n >= CALLERS_MAX)
        return NULL;
    if ((callers->n + 1) * 4 > callers->cap * 3)
        rebuild(callers, callers->cap ? callers->cap * 2 : CALLERS_MIN, INT64_MIN, NULL);
    p = &callers->slots[slot_of(callers, route)];
    *p = (struct caller){.route = *route, .session = ++callers->sessions};
    callers->n++;
    return p;
}

void callers_remove(struct callers *callers, const struct ab_route *route)
{
    if (callers_find(callers, route))
        rebuild(callers, callers->cap, INT64_MIN, route);
}

size_t callers_expire(struct callers *callers, int64_t before_ms)
{
    size_t silent = 0;
    for (size_t i = 0; i < callers->cap; i++)
        silent += callers->slots[i].session && callers->slots[i].heard_ms < before_ms;
    if (silent)
        rebuild(callers, callers->cap, before_ms, NULL);
    return silent;
}

void callers_finish(struct callers *callers)
{
    free(callers->slots);
    *callers = (struct callers){0};
}
