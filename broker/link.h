/* The line to storage: writes gathered into batches, reads, and both again after a reconnect.
 *
 * What was written during one wake-up goes out as one BATCH; while LINK_FLIGHT_MAX batches are unanswered the rest
 * gathers. A batch is kept until it is answered; after a reconnect all unanswered batches are sent again in their
 * order, and so are reads: operations are idempotent by their content. No sockets and no clock in here: messages
 * go out through a function, time comes in.
 */
#ifndef AB_BROKER_LINK_H
#define AB_BROKER_LINK_H

#include "broker/core.h"

enum {
    LINK_FLIGHT_MAX = 16,           /* batches sent and not answered */
    LINK_BATCH_OPS_MAX = 1000,      /* in one batch */
    LINK_BATCH_BYTES_MAX = 4 << 20, /* in one batch, unless it is one operation */
    LINK_OPS_MAX = 50000,           /* waiting for an answer: above it new jobs are refused */
    LINK_BYTES_MAX = 256 << 20,
    LINK_HELLO_MS = 500,    /* an unanswered HELLO is said again */
    LINK_CONNECT_MS = 20,   /* one that could not even be sent is tried again */
    LINK_PROBE_MS = 250,    /* a silence in which something should have come: is storage a new one? */
    LINK_SILENCE_MS = 7500, /* until WELCOME tells its heartbeat */
};

struct link_ops {
    /* 0; AB_EBUSY: full pipe; AB_EUNAVAILABLE: no connection. */
    int (*send)(void *owner, enum ab_command command, const void *message, struct ab_view body);
    void (*answered)(void *owner, const struct ticket *ticket, struct ab_view request, int code,
                     const struct ab_error *err, struct ab_view answer);
    void (*up)(void *owner, bool up);
    void (*notice)(void *owner, const struct ab_notice *notice);
    uint64_t (*epoch)(void *owner); /* 0: none yet */
};

struct link;
struct link *link_create(const struct link_ops *ops, void *owner, const char *build);
void link_destroy(struct link *link); /* NULL is allowed */

void link_write(struct link *link, enum ab_op op, const void *request, const struct ticket *ticket);
void link_read(struct link *link, enum ab_op op, const void *request, const struct ticket *ticket);
bool link_full(const struct link *link);
bool link_idle(const struct link *link);       /* nothing waits for an answer */
bool link_superseded(const struct link *link); /* storage refused our epoch */

/* A message of storage. */
void link_message(struct link *link, uint8_t command, struct ab_view header, struct ab_view body,
                  int64_t now_ms);
/* At the end of a wake-up: greets, sends what was gathered, notices silence. */
void link_tick(struct link *link, int64_t now_ms);
int64_t link_deadline(const struct link *link, int64_t now_ms);

#endif
