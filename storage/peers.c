/* Peers by their route: a hash table with linear probing; rebuilt on removal, which is rare. */
#include "storage/peers.h"

#include <stdlib.h>

enum { PEERS_MIN = 64 };

static size_t slot_of(const struct peers *peers, const struct ab_route *route)
{
    uint32_t h = 2166136261u;
    for (unsigned i = 0; i < route->n; i++)
        h = (h ^ route->b[i]) * 16777619u;
    size_t at = (h ^ h >> 13) & (peers->cap - 1);
    while (peers->slots[at].session && !ab_route_eq(&peers->slots[at].route, route))
        at = (at + 1) & (peers->cap - 1);
    return at;
}

/* All but those not heard since `before_ms` and the one named move to a table of another size. */
static void rebuild(struct peers *peers, size_t cap, int64_t before_ms, const struct ab_route *without)
{
    struct peers fresh = {.cap = cap, .sessions = peers->sessions};
    fresh.slots = ab_calloc(cap, sizeof *fresh.slots);
    for (size_t i = 0; i < peers->cap; i++) {
        const struct peer *p = &peers->slots[i];
        if (!p->session || p->heard_ms < before_ms || (without && ab_route_eq(&p->route, without)))
            continue;
        fresh.slots[slot_of(&fresh, &p->route)] = *p;
        fresh.n++;
    }
    free(peers->slots);
    *peers = fresh;
}

struct peer *peers_find(const struct peers *peers, const struct ab_route *route)
{
    if (!peers->n)
        return NULL;
    struct peer *p = &peers->slots[slot_of(peers, route)];
    return p->session ? p : NULL;
}

struct peer *peers_add(struct peers *peers, const struct ab_route *route)
{
    struct peer *p = peers_find(peers, route);
    if (p)
        return p;
    if (peers->n >= PEERS_MAX)
        return NULL;
    if ((peers->n + 1) * 4 > peers->cap * 3)
        rebuild(peers, peers->cap ? peers->cap * 2 : PEERS_MIN, INT64_MIN, NULL);
    p = &peers->slots[slot_of(peers, route)];
    *p = (struct peer){.route = *route, .session = ++peers->sessions};
    peers->n++;
    return p;
}

void peers_remove(struct peers *peers, const struct ab_route *route)
{
    if (peers_find(peers, route))
        rebuild(peers, peers->cap, INT64_MIN, route);
}

size_t peers_expire(struct peers *peers, int64_t before_ms)
{
    size_t silent = 0;
    for (size_t i = 0; i < peers->cap; i++)
        silent += peers->slots[i].session && peers->slots[i].heard_ms < before_ms;
    if (silent)
        rebuild(peers, peers->cap, before_ms, NULL);
    return silent;
}

void peers_finish(struct peers *peers)
{
    free(peers->slots);
    *peers = (struct peers){0};
}
