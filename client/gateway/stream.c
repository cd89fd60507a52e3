/* See stream.h. */
#include "client/gateway/stream.h"

#include <stdlib.h>

#include "common/clock.h"

struct stream {
    struct stream *prev, *next;
    struct call *call;
    struct ab_buf out;
    size_t taken;
    bool ended, full;
    int64_t said_ms, behind_ms; /* behind_ms: since when something waits to be read */
    void (*on_room)(void *owner);
    void *owner;
};

static size_t waiting(const struct stream *stream)
{
    return stream->out.n - stream->taken;
}

static void take(struct stream *stream, char *to, size_t n)
{
    memcpy(to, stream->out.p + stream->taken, n);
    stream->taken += n;
    if (waiting(stream))
        return;
    stream->taken = 0;
    ab_buf_finish(&stream->out); /* thousands of idle streams keep nothing */
}

static ssize_t on_read(void *owner, uint64_t position, char *to, size_t most)
{
    struct call *call = owner;
    struct stream *stream = call->stream;
    (void)position;
    if (call->abandoned)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = waiting(stream) < most ? waiting(stream) : most;
    if (n) {
        take(stream, to, n);
        if (stream->full && stream_has_room(stream)) {
            stream->full = false;
            stream->on_room(stream->owner);
        }
        return (ssize_t)n;
    }
    if (stream->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    call->suspended = true;
    MHD_suspend_connection(call->connection);
    return 0;
}

struct stream *stream_open(struct call *call, void (*on_room)(void *owner), void *owner)
{
    if (!call->connection || call->status)
        return NULL;
    struct gateway *gateway = call->gateway;
    struct stream *stream = ab_calloc(1, sizeof *stream);
    *stream = (struct stream){
        .call = call, .on_room = on_room, .owner = owner, .said_ms = ab_mono_ms(), .next = gateway->streams};
    if (stream->next)
        stream->next->prev = stream;
    gateway->streams = stream;
    gateway->streams_n++;
    gateway->counters.streams_opened++;
    call->stream = stream;
    call_answer_stream(call, "text/event-stream", on_read, call);
    return stream;
}

void stream_destroy(struct stream *stream)
{
    if (!stream)
        return;
    struct gateway *gateway = stream->call->gateway;
    *(stream->prev ? &stream->prev->next : &gateway->streams) = stream->next;
    if (stream->next)
        stream->next->prev = stream->prev;
    gateway->streams_n--;
    ab_buf_finish(&stream->out);
    free(stream);
}

bool stream_has_room(const struct stream *stream)
{
    return waiting(stream) < STREAM_BYTES_MAX;
}

static void said(struct stream *stream)
{
    stream->said_ms = ab_mono_ms();
    stream->full |= !stream_has_room(stream);
    call_wake(stream->call);
}

void stream_event(struct stream *stream, const char *id, const char *name, struct ab_view data)
{
    if (!waiting(stream))
        stream->behind_ms = ab_mono_ms();
    if (id)
        ab_buf_format(&stream->out, "id: %s\n", id);
    if (name)
        ab_buf_format(&stream->out, "event: %s\n", name);
    ab_buf_text(&stream->out, "data: ");
    ab_buf_add(&stream->out, data.p, data.n);
    ab_buf_text(&stream->out, "\n\n");
    said(stream);
}

void stream_end(struct stream *stream)
{
    stream->ended = true;
    call_wake(stream->call);
}

bool stream_last_id(const struct call *call, uint64_t *seq)
{
    struct ab_view id = call_header(call, "Last-Event-ID");
    if (!id.n)
        return true;
    size_t digits = strspn(id.p, "0123456789");
    const char *rest = id.p + digits;
    bool ok = digits && digits < 19 &&
              (!*rest || (*rest == '.' && strspn(rest + 1, "0123456789") == strlen(rest + 1)));
    if (ok)
        *seq = strtoull(id.p, NULL, 10);
    return ok;
}

void streams_comment(struct gateway *gateway, int64_t now)
{
    for (struct stream *stream = gateway->streams; stream; stream = stream->next) {
        if (now - stream->said_ms < STREAM_COMMENT_MS || waiting(stream) || stream->ended)
            continue;
        ab_buf_text(&stream->out, ":\n\n");
        said(stream);
    }
}

void streams_end(struct gateway *gateway)
{
    for (struct stream *stream = gateway->streams; stream; stream = stream->next)
        stream_end(stream);
}

struct stream_lag streams_lag(const struct gateway *gateway, int64_t now)
{
    struct stream_lag lag = {0};
    for (const struct stream *stream = gateway->streams; stream; stream = stream->next) {
        if (!waiting(stream))
            continue;
        lag.bytes_max = waiting(stream) > lag.bytes_max ? waiting(stream) : lag.bytes_max;
        lag.ms_max = now - stream->behind_ms > lag.ms_max ? now - stream->behind_ms : lag.ms_max;
    }
    return lag;
}
