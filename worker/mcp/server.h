/* One entry of `mcp_servers`, read; and what it becomes when it is started: its environment, its headers. */
#ifndef AB_WORKER_MCP_SERVER_H
#define AB_WORKER_MCP_SERVER_H

#include "worker/mcp/core.h"

enum mcp_per { MCP_PER_JOB, MCP_PER_USER, MCP_PER_WORKER };
enum mcp_pin { MCP_PIN_FIRST, MCP_PIN_STRICT, MCP_PIN_REPORT };

enum { MCP_SECRET_BYTES_MIN = 6 /* a shorter value is not looked for in texts: it would hit innocent ones */ };

struct mcp_server {
    const char *name, *url, *cwd; /* borrowed from the configuration; url NULL: it is a process */
    const json_t *config;
    enum mcp_per per;
    enum mcp_pin pin;
    struct mcp_times times;
    enum mcp_era era; /* as it was found out */
};

/* A start's own texts; those that come from the environment are secrets. */
struct mcp_launch {
    char **command, **env, **headers; /* NULL-terminated; owned */
    char **secrets;                   /* the values; NULL-terminated; owned */
    size_t secrets_n;
};

void mcp_server_read(struct mcp_server *server, const char *name, const json_t *config);
/* AB_EUSAGE: a variable that it names is not set. */
int mcp_launch_make(const struct mcp_server *server, struct mcp_launch *launch, struct ab_error *err);
void mcp_launch_finish(struct mcp_launch *launch); /* wipes */
/* Every secret becomes ***, and so does the beginning of one at the text's end: most texts were cut before. */
void mcp_launch_scrub(const struct mcp_launch *launch, struct ab_buf *text);

#endif
