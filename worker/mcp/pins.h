/* Approved tools of MCP servers: a file of digests (tools.h), written by `autobots mcp pin`, read again when it has changed.
 *
 *   {"SERVER": {"TOOL": "DIGEST", …}, …}
 *
 * Beside it, in memory: which digest each tool had when this process first saw it.
 */
#ifndef AB_WORKER_MCP_PINS_H
#define AB_WORKER_MCP_PINS_H

#include "worker/mcp/server.h"

enum { MCP_PINS_FILE_BYTES_MAX = 8 << 20, MCP_SEEN_MAX = 4096 /* tools of one server that are remembered */ };

struct mcp_pins;
struct mcp_pins *mcp_pins_create(const char *path);
void mcp_pins_destroy(struct mcp_pins *pins); /* NULL is allowed */
/* Looks whether the file is another. AB_EUSAGE: it cannot be read; what it said before holds. */
int mcp_pins_refresh(struct mcp_pins *pins, struct ab_error *err);
/* False: it may not be offered; *why: static, NULL if there is nothing to be told. */
bool mcp_pins_allow(struct mcp_pins *pins, const struct mcp_server *server, const struct mcp_tool *tool,
                    const char **why);

#endif
