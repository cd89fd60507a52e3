/* Tokens: whom a request acts for, and what it may do.
 *
 * WHAT IS GUARANTEED. A request that begins FRESH_MS after a revocation was acknowledged is refused; so is any that begins after
 * the token's expiry. Streams and requests that wait end with their connection within TOKEN_END_MS_MAX of either, as long as
 * storage answers. While storage does not answer, nobody new is let in (503).
 *
 * HOW. Storage has a number that grows with each token made or revoked. It is asked for once a second; what it said of a token
 * counts as long as the number it said it under is known to be the current one. Otherwise the request waits for a question of
 * its own. Only valid tokens are remembered: guessing fills nothing.
 */
#ifndef AUTOBOTS_GATEWAY_AUTH_H
#define AUTOBOTS_GATEWAY_AUTH_H

#include "client/gateway/rate.h"
#include "common/auth.h"

enum {
    FRESH_MS = 1500,          /* how old the knowledge may be that nothing has changed */
    TOKEN_END_MS_MAX = 3000,  /* see above: a poll, its answer, a question, its answer, a sweep */
    CHECK_MS_MAX = 2000,      /* then a request is told that storage does not answer */
    TOKENS_UNUSED_MAX = 4096, /* remembered without a request that uses them */
    USE_TOLD_MS = 60000,      /* between two words to storage that a token is in use */
    WRONG_PER_SECOND = 5,     /* wrong tokens of one address */
};

struct call;
struct gateway;
struct auth;
struct token; /* a valid one; shared by the calls that use it */

struct auth *auth_create(bool required, int64_t rate);
void auth_destroy(struct auth *auth);
bool auth_required(const struct auth *auth);

/* With the headers of a request for a route with a scope. False: it is refused, with this status. It may also begin to wait for
 * storage: call->checking is set then, until call_go_on(). */
bool auth_begin(struct call *call, struct ab_error *err, int *status);
/* At the end of a request. */
void auth_end(struct call *call);
/* Whom its token acts for; NULL: whom the request names, as it has none or one for all. */
const char *auth_user(const struct call *call);
/* Its token is for all, and no header has said for whom: its arguments must. */
bool auth_must_name(const struct call *call);
/* Does its token hold this scope? Without a token everybody may do everything. */
bool auth_has(const struct call *call, enum ab_scope scope);
/* A request names this user (NULL: nobody): may it? False after it was answered. Without a token everybody may. */
bool auth_may_name(struct call *call, const char *named);
/* Once per sweep: asks for the number, and ends what runs on under a token that is not valid any more. */
void auth_tick(struct gateway *gateway, int64_t now_ms);

#endif
