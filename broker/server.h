/* The broker's shell: sockets, clock and signals around the core. */
#ifndef AB_BROKER_SERVER_H
#define AB_BROKER_SERVER_H

#include "common/config.h"

/* Runs until SIGTERM or SIGINT. 0; AB_EUSAGE: an endpoint cannot be used; AB_ESTALE: a newer broker has taken over. */
int server_run(const struct ab_config *config, struct ab_error *err);

#endif
