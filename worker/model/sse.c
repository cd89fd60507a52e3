/* The parser of sse.h. A line that arrives in one piece is never copied; only unfinished ones are buffered. */
#include "worker/model/sse.h"

static int too_large(const struct sse *sse, struct ab_error *err)
{
    size_t bytes_max = sse->bytes_max ? sse->bytes_max : SSE_EVENT_BYTES_MAX;
    return ab_fail(err, AB_ETOOLARGE, "an event of the model's stream is larger than %zu bytes", bytes_max);
}

static bool fits(const struct sse *sse, size_t have, size_t more)
{
    size_t bytes_max = sse->bytes_max ? sse->bytes_max : SSE_EVENT_BYTES_MAX;
    return have <= bytes_max && more <= bytes_max - have;
}

static int dispatch(struct sse *sse, sse_event_fn *on_event, void *user, struct ab_error *err)
{
    int rc = 0;
    if (sse->data.n > 1)
        rc = on_event(user, ab_view(sse->data.p, sse->data.n - 1), err);
    ab_buf_clear(&sse->data);
    return rc;
}

static int add_data(struct sse *sse, struct ab_view value, struct ab_error *err)
{
    if (!value.n && !sse->data.n)
        return 0; /* `data:` alone is an empty event */
    if (!fits(sse, sse->data.n, value.n + 1))
        return too_large(sse, err);
    ab_buf_add(&sse->data, value.p, value.n);
    ab_buf_char(&sse->data, '\n');
    return 0;
}

/* One complete line without its end. */
static int take_line(struct sse *sse, struct ab_view line, sse_event_fn *on_event, void *user,
                     struct ab_error *err)
{
    if (!sse->past_first && line.n >= 3 && !memcmp(line.p, "\xEF\xBB\xBF", 3))
        line = ab_view(line.p + 3, line.n - 3);
    sse->past_first = true;
    if (!line.n)
        return dispatch(sse, on_event, user, err);
    if (line.n < 4 || memcmp(line.p, "data", 4))
        return 0;
    struct ab_view rest = ab_view(line.p + 4, line.n - 4);
    if (!rest.n)
        return add_data(sse, rest, err);
    if (rest.p[0] != ':')
        return 0;
    rest = ab_view(rest.p + 1, rest.n - 1);
    if (rest.n && rest.p[0] == ' ')
        rest = ab_view(rest.p + 1, rest.n - 1);
    return add_data(sse, rest, err);
}

/* Ends the line of which `tail` is the last part. */
static int end_line(struct sse *sse, struct ab_view tail, sse_event_fn *on_event, void *user,
                    struct ab_error *err)
{
    if (!sse->line.n)
        return take_line(sse, tail, on_event, user, err);
    ab_buf_add(&sse->line, tail.p, tail.n);
    int rc = take_line(sse, ab_buf_view(&sse->line), on_event, user, err);
    ab_buf_clear(&sse->line);
    return rc;
}

static size_t line_bytes(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] != '\n' && p[i] != '\r')
        i++;
    return i;
}

int sse_feed(struct sse *sse, struct ab_view bytes, sse_event_fn *on_event, void *user, struct ab_error *err)
{
    const char *p = bytes.p, *end = bytes.p + bytes.n;
    while (p < end) {
        if (sse->after_cr && *p == '\n')
            p++;
        sse->after_cr = false;
        size_t n = line_bytes(p, (size_t)(end - p));
        if (!fits(sse, sse->line.n, n))
            return too_large(sse, err);
        if (p + n == end) {
            ab_buf_add(&sse->line, p, n);
            return 0;
        }
        sse->after_cr = p[n] == '\r';
        int rc = end_line(sse, ab_view(p, n), on_event, user, err);
        if (rc < 0)
            return rc;
        p += n + 1;
    }
    return 0;
}

int sse_end(struct sse *sse, sse_event_fn *on_event, void *user, struct ab_error *err)
{
    int rc = 0;
    if (sse->line.n)
        rc = end_line(sse, ab_view("", 0), on_event, user, err);
    return rc < 0 ? rc : dispatch(sse, on_event, user, err);
}

void sse_finish(struct sse *sse)
{
    ab_buf_finish(&sse->line);
    ab_buf_finish(&sse->data);
}
