/* autobots-worker --mcp-keeper PARENT COMMAND ARGUMENT…: stands between the worker and an MCP server on stdio, so that nothing of
 * the server is left behind, whatever it started and however the worker ends.
 *
 * The keeper is told of its parent's death by the kernel, and is whom orphans below it fall to. It holds none of the server's
 * pipes. SIGTERM it hands on to the server's process group; at SIGHUP, at the parent's death and when the server has ended, it
 * kills all that is left, waits for it, and ends with the server's exit code (128 + n: signal n; 127: it could not be
 * started).
 */
#ifndef AB_WORKER_MCP_KEEPER_H
#define AB_WORKER_MCP_KEEPER_H

#define KEEPER_FLAG "--mcp-keeper"

enum { KEEPER_CANNOT_START = 127 };

int keeper_main(int argc, char **argv);

#endif
