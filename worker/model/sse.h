/* Server-sent events, incrementally and purely: bytes in, the data of each event out.
 *
 * WHATWG HTML §9.2: lines end in CR, LF or CRLF; a line that starts with ':' is a comment; `data` lines of one event
 * are joined with LF; an event without data is not dispatched. Event names, ids and retry times are ignored: no
 * model API needs them. Bytes may be split anywhere. One deviation: an event that the end of the stream cut off
 * before its blank line is dispatched by sse_end(), because some servers forget the last line end; its reader finds
 * out by itself whether it is whole.
 */
#ifndef AB_WORKER_MODEL_SSE_H
#define AB_WORKER_MODEL_SSE_H

#include <stdbool.h>

#include "common/bytes.h"
#include "common/error.h"

enum { SSE_EVENT_BYTES_MAX = 16 * 1024 * 1024 }; /* one line, and the data of one event */

/* Zero-initialised is a fresh parser. */
struct sse {
    struct ab_buf line; /* of an unfinished line */
    struct ab_buf data; /* of an unfinished event, each data line followed by LF */
    size_t bytes_max;   /* cap for both; 0 = SSE_EVENT_BYTES_MAX */
    bool after_cr;      /* an LF now belongs to the line end before */
    bool past_first;    /* the first line, which may start with a byte order mark, has been seen */
};

/* Gets the data of one event, never empty, borrowed. A negative result stops the parser and is passed on. */
typedef int sse_event_fn(void *user, struct ab_view data, struct ab_error *err);

int sse_feed(struct sse *sse, struct ab_view bytes, sse_event_fn *on_event, void *user, struct ab_error *err);
/* The stream has ended. */
int sse_end(struct sse *sse, sse_event_fn *on_event, void *user, struct ab_error *err);
void sse_finish(struct sse *sse);

#endif
