/* Idempotency-Key: which job a request means that may come twice.
 *
 * A UUIDv7 is the job's id itself. Any other key is made into one: its random bits are a hash of user and key, its time is the
 * beginning of the UTC day. A repetition on the next day finds the job of the day before, so a key holds for at least 24 hours, over
 * restarts and for all gateways, and nothing is stored for it.
 */
#ifndef AUTOBOTS_GATEWAY_KEY_H
#define AUTOBOTS_GATEWAY_KEY_H

#include "client/gateway/gateway.h"

/* `id`: of the job that is to be made, or was; "": the request has no key. */
typedef void key_found(struct call *call, const char *id);
/* The job's id was made of a key: its time is not the job's. */
bool key_made(const char *job);
/* Calls `found`, now or later, unless it has answered with a refusal or the client is gone. */
void key_find(struct call *call, key_found *found);

#endif
