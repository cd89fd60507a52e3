/* See rate.h. A bucket is kept as the time at which it will be full: taking one moves that by the time one lasts. */
#include "client/gateway/rate.h"

enum { SECOND_US = 1000000 };

/* When it would be full again if one more were taken. */
static int64_t full_after(const struct rates *rates, uint64_t key, int64_t now_us)
{
    const struct rate_bucket *bucket = &rates->buckets[key % RATE_BUCKETS];
    bool full = bucket->key != key || bucket->full_us < now_us;
    return (full ? now_us : bucket->full_us) + SECOND_US / rates->per_second;
}

uint32_t rate_wait(const struct rates *rates, uint64_t key, int64_t now_us)
{
    int64_t over_us = rates->per_second ? full_after(rates, key, now_us) - now_us - SECOND_US : 0;
    return over_us > 0 ? (uint32_t)(over_us / 1000 + 1) : 0;
}

uint32_t rate_take(struct rates *rates, uint64_t key, int64_t now_us)
{
    uint32_t wait_ms = rate_wait(rates, key, now_us);
    if (rates->per_second && !wait_ms)
        rates->buckets[key % RATE_BUCKETS] =
            (struct rate_bucket){.key = key, .full_us = full_after(rates, key, now_us)};
    return wait_ms;
}
