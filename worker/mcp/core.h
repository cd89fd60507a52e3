/* One conversation with an MCP server: which era it speaks, its tools, calls, time. Pure: messages and the time come in,
 * messages and calls of functions go out; pipes, processes and HTTP are the transports' (stdio.c, http.c).
 *
 *   DOWN ──start──► PROBING ──► LISTING ──► READY           modern: revision 2026-07-28, no session
 *                      └──► INITIALIZING ──┘                legacy: 2025-11-25 and older
 *   any state ──► BROKEN (it does not do what it must; `error` says what), any ──lost──► DOWN
 *
 * The probe (server/discover) tells the eras apart: its result, or an error that only modern servers know, is modern; any other
 * error, silence for probe_ms, or that the server ends, is legacy. What was found out is kept for the next start.
 *
 * A call may be made in any state: it waits for READY, within its own time. A call is answered once: by its result, an error of
 * the server, its time, or the loss of the server. Progress puts its end off by call_ms, never past call_max_ms. After a
 * call that was too late the server is asked for a sign of life; without one it is BROKEN.
 *
 * Sources: modelcontextprotocol.io/specification, revisions 2026-07-28 and 2025-11-25: basic/versioning (or lifecycle),
 * basic/transports, basic/patterns, server/tools.
 */
#ifndef AB_WORKER_MCP_CORE_H
#define AB_WORKER_MCP_CORE_H

#include "worker/mcp/rpc.h"
#include "worker/mcp/tools.h"

#define MCP_MODERN_VERSION "2026-07-28"
#define MCP_LEGACY_VERSION "2025-11-25" /* what we ask for; older ones are taken */

enum {
    MCP_CALLS_MAX = 256,    /* of one server, under way or waiting */
    MCP_ID_BYTES_MAX = 256, /* of a server's own requests */
    MCP_VALUES_MAX =
        1 << 18,           /* in one message: in memory each takes a hundred times what it takes in the text */
    MCP_GARBAGE_MAX = 100, /* messages that are none, before the server is given up */
    MCP_RELIST_MS = 500,   /* between two lists, however often the server says that its list has changed; … */
    MCP_RELIST_MS_MAX = 60000,    /* … doubled each time up to this, as long as it goes on */
    MCP_UNTOLD_TTL_MS = 60000,    /* of a list whose server does not say when it changes */
    MCP_ALIVE_MS = 10000,         /* for the sign of life */
    MCP_CHANGES_AT_START_MAX = 3, /* lists that are made anew before the first is taken */
};

enum mcp_state { MCP_DOWN, MCP_PROBING, MCP_INITIALIZING, MCP_LISTING, MCP_READY, MCP_BROKEN };
enum mcp_era { MCP_UNKNOWN, MCP_MODERN, MCP_LEGACY };

struct mcp_times {
    int64_t start_ms, probe_ms, call_ms, call_max_ms;
};

/* What the transport is to send. Borrowed. */
struct mcp_message {
    struct ab_view text;         /* without a line end */
    int64_t id;                  /* of a request; RPC_NO_ID: nothing answers it */
    const char *method;          /* NULL: it is an answer */
    const char *version;         /* the revision that is spoken; NULL: not known yet */
    bool modern;                 /* HTTP: headers Mcp-Method, Mcp-Name … */
    const struct mcp_tool *tool; /* of tools/call, else NULL */
    const json_t *arguments;
};

struct mcp_core_ops {
    void (*send)(void *user, const struct mcp_message *message);
    /* No answer to that request is wanted any more: HTTP closes its stream, which cancels it. */
    void (*abandon)(void *user, int64_t id);
    /* The state, or the list of tools, has become another. */
    void (*changed)(void *user);
    /* For the log. */
    void (*told)(void *user, const char *event, const char *text);
};

/* result is the one of tools/call, borrowed; error says why there is none. Never called from inside mcp_core_call(). */
typedef void mcp_done_fn(void *user, const json_t *result, const struct ab_error *error);

struct mcp_core;
struct mcp_call;

/* http: requests are sent one by one, each with its own answer, instead of over one stream. era: as it was found out before. */
struct mcp_core *mcp_core_create(const struct mcp_times *times, bool http, enum mcp_era era,
                                 const struct mcp_core_ops *ops, void *user);
void mcp_core_destroy(struct mcp_core *core); /* calls that wait are forgotten; NULL is allowed */

/* The transport is open. */
void mcp_core_start(struct mcp_core *core, int64_t now_ms);
/* It is closed: what was sent gets no answer; calls that wait go on waiting. True: it ended at the probe, and is to be started
 * again at once, without one. */
bool mcp_core_lost(struct mcp_core *core, const struct ab_error *why);
/* It is not started again: whoever waits for it is told so. */
void mcp_core_give_up(struct mcp_core *core, const struct ab_error *why);
/* One message, as it came. answers: HTTP: the request that this is the answer to; else RPC_NO_ID. */
void mcp_core_take(struct mcp_core *core, struct ab_view text, int64_t answers, int64_t now_ms);
/* An answer that was too long to be kept; id RPC_NO_ID: nobody knows whose. */
void mcp_core_too_long(struct mcp_core *core, int64_t id, uint64_t bytes, int64_t now_ms);
/* HTTP: the request came to nothing: a status that is none of success, with its body; or 0 and why as text. */
void mcp_core_failed(struct mcp_core *core, int64_t id, int status, struct ab_view body, bool in_session,
                     int64_t now_ms);

int64_t mcp_core_deadline_ms(const struct mcp_core *core);
void mcp_core_tick(struct mcp_core *core, int64_t now_ms);

enum mcp_state mcp_core_state(const struct mcp_core *core);
enum mcp_era mcp_core_era(const struct mcp_core *core);
const char *mcp_core_version(const struct mcp_core *core);          /* "" unless READY once */
const char *mcp_core_server(const struct mcp_core *core);           /* what it calls itself; "" */
const struct ab_error *mcp_core_error(const struct mcp_core *core); /* of BROKEN */
/* Of the last whole list; NULL before the first. */
struct mcp_tools *mcp_core_tools(const struct mcp_core *core);
/* Lists again if the list may be out of date. */
void mcp_core_refresh(struct mcp_core *core, int64_t now_ms);
bool mcp_core_waits_for(const struct mcp_core *core, int64_t id); /* the request has not been answered */
bool mcp_core_idle(const struct mcp_core *core);                  /* no call is under way or waits */

/* tool is borrowed until it is over, arguments for the duration of the function; key goes into _meta; limit_ms: 0: as
 * configured. NULL: err says why not. */
struct mcp_call *mcp_core_call(struct mcp_core *core, const struct mcp_tool *tool, const json_t *arguments,
                               const char *key, int64_t limit_ms, mcp_done_fn *done, void *user, int64_t now_ms,
                               struct ab_error *err);
void mcp_core_cancel(struct mcp_core *core, struct mcp_call *call, const char *why);

#endif
