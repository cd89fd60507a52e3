/* See lines.h. */
#include "client/cli/lines.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"

enum { READ_BYTES = 4096 };

void lines_init(struct lines *lines, int fd)
{
    *lines = (struct lines){.fd = fd, .terminal = isatty(fd)};
}

void lines_finish(struct lines *lines)
{
    ab_buf_finish(&lines->buf);
}

/* Takes what stands before the newline, or all that is left at the end of the input. */
static bool take(struct lines *lines, char **line)
{
    const char *end = lines->buf.n ? memchr(lines->buf.p, '\n', lines->buf.n) : NULL;
    if (!end && !(lines->ended && lines->buf.n))
        return false;
    size_t n = end ? (size_t)(end - lines->buf.p) : lines->buf.n, used = end ? n + 1 : n;
    *line = ab_strndup(lines->buf.p, n);
    lines->buf.n -= used;
    memmove(lines->buf.p, lines->buf.p + used, lines->buf.n);
    return true;
}

static void read_more(struct lines *lines)
{
    ab_buf_reserve(&lines->buf, READ_BYTES);
    ssize_t n = read(lines->fd, lines->buf.p + lines->buf.n, READ_BYTES);
    if (n > 0)
        lines->buf.n += (size_t)n;
    else if (!n || (errno != EINTR && errno != EAGAIN))
        lines->ended = true;
}

enum line lines_next(struct lines *lines, struct autobots *bots, const char *prompt, char **line)
{
    bool dropping = false;
    if (lines->terminal) {
        fflush(stdout);
        fputs(prompt, stderr);
    }
    while (!take(lines, line)) {
        if (lines->ended)
            return LINE_END;
        if (lines->buf.n > LINES_BYTES_MAX) {
            lines->buf.n = 0;
            dropping = true;
        }
        struct pollfd items[] = {{.fd = lines->fd, .events = POLLIN},
                                 {.fd = view_signal_fd(), .events = POLLIN},
                                 {.fd = autobots_fd(bots), .events = POLLIN}};
        poll(items, 3, autobots_deadline_ms(bots));
        autobots_run(bots);
        if (view_interrupted()) {
            lines->buf.n = 0;
            return LINE_INTERRUPTED;
        }
        if (items[0].revents)
            read_more(lines);
    }
    if (!dropping)
        return LINE_GOT;
    free(*line);
    *line = NULL;
    return LINE_TOO_LONG;
}
