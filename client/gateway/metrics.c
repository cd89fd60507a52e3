/* See metrics.h. */
#include "client/gateway/metrics.h"

#include "common/clock.h"
#include "common/log.h"

/* Upper bounds of the latency histogram. */
static const uint32_t bounds_ms[LATENCY_BUCKETS] = {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30000};

void metrics_count(struct gateway *gateway, const struct call *call)
{
    struct counters *c = &gateway->counters;
    int64_t took_us = ab_mono_us() - call->started_us;
    int class = call->status / 100, bucket = 0;
    c->by_class[class > 0 && class < 6 ? class : 0]++;
    if (call->stream) /* it took as long as its client liked */
        return;
    while (bucket < LATENCY_BUCKETS && took_us > (int64_t)bounds_ms[bucket] * 1000)
        bucket++;
    c->latency[bucket]++;
    c->latency_us += (uint64_t)took_us;
    if (ab_log_wants(AB_DEBUG))
        ab_log(AB_DEBUG, "http.request", "route", call->route ? call->route->path : "-", "status",
               ab_num(call->status), "us", ab_num(took_us), NULL);
}
