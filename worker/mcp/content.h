/* The result of tools/call, as a model is told it: text, and parts that are no text. Pure. */
#ifndef AB_WORKER_MCP_CONTENT_H
#define AB_WORKER_MCP_CONTENT_H

#include "worker/mcp/tools.h"

enum {
    MCP_PARTS_MAX = 16,               /* of one result that are no text */
    MCP_PARTS_BYTES_MAX = 1000 << 10, /* of them together, in base64 */
    MCP_INPUT_REQUESTS_SHOWN_MAX = 3, /* of what a server asks for, in the error */
};

/* Appends the text. *parts: a new array of content parts in OpenAI's shape, {type: image_url, …}; NULL if there are none. What is
 * neither text nor image is named in the text. *failed: the tool says that it failed, and in the text why. An error: the
 * result is none. */
int mcp_content_read(const struct mcp_tool *tool, const json_t *result, struct ab_buf *text, json_t **parts,
                     bool *failed, struct ab_error *err);

#endif
