/* The inside of the gateway: one process, one thread, one loop. A request comes in through libmicrohttpd (http.c), is
 * found in the route table (routes.c), checked (guard.c, args.c) and handed to its route's handler. A handler starts
 * requests of the client library and returns; whoever gets the answer calls one of call_answer…(), which wakes the
 * connection. Nothing here waits, and nothing that matters is kept here: a gateway may be killed at any time.
 */
#ifndef AUTOBOTS_GATEWAY_H
#define AUTOBOTS_GATEWAY_H

#include <microhttpd.h>

#include "client/autobots.h"
#include "client/gateway/auth.h"
#include "client/gateway/rate.h"
#include "client/gateway/routes.h"
#include "common/bytes.h"
#include "common/config.h"
#include "common/error.h"
#include "common/loop.h"
#include "common/tree.h"

enum {
    HEADER_BYTES_MAX = 16 << 10, /* request line and headers of one request; also MHD's memory per connection */
    UPLOAD_BYTES_MAX = 256 << 20, /* bodies held at once, of all requests */
    CONNECTION_FDS_SPARE = 64,    /* descriptors that are no connections */
    STALL_S_MAX = 60,             /* an answer of which the client takes nothing for so long */
    SWEEP_MS = 1000,              /* between two looks at all connections */
    LATE_MS = 1000,               /* health and metrics do not wait longer for parts that are down */
    DRAIN_MS_MAX = 2000,          /* after SIGTERM: for answers that are under way */
    LATENCY_BUCKETS = 12,
};

struct feeds;
struct stream;
struct call;

/* What the process did, for /metrics. */
struct counters {
    uint64_t requests, by_class[6]; /* 1xx … 5xx */
    uint64_t latency[LATENCY_BUCKETS + 1], latency_us;
    uint64_t streams_opened, events_sent, deltas_sent, deltas_dropped, refused_busy;
};

/* A TCP connection. MHD owns the socket; this tells how long it has been doing what. */
enum conn_phase {
    CONN_IDLE, /* between requests, or before the first: the headers are not complete */
    CONN_BODY, /* the body is coming in */
    CONN_BUSY, /* a handler works or the answer goes out */
};
struct conn {
    struct conn *prev, *next;
    struct gateway *gateway;
    int fd;
    enum conn_phase phase;
    bool used; /* has had a request: idle, not late */
    int64_t since_ms;
    struct call *call; /* the one under way, or NULL */
};

struct gateway {
    const struct ab_config *config;
    struct ab_loop *loop;
    struct MHD_Daemon *daemon;
    int listen_fd;
    struct autobots *bots;
    struct ab_error failed; /* why it does not serve after all */
    bool loopback;          /* the address is one: Host and Origin are checked */
    bool resumed;           /* some connection was: MHD has to run */
    bool stopping;
    int64_t stop_at_ms, swept_ms, now_ms, started_ms;
    int64_t idle_ms, slow_ms;
    uint64_t body_bytes_max, uploads; /* bytes of bodies held */
    int connections_max, connections_n, streams_n;
    struct conn *conns;
    struct stream *streams;
    struct wait *waits;
    struct call *calls; /* all that are not freed */
    struct board *boards;
    struct feeds *feeds;
    struct rates *rates;
    struct auth *auth;
    struct counters counters;
    char *openapi; /* its text, once it was asked for */
};

/* One HTTP request, from its headers to the end of its answer. Each holder (the connection, a request of the library
 * under way) has a reference; after the connection is gone, answers go nowhere. */
struct call {
    struct gateway *gateway;
    struct call *prev, *next;
    struct MHD_Connection *connection; /* NULL once it is gone */
    struct conn *conn;
    const struct route *route; /* NULL: there is none */
    int refs;
    struct token *token; /* it acts under; NULL: none is needed */
    char *acts_for;      /* under a token for all: X-Autobots-User, or NULL */
    bool checking;       /* whether its token is valid; the handler is not called before */
    bool head;           /* HEAD: as GET, without the body */
    bool preflight;      /* OPTIONS */
    bool begun;          /* its handler was called */
    bool suspended;      /* in MHD's sense */
    bool abandoned;      /* the client went away while we worked */
    bool final;          /* an error of it stays one: clients that retry by themselves are told not to */
    bool closing;        /* the body is not read: the connection ends with the answer */
    int64_t started_us;
    char *user;                              /* whom it acts for; set before the handler runs */
    json_t *args;                            /* checked: path, query and body by their names */
    struct ab_view path;                     /* without the query; MHD's memory */
    struct ab_view host;                     /* whom the request is for: of an absolute target, else of Host */
    struct ab_view values[ROUTE_VALUES_MAX]; /* of the {names} in the path, still percent-encoded */
    struct ab_buf body;
    uint64_t swallowed;      /* bytes of a body that is refused */
    struct ab_error refusal; /* found while the body was coming in; code 0: none */
    int refusal_status;
    /* the answer */
    int status;
    struct MHD_Response *response;
    struct stream *stream;             /* an answer that goes on */
    void *state;                       /* the handler's own */
    int64_t late_ms;                   /* if it is not 0 and comes before the answer … */
    void (*late)(struct call *call);   /* … this is called, which answers. Looked at once a second */
    void (*forget)(struct call *call); /* frees `state`; called once, at the end */
};

