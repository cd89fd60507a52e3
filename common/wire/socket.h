/* ZeroMQ sockets as the project uses them: options that avoid libzmq's traps, and whole messages of the
 * protocol in and out, never blocking. One context per process: czmq's. One thread owns a socket.
 */
#ifndef AB_COMMON_WIRE_SOCKET_H
#define AB_COMMON_WIRE_SOCKET_H

#include <zmq.h>

#include "common/wire/packet.h"

/* The process's context (czmq's); made on first use, never before a fork. */
void *ab_zmq_context(void);

/* Routing id that libzmq gave a peer of a ROUTER; names a connection, never an identity. */
enum { AB_ROUTE_MAX = 16 };
struct ab_route {
    uint8_t n, b[AB_ROUTE_MAX];
};
static inline bool ab_route_eq(const struct ab_route *a, const struct ab_route *b)
{
    return a->n == b->n && !memcmp(a->b, b->b, a->n);
}

/* A bound ROUTER (mandatory, no hand-over). An ipc path must lie in a directory that only this user may enter;
 * a tcp address must be loopback. A stale ipc socket file is replaced, a live one is AB_EUSAGE. */
void *ab_router_create(const char *endpoint, uint64_t body_bytes_max, struct ab_error *err);
/* A connecting DEALER that does not queue to a peer that is not there. */
void *ab_dealer_create(const char *endpoint, uint64_t body_bytes_max, struct ab_error *err);
void ab_socket_destroy(void *socket); /* NULL is allowed; sends what is queued for at most 1 s */
int ab_socket_fd(void *socket);       /* the edge-triggered ZMQ_FD, for foreign event loops */

/* The message received last, and the rest of the packet it came in. Zero-initialised at first; it stays with its
 * socket until ab_message_more is false, or what is left is lost. */
struct ab_message {
    struct ab_route route; /* n = 0 on a DEALER */
    uint8_t version;
    uint8_t command; /* may be unknown */
    struct ab_view header, body;

    zmq_msg_t frame;
    struct ab_view rest; /* of the frame: messages not taken yet */
    int taken;           /* of this packet */
    bool open;           /* frame is in use */
};
/* 1: the next message is in *m; its views are valid until the next call. 0: nothing there. AB_EINVALID, AB_ETOOLARGE:
 * something that is no message was dropped, and the rest of its packet; m->route says whose (answer it with ERROR).
 * Other negative: socket error. */
int ab_message_receive(void *socket, struct ab_message *m, struct ab_error *err);
/* Another one of the same packet is there: at most AB_PACKET_MESSAGES_MAX, so take them before you stop. */
static inline bool ab_message_more(const struct ab_message *m)
{
    return m->rest.n > 0;
}
void ab_message_close(struct ab_message *m); /* drops what is left */
/* Decodes the header by the command's schema. */
int ab_message_header(const struct ab_message *m, void *header, struct ab_error *err);

/* Sends a packet of one message. `message` is the struct of the command's schema. Returns 0;
 * AB_ENOTFOUND: that peer is gone; AB_EBUSY: its pipe is full (nothing was sent);
 * AB_EUNAVAILABLE: no connection, or its pipe is full (DEALER). route NULL on a DEALER. */
int ab_send(void *socket, const struct ab_route *route, enum ab_command command, const void *message,
            struct ab_view body);
/* Sends an ERROR (or REJECT) made from err. */
int ab_send_error(void *socket, const struct ab_route *route, enum ab_command command, uint64_t rid,
                  struct ab_id job, const struct ab_error *err);

/* Messages for one peer, gathered so that they leave in few packets: flush it once per wake-up. Zero-initialised. */
struct ab_outbox {
    struct ab_buf messages; /* one after the other */
    size_t sent;            /* bytes of them that have left */
    int rc;                 /* of the last attempt to send, as ab_send; all waits behind what could not leave */
};
/* Adds a message; it leaves with the next flush, or at once if there is enough for a packet. */
void ab_outbox_add(struct ab_outbox *outbox, void *socket, const struct ab_route *route,
                   enum ab_command command, const void *message, struct ab_view body);
/* Sends what is gathered; what could not leave stays, in order. Codes as ab_send. */
int ab_outbox_flush(struct ab_outbox *outbox, void *socket, const struct ab_route *route);
size_t ab_outbox_bytes(const struct ab_outbox *outbox); /* that have not left */
void ab_outbox_clear(struct ab_outbox *outbox);         /* drops them */
void ab_outbox_finish(struct ab_outbox *outbox);

#endif
