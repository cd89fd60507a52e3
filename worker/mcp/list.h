/* autobots-worker --mcp-list: what the configured MCP servers have, asked now, for `autobots mcp` and `autobots doctor`.
 *
 * A line of JSON for each server: {server, ok, error, name, revision, tools: [{name, called, description, parameters,
 * idempotent, digest, ok, why}], left_out}; error only if it is not ok, the others only if it is. `ok` of a tool: agents may
 * have it.
 */
#ifndef AB_WORKER_MCP_LIST_H
#define AB_WORKER_MCP_LIST_H

#include <stdio.h>

#include "common/config.h"

/* server: "": all. Returns the exit code: 0; 1: one of them does not answer; 100: there is none of that name. */
int mcp_list(const struct ab_config *config, const char *server, FILE *out);

#endif
