/* The inside of the client library: one client, its two links, its requests and watches.
 *
 * A link is a DEALER to one service (broker or storage) with its greeting and heartbeat. A request is kept whole, as
 * the message that is sent, until it is answered, so that a reconnect only has to send it again. Nothing here waits.
 */
#ifndef AUTOBOTS_LIB_INTERNAL_H
#define AUTOBOTS_LIB_INTERNAL_H

#include "client/autobots.h"
#include "common/bytes.h"
#include "common/error.h"
#include "common/id.h"
#include "common/wire/messages.h"
#include "common/wire/operations.h"
#include "common/wire/socket.h"
#include "common/wire/tree.h"
#include "common/workflow/workflow.h"

enum {
    REQUESTS_MAX = 100000,          /* unanswered at once in one client */
    REQUESTS_BYTES_MAX = 128 << 20, /* the same in bytes, unless it is a single one */
    HASHES_MAX = 1024,              /* workflows remembered as known to the service */
    WATCH_BUCKETS = 1024,
    RECEIVE_MAX = 256,         /* messages in one run, then the rest of their packet: a flood starves nobody */
    BODY_BYTES_MAX = 64 << 20, /* greatest body taken or sent */
    GREET_AGAIN_MS = 500,      /* between two HELLOs that got no answer */
    CONNECTING_MS = 5,         /* until a HELLO that found no connection is tried again */
    HEARTBEAT_MS = 1000,       /* until WELCOME says otherwise */
    SILENT_BEATS = 3,          /* this many missed heartbeats: the peer is gone */
    BACKOFF_MS_MIN = 50,       /* of a retryable failure that names no time */
    BACKOFF_MS_MAX = 2000,
    FULL_PIPE_MS = 10,      /* until a send that was refused is tried again */
    DEADLINE_MS_MAX = 1000, /* autobots_deadline_ms() at most */
    TIMEOUT_MS_DEFAULT = 30000,
};

enum link_state { LINK_CLOSED, LINK_GREETING, LINK_UP };

struct link {
    struct autobots *client;
    const char *service; /* "broker" or "storage", for messages */
    char *endpoint;      /* NULL: not known yet */
    void *socket;        /* NULL while closed */
    struct ab_outbox outbox;
    enum link_state state;
    uint64_t greeting;        /* grows with each WELCOME: tells what was sent in which session */
    int64_t greeted_ms;       /* when the last HELLO left */
    int64_t heard_ms;         /* when something last came in */
    int64_t said_ms;          /* when something last went out */
    int64_t heartbeat_ms;     /* dictated by WELCOME */
    uint64_t body_bytes_max;  /* as WELCOME says; a greater message would only break the connection */
    struct ab_error rejected; /* code 0 unless the service refused us */
};

/* What is done with an answer; all pointers live until it returns. */
struct request;
struct reply {
    enum ab_command command;
    const void *header; /* decoded, of the command's schema; struct ab_failure for ERROR */
    struct ab_view body;
    struct ab_error *error; /* NULL: success */
};

struct request {
    struct request *next, *prev; /* oldest first: the order in which they are (re)sent */
    struct request *chain;       /* in the hash table by rid */
    struct autobots *client;
    struct link *link;
    uint64_t rid;
    enum ab_command command;
    void *message; /* owned, one block with everything its views point to */
    struct ab_view body;
    char *body_bytes;              /* owned */
    size_t bytes;                  /* of message and body */
    uint64_t sent;                 /* link->greeting in which it was sent; 0: not in this session */
    int64_t deadline_ms;           /* monotonic */
    int64_t not_before_ms;         /* monotonic; backing off until then */
    int64_t backoff_ms;            /* the last pause */
    uint64_t denied_in;            /* greeting in which it was denied; 0: never */
    struct ab_error last;          /* why it is being retried; code 0: it is not */
    bool full_text;                /* SUBMIT: with the workflow's text */
    bool persistent;               /* WATCH, FOLLOW: stays until that ends */
    bool held;                     /* WATCH: not to be sent before its job's submission is answered */
    struct ab_secret_list secrets; /* SUBMIT: in clear until they are sealed */
    char *sealed;                  /* SUBMIT: packed array of bin, once sealed; owned */
    size_t sealed_bytes;
    const struct ab_op_row *op; /* QUERY */
    bool raw;                   /* QUERY: the answer is not made JSON */
    autobots_done *done;
    void *context;
};

struct watch {
    struct watch *next;
    struct ab_id job;
    char id[AB_ID_TEXT];
    uint64_t seq; /* the last one delivered */
    struct autobots_watch spec;
    struct request *request; /* its WATCH */
};

