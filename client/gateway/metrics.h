/* /metrics: what the service and this process did, as Prometheus reads it. */
#ifndef AUTOBOTS_GATEWAY_METRICS_H
#define AUTOBOTS_GATEWAY_METRICS_H

#include "client/gateway/gateway.h"

/* A request has ended. */
void metrics_count(struct gateway *gateway, const struct call *call);
void metrics_handle(struct call *call);

#endif
