/* The tools that agents may call: the entries of a `tools` list, and the names by which models know them.
 *
 *   calculator                                a built-in, or {name, approval}
 *   {mcp: SERVER, allow: [TOOL…]}             an MCP server that the worker's configuration names; without allow: all its tools
 *   {skill: NAME} or {skill: NAME@VERSION}    a stored skill of the user's
 *   {agent: NAME, name, description}          another agent of the workflow; or {agent: {…}}, one that is only this tool
 *   {workflow: NAME, name, description}       a stored workflow, or NAME@VERSION; or {workflow: {…}}, one that stands there
 *
 * each with `approval`. What a model calls a tool:
 *
 *   a built-in, a skill       its name
 *   an MCP server's           SERVER__TOOL, see ab_tool_mcp_name()
 *   an agent, a workflow      `name`; unless given the agent's or the workflow's, with _ for what no such name has
 *
 * A workflow that names a built-in which is none is refused before it is kept; what else an entry names is looked up by the
 * worker, which has a source for each kind (worker/tool). Which entry a name belongs to can be told from the workflow alone:
 * the engine needs no list of what a server has.
 */
#ifndef AB_COMMON_WORKFLOW_TOOLS_H
#define AB_COMMON_WORKFLOW_TOOLS_H

#include <jansson.h>
#include <stdbool.h>

#include "common/bytes.h"

/* identifier, what it is */
#define AB_TOOLS(X)                                                                                            \
    X(calculator, "an arithmetic expression")                                                                  \
    X(now, "the current date and time, UTC")                                                                   \
    X(http_get, "the text at a URL, of hosts that the worker's http_get_hosts names")                          \
    X(search_session, "full text of what was said in the job's session before")

/* key of the entry, what it names. The first of them that an entry has says of which kind it is; `name` is the last, as others
 * have one too. */
#define AB_TOOL_KINDS(X)                                                                                       \
    X(mcp, "an MCP server of the worker's configuration")                                                      \
    X(skill, "a stored skill, NAME or NAME@VERSION")                                                           \
    X(agent, "an agent")                                                                                       \
    X(workflow, "a workflow")                                                                                  \
    X(name, "a built-in tool")

enum {
    AB_TOOLS_MAX = 64,        /* entries of one agent */
    AB_TOOLS_ALLOW_MAX = 128, /* of one entry */
    AB_TOOL_NAME_MAX = 64,    /* as models see it: A-Z a-z 0-9 _ - */
    AB_TOOL_SERVER_MAX = 32,  /* of an MCP server's name */
    AB_TOOL_OTHERS_MAX = 128  /* of a tool's name as its server has it */
};

/* A name that models may be given. */
bool ab_tool_name_ok(struct ab_view name);
/* The name of an MCP server: A-Z a-z 0-9 - and single _ within. */
bool ab_tool_server_ok(struct ab_view name);

/* SERVER__TOOL if that is such a name; else with _ for each other character, cut, and with _ and 8 digits of a hash of TOOL at
 * its end, so that different tools get different names, and a tool always the same one. */
void ab_tool_mcp_name(const char *server, const char *tool, char name[AB_TOOL_NAME_MAX + 1]);

/* Of an entry as it stands in the canonical workflow. */
const char *ab_tool_kind(const json_t *entry); /* its key among AB_TOOL_KINDS; static */
/* Is this a name, as models see it, of what the entry names? Of an MCP server's entry without `allow`, whatever begins with
 * SERVER__ is: only the server knows. */
bool ab_tool_is_of(const json_t *entry, const char *name);
/* What a person is told about which names these are: "calculator", "files__…". Appended. */
void ab_tool_show(const json_t *entry, struct ab_buf *out);

#endif
