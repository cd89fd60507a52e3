/* Peers: who said HELLO on which connection, and when they were last heard. A connection, not an identity.
 */
#ifndef STORAGE_PEERS_H
#define STORAGE_PEERS_H

#include "common/wire/socket.h"

enum { PEERS_MAX = 65536 };

struct peer {
    struct ab_route route;
    unsigned role;    /* one of AB_BY_… */
    uint64_t session; /* for logs; 0 = an empty slot */
    int64_t heard_ms; /* monotonic */
    int64_t told_ms;  /* when something was last sent to it */
};

struct peers {
    struct peer *slots; /* open addressing by route; cap is a power of two */
    size_t cap, n;
    uint64_t sessions; /* ever given */
};

struct peer *peers_find(const struct peers *peers, const struct ab_route *route); /* NULL if unknown */
/* Finds or adds; NULL if there are PEERS_MAX. Pointers to peers are valid until the next add or remove. */
struct peer *peers_add(struct peers *peers, const struct ab_route *route);
void peers_remove(struct peers *peers, const struct ab_route *route);
/* Removes those not heard since before_ms; returns how many. */
size_t peers_expire(struct peers *peers, int64_t before_ms);
void peers_finish(struct peers *peers);

#endif
