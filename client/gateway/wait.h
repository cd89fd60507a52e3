/* A request that waits until a job ends, asks a person, or the time is up. */
#ifndef AUTOBOTS_GATEWAY_WAIT_H
#define AUTOBOTS_GATEWAY_WAIT_H

#include "client/gateway/gateway.h"

enum wait_outcome { WAIT_ENDED, WAIT_ASKS, WAIT_TIMEOUT, WAIT_FAILED };
struct wait;
/* Called once. `tree` (not with WAIT_FAILED): {"job", "session", "state", …the fields of its end or waiting event}; borrowed. */
typedef void wait_done(struct call *call, enum wait_outcome outcome, json_t *tree,
                       const struct ab_error *error);

/* Begins behind seq `after`; `fresh`: the job is being submitted by this request. until_ms: monotonic, 0 = for ever.
 * The caller keeps it and destroys it at the request's end. */
struct wait *wait_create(struct call *call, const char *job, bool fresh, uint64_t after, int64_t until_ms,
                         wait_done *done);
/* The submission went to another job: what comes behind that event of it is waited for. Before wait_accepted. */
void wait_move(struct wait *wait, const char *job, uint64_t after);
void wait_destroy(struct wait *wait); /* NULL is allowed */
/* The submission is on disk; what came in before is told now. session may be NULL. */
void wait_accepted(struct wait *wait, const char *session);

/* server.c: ends those whose time is up; and when the next one's is. */
void waits_expire(struct gateway *gateway, int64_t now);
int64_t waits_deadline(const struct gateway *gateway);

#endif
