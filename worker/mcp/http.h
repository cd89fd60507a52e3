/* An MCP server behind a URL: Streamable HTTP, each message a POST of its own, answered with JSON or a stream of events.
 * Owns the requests under way and the legacy era's session.
 *
 * Callbacks come from remote_tick() only: what arrives during http_run() is kept until then, so that they may stop requests.
 */
#ifndef AB_WORKER_MCP_HTTP_H
#define AB_WORKER_MCP_HTTP_H

#include "worker/mcp/core.h"
#include "worker/model/http.h"

enum {
    REMOTE_CONNECT_MS = 10000,
    REMOTE_LINGER_MS = 1000,         /* that a stream may stay open behind its answer */
    REMOTE_NOTIFY_MS = 10000,        /* for a message that nothing answers */
    REMOTE_NOTIFIES_MAX = 64,        /* of those under way; the server takes none: what is more is dropped */
    REMOTE_SESSION_BYTES_MAX = 1024, /* of a session's id */
    REMOTE_EVENTS_MAX = 1000,        /* of one stream, kept until the next tick */
    REMOTE_EVENTS_BYTES_MAX = 16 << 20,
};

struct remote_ops {
    /* One message of the answer to request id (RPC_NO_ID: of none). */
    void (*message)(void *user, struct ab_view text, int64_t id);
    void (*too_long)(void *user, int64_t id, uint64_t bytes);
    /* status 0: there was no answer, why is the text. */
    void (*failed)(void *user, int64_t id, int status, struct ab_view text, bool in_session);
};

struct remote;
/* headers: "Name: value", NULL-terminated, borrowed as long as it lives. */
struct remote *remote_create(struct http_pool *pool, const char *url, const char *const *headers,
                             const struct remote_ops *ops, void *user);
/* Stops what is under way, without callbacks. NULL is allowed. */
void remote_destroy(struct remote *remote);
/* Tells the server that the session is over, if there is one. False: nothing is under way any more. */
bool remote_say_goodbye(struct remote *remote);
bool remote_busy(const struct remote *remote);
void remote_send(struct remote *remote, const struct mcp_message *message);
void remote_abandon(struct remote *remote, int64_t id);
/* It has got its answer: what is still open of it is closed soon. */
void remote_answered(struct remote *remote, int64_t id, int64_t now_ms);
/* After http_run(). */
void remote_tick(struct remote *remote, int64_t now_ms);
int64_t remote_deadline_ms(const struct remote *remote); /* 0: remote_tick() has something to tell */

#endif
