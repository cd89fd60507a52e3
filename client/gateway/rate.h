/* How often a client may ask: token buckets by the address it comes from, which hold a second's worth of requests. Pure:
 * time comes in. A fixed table: addresses that fall into the same place share it, so that nobody can fill memory. */
#ifndef AUTOBOTS_GATEWAY_RATE_H
#define AUTOBOTS_GATEWAY_RATE_H

#include <stdbool.h>
#include <stdint.h>

enum { RATE_BUCKETS = 4096 };

struct rate_bucket {
    uint64_t key;
    int64_t full_us; /* when it will be full again, if nothing more is taken */
};
struct rates {
    int64_t per_second; /* 0: no limit */
    struct rate_bucket buckets[RATE_BUCKETS];
};

/* As rate_take, but takes nothing. */
uint32_t rate_wait(const struct rates *rates, uint64_t key, int64_t now_us);
/* Takes one for this key. 0, or after how many ms there will be one again. */
uint32_t rate_take(struct rates *rates, uint64_t key, int64_t now_us);

#endif
