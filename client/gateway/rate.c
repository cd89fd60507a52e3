/* See rate.h. A bucket is kept as the time at which it will be full: taking one moves that by the time one lasts. */
#include "client/gateway/rate.h"

uint32_t rate_take(struct rates *rates, uint64_t key, int64_t now_us)
{
    const int64_t second_us = 1000000;
    if (!rates->per_second)
        return 0;
    struct rate_bucket *bucket = &rates->buckets[key % RATE_BUCKETS];
    int64_t one_us = second_us / rates->per_second;
    if (bucket->key != key || bucket->full_us < now_us)
        *bucket = (struct rate_bucket){.key = key, .full_us = now_us};
    int64_t full_us = bucket->full_us + one_us;
    if (full_us - now_us > second_us)
        return (uint32_t)((full_us - now_us - second_us) / 1000 + 1);
    bucket->full_us = full_us;
    return 0;
}
