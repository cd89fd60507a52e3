/* A request that waits until a job ends, asks a person (or for a greater budget), or the time is up. */
#ifndef AUTOBOTS_GATEWAY_WAIT_H
#define AUTOBOTS_GATEWAY_WAIT_H

#include "client/gateway/gateway.h"

enum wait_outcome { WAIT_ENDED, WAIT_ASKS, WAIT_TIMEOUT, WAIT_FAILED };
struct wait;
/* Called once. `tree` (not with WAIT_FAILED): {"job", "session", "state", …the fields of its end or waiting event}; borrowed. */
typedef void wait_done(struct call *call, enum wait_outcome outcome, json_t *tree,
                       const struct ab_error *error);

/* Begins behind seq `after` of a job that is on disk and the call's user's. until_ms: monotonic, 0 = for ever. session may
 * be NULL. The caller keeps it and destroys it at the request's end. */
struct wait *wait_create(struct call *call, const char *job, const char *session, uint64_t after,
                         int64_t until_ms, wait_done *done);
void wait_destroy(struct wait *wait); /* NULL is allowed */

/* server.c: ends those whose time is up; and when the next one's is. */
void waits_expire(struct gateway *gateway, int64_t now);
int64_t waits_deadline(const struct gateway *gateway);

#endif
