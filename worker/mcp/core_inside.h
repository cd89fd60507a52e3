/* Inside of the core: core.c keeps the requests, era.c knows what is asked and what answers mean. */
#ifndef AB_WORKER_MCP_CORE_INSIDE_H
#define AB_WORKER_MCP_CORE_INSIDE_H

#include <stdarg.h>
#include <stdio.h>
#include <sys/queue.h>

#include "worker/mcp/core.h"

enum request {
    REQUEST_DISCOVER,
    REQUEST_INITIALIZE,
    REQUEST_LIST,
    REQUEST_CALL,
    REQUEST_LISTEN, /* modern: the server tells of changes in answer to it, and never ends it */
    REQUEST_ALIVE,  /* the sign of life of the modern era, and of the legacy one */
    REQUEST_PING,
};

struct mcp_call {
    enum request kind;
    int64_t id;                   /* RPC_NO_ID: not sent yet */
    json_t *params;               /* without _meta; owned */
    int64_t deadline_ms, last_ms; /* progress moves the first, up to the second */
    bool again;                   /* it was sent once already, in a session that was lost */
    const struct mcp_tool *tool;
    char digest[MCP_DIGEST_SIZE]; /* of the tool, as it was offered */
    char *key;                    /* owned; NULL unless it is a CALL */
    mcp_done_fn *done;            /* NULL unless it is a CALL */
    void *user;
    TAILQ_ENTRY(mcp_call) in_core;
};

struct mcp_core {
    struct mcp_times times;
    bool http;
    const struct mcp_core_ops *ops;
    void *user;

    enum mcp_state state;
    enum mcp_era era;
    char *version, *name; /* owned */
    bool tells_changes;   /* it says when its list changes */
    struct ab_error error;
    int64_t start_by_ms; /* READY until then; INT64_MAX: it is, or is not being started */
    unsigned garbage;

    int64_t last_id;
    TAILQ_HEAD(mcp_call_list, mcp_call) calls;
    size_t n; /* of them REQUEST_CALL */

    struct mcp_tools *tools, *listing; /* owned; the second while it is read; NULL: none */
    int64_t listed_ms, fresh_until_ms;
    int64_t pace_ms;   /* between two lists */
    int64_t relist_ms; /* it is listed again then; INT64_MAX: no */
    bool dirty;        /* it changed while it was listed */
    unsigned changes;
};

/* HTTP: how a request came to nothing. */
struct failure {
    int status; /* 0: no answer at all */
    int64_t code;
    const json_t *data;
    const char *text;
    bool in_session;
};

/* core.c */
struct mcp_call *core_under_way(const struct mcp_core *core, enum request kind);
void core_drop(struct mcp_core *core, struct mcp_call *call);
void core_end_call(struct mcp_core *core, struct mcp_call *call, const json_t *result,
                   const struct ab_error *error);
void core_request(struct mcp_core *core, enum request kind, json_t *params,
                  int64_t deadline_ms); /* takes params */
void core_notify(struct mcp_core *core, const char *method, json_t *params);
void core_answer(struct mcp_core *core, char *text); /* takes it */
void core_abandon(struct mcp_core *core, struct mcp_call *call, const char *why);
void core_send_waiting(struct mcp_core *core);
void core_set_state(struct mcp_core *core, enum mcp_state state);
void core_break(struct mcp_core *core, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* era.c */
void era_probe(struct mcp_core *core, int64_t now_ms);
void era_initialize(struct mcp_core *core, int64_t now_ms);
void era_list(struct mcp_core *core, int64_t now_ms);
void era_list_changed(struct mcp_core *core, int64_t now_ms);
/* The answers; each ends the request. */
void era_result(struct mcp_core *core, struct mcp_call *call, const json_t *result, int64_t now_ms);
void era_error(struct mcp_core *core, struct mcp_call *call, const struct rpc *error, int64_t now_ms);
void era_failed(struct mcp_core *core, struct mcp_call *call, const struct failure *failure, int64_t now_ms);
void era_list_failed(struct mcp_core *core, struct mcp_call *call, const char *why, int64_t now_ms);

#endif
