/* The gateway's address: "ADDR:PORT", "[ADDR6]:PORT", "fd:N" (a listening socket that was inherited: from `autobots up`,
 * or fd:3 from a systemd socket unit), or "off". A name other than localhost is not looked up: what is bound must be
 * what was written. `autobots up` uses this too, so it must know nothing of the rest of the gateway. */
#ifndef AUTOBOTS_GATEWAY_LISTEN_H
#define AUTOBOTS_GATEWAY_LISTEN_H

#include <stdbool.h>

#include "common/error.h"

enum { LISTEN_URL_MAX = 96, LISTEN_BACKLOG = 1024 };

bool listen_off(const char *address);
/* A listening, non-blocking, close-on-exec socket, or AB_E…; the caller closes it. One that is taken is AB_ECONFLICT. An
 * address that is no loopback one may be served only if there is a token; what is said otherwise: */
#define LISTEN_NEEDS_TOKEN                                                                                     \
    "%s can be reached from other machines, and there is no token that says who may use it: start at a "       \
    "loopback address or with --http off, make one (autobots tokens create --user NAME), and start again"
int listen_open(const char *address, struct ab_error *err);
/* "http://127.0.0.1:8081" of a listening socket: the port is the real one. */
void listen_url(int fd, char url[LISTEN_URL_MAX]);
bool listen_is_loopback(int fd);

#endif
