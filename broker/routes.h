/* Connections of the two ROUTERs as the core's peer numbers, and what is to be sent to them.
 *
 * What is sent to one peer in one wake-up leaves together. While a peer's pipe is full only messages that may not get
 * lost are added to what waits, bounded: over the bound the peer counts as gone (its requests are idempotent, it will ask
 * again).
 */
#ifndef AB_BROKER_ROUTES_H
#define AB_BROKER_ROUTES_H

#include "broker/core.h"
#include "broker/map.h"
#include "common/wire/socket.h"

enum { OUTBOX_BYTES_MAX = 32 << 20 };

struct route {
    uint32_t id;
    enum core_side side;
    struct ab_route route;
    struct route *same_key;
    struct ab_outbox outbox;
    bool unflushed; /* is in routes.unflushed */
};
struct routes {
    struct map by_route, by_id;
    void *sockets[2]; /* by enum core_side; borrowed */
    uint32_t ids;
    uint32_t *unflushed; /* numbers of those to whom something was sent since, or whose pipe was full then */
    size_t unflushed_n, unflushed_cap;
};

/* The number of a connection, made if it is new. */
uint32_t routes_id(struct routes *routes, enum core_side side, const struct ab_route *route);
/* As core_ops.send. */
int routes_send(struct routes *routes, uint32_t id, enum ab_command command, const void *message,
                struct ab_view body, bool keep);
void routes_forget(struct routes *routes, uint32_t id); /* unknown numbers are harmless */
/* Sends what waits; calls gone for peers that are not there any more. What stays in unflushed waits for room. */
void routes_flush(struct routes *routes, void (*gone)(void *owner, uint32_t id), void *owner);
void routes_finish(struct routes *routes);

#endif
