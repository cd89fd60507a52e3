/* An answer of text/event-stream: events are put in, MHD takes them out as fast as the client reads. What is not taken
 * yet is bounded: ask stream_has_room() and stop putting in without it; `on_room` says when there is room again.
 * Comments are sent in silence, so that a client that is gone is noticed and proxies keep the connection.
 *
 * A stream belongs to its request and ends with it: set call->forget to hear of that.
 */
#ifndef AUTOBOTS_GATEWAY_STREAM_H
#define AUTOBOTS_GATEWAY_STREAM_H

#include "client/gateway/gateway.h"

enum {
    STREAM_BYTES_MAX = 256 << 10, /* not yet taken: above that there is no room */
    STREAM_COMMENT_MS = 15000,
};

/* Makes the answer; NULL if the request has one already or is gone. */
struct stream *stream_open(struct call *call, void (*on_room)(void *owner), void *owner);
/* id and name may be NULL. `data` is one line (JSON without newlines). */
void stream_event(struct stream *stream, const char *id, const char *name, struct ab_view data);
bool stream_has_room(const struct stream *stream);
/* After what was put in the connection ends. */
void stream_end(struct stream *stream);

/* The id of a stream's last event as the client has it (header Last-Event-ID): "seq" or "seq.offset". False if the header
 * is there and is none; *seq is left alone if it is absent. */
bool stream_last_id(const struct call *call, uint64_t *seq);

void stream_destroy(struct stream *stream); /* http.c, at the request's end; NULL is allowed */
/* How far clients are behind: the most bytes of one, and the longest time. */
struct stream_lag {
    size_t bytes_max;
    int64_t ms_max;
};
struct stream_lag streams_lag(const struct gateway *gateway, int64_t now);
void streams_comment(struct gateway *gateway, int64_t now);
void streams_end(struct gateway *gateway); /* all of them, after what they hold */

#endif
