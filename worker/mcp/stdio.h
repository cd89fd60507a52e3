/* An MCP server as a process: newline-delimited messages over its standard input and output. Owns the process (under its keeper,
 * keeper.h) and the pipes; standard error is drained into the log.
 *
 * Nothing blocks. What the server does not read is kept up to a cap, then it is given up. Callbacks come from stdio_ready()
 * and stdio_tick() only.
 */
#ifndef AB_WORKER_MCP_STDIO_H
#define AB_WORKER_MCP_STDIO_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/error.h"
#include "worker/mcp/watch.h"

enum {
    MCP_MESSAGE_BYTES_MAX = 8 << 20,   /* of one message of a server */
    STDIO_UNREAD_BYTES_MAX = 16 << 20, /* that it has not read yet */
    STDIO_EXIT_MS = 2000,              /* to end by itself … */
    STDIO_TERM_MS = 1000,              /* … and at SIGTERM, before it is killed */
    STDIO_LOG_LINES_MAX = 50,          /* of its standard error per … */
    STDIO_LOG_WINDOW_MS = 10000,
    STDIO_LOG_LINE_BYTES_MAX = 500,
};

struct stdio_spec {
    char *const *command; /* NULL-terminated */
    char *const *env;     /* all of its environment, "NAME=value" */
    const char *cwd;      /* NULL: the worker's */
};

struct stdio_ops {
    void (*line)(void *user, struct ab_view line);
    void (*too_long)(void *user, int64_t id, uint64_t bytes);
    void (*log)(void *user, const char *line); /* of standard error */
    /* It is gone, or is being ended because it cannot be gone on with. why: for people. code: its exit code, -1: it has none yet */
    void (*ended)(void *user, int code, const char *why);
};

struct stdio;
struct stdio *stdio_start(int epoll, const struct stdio_spec *spec, const struct stdio_ops *ops, void *user,
                          int64_t now_ms, struct ab_error *err);
void stdio_send(struct stdio *stdio, struct ab_view text);
/* No callback follows. It goes on to end by itself, then at SIGTERM, then it is killed: stdio_tick() says when it is gone. */
void stdio_close(struct stdio *stdio, int64_t now_ms);
/* Kills it, and waits for it; at the worker's end. */
void stdio_destroy(struct stdio *stdio);
int64_t stdio_deadline_ms(const struct stdio *stdio);
/* True: it was closed and its processes are gone; it is freed. */
bool stdio_tick(struct stdio *stdio, int64_t now_ms);

#endif
