/* One server that is wanted: its core, its transport, who holds it, and when it is started again. Inside of worker/mcp. */
#ifndef AB_WORKER_MCP_CONN_H
#define AB_WORKER_MCP_CONN_H

#include <sys/queue.h>

#include "worker/mcp/http.h"
#include "worker/mcp/mcp.h"
#include "worker/mcp/pins.h"
#include "worker/mcp/stdio.h"

struct mcp_hold {
    struct mcp_conn *conn;
    void (*changed)(void *owner);
    void *owner;
    TAILQ_ENTRY(mcp_hold) in_conn;
};

struct mcp_conn {
    struct mcp *mcp;
    struct mcp_server *server;
    char *whose; /* the job or user; "" for the worker; owned */
    struct mcp_core *core;
    struct mcp_launch launch;
    struct stdio *stdio; /* at most one of them; NULL: it is not running */
    struct remote *remote;
    TAILQ_HEAD(mcp_hold_list, mcp_hold) holds;
    int64_t idle_ms; /* since when nobody holds it */

    /* Noted by callbacks, acted upon by conn_tick(). */
    bool changed; /* the core's state or tools */
    bool ended;   /* the process is gone, or to be ended */
    bool at_probe;
    int exit_code;
    struct ab_error why;

    bool
        anew; /* its tools are those of a run that is over: they are not known until it has been started again */
    unsigned fails;         /* starts, or runs, that came to nothing, in a row */
    int64_t again_ms;       /* it is not started before */
    int64_t queued_ms;      /* since when it waits for other processes to go; 0: it does not */
    struct ab_error failed; /* what those who wait for its tools are told; code 0: nothing yet */
    TAILQ_ENTRY(mcp_conn) in_all;
};

struct mcp {
    struct mcp_server *servers;
    size_t n_servers;
    struct mcp_pins *pins;
    int epoll;
    struct http_pool *http;
    size_t processes_max;
    TAILQ_HEAD(mcp_conn_list, mcp_conn) conns;
    struct stdio **dying; /* closed, not gone yet */
    size_t n_dying;
    struct remote **leaving; /* telling their servers that the session is over */
    size_t n_leaving;
};

struct mcp_conn *conn_create(struct mcp *mcp, struct mcp_server *server, const char *whose);
void conn_destroy(struct mcp_conn *conn, int64_t now_ms);
int64_t conn_deadline_ms(const struct mcp_conn *conn);
/* Acts upon what happened, and on time. False: it is over and freed. */
bool conn_tick(struct mcp_conn *conn, int64_t now_ms);
enum mcp_hold_state conn_state(const struct mcp_conn *conn);

/* mcp.c: a process, if there may be one more; they outlive their connection until they are gone. */
bool mcp_may_start(struct mcp *mcp, int64_t now_ms);
void mcp_bury(struct mcp *mcp, struct stdio *stdio);
void mcp_leave(struct mcp *mcp, struct remote *remote);

#endif
