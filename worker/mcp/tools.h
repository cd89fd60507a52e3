/* What a server's tools/list says, read with care: it is text of others that goes to models.
 *
 *   caps        on pages, tools, bytes of one tool and of all; a list over one of them is refused as a whole
 *   one tool    that cannot be used (no name, no schema, headers that break the rules) is left out, and told
 *   order       by name, whatever order the server has, so that models' prompts stay the same
 *   digest      of all that a model or we go by; a pin holds it (pins.h)
 *
 * Pure.
 */
#ifndef AB_WORKER_MCP_TOOLS_H
#define AB_WORKER_MCP_TOOLS_H

#include <jansson.h>
#include <stdbool.h>

#include "common/bytes.h"
#include "common/error.h"

enum {
    MCP_PAGES_MAX = 64,                  /* of one list */
    MCP_TOOLS_MAX = 512,                 /* of one server */
    MCP_TOOL_BYTES_MAX = 128 << 10,      /* of one definition */
    MCP_TOOLS_BYTES_MAX = 4 << 20,       /* of all of a server's */
    MCP_TOOL_NAME_MAX = 128,             /* characters */
    MCP_DESCRIPTION_BYTES_MAX = 8 << 10, /* told to a model; the rest is cut */
    MCP_DIGEST_SIZE = 65,                /* BLAKE2b-256 in hex */
    MCP_HEADERS_MAX = 16,                /* arguments of one tool that go into headers too */
};

/* An argument that a server wants in a header, with revision 2026-07-28 over HTTP (x-mcp-header). */
struct mcp_header {
    char *name;   /* "Mcp-Param-Region"; owned */
    json_t *path; /* array of keys, from the arguments' root; owned */
};

struct mcp_tool {
    char *name;             /* the server's; owned */
    char *description;      /* owned; "" if there is none */
    json_t *input, *output; /* schemas; owned; output NULL if there is none */
    char digest[MCP_DIGEST_SIZE];
    bool idempotent; /* the server says that a call may be made again */
    struct mcp_header headers[MCP_HEADERS_MAX];
    size_t headers_n;
};

/* One list; does not change once it is whole. */
struct mcp_tools {
    unsigned uses;
    struct mcp_tool *items; /* owned; sorted once mcp_tools_end was called */
    size_t n;
    size_t bytes, pages;
    struct ab_buf left_out; /* "NAME: WHY" for each, one per line */
};

/* Takes one page. *cursor is the next one's, borrowed from the page; NULL: that was the last. */
int mcp_tools_add(struct mcp_tools *tools, const json_t *page, const char **cursor, struct ab_error *err);
/* Sorts, and drops what is there twice. */
void mcp_tools_end(struct mcp_tools *tools);
struct mcp_tools *mcp_tools_create(void);
struct mcp_tools *mcp_tools_ref(struct mcp_tools *tools);
void mcp_tools_unref(struct mcp_tools *tools);                                          /* NULL is allowed */
bool mcp_tools_same(const struct mcp_tools *a, const struct mcp_tools *b);              /* the same digests */
const struct mcp_tool *mcp_tools_find(const struct mcp_tools *tools, const char *name); /* the server's name */

/* A header's value for a tool's name or an argument, encoded if it must be; the caller frees it. NULL: it has none (null, or
 * no text, integer or boolean). */
char *mcp_header_value(const json_t *value);

#endif
