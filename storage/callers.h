/* Callers: who said HELLO on which connection, and when they were last heard. A connection, not an identity.
 */
#ifndef STORAGE_CALLERS_H
#define STORAGE_CALLERS_H

#include "common/wire/socket.h"

enum { CALLERS_MAX = 65536 };

struct caller {
    struct ab_route route;
    unsigned role;    /* one of AB_BY_… */
    uint64_t session; /* for logs; 0 = an empty slot */
    int64_t heard_ms; /* monotonic */
    int64_t told_ms;  /* when something was last sent to it */
};

struct callers {
    struct caller *slots; /* open addressing by route; cap is a power of two */
    size_t cap, n;
    uint64_t sessions; /* ever given */
};

struct caller *callers_find(const struct callers *callers, const struct ab_route *route); /* NULL if unknown */
/* Finds or adds; NULL if there are CALLERS_MAX. Pointers to callers are valid until the next add or remove. */
struct caller *callers_add(struct callers *callers, const struct ab_route *route);
void callers_remove(struct callers *callers, const struct ab_route *route);
/* Removes those not heard since before_ms; returns how many. */
size_t callers_expire(struct callers *callers, int64_t before_ms);
void callers_finish(struct callers *callers);

#endif
