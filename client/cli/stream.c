/* See stream.h. */
#include "client/cli/stream.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"

static void open_turn(struct stream *stream, const char *step, uint64_t attempt)
{
    stream_close(stream);
    *stream = (struct stream){.step = ab_strdup(step), .attempt = attempt};
}

enum stream_act stream_piece(struct stream *stream, const char *step, uint64_t attempt, uint64_t offset,
                             size_t bytes, size_t *skip)
{
    enum stream_act act = STREAM_GO;
    bool same = stream->step && !strcmp(stream->step, step);
    if (same && attempt < stream->attempt)
        return STREAM_SKIP;
    if (!same || attempt != stream->attempt) {
        if (offset || (!same && stream->step)) /* its beginning was not seen, or another one is writing */
            return STREAM_SKIP;
        act = same ? STREAM_AGAIN : STREAM_OPEN;
        open_turn(stream, step, attempt);
    }
    if (offset > stream->shown || (offset + bytes <= stream->shown && act == STREAM_GO))
        return STREAM_SKIP;
    *skip = (size_t)(stream->shown - offset);
    stream->shown = offset + bytes;
    return act;
}

bool stream_whole(struct stream *stream, const char *step, size_t *shown)
{
    *shown = 0;
    if (!stream->step || !step || strcmp(stream->step, step))
        return false;
    *shown = (size_t)stream->shown;
    return stream_close(stream);
}

bool stream_close(struct stream *stream)
{
    bool was_open = stream->step;
    free(stream->step);
    stream->step = NULL;
    return was_open;
}
