#ifndef AUTOBOTS_GATEWAY_SERVER_H
#define AUTOBOTS_GATEWAY_SERVER_H

#include "client/gateway/gateway.h"

/* Serves until SIGTERM. 0, or AB_E… if it could not start. */
int gateway_run(const struct ab_config *config, struct ab_error *err);

#endif
