/* MCP servers that the worker's configuration names: started when they are wanted, one for each job, user or worker, kept while
 * somebody holds them, restarted with back-off, ended when nobody does.
 *
 *   hold     somebody's interest in a server: it is started if it is not there, its tools are known when the hold is READY
 *   call     of a tool, through a hold
 *
 * One descriptor and one deadline for the loop. One thread. Nothing here knows of tools' sources, jobs or journals.
 */
#ifndef AB_WORKER_MCP_MCP_H
#define AB_WORKER_MCP_MCP_H

#include "common/config.h"
#include "worker/mcp/core.h"

enum {
    MCP_STARTS_MAX = 3,         /* in a row that come to nothing, before those who wait are told */
    MCP_BACKOFF_MS = 500,       /* before the second start; doubled each time … */
    MCP_BACKOFF_MS_MAX = 30000, /* … up to this */
    MCP_IDLE_MS = 60000,        /* that a server of a user or worker is kept without a hold */
};

struct mcp;

struct mcp_options {
    const json_t *servers; /* `mcp_servers` of the configuration, checked there; borrowed; NULL: none */
    const char *pins;      /* file of approved tools (pins.h); borrowed */
    size_t processes_max;
};

/* From the worker's configuration. Returns the pins' path, which the caller frees when the options are not used any more. */
char *mcp_options_of(const struct ab_config *config, struct mcp_options *options);

int mcp_create(const struct mcp_options *options, struct mcp **out, struct ab_error *err);
void mcp_destroy(struct mcp *mcp); /* ends all servers; holds must be gone; NULL is allowed */
int mcp_fd(const struct mcp *mcp);
int64_t mcp_deadline_ms(const struct mcp *mcp);
void mcp_run(struct mcp *mcp, int64_t now_ms);

bool mcp_knows(const struct mcp *mcp, const char *server);
/* "a, b", for people; "none" */
char *mcp_names(const struct mcp *mcp);

enum mcp_hold_state { MCP_HOLD_STARTING, MCP_HOLD_READY, MCP_HOLD_FAILED };
struct mcp_hold;
/* changed: never from inside: the state, or the tools, may be others. The server must be known. */
struct mcp_hold *mcp_hold(struct mcp *mcp, const char *server, const char *job, const char *user,
                          void (*changed)(void *owner), void *owner);
void mcp_release(struct mcp_hold *hold); /* its calls must be over or cancelled; NULL is allowed */
/* FAILED: err says why; retryable: a later attempt may fare better. */
enum mcp_hold_state mcp_hold_state(const struct mcp_hold *hold, struct ab_error *err);
struct mcp_tools *mcp_hold_tools(const struct mcp_hold *hold); /* borrowed; of READY */
/* May the tool be offered, by the pins and what was seen before? If not, or if it has changed, *why is a static text. */
bool mcp_hold_may_offer(const struct mcp_hold *hold, const struct mcp_tool *tool, const char **why);
const struct mcp_core *mcp_hold_core(const struct mcp_hold *hold);

/* As mcp_core_call(). Errors name the server. */
struct mcp_call *mcp_hold_call(struct mcp_hold *hold, const struct mcp_tool *tool, const json_t *arguments,
                               const char *key, int64_t limit_ms, mcp_done_fn *done, void *user,
                               struct ab_error *err);
void mcp_hold_cancel(struct mcp_hold *hold, struct mcp_call *call);
/* In front of an error's text: whose it is; and the server's secrets are taken out. */
void mcp_hold_name_error(const struct mcp_hold *hold, struct ab_error *error);
void mcp_hold_scrub(const struct mcp_hold *hold, struct ab_buf *text);

#endif
