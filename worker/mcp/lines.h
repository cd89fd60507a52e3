/* Newline-delimited messages, incrementally and purely: bytes in, whole lines out, split anywhere. A line over the cap is not kept:
 * it is read past, and told by its id, so that one call fails and the server goes on.
 */
#ifndef AB_WORKER_MCP_LINES_H
#define AB_WORKER_MCP_LINES_H

#include "worker/mcp/rpc.h"

/* Zero-initialised is fresh. */
struct lines {
    struct ab_buf line; /* of an unfinished one */
    size_t bytes_max;
    bool past_cap;
    struct rpc_scan scan; /* of the line that is read past */
    uint64_t bytes;       /* of it, so far */
};

struct lines_ops {
    void (*line)(void *user, struct ab_view line); /* not empty; without its end; borrowed */
    void (*too_long)(void *user, int64_t id, uint64_t bytes);
};

void lines_feed(struct lines *lines, struct ab_view bytes, const struct lines_ops *ops, void *user);
void lines_finish(struct lines *lines);

#endif
