/* Connections and their outboxes; see routes.h. */
#include "broker/routes.h"

#include <assert.h>
#include <stdlib.h>

struct kept {
    struct kept *next;
    enum ab_command command;
    size_t header_bytes, body_bytes;
    char bytes[]; /* header, body */
};

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

static void keep(struct routes *routes, struct route *route, enum ab_command command, const void *message,
                 struct ab_view body)
{
    struct ab_buf header = {0};
    ab_encode(&header, ab_command_row((uint8_t)command)->schema, message);
    struct kept *kept = ab_alloc(sizeof *kept + header.n + body.n);
    *kept = (struct kept){.command = command, .header_bytes = header.n, .body_bytes = body.n};
    memcpy(kept->bytes, header.p, header.n);
    if (body.n)
        memcpy(kept->bytes + header.n, body.p, body.n);
    ab_buf_finish(&header);
    routes->waiting += !route->first;
    *(route->first ? &route->last->next : &route->first) = kept;
    route->last = kept;
    route->kept_n++;
    route->kept_bytes += kept->header_bytes + kept->body_bytes;
}

static void drop_first(struct routes *routes, struct route *route)
{
    struct kept *kept = route->first;
    route->first = kept->next;
    route->kept_n--;
    route->kept_bytes -= kept->header_bytes + kept->body_bytes;
    routes->waiting -= !route->first;
    free(kept);
}

int routes_send(struct routes *routes, uint32_t id, enum ab_command command, const void *message,
                struct ab_view body, bool must)
{
    struct route *route = map_get(&routes->by_id, id);
    if (!route)
        return AB_ENOTFOUND;
    int rc = AB_EBUSY; /* behind what waits already */
    if (!route->first)
        rc = ab_send(routes->sockets[route->side], &route->route, command, message, body);
    if (rc != AB_EBUSY)
        return rc ? AB_ENOTFOUND : 0;
    if (!must)
        return AB_EBUSY;
    if (route->kept_n >= OUTBOX_MESSAGES_MAX || route->kept_bytes + body.n > OUTBOX_BYTES_MAX)
        return AB_ENOTFOUND;
    keep(routes, route, command, message, body);
    return 0;
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
    while (route->first)
        drop_first(routes, route);
    unlink_route(routes, route);
    free(route);
}

/* AB_ENOTFOUND: the peer is gone. */
static int flush(struct routes *routes, struct route *route)
{
    union {
        max_align_t align;
        char room[1024];
    } message;
    while (route->first) {
        const struct kept *kept = route->first;
        const struct ab_schema *schema = ab_command_row((uint8_t)kept->command)->schema;
        struct ab_error err;
        assert(schema->size <= sizeof message);
        int rc = ab_decode(schema, ab_view(kept->bytes, kept->header_bytes), &message, &err);
        assert(!rc); /* we encoded it */
        rc = ab_send(routes->sockets[route->side], &route->route, kept->command, &message,
                     ab_view(kept->bytes + kept->header_bytes, kept->body_bytes));
        if (rc)
            return rc;
        drop_first(routes, route);
    }
    return 0;
}

void routes_flush(struct routes *routes, void (*gone)(void *owner, uint32_t id), void *owner)
{
    size_t at = 0;
    if (!routes->waiting)
        return;
    for (struct route *route; (route = map_each(&routes->by_id, &at));)
        if (route->first && flush(routes, route) == AB_ENOTFOUND)
            gone(owner, route->id);
}

void routes_finish(struct routes *routes)
{
    size_t at = 0;
    for (struct route *route; (route = map_each(&routes->by_id, &at));) {
        while (route->first)
            drop_first(routes, route);
        free(route);
    }
    map_finish(&routes->by_id);
    map_finish(&routes->by_route);
}
