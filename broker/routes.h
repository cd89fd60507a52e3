/* Connections of the two ROUTERs as the core's peer numbers, and what could not be sent to them yet.
 *
 * A message that may not get lost waits here while its peer's pipe is full, bounded: over the bound the peer counts
 * as gone (its requests are idempotent, it will ask again).
 */
#ifndef AB_BROKER_ROUTES_H
#define AB_BROKER_ROUTES_H

#include "broker/core.h"
#include "broker/map.h"
#include "common/wire/socket.h"

enum { OUTBOX_MESSAGES_MAX = 20000, OUTBOX_BYTES_MAX = 32 << 20 };

struct kept;
struct route {
    uint32_t id;
    enum core_side side;
    struct ab_route route;
    struct route *same_key;
    struct kept *first, *last; /* messages that wait for room in the pipe */
    uint32_t kept_n;
    size_t kept_bytes;
};
struct routes {
    struct map by_route, by_id;
    void *sockets[2]; /* by enum core_side; borrowed */
    uint32_t ids;
    uint32_t waiting; /* routes with kept messages */
};

/* The number of a connection, made if it is new. */
uint32_t routes_id(struct routes *routes, enum core_side side, const struct ab_route *route);
/* As core_ops.send. */
int routes_send(struct routes *routes, uint32_t id, enum ab_command command, const void *message,
                struct ab_view body, bool keep);
void routes_forget(struct routes *routes, uint32_t id); /* unknown numbers are harmless */
/* Sends what waits; calls gone for peers that are not there any more. */
void routes_flush(struct routes *routes, void (*gone)(void *owner, uint32_t id), void *owner);
void routes_finish(struct routes *routes);

#endif