/* ---- http.c ---- */
int http_start(struct gateway *gateway, struct ab_error *err);
void http_stop(struct gateway *gateway);
void calls_forget(
    struct gateway *gateway); /* those whose answers will not come: the client library is closed */
void http_sweep(struct gateway *gateway, int64_t now);
struct call *call_hold(struct call *call);
void call_drop(struct call *call);
/* Wakes the connection if it was put to sleep; http.c then asks for the answer. */
void call_wake(struct call *call);
/* Its token was checked: the handler is called, if the whole request is there. */
void call_go_on(struct call *call);
/* Instead of calling the handler, answer with this; the first one counts. */
void call_refuse(struct call *call, int status, const struct ab_error *error);
/* A header of the request; {NULL,0} if absent. */
struct ab_view call_header(const struct call *call, const char *name);

/* ---- answer.c: every answer is made by one of these; the first one counts ---- */
/* Compact JSON as people read it; malloc'ed. */
char *json_line(const json_t *tree);
/* Takes the tree. */
void call_answer(struct call *call, int status, json_t *tree);
/* Takes the text, which was malloc'ed. */
void call_answer_text(struct call *call, int status, const char *type, char *text);
void call_answer_empty(struct call *call, int status);
/* What `read` gives, piece by piece, `size` bytes; `owner` must outlive the request. */
void call_answer_pieces(struct call *call, int status, const char *type, uint64_t size,
                        MHD_ContentReaderCallback read, void *owner);
/* 200 and as many bytes as there will be. */
void call_answer_stream(struct call *call, const char *type, MHD_ContentReaderCallback read, void *owner);
void call_header_add(struct call *call, const char *name, const char *value);
/* {"error": {code, message, path, retryable, retry_after_ms, faults}}; `faults` is JSON text or NULL. */
void call_fail(struct call *call, const struct ab_error *error, const char *faults);
void call_fail_as(struct call *call, int status, const char *name, const struct ab_error *error,
                  const char *faults);
void call_failed(struct call *call, const struct autobots_answer *answer); /* with its error */
int status_of(int code);                                                   /* AB_E… → 4xx, 5xx */
json_t *error_tree(const char *name, const struct ab_error *error, const char *faults);

/* ---- args.c ---- */
/* Path, query and body into call->args; false after the request was answered. */
bool args_read(struct call *call);
/* "%41" → "A"; NULL if it is malformed, no UTF-8 or has control characters. */
char *percent_decode(struct ab_view text);

/* ---- guard.c ---- */
/* Before anything else is done: is this client allowed to speak to us at all? False after a refusal. */
bool guard_headers(struct call *call, struct ab_error *err, int *status);
bool guard_rate(struct call *call, struct ab_error *err);
/* A number for the address that a request comes from, never 0. */
uint64_t guard_address(struct call *call);
void guard_cors(struct call *call, struct MHD_Response *response);
/* Whom a request acts for that names `named` (NULL: nobody): sets and returns call->user. Every route's user comes
 * from here: args.c calls it with the argument `user`, the seed's handlers with the user_id of their bodies. */
const char *guard_user(struct call *call, const char *named);

/* ---- board.c ---- */
void board_handle(struct call *call);
void boards_look(struct gateway *gateway); /* server.c, once a second */
/* ---- file.c, openapi.c, seed_message.c ---- */
void file_handle(struct call *call);
void openapi_handle(struct call *call);
void seed_message_handle(struct call *call);
/* ---- forward.c ---- */
void forward_handle(struct call *call);
/* Asks an operation for this request, with call->user as its user; `fields` is taken. `done` gets the request as its
 * context and owns one reference to it. */
void call_query(struct call *call, const char *operation, json_t *fields, autobots_done *done);
/* For `done`: its answer as it is. */
void call_answer_asked(void *context, const struct autobots_answer *answer);
void call_raw_query(struct call *call, const char *operation, json_t *fields, autobots_done *done);

#endif
