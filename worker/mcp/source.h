/* Entries {mcp: SERVER, allow, approval} of agents' tools: the source of worker/tool for them. */
#ifndef AB_WORKER_MCP_SOURCE_H
#define AB_WORKER_MCP_SOURCE_H

#include "worker/mcp/mcp.h"
#include "worker/tool/tool.h"

enum { MCP_OFFERS_MAX = 100 /* lists of one agent in one run; later changes of its server are not heard */ };

extern const struct tool_source mcp_tool_source; /* self: struct mcp */

#endif
