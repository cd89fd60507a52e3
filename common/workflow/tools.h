/* The tools that agents may call, by name. A workflow that names another one is refused before it is kept; the worker has a
 * row for each (worker/tool). */
#ifndef AB_COMMON_WORKFLOW_TOOLS_H
#define AB_COMMON_WORKFLOW_TOOLS_H

/* identifier, what it is */
#define AB_TOOLS(X)                                                                                            \
    X(calculator, "an arithmetic expression")                                                                  \
    X(now, "the current date and time, UTC")                                                                   \
    X(http_get, "the text at a URL, of hosts that the worker's http_get_hosts names")

enum { AB_TOOLS_MAX = 64 /* of one agent */ };

#endif
