/* A connection to the broker or to storage: greeting, heartbeats, liveness. What is said over it is its owner's.
 *
 * A link is `open` between WELCOME and the moment it is found dead (silence for three heartbeats, or the other side does
 * not know us any more). Closed, it says HELLO again and again; whatever must survive that is sent again by the owner when
 * `opened` is called. What is said in one wake-up leaves together, with link_flush.
 */
#ifndef AB_WORKER_LINK_H
#define AB_WORKER_LINK_H

#include "common/loop.h"
#include "common/wire/socket.h"

enum {
    LINK_HELLO_AGAIN_MS = 500, /* after a HELLO without answer */
    LINK_CONNECT_MS = 20,      /* after one that could not be sent */
    LINK_HEARTBEATS_LOST = 3,
    LINK_BURST_MAX = 256,        /* messages taken in one wake-up, and then the rest of their packet */
    LINK_BYTES_SPARE = 16 << 20, /* of a message, besides two bodies: an inbox, a page */
};

struct link;
struct link_ops {
    void (*hello)(void *owner, struct ab_hello *hello); /* fills in more than role and versions; may be NULL */
    void (*opened)(void *owner, const struct ab_welcome *welcome);
    void (*message)(void *owner, const struct ab_message *m);  /* any but greetings and PING */
    void (*heartbeat)(void *owner);                            /* time to send one */
    void (*rejected)(void *owner, const struct ab_error *err); /* this service will never take us */
};

struct link {
    const char *name; /* of the other side, for logs */
    const struct link_ops *ops;
    void *owner;
    struct ab_loop *loop;
    char *endpoint; /* owned */
    void *socket;
    struct ab_message in;
    struct ab_outbox outbox; /* empty while not open */
    bool open;
    int64_t heartbeat_ms;
    int64_t heard_ms; /* monotonic: the last message from there */
    int64_t said_ms;  /* the last heartbeat or HELLO to there */
};

/* Creates the socket and puts it into the loop. The struct must not move. */
int link_start(struct link *link, struct ab_loop *loop, const char *endpoint, uint64_t body_bytes_max,
               struct ab_error *err);
void link_finish(struct link *link); /* of a started or zeroed one */
int64_t link_deadline(const struct link *link);
void link_tick(struct link *link, int64_t now_ms);
/* 0: it leaves with the next flush. AB_EUNAVAILABLE: the link is not open, or its pipe is full. */
int link_send(struct link *link, enum ab_command command, const void *message, struct ab_view body);
/* False: something could not leave yet; try again soon. */
bool link_flush(struct link *link);

#endif
