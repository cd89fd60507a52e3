/* lines.h. A line that arrives in one piece is never copied. */
#include "worker/mcp/lines.h"

static void end_line(struct lines *lines, struct ab_view line, const struct lines_ops *ops, void *user)
{
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (line.n)
        ops->line(user, line);
    ab_buf_clear(&lines->line);
}

static void begin_skip(struct lines *lines)
{
    lines->past_cap = true;
    lines->scan = (struct rpc_scan){0};
    rpc_scan(&lines->scan, ab_buf_view(&lines->line));
    lines->bytes = lines->line.n;
    ab_buf_finish(&lines->line);
}

/* The part of a line up to its end, or to the end of what is there. */
static void take(struct lines *lines, struct ab_view part, bool ends, const struct lines_ops *ops, void *user)
{
    if (!lines->past_cap && part.n > lines->bytes_max - lines->line.n)
        begin_skip(lines);
    if (lines->past_cap) {
        rpc_scan(&lines->scan, part);
        lines->bytes += part.n;
        if (!ends)
            return;
        lines->past_cap = false;
        ops->too_long(user, lines->scan.id, lines->bytes);
    } else if (ends && !lines->line.n) {
        end_line(lines, part, ops, user);
    } else {
        ab_buf_add(&lines->line, part.p, part.n);
        if (ends)
            end_line(lines, ab_buf_view(&lines->line), ops, user);
    }
}

void lines_feed(struct lines *lines, struct ab_view bytes, const struct lines_ops *ops, void *user)
{
    while (bytes.n) {
        const char *end = memchr(bytes.p, '\n', bytes.n);
        size_t n = end ? (size_t)(end - bytes.p) : bytes.n;
        take(lines, ab_view(bytes.p, n), end != NULL, ops, user);
        n += end != NULL;
        bytes = ab_view(bytes.p + n, bytes.n - n);
    }
}

void lines_finish(struct lines *lines)
{
    ab_buf_finish(&lines->line);
    *lines = (struct lines){0};
}
