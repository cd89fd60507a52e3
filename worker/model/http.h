/* HTTP requests on libcurl's multi interface with socket action: curl's sockets in an epoll descriptor of our own,
 * curl's timer as a deadline. Knows nothing of models.
 *
 * At most HTTP_CONNECTING_MAX transfers are between their start and "connected" at a time; the others queue. That
 * keeps a burst from flooding a server's backlog and from starting a resolver thread for each transfer: the first
 * ones fill the name cache and the connection pool for the rest.
 *
 * Callbacks come from http_run() only. A transfer may not be stopped from inside on_head and on_body; return -1 there
 * to abort it. Redirects are never followed. Servers' certificates are checked against the system's, or against the
 * file SSL_CERT_FILE names.
 */
#ifndef AB_WORKER_MODEL_HTTP_H
#define AB_WORKER_MODEL_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/bytes.h"
#include "common/error.h"

enum {
    HTTP_CONNECTING_MAX = 32,
    HTTP_IDLE_CONNECTIONS_MAX = 256,    /* kept alive for reuse */
    HTTP_RECEIVE_BUFFER_BYTES = 4096,   /* per transfer: there may be a thousand */
    HTTP_SEND_BUFFER_BYTES = 16 * 1024, /* curl's minimum */
    HTTP_EVENTS_PER_RUN = 256,
};

struct http_pool;
struct http_transfer;

struct http_end {
    bool ok;          /* the response arrived whole; its status may be anything */
    bool timed_out;   /* connecting took too long */
    const char *text; /* why it is not ok, borrowed */
};

struct http_ops {
    /* A header of the response; the name as sent, the value trimmed. Repeated responses (1xx) are not shown. */
    void (*on_header)(void *user, struct ab_view name, struct ab_view value);
    /* All headers are there. Return -1 to abort. */
    int (*on_head)(void *user, int status);
    int (*on_body)(void *user, struct ab_view bytes);
    /* The transfer is over and freed. Not called after http_stop(). */
    void (*on_end)(void *user, const struct http_end *end);
};

struct http_request {
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; copied, the copies are wiped */
    struct ab_view body;        /* POSTed; must stay valid until on_head or the end */
    bool direct;                /* ignore the environment's proxy */
    bool get;                   /* GET instead, without a body */
    const char *method;         /* instead of POST or GET; NULL: as said; static */
    int connect_timeout_ms;
    int total_timeout_ms; /* until the last byte; 0: none */
    /* NULL: any. Asked for the very address that is connected to, with the transfer's user; the URL's host may be anybody's. */
    bool (*may_connect)(void *user, const struct sockaddr *address);
};

struct http_pool *http_pool_create(const char *user_agent, struct ab_error *err);
/* All transfers must have ended or been stopped. NULL is allowed. */
void http_pool_destroy(struct http_pool *pool);
int http_pool_fd(const struct http_pool *pool);
int64_t http_pool_deadline_ms(const struct http_pool *pool); /* INT64_MAX = none, 0 = now */
void http_run(struct http_pool *pool, int64_t now_ms);

struct http_transfer *http_start(struct http_pool *pool, const struct http_request *request,
                                 const struct http_ops *ops, void *user);
/* Closes the connection at once (or takes it from the queue). NULL is allowed. */
void http_stop(struct http_transfer *transfer);

size_t http_connecting(const struct http_pool *pool);
size_t http_queued(const struct http_pool *pool);

#endif