struct follow {
    struct autobots_follow spec;
    struct request *request; /* its FOLLOW */
};

struct autobots {
    char *user, *program;
    int64_t timeout_ms;
    int epoll_fd;
    struct link broker, storage;
    bool storage_wanted; /* a query of it was made: only then it is connected to */
    bool storage_given;  /* by the caller: what WELCOME names does not count */
    bool seal_key_known;
    uint8_t seal_key[32];
    uint64_t rid;
    struct request *first, *last, **table; /* table: by rid */
    size_t requests_n, requests_bytes, table_n;
    struct watch *watches[WATCH_BUCKETS]; /* by job */
    uint8_t (*hashes)[AB_HASH_BYTES];     /* ring */
    size_t hashes_n, hashes_at;
    bool inside;       /* in autobots_run */
    bool pending;      /* some request may have to be sent */
    uint64_t unlinked; /* requests removed so far: tells a loop that its neighbours may be gone */
    struct workflow_cache {
        char *given; /* as the caller wrote it; NULL: nothing is cached */
        struct ab_workflow *workflow;
    } cache; /* the last one without secrets */
};

/* api.c */
int client_error(struct autobots_error *out, const struct ab_error *err); /* copies; returns the code */

/* link.c */
void link_init(struct link *link, struct autobots *client, const char *service, const char *endpoint);
void link_finish(struct link *link);
/* Opens the socket if the endpoint is known, greets, beats, notices silence. */
void link_tick(struct link *link, int64_t now);
int64_t link_deadline(const struct link *link, int64_t now);
/* Takes what has arrived, at most RECEIVE_MAX; true if more may be there. */
bool link_receive(struct link *link, int64_t now);
bool link_readable(struct link *link);
/* 0: it leaves with the next flush. AB_EUNAVAILABLE: try later. */
int link_send(struct link *link, enum ab_command command, const void *message, struct ab_view body);
void link_flush(struct link *link);
/* Says HELLO again: a lost session, or a wish for news (a sealing key). */
void link_greet(struct link *link);

/* request.c */
/* Takes `body` over. The message is copied deep. NULL if there are too many. */
struct request *request_create(struct autobots *client, struct link *link, enum ab_command command,
                               void *message, struct ab_buf *body, autobots_done *done, void *context,
                               struct ab_error *err);
void request_destroy(struct request *request); /* unlinks and frees, without a callback */
struct request *request_find(struct autobots *client, uint64_t rid);
/* Sends a new request at once if nothing stands before it; else the next run does. Calls no callback. */
void request_start(struct request *request);
/* Sends what may be sent now. */
void requests_flush(struct autobots *client, int64_t now);
void requests_expire(struct autobots *client, int64_t now);
int64_t requests_deadline(const struct autobots *client, int64_t now);
void request_answered(struct request *request, const struct reply *reply, int64_t now);
void request_fail(struct request *request, const struct ab_error *error, const struct ab_failure *failure);
/* Sends it again after a pause, or fails it if its time is up. */
void request_later(struct request *request, const struct ab_error *error, int64_t now);

/* submit.c */
bool workflow_known(const struct autobots *client, struct ab_view hash);
void workflow_learn(struct autobots *client, struct ab_view hash);
void workflow_forget(struct autobots *client, struct ab_view hash);
/* Seals a request's secrets; false with *err if that is not possible (yet). */
bool submit_seal(struct request *request, struct ab_error *err);

/* watch.c */
void watch_event(struct autobots *client, const struct ab_event *event, struct ab_view body);
void watch_delta(struct autobots *client, const struct ab_delta *delta);
void watch_failed(struct autobots *client, struct request *request, const struct ab_error *error);
/* The job's submission was answered. */
void watch_release(struct autobots *client, struct ab_id job);
void watches_destroy(struct autobots *client);

/* follow.c */
void follow_begun(struct autobots *client, const struct ab_following *begun);
void follow_changed(struct autobots *client, const struct ab_changed *changed);
void follow_failed(struct request *request, const struct ab_error *error);
void follows_destroy(struct autobots *client);

/* query.c */
/* A JSON request as the operation's msgpack map. */
int query_pack(const struct ab_op_row *op, const char *user, const char *json, struct ab_buf *out,
               struct ab_error *err);
/* A msgpack value as JSON text for people: ids as text, other bytes in base 16. */
char *query_json(struct ab_view raw, struct ab_error *err);
/* In place: {"$bin": …} of ab_tree_unpack becomes text. New reference or the same. */
json_t *tree_for_people(json_t *tree);

#endif
