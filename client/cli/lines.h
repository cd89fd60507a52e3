/* Lines of standard input while a client goes on living: the wait for a line also serves the client's sockets and
 * notices Ctrl-C. A terminal edits its lines itself.
 */
#ifndef AUTOBOTS_CLI_LINES_H
#define AUTOBOTS_CLI_LINES_H

#include <stdbool.h>

#include "client/autobots.h"
#include "common/bytes.h"

enum { LINES_BYTES_MAX = 1 << 20 };

struct lines {
    int fd;
    bool terminal;
    bool ended;        /* nothing more comes */
    struct ab_buf buf; /* read, not yet taken */
};

enum line {
    LINE_GOT,
    LINE_END,         /* Ctrl-D, or the end of the input */
    LINE_INTERRUPTED, /* Ctrl-C, or SIGTERM: see view_terminated(); what was typed of the line is forgotten */
    LINE_TOO_LONG     /* over LINES_BYTES_MAX; it is dropped */
};

void lines_init(struct lines *lines, int fd);
void lines_finish(struct lines *lines);
/* Shows the prompt on standard error if a person is there, then waits. *line (LINE_GOT) has no newline; the caller frees
 * it. */
enum line lines_next(struct lines *lines, struct autobots *bots, const char *prompt, char **line);

#endif
