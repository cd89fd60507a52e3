/* Inside of worker/mcp. */
#ifndef AB_WORKER_MCP_INTERNAL_H
#define AB_WORKER_MCP_INTERNAL_H

#include "worker/mcp/tools.h"

/* headers.c: what the tool wants in headers, from its input schema. NULL, or why it breaks the rules. */
const char *headers_read(struct mcp_tool *tool);

#endif
