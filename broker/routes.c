/* Connections and their outboxes; see routes.h. */
#include "broker/routes.h"

#include <stdlib.h>

static uint64_t key_of(enum core_side side, const struct ab_route *route)
{
    uint64_t key = 0xcbf29ce484222325u + side;
    for (uint8_t i = 0; i < route->n; i++)
        key = (key ^ route->b[i]) * 0x100000001b3u;
    return key ? key : 1;
}

uint32_t routes_id(struct routes *routes, enum core_side side, const struct ab_route *name)
{
    uint64_t key = key_of(side, name);
    struct route *route = map_get(&routes->by_route, key);
    while (route && (route->side != side || !ab_route_eq(&route->route, name)))
        route = route->same_key;
    if (route)
        return route->id;
    route = ab_calloc(1, sizeof *route);
    do
        route->id = ++routes->ids;
    while (!route->id || map_get(&routes->by_id, route->id)); /* strangers alone may make it wrap */
    route->side = side;
    route->route = *name;
    route->same_key = map_put(&routes->by_route, key, route);
    map_put(&routes->by_id, route->id, route);
    return route->id;
}

static int flush(const struct routes *routes, struct route *route)
{
    return ab_outbox_flush(&route->outbox, routes->sockets[route->side], &route->route);
}

static void remember(struct routes *routes, struct route *route)
{
    if (route->unflushed)
        return;
    route->unflushed = true;
    if (routes->unflushed_n == routes->unflushed_cap) {
        routes->unflushed_cap = routes->unflushed_cap ? 2 * routes->unflushed_cap : 64;
        routes->unflushed = ab_realloc(routes->unflushed, routes->unflushed_cap * sizeof *routes->unflushed);
    }
    routes->unflushed[routes->unflushed_n++] = route->id;
}

int routes_send(struct routes *routes, uint32_t id, enum ab_command command, const void *message,
                struct ab_view body, bool must)
{
    struct route *route = map_get(&routes->by_id, id);
    if (!route || route->outbox.rc == AB_ENOTFOUND)
        return AB_ENOTFOUND;
    if (route->outbox.rc && !must)
        return AB_EBUSY;
    if (route->outbox.rc && ab_outbox_bytes(&route->outbox) + body.n > OUTBOX_BYTES_MAX)
        return AB_ENOTFOUND;
    remember(routes, route);
    ab_outbox_add(&route->outbox, routes->sockets[route->side], &route->route, command, message, body);
    return route->outbox.rc == AB_ENOTFOUND ? AB_ENOTFOUND : 0;
}

static void unlink_route(struct routes *routes, struct route *route)
{
    uint64_t key = key_of(route->side, &route->route);
    struct route *first = map_get(&routes->by_route, key);
    if (first != route) {
        while (first->same_key != route)
            first = first->same_key;
        first->same_key = route->same_key;
    } else if (route->same_key) {
        map_put(&routes->by_route, key, route->same_key);
    } else {
        map_remove(&routes->by_route, key);
    }
}

void routes_forget(struct routes *routes, uint32_t id)
{
    struct route *route = map_remove(&routes->by_id, id);
    if (!route)
        return;
    if (ab_outbox_bytes(&route->outbox))
        flush(routes, route); /* a last word */
    unlink_route(routes, route);
    ab_outbox_finish(&route->outbox);
    free(route);
}

void routes_flush(struct routes *routes, void (*gone)(void *owner, uint32_t id), void *owner)
{
    size_t left = 0;
    for (size_t i = 0; i < routes->unflushed_n; i++) {
        struct route *route = map_get(&routes->by_id, routes->unflushed[i]);
        if (!route)
            continue;
        int rc = flush(routes, route);
        if (rc == AB_EBUSY) {
            routes->unflushed[left++] = route->id;
            continue;
        }
        route->unflushed = false;
        if (rc)
            gone(owner, route->id);
    }
    routes->unflushed_n = left;
}

void routes_finish(struct routes *routes)
{
    size_t at = 0;
    for (struct route *route; (route = map_each(&routes->by_id, &at));) {
        ab_outbox_finish(&route->outbox);
        free(route);
    }
    free(routes->unflushed);
    map_finish(&routes->by_id);
    map_finish(&routes->by_route);
}
